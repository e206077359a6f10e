-- countersummary and gaugesummary: what is told of them, text and binary forms, rollup.
CREATE SCHEMA summaries;
SET search_path = summaries, public, metricsdb;
SET timezone = 'UTC';
SET extra_float_digits = 0;
CREATE TABLE samples (time timestamptz, v float8);
INSERT INTO samples VALUES ('2026-01-01 00:00:10', 10), ('2026-01-01 00:00:20', 30), ('2026-01-01 00:00:30', 5), ('2026-01-01 00:01:10', 25), ('2026-01-01 00:01:20', 25);
CREATE VIEW c AS SELECT counter_agg(time, v) AS s FROM samples;
CREATE VIEW g AS SELECT gauge_agg(time, v) AS s FROM samples;
SELECT s FROM c;
SELECT s FROM g;
SELECT delta(s), increase(s), rate(s), idelta_left(s), idelta_right(s), irate_left(s), irate_right(s), num_resets(s), num_changes(s), num_elements(s), time_delta(s) FROM c;
SELECT first_time(s), last_time(s), first_val(s), last_val(s), slope(s), intercept(s), corr(s), counter_zero_time(s) FROM c;
SELECT delta(s), rate(s), idelta_left(s), idelta_right(s), irate_left(s), irate_right(s), num_changes(s), num_elements(s), time_delta(s) FROM g;
SELECT first_time(s), last_time(s), first_val(s), last_val(s), slope(s), intercept(s), corr(s), gauge_zero_time(s) FROM g;
-- The line is that of PostgreSQL's own aggregates.
SELECT abs(slope(gauge_agg(time, v)) - regr_slope(v, extract(epoch FROM time))) < 1e-9 AS slope, abs(corr(gauge_agg(time, v)) - corr(v, extract(epoch FROM time))) < 1e-9 AS corr,
	abs(intercept(gauge_agg(time, v)) - regr_intercept(v, extract(epoch FROM time - timestamptz '2000-01-01Z'))) < 1 AS intercept FROM samples;
-- Of one sample, of such as do not change.
SELECT delta(s), rate(s), idelta_left(s), irate_left(s), num_resets(s), slope(s), intercept(s), corr(s), counter_zero_time(s), num_elements(s), extrapolated_rate(s, 'prometheus', '2026-01-01', '2026-01-02')
	FROM (SELECT counter_agg(time, v) AS s FROM samples WHERE v = 10) s;
SELECT delta(s), rate(s), slope(s), intercept(s), corr(s), gauge_zero_time(s) FROM (SELECT gauge_agg(time, 0.1) AS s FROM samples) s;
-- To bounds.
SELECT extrapolated_delta(s, 'prometheus', '2026-01-01 00:00', '2026-01-01 00:02'), extrapolated_rate(s, 'Prometheus', '[2026-01-01 00:00, 2026-01-01 00:02)'),
	extrapolated_delta(with_bounds(s, '[2026-01-01 00:00, 2026-01-01 00:02)'), 'prometheus') FROM c
UNION ALL SELECT extrapolated_delta(s, 'prometheus', '2026-01-01 00:00', '2026-01-01 00:02'), extrapolated_rate(s, 'Prometheus', '[2026-01-01 00:00, 2026-01-01 00:02)'),
	extrapolated_delta(with_bounds(s, '[2026-01-01 00:00, 2026-01-01 00:02)'), 'prometheus') FROM g;
SELECT extrapolated_delta(s, 'prometheus', '2026-01-01 00:00', '2026-01-01 00:02') = (SELECT increase(time, v, '2 min') FROM samples) AS same FROM c;
SELECT with_bounds(s, '[2026-01-01 00:00, 2026-01-01 00:02)') FROM c;
SELECT extrapolated_delta(s, 'prometheus') FROM c;
SELECT extrapolated_delta(s, 'linear', '2026-01-01', '2026-01-02') FROM c;
SELECT extrapolated_delta(s, 'prometheus', '2026-01-01 00:01', '2026-01-02') FROM c;
SELECT with_bounds(s, '[2026-01-01,)') FROM c;
SELECT with_bounds(s, 'empty') FROM c;
-- Interpolated to neighbours; between samples a counter that was reset has counted from zero.
CREATE VIEW minutes AS SELECT time_bucket('1 min', time) AS minute, counter_agg(time, v) AS s, gauge_agg(time, v) AS g FROM samples GROUP BY 1;
SELECT minute, num_elements(s), interpolated_delta(s, minute, '1 min', lag(s) OVER w, lead(s) OVER w), interpolated_rate(s, minute, '1 min', lag(s) OVER w, lead(s) OVER w),
	interpolated_delta(g, minute, '1 min', lag(g) OVER w, lead(g) OVER w), interpolated_delta(s, minute, '1 min'), interpolated_rate(s, minute, '1 min')
	FROM minutes WINDOW w AS (ORDER BY minute) ORDER BY minute;
SELECT interpolated_delta(a, '2026-01-01 00:01', '1 min', b) FROM (SELECT counter_agg(time, v) FILTER (WHERE v = 5) AS b, counter_agg(time + interval '30 s', v) FILTER (WHERE time >= '2026-01-01 00:01') AS a FROM samples) s;
SELECT interpolated_delta(s, '2026-01-01 00:01', '1 min') FROM c;
SELECT interpolated_delta(s, '2026-01-01', '-1 min') FROM c;
SELECT interpolated_delta(s, '2026-01-01', '2 min', s) FROM c;
SELECT interpolated_delta(s, '2026-01-01', '2 min', NULL, s) FROM c;
-- Rolled up, in any order: as if made of the samples.
SELECT abs(slope(rollup(s ORDER BY minute DESC)) - (SELECT slope(s) FROM c)) < 1e-12 AS slope, delta(rollup(s)) = (SELECT delta(s) FROM c) AS delta, num_resets(rollup(s)), num_changes(rollup(s)),
	idelta_left(rollup(s)), idelta_right(rollup(s)), abs(corr(rollup(g)) - (SELECT corr(s) FROM g)) < 1e-12 AS corr FROM minutes;
SELECT rollup(s) FROM (SELECT s FROM c UNION ALL SELECT counter_agg(time, v) FROM samples WHERE v = 30) s;
SELECT rollup(s) FROM (SELECT NULL::countersummary AS s) s;
-- In tables, to files and back.
CREATE TABLE kept (minute timestamptz, s countersummary, g gaugesummary) USING metricsdb;
INSERT INTO kept SELECT * FROM minutes;
CALL metricsdb.compact('kept');
CREATE TEMP TABLE again (LIKE kept);
INSERT INTO again SELECT minute, s::text::countersummary, g::text::gaugesummary FROM kept;
SELECT count(*) AS same FROM again a JOIN kept k USING (minute) JOIN minutes m USING (minute) WHERE a.s::text = k.s::text AND a.g::text = k.g::text AND k.s::text = m.s::text
	AND countersummary_send(a.s) = countersummary_send(k.s) AND gaugesummary_send(a.g) = gaugesummary_send(k.g);
SELECT delta(rollup(s)), delta(rollup(g)) FROM kept;
-- Hostile text.
SELECT ''::countersummary;
SELECT '('::countersummary;
SELECT '()'::countersummary;
SELECT '(1)'::countersummary;
SELECT '(2,1,0,1,0,1,0,1,0,1,0,0,0,0,1,0,0,0)'::countersummary;
SELECT '(1,1,0,1,0,1,0,1,0,1,0,0,0,0,1,0,0,0)'::countersummary;
SELECT '(1,1,0,1,0,1,0,1,0,1,0,0,0,0,1,0,0,0,0)'::countersummary;
SELECT '(1,1,0,1,0,1,0,1,0,1,0,0,0,0,1,0,0,0,0,0,0,0,0,0,0,0)'::countersummary;
SELECT '(1,1,0,x,0,1,0,1,0,1,0,0,0,0,1,0,0,0)'::countersummary;
SELECT '(1,0,0,1,0,1,0,1,0,1,0,0,0,0,1,0,0,0)'::gaugesummary;
SELECT '(1,-5,0,1,0,1,0,1,0,1,0,0,0,0,1,0,0,0)'::gaugesummary;
SELECT '(1,1,-9223372036854775807,1,-9223372036854775807,1,-9223372036854775807,1,-9223372036854775807,1,0,0,0,0,1,0,0,0)'::gaugesummary;
SELECT '(1,1,0,1,0,1,0,1,0,2,0,0,0,0,1,0,0,0)'::gaugesummary;
SELECT '(1,2,0,1,1,2,0,1,1,2,2,2,0,0,1,1,1,1)'::gaugesummary;
SELECT '(1,3,5,1,4,2,3,1,9,2,0,2,0,0,1,1,1,1)'::gaugesummary;
SELECT '(1,1,0,1,0,1,0,1,0,1,0,0,0,-1,1,0,0,0)'::gaugesummary;
SELECT '(1,9223372036854775807,0,1,1,2,8,1,9,2,0,2,0,0,1,1,1,1)'::gaugesummary;
SELECT '(1,3,0,1,1,2,2,1,9,2,0,2,0,0,1,1,1,1)'::gaugesummary;
SELECT '(1,1,0,1,0,1,0,1,0,1,0,0,0,0,1,0,0,0,5,9)'::gaugesummary;
SET client_min_messages = warning;
DROP SCHEMA summaries CASCADE;

-- needs: preload
-- Continuous aggregates: what can be kept, what is refused, and that views say what their definitions do.
CREATE SCHEMA cagg;
SET search_path = cagg, public, metricsdb;
SET timezone = 'UTC';
SET intervalstyle = 'postgres';
SET metricsdb.rollup_routing = off;	-- definitions are to be computed from the table
SET metricsdb.direct_rows = 200;

CREATE TYPE mood AS ENUM ('bad', 'fair', 'good');
CREATE TABLE cpu (
	time timestamptz NOT NULL, host text, tags jsonb, usage float8, r real, i2 smallint, i4 int, i8 bigint,
	num numeric(12, 3), ok bool, span interval, note text COLLATE "C", feeling mood, at timestamptz, cash money
) USING metricsdb WITH (metricsdb.time = 'time', metricsdb.series = 'host, tags');
INSERT INTO cpu
SELECT timestamptz '2026-01-05 09:58' + i * interval '11 s', nullif('h' || i % 4, 'h3'), jsonb_build_object('dc', i % 2, 'n', i % 4),
	CASE WHEN i % 13 = 0 THEN NULL ELSE (i * 7919 % 1000) / 8.0 END, (i % 17) / 4.0, i % 30000, CASE WHEN i % 7 = 0 THEN NULL ELSE i * 31 % 999 - 500 END,
	i * 1000000007::int8, (i % 777) / 7.0, i % 3 = 0, make_interval(secs => i % 61), 'n' || i * 37 % 101, (enum_range(NULL::mood))[1 + i % 3],
	timestamptz '2026-01-01' + (i * 41 % 1013) * interval '1 min', (i % 19)::numeric::money
FROM generate_series(1, 3000) i;

-- A view is its definition: names, types, rows.  Floats may be summed up in another order.
CREATE FUNCTION differs(view regclass, definition text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	columns text;
	n bigint;
	types_v text;
	types_d text;
BEGIN
	EXECUTE 'CREATE TEMP VIEW wanted AS ' || definition;
	SELECT string_agg(attname || ' ' || format_type(atttypid, atttypmod) || ' ' || attcollation, ', ' ORDER BY attnum) INTO types_v FROM pg_attribute WHERE attrelid = view;
	SELECT string_agg(attname || ' ' || format_type(atttypid, atttypmod) || ' ' || attcollation, ', ' ORDER BY attnum) INTO types_d FROM pg_attribute WHERE attrelid = 'wanted'::regclass;
	SELECT string_agg(CASE WHEN atttypid = 'float8'::regtype THEN format('round(%I::numeric, 9)', attname)
		WHEN atttypid = 'real'::regtype THEN format('round(%I::numeric, 2)', attname) ELSE format('%I::text', attname) END, ', ' ORDER BY attnum)
		INTO columns FROM pg_attribute WHERE attrelid = view;
	EXECUTE format('SELECT count(*) FROM ((SELECT %1$s FROM %2$s EXCEPT ALL SELECT %1$s FROM wanted) UNION ALL (SELECT %1$s FROM wanted EXCEPT ALL SELECT %1$s FROM %2$s)) x', columns, view) INTO n;
	EXECUTE format('SELECT count(*) FROM %s', view) || '' INTO STRICT columns;
	DROP VIEW wanted;
	RETURN CASE WHEN types_v <> types_d THEN format('columns %s, not %s', types_v, types_d) WHEN n > 0 THEN n || ' rows differ' ELSE 'equal' END
		|| CASE WHEN columns = '0' THEN ', no rows' ELSE '' END;
END $$;
-- Creates an aggregate, and compares it with its definition before, while and after rows are applied.
CREATE PROCEDURE try(definition text) LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE 'CREATE MATERIALIZED VIEW tried WITH (metricsdb.continuous, metricsdb.stack = off) AS ' || definition || ' WITH NO DATA';
	RAISE INFO 'nothing applied: %', differs('tried', definition);
	COMMIT;
	CALL metricsdb.refresh('tried', '2026-01-05 12:00'::timestamptz, '2026-01-05 15:00'::timestamptz);
	RAISE INFO 'three hours:     %', differs('tried', definition);
	CALL metricsdb.refresh('tried', NULL, NULL);
	ALTER MATERIALIZED VIEW tried SET (metricsdb.materialized_only);
	RAISE INFO 'states alone:    %', differs('tried', definition);
	DROP MATERIALIZED VIEW tried;
END $$;
\set VERBOSITY terse

-- Aggregates, one by one
CALL try($$SELECT time_bucket('1 hour', time) AS bucket, host, count(*), count(usage) AS n, count(i4) AS ni, count(*) FILTER (WHERE ok) AS good FROM cpu GROUP BY 1, 2$$);
CALL try($$SELECT time_bucket('1 hour', time) AS bucket, host, sum(usage), sum(r) AS r, sum(i2) AS i2, sum(i4) AS i4, sum(i8) AS i8, sum(num) AS num, sum(span) AS span, sum(cash) AS cash FROM cpu GROUP BY 1, 2$$);
CALL try($$SELECT time_bucket('1 hour', time) AS bucket, host, avg(usage), avg(r) AS r, avg(i2) AS i2, avg(i4) AS i4, avg(i8) AS i8, avg(num) AS num, avg(span) AS span, avg(i4) FILTER (WHERE ok) AS okay FROM cpu GROUP BY 1, 2$$);
CALL try($$SELECT time_bucket('1 hour', time) AS bucket, host, min(usage), max(r), min(i4) AS i4, max(num) AS num, min(note) AS note, max(feeling) AS feeling, max(time) AS time, min(at) AS at, max(note COLLATE "POSIX") AS posix FROM cpu GROUP BY 1, 2$$);
CALL try($$SELECT time_bucket('1 hour', time) AS bucket, bool_and(ok), bool_or(ok), every(i4 > -400), bit_and(i4), bit_or(i4), bit_xor(i4) FROM cpu GROUP BY 1$$);
CALL try($$SELECT time_bucket('1 hour', time) AS bucket, host, stddev(usage), stddev_pop(usage), variance(r), var_pop(r), var_samp(usage) FROM cpu GROUP BY 1, 2$$);
CALL try($$SELECT time_bucket('1 hour', time) AS bucket, host, stddev(i4), stddev_pop(i8), variance(i2), var_pop(num), stddev_samp(num) FILTER (WHERE ok) FROM cpu GROUP BY 1, 2$$);
CALL try($$SELECT time_bucket('1 hour', time) AS bucket, host, first(usage, time), last(note, time), last(i4, at) AS last_at, first(usage, time) FILTER (WHERE NOT ok) AS first_bad FROM cpu GROUP BY 1, 2$$);
CALL try($$SELECT time_bucket('1 hour', time) AS bucket, histogram(usage, 0, 100, 10), approx_percentile(0.5, sketch_agg(usage)) AS p50, percentile_agg(usage), uddsketch(50, 0.01, usage), approx_count_distinct(note), distinct_count(hyperloglog(64, i4)) FROM cpu GROUP BY 1$$);
CALL try($$SELECT time_bucket('1 hour', time) AS bucket, host, counter_agg(time, i4::float8), gauge_agg(time, usage) AS gauge FROM cpu GROUP BY 1, 2$$);
CALL try($$SELECT time_bucket('1 hour', time) AS bucket, host, rate(time, usage), increase(time, usage), irate(time, usage), resets(time, usage), changes(time, usage), delta(time, usage), idelta(time, usage), deriv(time, usage), last_over_time(time, usage), rate(time, usage, '1 hour') AS r1, increase(time, usage, interval '1 hour') AS i1, delta(time, usage, '60 min') AS d1 FROM cpu GROUP BY 1, 2$$);
CALL try($$SELECT time_bucket('1 hour', time) AS bucket, host, count_over_time(usage), sum_over_time(usage), avg_over_time(usage), min_over_time(usage), max_over_time(usage), stddev_over_time(usage), stdvar_over_time(usage), present_over_time(usage) FROM cpu GROUP BY 1, 2$$);

-- Expressions, keys, conditions, HAVING; what is not in SELECT
CALL try($$SELECT time_bucket('15 min', time) AS bucket, tags->>'dc' AS dc, max(usage) - min(usage) AS range, round(avg(i4), 1) AS mean, 1 AS one, upper(tags->>'dc') || 'x' AS up FROM cpu WHERE host <> 'h1' AND usage > 3 GROUP BY bucket, tags->>'dc'$$);
CALL try($$SELECT count(*) AS n, sum(i4) AS s FROM cpu GROUP BY host, time_bucket('1 hour', time), ok$$);
CALL try($$SELECT time_bucket('1 hour', time) AS "Bucket of time", host AS "ctid's host", tags AS "a""b", min(i4) AS "select" FROM cpu GROUP BY 1, 2, 3 HAVING count(*) > 20 AND host IS NOT NULL$$);
CALL try($$SELECT time_bucket('1 hour', c.time) AS bucket, note, feeling, num, avg(c.usage) FROM cagg.cpu c GROUP BY 1, 2, 3, 4$$);
-- Buckets
CALL try($$SELECT time_bucket('1 day', time, 'Europe/Berlin') AS day, count(*) FROM cpu GROUP BY 1$$);
CALL try($$SELECT time_bucket('1 day', time, timezone => 'Asia/Kolkata') AS day, count(*) FROM cpu GROUP BY 1$$);
CALL try($$SELECT time_bucket('2 hours', time, '30 min'::interval) AS bucket, count(*) FROM cpu GROUP BY 1$$);
CALL try($$SELECT time_bucket('1 month', time) AS month, count(*) FROM cpu GROUP BY 1$$);
CALL try($$SELECT date_bin('20 min', time, '2001-01-01 00:10+00') AS bucket, count(*) FROM cpu GROUP BY 1$$);
CALL try($$SELECT date_trunc('day', time, 'America/New_York') AS day, count(*) FROM cpu GROUP BY 1$$);
\set VERBOSITY default

-- What is refused, and why
\set refused 'CREATE MATERIALIZED VIEW no WITH (metricsdb.continuous) AS'
:refused SELECT time_bucket('1 hour', time), count(DISTINCT host) FROM cpu GROUP BY 1;
:refused SELECT time_bucket('1 hour', time), percentile_cont(0.5) WITHIN GROUP (ORDER BY usage) FROM cpu GROUP BY 1;
:refused SELECT time_bucket('1 hour', time), mode() WITHIN GROUP (ORDER BY usage) FROM cpu GROUP BY 1;
:refused SELECT time_bucket('1 hour', time), array_agg(usage) FROM cpu GROUP BY 1;
:refused SELECT time_bucket('1 hour', time), string_agg(host, ',' ORDER BY host) FROM cpu GROUP BY 1;
:refused SELECT time_bucket('1 hour', time), max(usage ORDER BY time) FROM cpu GROUP BY 1;
:refused SELECT time_bucket('1 hour', time), corr(usage, r) FROM cpu GROUP BY 1;
:refused SELECT time_bucket('1 hour', time), topk(3, usage) FROM cpu GROUP BY 1;
:refused SELECT time_bucket('1 hour', time), rate(time, usage, '2026-01-01', '2026-01-02') FROM cpu GROUP BY 1;
:refused SELECT time_bucket('1 hour', time), rate(time, usage, '1 month') FROM cpu GROUP BY 1;
:refused SELECT time_bucket('1 hour', time), first(usage, ok) FROM cpu GROUP BY 1;
:refused SELECT time_bucket('1 hour', time), sum(usage * random()) FROM cpu GROUP BY 1;
:refused SELECT time_bucket('1 hour', time), count(*) FILTER (WHERE time > now() - interval '1 day') FROM cpu GROUP BY 1;
:refused SELECT time_bucket('1 hour', time), max(time::text) FROM cpu GROUP BY 1;
:refused SELECT time_bucket('1 hour', time), count(*) + random() FROM cpu GROUP BY 1;
:refused SELECT time_bucket('1 hour', time), count(*), rank() OVER (ORDER BY count(*)) FROM cpu GROUP BY 1;
:refused SELECT time_bucket('1 hour', time), count(*), (SELECT 1) FROM cpu GROUP BY 1;
:refused SELECT time_bucket('1 hour', time), count(*) FROM cpu WHERE host IN (SELECT 'h1') GROUP BY 1;
:refused SELECT time_bucket('1 hour', a.time), count(*) FROM cpu a JOIN cpu b USING (time) GROUP BY 1;
:refused SELECT time_bucket('1 hour', a.time), count(*) FROM cpu a, cpu b GROUP BY 1;
:refused WITH c AS (SELECT * FROM cpu) SELECT time_bucket('1 hour', time), count(*) FROM c GROUP BY 1;
:refused SELECT time_bucket('1 hour', time), count(*) FROM (SELECT * FROM cpu) c GROUP BY 1;
:refused SELECT time_bucket('1 hour', time), count(*) FROM cpu TABLESAMPLE system (10) GROUP BY 1;
:refused SELECT DISTINCT time_bucket('1 hour', time), count(*) FROM cpu GROUP BY 1;
:refused SELECT time_bucket('1 hour', time), count(*) FROM cpu GROUP BY 1 LIMIT 3;
:refused SELECT time_bucket('1 hour', time), count(*) FROM cpu GROUP BY 1 ORDER BY 1;
:refused SELECT time_bucket('1 hour', time), count(*) FROM cpu GROUP BY ROLLUP (1);
:refused SELECT time_bucket('1 hour', time), count(*) FROM cpu GROUP BY 1 UNION ALL SELECT now(), 1;
:refused SELECT time_bucket('1 hour', time), count(*), generate_series(1, 2) FROM cpu GROUP BY 1;
:refused SELECT count(*) FROM cpu;
:refused SELECT host, count(*) FROM cpu GROUP BY 1;
:refused SELECT time_bucket('1 hour', time), host FROM cpu GROUP BY 1, 2;
:refused SELECT time_bucket('1 hour', time), date_trunc('day', time, 'UTC'), count(*) FROM cpu GROUP BY 1, 2;
:refused SELECT time, count(*) FROM cpu GROUP BY 1;
:refused SELECT date_trunc('day', time), count(*) FROM cpu GROUP BY 1;
:refused SELECT date_trunc('decade', time, 'UTC'), count(*) FROM cpu GROUP BY 1;
:refused SELECT time_bucket('1 day', time, 'CET'), count(*) FROM cpu GROUP BY 1;
:refused SELECT time_bucket(make_interval(hours => i4), time), count(*) FROM cpu GROUP BY 1;
:refused SELECT time_bucket('1 hour', at), count(*) FROM cpu GROUP BY 1;
:refused SELECT time_bucket('1 hour', time + interval '1 hour'), count(*) FROM cpu GROUP BY 1;
:refused SELECT time_bucket('1 hour', time AT TIME ZONE 'UTC'), count(*) FROM cpu GROUP BY 1;
:refused SELECT floor(extract(epoch FROM time) / 60) * 60, count(*) FROM cpu GROUP BY 1;
:refused SELECT time_bucket_gapfill('1 hour', time), count(*) FROM cpu GROUP BY 1;
:refused SELECT time_bucket('1 hour', time), at::text, count(*) FROM cpu GROUP BY 1, 2;
:refused SELECT time_bucket('1 hour', time), count(*) FROM cpu WHERE time > now() GROUP BY 1;
:refused SELECT time_bucket('1 hour', time), ctid, count(*) FROM cpu GROUP BY 1, 2;
:refused SELECT time_bucket('1 hour', time), count(cpu) FROM cpu GROUP BY 1;
:refused SELECT time_bucket('1 hour', time), count(*) FROM cpu GROUP BY 1 HAVING random() > 0.5;
CREATE TABLE onheap (time timestamptz, v int);
CREATE TABLE parted (time timestamptz, v int) PARTITION BY RANGE (time);
CREATE TABLE part1 PARTITION OF parted DEFAULT USING metricsdb;
CREATE TABLE untimed (host text, v int) USING metricsdb;
CREATE TEMP TABLE temporary (time timestamptz, v int) USING metricsdb;
CREATE UNLOGGED TABLE unlogged (time timestamptz, v int) USING metricsdb;
CREATE TABLE base (time timestamptz, v int) USING metricsdb;
CREATE TABLE derived () INHERITS (base);
CREATE VIEW plain AS SELECT * FROM cpu;
CREATE MATERIALIZED VIEW mat AS SELECT * FROM onheap;
CREATE TABLE t_date (d date, host text, v int) USING metricsdb;
CREATE TABLE t_int (t int, host text, v int) USING metricsdb WITH (metricsdb.time = t);
CREATE TABLE t_local (t timestamp, host text, v int) USING metricsdb;
:refused SELECT time_bucket('1 hour', time), count(*) FROM onheap GROUP BY 1;
:refused SELECT time_bucket('1 hour', time), count(*) FROM parted GROUP BY 1;
:refused SELECT time_bucket('1 hour', time), count(*) FROM part1 GROUP BY 1;
:refused SELECT host, count(*) FROM untimed GROUP BY 1;
:refused SELECT time_bucket('1 hour', time), count(*) FROM temporary GROUP BY 1;
:refused SELECT time_bucket('1 hour', time), count(*) FROM unlogged GROUP BY 1;
:refused SELECT time_bucket('1 hour', time), count(*) FROM base GROUP BY 1;
:refused SELECT time_bucket('1 hour', time), count(*) FROM plain GROUP BY 1;
:refused SELECT time_bucket('1 hour', time), count(*) FROM mat GROUP BY 1;
:refused SELECT time_bucket('1 hour', d), count(*) FROM t_date GROUP BY 1;
:refused SELECT time_bucket('1 hour', generate_series(now(), now(), '1 day')), count(*) GROUP BY 1;

-- Options
\set q 'AS SELECT time_bucket(''1 hour'', time) AS bucket, count(*) FROM cpu GROUP BY 1'
CREATE MATERIALIZED VIEW no WITH (metricsdb.continuous, metricsdb.time = 'x') :q;
CREATE MATERIALIZED VIEW no WITH (metricsdb.continuous = off) :q;
CREATE MATERIALIZED VIEW no WITH (metricsdb.continuous, metricsdb.continuous) :q;
CREATE MATERIALIZED VIEW no WITH (metricsdb.continuous, metricsdb.lateness = 'soon') :q;
CREATE MATERIALIZED VIEW no WITH (metricsdb.continuous, metricsdb.lateness = '-1 s') :q;
CREATE MATERIALIZED VIEW no WITH (metricsdb.continuous, fillfactor = 50) :q;
CREATE MATERIALIZED VIEW no USING heap WITH (metricsdb.continuous) :q;
CREATE MATERIALIZED VIEW no WITH (timescaledb.continuous) :q;
CREATE MATERIALIZED VIEW no WITH (metricsdb.materialized_only) :q;
CREATE MATERIALIZED VIEW no (a, b, c) WITH (metricsdb.continuous) :q;
CREATE MATERIALIZED VIEW no (a, a) WITH (metricsdb.continuous) :q;
CREATE MATERIALIZED VIEW cpu WITH (metricsdb.continuous) :q;
CREATE MATERIALIZED VIEW IF NOT EXISTS cpu WITH (metricsdb.continuous) :q;
SELECT count(*) FROM metricsdb.continuous_aggregate;

-- Another search_path, names given to columns, tablespace
SET search_path = metricsdb;
CREATE MATERIALIZED VIEW cagg."odd ""name" (b, "N", "sum") USING metricsdb WITH (metricsdb.continuous, metricsdb.lateness = '1 min') TABLESPACE pg_default AS
	SELECT time_bucket('1 hour', time), count(*), sum(i4) FROM cagg.cpu GROUP BY 1;
SET search_path = pg_catalog;
SELECT * FROM cagg."odd ""name" ORDER BY b LIMIT 2;
SELECT pg_get_viewdef('cagg."odd ""name"'::regclass) LIKE '%metricsdb.is\_clean(''cagg."odd ""name_states"''::regclass, %UNION ALL%cagg.cpu%WHERE metricsdb.is\_pending(%' AS qualified;
SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 'cagg."odd ""name_states"'::regclass AND attnum > 0 ORDER BY attnum;
SELECT "column", role FROM metricsdb.describe('cagg."odd ""name_states"');
SET search_path = cagg, public, metricsdb;
SELECT aggregate::regclass, view::regclass, source::regclass, raw::regclass, parent, granularity, materialized_only, backfill, lateness, attached, floor FROM continuous_aggregate;

-- Dates, integers, local times; nothing but the source's own type
CREATE MATERIALIZED VIEW by_week WITH (metricsdb.continuous) AS SELECT time_bucket('1 week', d) AS week, sum(v) FROM t_date GROUP BY 1;
CREATE MATERIALIZED VIEW by_ten WITH (metricsdb.continuous) AS SELECT time_bucket(10, t) AS ten, host, sum(v) FROM t_int GROUP BY 1, 2;
CREATE MATERIALIZED VIEW by_day WITH (metricsdb.continuous) AS SELECT date_trunc('day', t) AS day, host, avg(v) FROM t_local GROUP BY 1, 2;
INSERT INTO t_date SELECT date '2026-01-01' + i, 'h', i FROM generate_series(1, 20) i;
INSERT INTO t_int SELECT i, 'h', i FROM generate_series(1, 20) i;
INSERT INTO t_local SELECT timestamp '2026-01-01' + i * interval '2 h', 'h', i FROM generate_series(1, 20) i;
SELECT * FROM by_week ORDER BY 1;
SELECT * FROM by_ten ORDER BY 1;
SELECT * FROM by_day ORDER BY 1;
SELECT granularity FROM continuous_aggregate ORDER BY aggregate;

DROP SCHEMA cagg CASCADE;
SELECT count(*) FROM metricsdb.continuous_aggregate;

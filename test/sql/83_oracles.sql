-- Interpolated differences and rates, quantiles of exponential histograms: against their definitions in exact arithmetic.
\set ECHO queries
CREATE SCHEMA oracles;
SET search_path = oracles, public, metricsdb;
SET extra_float_digits = 0;
SELECT setseed(0.7);
-- 60 series, samples at irregular whole seconds with gaps; values fall now and then, which is a counter's reset.
CREATE TABLE samples AS
	SELECT series, timestamptz '2026-01-05' + second * interval '1 s' AS time, second, v
	FROM (SELECT series, i * 7 + floor(random() * 7)::int AS second, floor(random() * CASE WHEN random() < 0.05 THEN 10 ELSE 1000 END)::int AS v, random() AS dice, i
		FROM generate_series(1, 60) series, generate_series(0, 400) i) x
	WHERE dice < 0.3 AND i / 40 % 5 <> series % 5;
CREATE TABLE buckets AS
	SELECT series, time_bucket('2 min', time) AS bucket, counter_agg(time, v) AS s, gauge_agg(time, v) AS g FROM samples GROUP BY 1, 2;
-- What it is told to be.
CREATE TABLE told AS
	SELECT series, bucket, prev IS NOT NULL AS has_prev, next IS NOT NULL AS has_next,
		interpolated_delta(s, bucket, '2 min', prev, next) AS counter_delta, interpolated_rate(s, bucket, '2 min', prev, next) AS counter_rate,
		interpolated_delta(g, bucket, '2 min', gprev, gnext) AS gauge_delta, interpolated_rate(g, bucket, '2 min', gprev, gnext) AS gauge_rate
	FROM (SELECT *, CASE WHEN series % 3 > 0 THEN lag(s) OVER w END AS prev, CASE WHEN series % 4 > 0 THEN lead(s) OVER w END AS next,
			CASE WHEN series % 3 > 0 THEN lag(g) OVER w END AS gprev, CASE WHEN series % 4 > 0 THEN lead(g) OVER w END AS gnext
		FROM buckets WINDOW w AS (PARTITION BY series ORDER BY bucket)) x;
-- And by its definition: each step from a sample to the next gains something, evenly; a bucket has its share of each.
CREATE TABLE steps AS
	SELECT series, second AS from_second, lead(second) OVER w AS to_second, lead(v) OVER w - v AS gauge,
		CASE WHEN lead(v) OVER w < v THEN lead(v) OVER w ELSE lead(v) OVER w - v END AS counter
	FROM samples WINDOW w AS (PARTITION BY series ORDER BY second);
CREATE TABLE defined AS
	SELECT b.series, b.bucket, b.has_prev, b.has_next,
		sum(s.counter * (least(s.to_second, b.hi) - greatest(s.from_second, b.lo))::numeric / (s.to_second - s.from_second)) AS counter_delta,
		sum(s.gauge * (least(s.to_second, b.hi) - greatest(s.from_second, b.lo))::numeric / (s.to_second - s.from_second)) AS gauge_delta,
		b.hi - b.lo AS seconds
	FROM (SELECT t.series, t.bucket, t.has_prev, t.has_next,
			CASE WHEN t.has_prev THEN extract(epoch FROM t.bucket - timestamptz '2026-01-05')::int ELSE (SELECT min(second) FROM samples x WHERE x.series = t.series AND x.time >= t.bucket) END AS lo,
			CASE WHEN t.has_next THEN extract(epoch FROM t.bucket - timestamptz '2026-01-05')::int + 120 ELSE (SELECT max(second) FROM samples x WHERE x.series = t.series AND x.time < t.bucket + interval '2 min') END AS hi
		FROM told t) b
		LEFT JOIN steps s ON s.series = b.series AND s.to_second > b.lo AND s.from_second < b.hi
	GROUP BY b.series, b.bucket, b.has_prev, b.has_next, b.lo, b.hi;
CREATE FUNCTION same(a float8, b numeric) RETURNS bool LANGUAGE sql IMMUTABLE AS
	$$ SELECT CASE WHEN a IS NULL OR b IS NULL THEN a IS NULL AND b IS NULL ELSE abs(a::numeric - b) <= 1e-12 * greatest(abs(b), 1000) END $$;
SELECT count(*) > 1000 AS many, count(*) FILTER (WHERE has_prev AND has_next) > 500 AS of_both, count(DISTINCT seconds) > 50 AS of_many_lengths,
	count(*) FILTER (WHERE NOT same(t.counter_delta, coalesce(d.counter_delta, 0))) AS wrong_counter_delta,
	count(*) FILTER (WHERE NOT same(t.counter_rate, d.counter_delta / nullif(seconds, 0))) AS wrong_counter_rate,
	count(*) FILTER (WHERE NOT same(t.gauge_delta, coalesce(d.gauge_delta, 0))) AS wrong_gauge_delta,
	count(*) FILTER (WHERE NOT same(t.gauge_rate, d.gauge_delta / nullif(seconds, 0))) AS wrong_gauge_rate
FROM told t JOIN defined d USING (series, bucket, has_prev, has_next);
-- Exponential histograms: bucket i holds what is above 2^(i/2^scale) and not above 2^((i+1)/2^scale), evenly.
CREATE TABLE histograms AS
	SELECT h, floor(random() * 7)::int - 2 AS scale, CASE WHEN h % 3 = 0 THEN floor(random() * 50)::int8 ELSE 0 END AS zeros,
		floor(random() * 40)::int - 20 AS off, (SELECT array_agg(CASE WHEN random() < 0.3 THEN 0 ELSE floor(random() * 100)::int8 END) || 3::int8 FROM generate_series(1, 1 + h % 20) WHERE h > 0) AS pos,
		floor(random() * 40)::int - 20 AS neg_off, CASE WHEN h % 2 = 0 THEN (SELECT array_agg(floor(random() * 20)::int8) || 2::int8 FROM generate_series(1, 1 + h % 7) WHERE h > 0) ELSE '{}' END AS neg
	FROM generate_series(1, 200) h;
CREATE TABLE bins AS
	SELECT h, -power(2.0000000000000000000000000000000000000000::numeric, (neg_off + i)::numeric / power(2::numeric, scale)) AS lower, -power(2.0000000000000000000000000000000000000000::numeric, (neg_off + i - 1)::numeric / power(2::numeric, scale)) AS upper, n
		FROM histograms, unnest(neg) WITH ORDINALITY u(n, i) WHERE n > 0
	UNION ALL SELECT h, 0, 0, zeros FROM histograms WHERE zeros > 0
	UNION ALL SELECT h, power(2.0000000000000000000000000000000000000000::numeric, (off + i - 1)::numeric / power(2::numeric, scale)), power(2.0000000000000000000000000000000000000000::numeric, (off + i)::numeric / power(2::numeric, scale)), n
		FROM histograms, unnest(pos) WITH ORDINALITY u(n, i) WHERE n > 0;
CREATE TABLE quantiles AS
	SELECT h, q, histogram_quantile(q, sketch_from_otel(scale, zeros, off, pos, neg_off, neg)) AS told,
		(SELECT lower + (upper - lower) * (q::numeric * total - below) / n
			FROM (SELECT lower, upper, n, sum(n) OVER (ORDER BY lower) - n AS below, sum(n) OVER () AS total FROM bins b WHERE b.h = x.h) c
			WHERE below + n >= q::numeric * total AND (below < q::numeric * total OR below = 0) ORDER BY lower LIMIT 1) AS defined
	FROM histograms x, unnest('{0,0.01,0.125,0.25,0.5,0.625,0.75,0.9,0.99,1}'::float8[]) q;
SELECT count(*) AS compared, count(*) FILTER (WHERE defined < 0) > 100 AS negative, count(*) FILTER (WHERE defined = 0) > 20 AS zero,
	count(*) FILTER (WHERE NOT abs(told::numeric - defined) <= 1e-12 * abs(defined)) AS wrong, count(*) FILTER (WHERE told IS NULL OR defined IS NULL) AS missing
FROM quantiles;
SELECT * FROM quantiles WHERE NOT abs(told::numeric - defined) <= 1e-12 * abs(defined) OR told IS NULL OR defined IS NULL LIMIT 5;
SET client_min_messages = warning;
DROP SCHEMA oracles CASCADE;

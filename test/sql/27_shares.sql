-- A parallel scan is shared fairly: each of two workers reads at least 30 % of the blocks, in core's
-- scan and in MetricsScan.  A function sleeps once a block, so that the work, not the machine, decides.
CREATE TABLE big (time timestamptz, host text, v int) USING metricsdb;
INSERT INTO big SELECT '2024-01-01Z'::timestamptz + i * '1 s'::interval, 'h', i FROM generate_series(1, 300000) i;
INSERT INTO big SELECT '2024-01-01Z'::timestamptz + i * '1 s'::interval, 'd', i FROM generate_series(1, 10) i;
SELECT blocks FROM metricsdb.parts WHERE "table" = 'big'::regclass ORDER BY part_id LIMIT 1;
CREATE FUNCTION slow(i int) RETURNS bool LANGUAGE plpgsql PARALLEL SAFE STABLE COST 1000 AS $$ BEGIN PERFORM pg_sleep(0.003); RETURN true; END $$;
CREATE FUNCTION shares(query text) RETURNS TABLE (node text, workers int, rows bigint, least_percent int) LANGUAGE plpgsql AS $$
DECLARE plan json; scan json;
BEGIN
	EXECUTE 'EXPLAIN (ANALYZE, VERBOSE, FORMAT JSON) ' || query INTO plan;
	WITH RECURSIVE nodes(n) AS (SELECT plan->0->'Plan' UNION ALL SELECT json_array_elements(n->'Plans') FROM nodes)
	SELECT n FROM nodes WHERE n->>'Relation Name' = 'big' INTO scan;
	RETURN QUERY SELECT coalesce(scan->>'Custom Plan Provider', scan->>'Node Type'), count(*)::int, sum((w->>'Actual Rows')::float8 * (w->>'Actual Loops')::float8)::bigint,
		round(100 * min((w->>'Actual Rows')::float8 * (w->>'Actual Loops')::float8) / sum((w->>'Actual Rows')::float8 * (w->>'Actual Loops')::float8))::int
	FROM json_array_elements(scan->'Workers') w;
END $$;
ALTER TABLE big SET (parallel_workers = 2);
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET parallel_leader_participation = off;
-- v % 1024 = 0 is once a block, as a block of one series has so many rows.
SET metricsdb.enable_custom_scan = off;
SELECT node, workers, rows, least_percent >= 30 AS fair FROM shares('SELECT v FROM big WHERE v % 1024 = 0 AND slow(v)');
SET metricsdb.enable_custom_scan = on;
SELECT node, workers, rows, least_percent >= 30 AS fair FROM shares('SELECT v FROM big WHERE time > ''2024-01-01 00:01Z'' AND v % 1024 = 0 AND slow(v)');
-- Under an Append, and over many small parts
SET metricsdb.direct_rows = 10;
DO $$ BEGIN FOR i IN 1 .. 60 LOOP INSERT INTO big SELECT '2023-01-01Z'::timestamptz + (i * 1024 + j) * '1 s'::interval, 'many', i * 1024 + j FROM generate_series(0, 1023) j; END LOOP; END $$;
SELECT node, workers, rows, least_percent >= 30 AS fair FROM shares('SELECT v FROM big WHERE time < ''2023-12-01Z'' AND v % 128 = 0 AND slow(v)');
-- With the leader, no worker is idle either
RESET parallel_leader_participation;
SELECT node, workers, least_percent >= 15 AS fair FROM shares('SELECT v FROM big WHERE time > ''2024-01-01 00:01Z'' AND v % 1024 = 0 AND slow(v)');
DROP TABLE big;
DROP FUNCTION slow, shares;

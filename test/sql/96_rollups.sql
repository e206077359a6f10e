-- needs: preload
-- The usual aggregates of a table of metrics; REFRESH in transactions of all kinds.
\set VERBOSITY terse
CREATE SCHEMA rolls;
SET search_path = rolls, public;
SET timezone = 'UTC';
SET intervalstyle = 'postgres';
SET metricsdb.direct_rows = 100;
SET metricsdb.rollup_routing = off;

SELECT metricsdb.create_metrics_table('metrics');
INSERT INTO metrics SELECT 'cpu', jsonb_build_object('host', 'h' || h), timestamptz '2026-03-28 20:00' + i * interval '10 s', (i * h) % 100
	FROM generate_series(0, 4 * 360 - 1) i, generate_series(1, 3) h;
SELECT * FROM metricsdb.create_rollups('metrics', raw_keep => '100 years', keep => '{200 years,200 years,200 years,NULL}', timezone => 'Europe/Berlin');
SELECT view, source FROM metricsdb.aggregate_status ORDER BY view::text;
SELECT "table", keep FROM metricsdb.retention_policies WHERE "table"::text ~ '^metrics' ORDER BY "table"::text;
\d metrics_1h
-- Once more: what is there stays, and is kept as long as is said now.
SELECT * FROM metricsdb.create_rollups('metrics', raw_keep => NULL, levels => '{1 h,6 h}', keep => '{300 years,300 years}');
SELECT "table", keep FROM metricsdb.retention_policies WHERE "table"::text ~ '^metrics' ORDER BY "table"::text;
CALL metricsdb.refresh('metrics_1day');
CALL metricsdb.refresh('metrics_6h');
SELECT view, pending_rows, rows FROM metricsdb.aggregate_status ORDER BY view::text;
-- Days of the zone; the clocks are set forward in between.
SELECT bucket, sum(value_count) AS n, min(value_first) AS first, max(value_last) AS last, round(avg(value_avg)::numeric, 2) AS avg FROM metrics_1day GROUP BY 1 ORDER BY 1;
-- All levels say the same.
SELECT (SELECT (count(*), sum(value)) FROM metrics) = ALL (VALUES ((SELECT (sum(value_count)::int8, sum(value_sum)) FROM metrics_10s)), ((SELECT (sum(value_count)::int8, sum(value_sum)) FROM metrics_1min)),
	((SELECT (sum(value_count)::int8, sum(value_sum)) FROM metrics_1h)), ((SELECT (sum(value_count)::int8, sum(value_sum)) FROM metrics_6h)), ((SELECT (sum(value_count)::int8, sum(value_sum)) FROM metrics_1day))) AS same;

-- Inside a transaction, of which the snapshot may be older than what others have taken
BEGIN ISOLATION LEVEL REPEATABLE READ;
DELETE FROM metrics WHERE value = 5;
INSERT INTO metrics SELECT 'cpu', jsonb_build_object('host', 'h' || h), timestamptz '2026-03-29 20:00' + i * interval '10 s', i FROM generate_series(0, 99) i, generate_series(1, 3) h;
REFRESH MATERIALIZED VIEW metrics_1day;
SELECT (SELECT (count(*), sum(value)) FROM metrics) = (SELECT (sum(value_count)::int8, sum(value_sum)) FROM metrics_1day) AS same, (SELECT sum(count_value) FROM metrics_10s_states) AS taken;
ROLLBACK;
SELECT (SELECT (count(*), sum(value)) FROM metrics) = (SELECT (sum(value_count)::int8, sum(value_sum)) FROM metrics_1day) AS same, (SELECT sum(count_value) FROM metrics_10s_states) AS taken;
BEGIN;
SAVEPOINT a;
DELETE FROM metrics WHERE value = 5;
REFRESH MATERIALIZED VIEW metrics_1day;
ROLLBACK TO a;
INSERT INTO metrics SELECT 'cpu', jsonb_build_object('host', 'h' || h), timestamptz '2026-03-29 20:00' + i * interval '10 s', i FROM generate_series(0, 99) i, generate_series(1, 3) h;
REFRESH MATERIALIZED VIEW metrics_1day;
COMMIT;
SELECT (SELECT (count(*), sum(value)) FROM metrics) = (SELECT (sum(value_count)::int8, sum(value_sum)) FROM metrics_1day) AS same, (SELECT sum(count_value) FROM metrics_10s_states) AS taken;
-- Rows of the delta become parts first, but not inside a transaction.
INSERT INTO metrics VALUES ('cpu', '{"host": "h1"}', '2026-03-29 22:00', 1);
BEGIN;
REFRESH MATERIALIZED VIEW metrics_10s;
COMMIT;
SELECT sum(count_value) FROM metrics_10s_states;
REFRESH MATERIALIZED VIEW metrics_10s;
SELECT sum(count_value) FROM metrics_10s_states;

-- Several values, no series, names that need quotes; times without a zone, and days
CREATE TABLE "My Table" ("At" timestamp NOT NULL, "A b" int, n numeric, note bytea) USING metricsdb WITH (metricsdb.series = '');
INSERT INTO "My Table" SELECT timestamp '2026-01-01' + i * interval '1 min', i, i / 2.0, 'x' FROM generate_series(1, 3000) i;
SELECT * FROM metricsdb.create_rollups('"My Table"', NULL, levels => '{1 h,1 day,1 mon}');
REFRESH MATERIALIZED VIEW "My Table_1month";
SELECT * FROM "My Table_1month";
SELECT metricsdb.drop_rollups('"My Table"');
CREATE TABLE days (day date NOT NULL, host text, v int) USING metricsdb;
SELECT * FROM metricsdb.create_rollups('days', NULL, levels => '{7 days}');

-- What is refused
SELECT metricsdb.create_rollups(NULL);
SELECT metricsdb.create_rollups('metrics_1h');
SELECT metricsdb.create_rollups('metrics', NULL, levels => '{}');
SELECT metricsdb.create_rollups('metrics', NULL, levels => '{1 h}', keep => '{1 h,2 h}');
SELECT metricsdb.create_rollups('metrics', NULL, levels => '{1.5 s}');
SELECT metricsdb.create_rollups('metrics', NULL, levels => '{-1 s}');
SELECT metricsdb.create_rollups('metrics', NULL, levels => '{NULL}');
SELECT metricsdb.create_rollups('metrics', NULL, levels => '{2 days}', timezone => 'Nowhere');
SELECT metricsdb.create_rollups('days', NULL, levels => '{1 h}');
CREATE TABLE plain (time timestamptz, host text) USING metricsdb;
SELECT metricsdb.create_rollups('plain');
CREATE TABLE untimed (host text, v int) USING metricsdb;
SELECT metricsdb.create_rollups('untimed');
CREATE TABLE heap (time timestamptz, host text, v int) USING heap;
SELECT metricsdb.create_rollups('heap');
CREATE TABLE a_name_that_is_as_long_as_names_of_tables_may_be_in_this_system (time timestamptz NOT NULL, v int) USING metricsdb;
SELECT metricsdb.create_rollups('a_name_that_is_as_long_as_names_of_tables_may_be_in_this_system');
CREATE ROLE rolls_user;
GRANT USAGE, CREATE ON SCHEMA rolls TO rolls_user;
GRANT SELECT ON metrics TO rolls_user;
SET ROLE rolls_user;
SELECT metricsdb.create_rollups('metrics');
SELECT metricsdb.drop_rollups('metrics');
RESET ROLE;

-- They go together; a view of another name stays.
CREATE MATERIALIZED VIEW metrics_all WITH (metricsdb.continuous, metricsdb.stack = off) AS SELECT metricsdb.time_bucket('1 h', time) AS bucket, count(*) FROM metrics GROUP BY 1;
SELECT metricsdb.drop_rollups('metrics');
SELECT view FROM metricsdb.aggregate_status;
SELECT count(*) FROM metrics;

SET client_min_messages = warning;
DROP SCHEMA rolls CASCADE;
DROP ROLE rolls_user;
SELECT view FROM metricsdb.aggregate_status;

-- needs: preload
-- Continuous aggregates: made of each other, changed, and dropped.
CREATE SCHEMA rddl;
SET search_path = rddl, public, metricsdb;
SET timezone = 'UTC';
SET intervalstyle = 'postgres';
SET metricsdb.rollup_routing = off;	-- definitions are to be computed from the table
CREATE VIEW aggregates AS
SELECT view::regclass, aggregate::regclass AS states, source::regclass, materialized_only AS only, backfill, lateness FROM metricsdb.continuous_aggregate ORDER BY aggregate;
CREATE TABLE cpu (time timestamptz NOT NULL, host text, dc text, n int, v float8, hits float8) USING metricsdb WITH (metricsdb.series = 'host, dc');
INSERT INTO cpu SELECT timestamptz '2026-03-28 20:00' + i * interval '37 s', 'h' || i % 3, 'd' || i % 2, i % 100, i % 64, i FROM generate_series(1, 2500) i;
-- Rows that are in one of them only
CREATE FUNCTION differ(a text, b text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE n bigint;
BEGIN
	EXECUTE format('SELECT count(*) FROM ((SELECT x::text FROM (%1$s) x EXCEPT ALL SELECT x::text FROM (%2$s) x) UNION ALL (SELECT x::text FROM (%2$s) x EXCEPT ALL SELECT x::text FROM (%1$s) x)) y', a, b) INTO n;
	RETURN n;
END $$;

-- Made of the coarsest that serves
CREATE MATERIALIZED VIEW m1 WITH (metricsdb.continuous) AS
	SELECT time_bucket('1 min', time) AS bucket, host, dc, count(*), sum(n), avg(v), min(v), max(v), first(v, time), last(v, time), sketch_agg(v), counter_agg(time, hits) AS hits FROM cpu GROUP BY 1, 2, 3;
CREATE MATERIALIZED VIEW m10 WITH (metricsdb.continuous) AS
	SELECT time_bucket('10 min', time) AS bucket, host, dc, count(*), sum(n), min(v), max(v), sketch_agg(v), counter_agg(time, hits) AS hits FROM cpu GROUP BY 1, 2, 3;
CREATE MATERIALIZED VIEW h1 WITH (metricsdb.continuous) AS
	SELECT time_bucket('1 hour', time) AS bucket, host || '/' || dc AS place, avg(n), max(v), approx_percentile(0.9, sketch_agg(v)) AS p90 FROM cpu GROUP BY 1, 2;
CREATE MATERIALIZED VIEW h1n WITH (metricsdb.continuous) AS SELECT time_bucket('1 hour', time) AS bucket, dc, count(*), sum(n) FROM cpu GROUP BY 1, 2;
CREATE MATERIALIZED VIEW day WITH (metricsdb.continuous) AS SELECT time_bucket('1 day', time, 'Europe/Berlin') AS day, sum(n), count(*) AS c FROM cpu GROUP BY 1;
CREATE MATERIALIZED VIEW month WITH (metricsdb.continuous) AS SELECT date_trunc('month', time, 'Europe/Berlin') AS month, count(*) FROM cpu GROUP BY 1;
CREATE MATERIALIZED VIEW fine WITH (metricsdb.continuous) AS SELECT time_bucket('30 s', time) AS bucket, count(*) FROM cpu GROUP BY 1;
CREATE MATERIALIZED VIEW shifted WITH (metricsdb.continuous) AS SELECT time_bucket('1 hour', time, '30 s'::interval) AS bucket, count(*) FROM cpu GROUP BY 1;
CREATE MATERIALIZED VIEW filtered WITH (metricsdb.continuous) AS SELECT time_bucket('1 hour', time) AS bucket, count(*) FROM cpu WHERE host = 'h1' GROUP BY 1;
CREATE MATERIALIZED VIEW alone WITH (metricsdb.continuous, metricsdb.stack = off) AS SELECT time_bucket('1 hour', time) AS bucket, count(*) FROM cpu GROUP BY 1;
CREATE MATERIALIZED VIEW rates WITH (metricsdb.continuous) AS SELECT time_bucket('1 hour', time) AS bucket, host, dc, rate(time, hits) FROM cpu GROUP BY 1, 2, 3;
CREATE MATERIALIZED VIEW torn WITH (metricsdb.continuous) AS SELECT time_bucket('1 hour', time) AS bucket, counter_agg(time, hits) FROM cpu GROUP BY 1;
CREATE MATERIALIZED VIEW kolkata WITH (metricsdb.continuous) AS SELECT time_bucket('1 day', time, 'Asia/Kolkata') AS day, count(*) FROM cpu GROUP BY 1;
CREATE MATERIALIZED VIEW other WITH (metricsdb.continuous) AS SELECT time_bucket('1 hour', time) AS bucket, stddev(v) FROM cpu GROUP BY 1;
TABLE aggregates;

-- All say what their definitions do, however much of which level is applied
CREATE TABLE definitions (view regclass, definition text);
INSERT INTO definitions VALUES
	('m10', $$SELECT time_bucket('10 min', time) AS bucket, host, dc, count(*), sum(n), min(v), max(v), sketch_agg(v), counter_agg(time, hits) AS hits FROM cpu GROUP BY 1, 2, 3$$),
	('h1', $$SELECT time_bucket('1 hour', time) AS bucket, host || '/' || dc AS place, avg(n), max(v), approx_percentile(0.9, sketch_agg(v)) AS p90 FROM cpu GROUP BY 1, 2$$),
	('h1n', $$SELECT time_bucket('1 hour', time) AS bucket, dc, count(*), sum(n) FROM cpu GROUP BY 1, 2$$),
	('day', $$SELECT time_bucket('1 day', time, 'Europe/Berlin') AS day, sum(n), count(*) AS c FROM cpu GROUP BY 1$$),
	('month', $$SELECT date_trunc('month', time, 'Europe/Berlin') AS month, count(*) FROM cpu GROUP BY 1$$),
	('rates', $$SELECT time_bucket('1 hour', time) AS bucket, host, dc, rate(time, hits) FROM cpu GROUP BY 1, 2, 3$$),
	('kolkata', $$SELECT time_bucket('1 day', time, 'Asia/Kolkata') AS day, count(*) FROM cpu GROUP BY 1$$);
SELECT view, differ('SELECT * FROM ' || view, definition) FROM definitions;
CALL metricsdb.refresh('m1', '2026-03-29 00:00+00'::timestamptz, '2026-03-29 03:30+00'::timestamptz);
SELECT view, differ('SELECT * FROM ' || view, definition) FROM definitions;
CALL metricsdb.refresh('m10', '2026-03-29 00:00+00'::timestamptz, '2026-03-29 02:00+00'::timestamptz);
CALL metricsdb.refresh('h1n', '2026-03-29 00:00+00'::timestamptz, '2026-03-29 01:00+00'::timestamptz);
SELECT view, differ('SELECT * FROM ' || view, definition) FROM definitions;
INSERT INTO cpu SELECT timestamptz '2026-03-29 00:10' + i * interval '7 s', 'h' || i % 3, 'd' || i % 2, i % 100, i % 64, 20000 + i FROM generate_series(1, 20) i;
DELETE FROM cpu WHERE n = 17;
SELECT view, differ('SELECT * FROM ' || view, definition) FROM definitions WHERE view::text NOT IN ('m10', 'rates');
CALL metricsdb.compact('cpu');
CALL metricsdb.refresh('day', NULL, NULL);
CALL metricsdb.refresh('h1', NULL, NULL);
CALL metricsdb.refresh('h1n', NULL, NULL);
SELECT view, differ('SELECT * FROM ' || view, definition) FROM definitions WHERE view::text NOT IN ('m10', 'rates');
REFRESH MATERIALIZED VIEW rates;
SELECT view, differ('SELECT * FROM ' || view, definition) FROM definitions;
REFRESH MATERIALIZED VIEW rates WITH NO DATA;
REFRESH MATERIALIZED VIEW CONCURRENTLY rates;

-- From another aggregate's view
CREATE MATERIALIZED VIEW over WITH (metricsdb.continuous) AS
	SELECT time_bucket('1 hour', bucket) AS hour, host, sum(count) AS count, sum(sum), min(min), max(max), first(first, bucket), last(last, bucket), approx_percentile(0.5, rollup(sketch_agg)) AS median
	FROM m1 WHERE dc = 'd1' AND bucket >= '2026-03-29' GROUP BY 1, 2;
SELECT source FROM aggregates WHERE view = 'over'::regclass;
SELECT differ('TABLE over', $$SELECT time_bucket('1 hour', time) AS hour, host, count(*)::numeric AS count, sum(n)::numeric, min(v), max(v), first(v, time), last(v, time), approx_percentile(0.5, sketch_agg(v)) AS median FROM cpu WHERE dc = 'd1' AND time >= '2026-03-29' GROUP BY 1, 2$$);
DROP MATERIALIZED VIEW over;
CREATE MATERIALIZED VIEW over WITH (metricsdb.continuous) AS
	SELECT time_bucket('1 hour', bucket) AS hour, host, sum(count) AS count, sum(sum), min(min), max(max), first(first, bucket), last(last, bucket), approx_percentile(0.5, rollup(sketch_agg)) AS median, increase(rollup(hits)) AS hits
	FROM m1 GROUP BY 1, 2, dc HAVING sum(count) > 3;
SELECT source FROM aggregates WHERE view = 'over'::regclass;
SELECT differ('TABLE over', $$SELECT time_bucket('1 hour', time) AS hour, host, count(*)::numeric AS count, sum(n)::numeric, min(v), max(v), first(v, time), last(v, time), approx_percentile(0.5, sketch_agg(v)) AS median, increase(counter_agg(time, hits)) AS hits FROM cpu GROUP BY 1, 2, dc HAVING count(*) > 3$$);
\set from_m1 'CREATE MATERIALIZED VIEW no WITH (metricsdb.continuous) AS SELECT time_bucket(''1 hour'', bucket) AS hour'
:from_m1, avg(avg) FROM m1 GROUP BY 1;
:from_m1, sum(avg) FROM m1 GROUP BY 1;
:from_m1, count(*) FROM m1 GROUP BY 1;
:from_m1, max(min) FROM m1 GROUP BY 1;
:from_m1, first(first, host) FROM m1 GROUP BY 1;
:from_m1, sum(count) FILTER (WHERE host = 'h1') FROM m1 GROUP BY 1;
:from_m1, sum(count), max FROM m1 GROUP BY 1, 3;
:from_m1, sum(count) FROM m1 WHERE max > 3 GROUP BY 1;
CREATE MATERIALIZED VIEW no WITH (metricsdb.continuous) AS SELECT time_bucket('1 day', hour) AS day, sum(count) FROM over GROUP BY 1;
CREATE MATERIALIZED VIEW no WITH (metricsdb.continuous) AS SELECT time_bucket('90 s', bucket), sum(count) FROM m1 GROUP BY 1;
CREATE MATERIALIZED VIEW no WITH (metricsdb.continuous) AS SELECT time_bucket('1 hour', bucket), count(*) FROM m1_states GROUP BY 1;
DROP MATERIALIZED VIEW over;

-- Options
ALTER MATERIALIZED VIEW h1n SET (metricsdb.materialized_only);
ALTER VIEW h1n SET (metricsdb.lateness = '5 min');
SELECT * FROM aggregates WHERE view = 'h1n'::regclass;
SELECT tgname, encode(tgargs, 'escape') FROM pg_trigger WHERE tgrelid = 'h1n'::regclass;
INSERT INTO cpu VALUES ('2026-03-29 05:00', 'h9', 'd9', 1, 1, 1);
SELECT count(*) FROM h1n WHERE dc = 'd9';
ALTER MATERIALIZED VIEW h1n SET (metricsdb.materialized_only = off);
SELECT count(*) FROM h1n WHERE dc = 'd9';
SELECT differ('SELECT * FROM h1n', definition) FROM definitions WHERE view = 'h1n'::regclass;
ALTER MATERIALIZED VIEW h1n SET (metricsdb.stack = off);
ALTER MATERIALIZED VIEW h1n SET (metricsdb.wrong = off);
ALTER MATERIALIZED VIEW h1n SET (fillfactor = 50);
ALTER MATERIALIZED VIEW h1n SET TABLESPACE pg_default;
ALTER VIEW h1n SET (security_barrier = on, metricsdb.lateness = '10 s');
SELECT reloptions FROM pg_class WHERE oid = 'h1n'::regclass;
ALTER VIEW h1n RESET (security_barrier);

-- Columns that are added later
SELECT metricsdb.add_aggregate('h1n', 'max(v)', 'top');
SELECT metricsdb.add_aggregate('h1n', 'max(v) - min(v)', name => 'range');
SELECT metricsdb.add_aggregate('h1n', 'max(v)', 'top');
SELECT metricsdb.add_aggregate('h1n', 'stddev(v)', 'deviation');
SELECT metricsdb.add_aggregate('other', 'stddev(n)', 'deviation');
SELECT metricsdb.add_aggregate('other', 'v', 'v');
SELECT metricsdb.add_aggregate('other', 'max(v), min(v)', 'v');
SELECT metricsdb.add_aggregate('other', 'max(v) FROM cpu; DROP TABLE cpu; SELECT 1', 'v');
SELECT metricsdb.add_aggregate('other', 'array_agg(v)', 'v');
SELECT metricsdb.add_aggregate('other', '(SELECT 1) + max(v)', 'v');
SELECT metricsdb.add_aggregate('cpu', 'max(v)', 'v');
UPDATE definitions SET definition = $$SELECT time_bucket('1 hour', time) AS bucket, dc, count(*), sum(n), max(v) AS top, max(v) - min(v) AS range FROM cpu GROUP BY 1, 2$$ WHERE view = 'h1n'::regclass;
INSERT INTO definitions VALUES ('other', $$SELECT time_bucket('1 hour', time) AS bucket, round(stddev(v)::numeric, 8), round(stddev(n), 8) FROM cpu GROUP BY 1$$);
SELECT differ('SELECT * FROM h1n', definition) FROM definitions WHERE view = 'h1n'::regclass;
SELECT differ('SELECT bucket, round(stddev::numeric, 8), round(deviation, 8) FROM other', definition) FROM definitions WHERE view = 'other'::regclass;
CALL metricsdb.refresh('h1n', NULL, NULL);
CALL metricsdb.refresh('other', NULL, NULL);
SELECT differ('SELECT * FROM h1n', definition) FROM definitions WHERE view = 'h1n'::regclass;
SELECT differ('SELECT bucket, round(stddev::numeric, 8), round(deviation, 8) FROM other', definition) FROM definitions WHERE view = 'other'::regclass;

-- Names, schema, comment; of the table and its columns, too
CREATE SCHEMA rddl2;
ALTER MATERIALIZED VIEW alone RENAME TO lonely;
ALTER MATERIALIZED VIEW lonely RENAME COLUMN count TO number;
CREATE TABLE rddl2.lonely_states ();
ALTER MATERIALIZED VIEW lonely SET SCHEMA rddl2;
COMMENT ON MATERIALIZED VIEW rddl2.lonely IS 'alone';
SELECT obj_description('rddl2.lonely'::regclass);
ALTER TABLE cpu RENAME COLUMN n TO number;
ALTER TABLE cpu RENAME TO processors;
ALTER TABLE rddl2.lonely_states1 RENAME COLUMN count TO c;
SELECT * FROM aggregates WHERE view = 'rddl2.lonely'::regclass;
SELECT sum(number) FROM rddl2.lonely;
CALL metricsdb.refresh('rddl2.lonely', NULL, NULL);
SELECT sum(number) = (SELECT count(*) FROM processors) FROM rddl2.lonely;
ALTER TABLE processors RENAME TO cpu;
ALTER TABLE cpu RENAME COLUMN number TO n;

-- What would leave it without its table, or its table without it
ALTER TABLE cpu DROP COLUMN v;
-- Which of the views is told differs.
\set VERBOSITY terse
ALTER TABLE cpu ALTER COLUMN v TYPE real;
\set VERBOSITY default
ALTER TABLE cpu ADD COLUMN extra int, ALTER COLUMN extra SET DEFAULT 3;
DROP TABLE cpu;
DROP TABLE m1_states;
DROP VIEW m1;
DROP MATERIALIZED VIEW m1;
CREATE OR REPLACE VIEW m1 AS SELECT 1;
INSERT INTO m1 (bucket) VALUES (now());
UPDATE m1 SET bucket = now();
DELETE FROM m1;
ALTER TABLE m1_states DROP COLUMN count;

-- Without its trigger the view shows what the states have; with it, it is an aggregate again.
CALL metricsdb.refresh('h1');
DROP TRIGGER continuous_aggregate ON h1;
SELECT count(*) FROM aggregates WHERE view = 'h1'::regclass;
SELECT differ('SELECT * FROM h1', definition) FROM definitions WHERE view = 'h1'::regclass;
CREATE TRIGGER continuous_aggregate INSTEAD OF INSERT OR UPDATE OR DELETE ON h1 FOR EACH ROW EXECUTE FUNCTION metricsdb.continuous_view('lateness=2 min');
SELECT * FROM aggregates WHERE view = 'h1'::regclass;
SELECT differ('SELECT * FROM h1', definition) FROM definitions WHERE view = 'h1'::regclass;
CREATE TRIGGER other INSTEAD OF INSERT ON h1 FOR EACH ROW EXECUTE FUNCTION metricsdb.continuous_view();
CREATE VIEW plain AS SELECT * FROM h1;
CREATE TRIGGER other INSTEAD OF INSERT ON plain FOR EACH ROW EXECUTE FUNCTION metricsdb.continuous_view();
DROP VIEW plain;

-- Dropped with others, in transactions, by owners
BEGIN;
SAVEPOINT s;
DROP MATERIALIZED VIEW month;
SELECT to_regclass('month'), to_regclass('month_states');
ROLLBACK TO s;
SELECT to_regclass('month'), to_regclass('month_states');
DROP MATERIALIZED VIEW kolkata, torn;
DO $$ BEGIN DROP MATERIALIZED VIEW filtered; RAISE EXCEPTION 'never'; EXCEPTION WHEN raise_exception THEN NULL; END $$;
COMMIT;
SELECT to_regclass('torn_states'), to_regclass('filtered_states');
CREATE MATERIALIZED VIEW ordinary AS SELECT 1;
DROP MATERIALIZED VIEW ordinary, filtered;
DROP MATERIALIZED VIEW IF EXISTS filtered, fine;
DROP VIEW shifted;
DROP MATERIALIZED VIEW m10 CASCADE;
SELECT view, source FROM aggregates;
DROP SCHEMA rddl2 CASCADE;
SELECT view, source FROM aggregates;
DROP TABLE cpu CASCADE;
SELECT view, source FROM aggregates;
SELECT (SELECT count(*) FROM metricsdb.pending) AS pending, (SELECT count(*) FROM metricsdb.dirty) AS dirty;
SELECT relname FROM pg_class WHERE relname LIKE '%\_states%';

-- Who may
CREATE ROLE mdb_maker;
CREATE ROLE mdb_stranger;
GRANT CREATE, USAGE ON SCHEMA rddl TO mdb_maker, mdb_stranger;
GRANT USAGE ON SCHEMA metricsdb TO mdb_maker, mdb_stranger;
ALTER DEFAULT PRIVILEGES FOR ROLE mdb_maker GRANT SELECT ON TABLES TO PUBLIC;
SET ROLE mdb_maker;
CREATE TABLE own (time timestamptz NOT NULL, host text, v int) USING metricsdb;
INSERT INTO own VALUES ('2026-01-01', 'a', 3);
CREATE MATERIALIZED VIEW own_1h WITH (metricsdb.continuous) AS SELECT time_bucket('1 hour', time) AS bucket, host, sum(v) FROM own GROUP BY 1, 2;
SELECT relname, pg_get_userbyid(relowner), regexp_replace(relacl::text, '[a-zA-Z]+/', '.../', 'g') AS rights FROM pg_class WHERE relname LIKE 'own%' ORDER BY 1;
SET ROLE mdb_stranger;
SELECT * FROM own_1h;
SELECT count(*) FROM own_1h_states;
CREATE MATERIALIZED VIEW no WITH (metricsdb.continuous) AS SELECT time_bucket('1 hour', time) AS bucket, sum(v) FROM own GROUP BY 1;
CREATE MATERIALIZED VIEW no WITH (metricsdb.continuous) AS SELECT time_bucket('1 day', bucket) AS bucket, sum(sum) FROM own_1h GROUP BY 1;
ALTER MATERIALIZED VIEW own_1h SET (metricsdb.materialized_only);
SELECT metricsdb.add_aggregate('own_1h', 'max(v)', 'm');
REFRESH MATERIALIZED VIEW own_1h;
DROP MATERIALIZED VIEW own_1h;
SELECT count(*) FROM metricsdb.continuous_aggregate;
RESET ROLE;
ALTER MATERIALIZED VIEW own_1h OWNER TO mdb_stranger;
ALTER TABLE own OWNER TO mdb_stranger;
ALTER MATERIALIZED VIEW own_1h OWNER TO mdb_stranger;
SELECT relname, pg_get_userbyid(relowner) FROM pg_class WHERE relname LIKE 'own%' ORDER BY 1;
SELECT * FROM own_1h;
DROP OWNED BY mdb_maker;
DROP OWNED BY mdb_stranger;
SELECT count(*) FROM metricsdb.continuous_aggregate;
DROP ROLE mdb_maker, mdb_stranger;

-- Without the extension
CREATE TABLE last_one (time timestamptz NOT NULL, v int) USING metricsdb;
CREATE MATERIALIZED VIEW last_1h WITH (metricsdb.continuous) AS SELECT time_bucket('1 hour', time) AS bucket, sum(v) FROM last_one GROUP BY 1;
BEGIN;
SET client_min_messages = warning;
DROP EXTENSION metricsdb CASCADE;
SELECT to_regclass('last_1h'), to_regclass('last_1h_states'), to_regclass('last_one');
ROLLBACK;
SELECT * FROM last_1h;
SET client_min_messages = warning;
DROP SCHEMA rddl CASCADE;

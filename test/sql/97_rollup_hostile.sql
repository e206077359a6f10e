-- needs: preload
-- Continuous aggregates that somebody makes by hand, of a view and its trigger, as a dump does: nobody's rows are lost, no value is
-- taken for one of another type, and nobody runs another one's code.
\set VERBOSITY terse
SET metricsdb.direct_rows = 10;
SET timezone = 'UTC';
CREATE ROLE regress_mallory;
CREATE SCHEMA hostile;
GRANT CREATE, USAGE ON SCHEMA hostile TO regress_mallory;
SET search_path = hostile, public, metricsdb;
SET client_min_messages = warning;
SET ROLE regress_mallory;
CREATE TABLE raw (time timestamptz NOT NULL, k numeric, n int8) USING metricsdb;
INSERT INTO raw SELECT timestamptz '2026-01-01' + i * interval '1 min', i % 3, i FROM generate_series(1, 1000) i;
CREATE TABLE ran (who text);
GRANT ALL ON ran TO PUBLIC;
CREATE FUNCTION note() RETURNS void LANGUAGE sql AS $$ INSERT INTO hostile.ran VALUES (current_user) $$;
CREATE FUNCTION code(t timestamptz) RETURNS timestamptz LANGUAGE plpgsql AS $$ BEGIN PERFORM hostile.note(); RETURN t; END $$;
CREATE FUNCTION origin() RETURNS timestamptz IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN PERFORM hostile.note(); RETURN '2026-01-01'; END $$;
CREATE DOMAIN day_of AS timestamptz CHECK (hostile.code(VALUE) IS NOT NULL);
-- Makes one of states and the two branches; says what becomes of it.
CREATE FUNCTION make(columns text, states text, rows text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE detail text;
BEGIN
	DROP VIEW IF EXISTS hostile.v;
	DROP TABLE IF EXISTS hostile.s;
	IF columns <> '' THEN EXECUTE 'CREATE TABLE hostile.s (' || columns || ') USING metricsdb WITH (metricsdb.time = ''bucket'')'; END IF;
	EXECUTE format('CREATE VIEW hostile.v AS SELECT * FROM (%s UNION ALL %s) x', states, rows);
	CREATE TRIGGER continuous_aggregate INSTEAD OF INSERT OR UPDATE OR DELETE ON hostile.v FOR EACH ROW EXECUTE FUNCTION metricsdb.continuous_view('lateness=1s');
	RETURN 'made';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
	RETURN SQLERRM || ' - ' || detail;
END $$;

-- One that is as it should be
SELECT make('bucket timestamptz, k numeric, c int8', 'SELECT bucket, k, c FROM s WHERE is_clean(''s'', bucket)',
	'SELECT time_bucket(''1 h'', time) AS bucket, k, count(*) AS c FROM raw WHERE is_pending(''s'', time) GROUP BY 1, 2');
DROP VIEW v;
-- The table itself as states: its rows would go, to be made again
SELECT make('', 'SELECT time, k, n FROM raw', 'SELECT time_bucket(''1 h'', time), k, count(*) FROM raw GROUP BY 1, 2');
SELECT count(*) FROM raw;
-- A key and a state of other types
SELECT make('bucket timestamptz, k int8, c int8', 'SELECT bucket, k, c FROM s WHERE is_clean(''s'', bucket)',
	'SELECT time_bucket(''1 h'', time), k, count(*) FROM raw WHERE is_pending(''s'', time) GROUP BY 1, 2');
SELECT make('bucket timestamptz, k numeric, c int4', 'SELECT bucket, k, c FROM s WHERE is_clean(''s'', bucket)',
	'SELECT time_bucket(''1 h'', time), k, count(*) FROM raw WHERE is_pending(''s'', time) GROUP BY 1, 2');
SELECT k, max(n) FROM raw GROUP BY k ORDER BY k;
-- System columns, one column twice
SELECT make('bucket timestamptz, k oid, c int8', 'SELECT bucket, tableoid, c FROM s', 'SELECT time_bucket(''1 h'', time), tableoid, count(*) FROM raw GROUP BY 1, 2');
SELECT make('bucket timestamptz, k oid, c int8', 'SELECT bucket, c, c AS d FROM s', 'SELECT time_bucket(''1 h'', time), count(*), sum(k)::int8 FROM raw GROUP BY 1');
SELECT make('bucket timestamptz, c int8', 'SELECT bucket, c, c AS d FROM s', 'SELECT time_bucket(''1 h'', time), count(*), count(k) FROM raw GROUP BY 1');
-- Code in the place of the bucket: the table's time is another column than the bucket
SELECT make('k timestamptz, bucket timestamptz, c int8', 'SELECT k, bucket, c FROM s',
	'SELECT time_bucket(''1 h'', time), hostile.code(time), count(*) FROM raw GROUP BY 1, 2');
-- Code that is constant, in a domain, in another query over the table
SELECT make('bucket timestamptz, c int8', 'SELECT bucket, c FROM s', 'SELECT time_bucket(''1 h'', time, hostile.origin()), count(*) FROM raw GROUP BY 1');
SELECT make('bucket day_of, c int8', 'SELECT bucket, c FROM s', 'SELECT time_bucket(''1 h'', time)::hostile.day_of, count(*) FROM raw GROUP BY 1');
RESET ROLE;
TRUNCATE ran;
DELETE FROM raw WHERE n = 7;
SELECT count(*) FROM (SELECT time_bucket('1 h', time), count(*) FROM raw GROUP BY 1) x;
SELECT count(*) >= 0 FROM metricsdb.aggregate_status;
SELECT DISTINCT who FROM ran;
SET ROLE regress_mallory;
DROP VIEW IF EXISTS v;
DROP TABLE IF EXISTS s;
CREATE TABLE s (bucket timestamptz, c int8) USING metricsdb;
CREATE VIEW v AS SELECT bucket, c, (SELECT count(*) FROM (SELECT code(time) FROM raw GROUP BY 1) z) FROM
	(SELECT bucket, c FROM s WHERE is_clean('s', bucket) UNION ALL SELECT time_bucket('1 h', time), count(*) FROM raw WHERE is_pending('s', time) GROUP BY 1) x;
CREATE TRIGGER continuous_aggregate INSTEAD OF INSERT OR UPDATE OR DELETE ON v FOR EACH ROW EXECUTE FUNCTION metricsdb.continuous_view('lateness=1s');
CREATE MATERIALIZED VIEW v3 WITH (metricsdb.continuous) AS SELECT time_bucket('1 h', time, origin()) AS bucket, count(*) FROM raw GROUP BY 1;
RESET ROLE;
TRUNCATE ran;
DELETE FROM raw WHERE n = 8;
SELECT count(*) >= 0 FROM metricsdb.aggregate_status;
SELECT DISTINCT who FROM ran;
SET ROLE regress_mallory;
DROP VIEW v;
DROP TABLE IF EXISTS s;
-- A rule that takes the place of the view's query
CREATE MATERIALIZED VIEW good WITH (metricsdb.continuous) AS SELECT time_bucket('1 h', time) AS bucket, count(*) FROM raw GROUP BY 1;
CREATE OR REPLACE RULE "_RETURN" AS ON SELECT TO good DO INSTEAD SELECT time_bucket('1 h', time) AS bucket, count(*) FROM raw GROUP BY 1;
-- Widths and lateness with which nobody could compute when a bucket is closed: the status of all others would be an error.
CREATE MATERIALIZED VIEW wide WITH (metricsdb.continuous) AS SELECT time_bucket('2147483647 months', time) AS bucket, count(*) FROM raw GROUP BY 1;
CREATE MATERIALIZED VIEW wide WITH (metricsdb.continuous) AS SELECT time_bucket('100000000 days', time) AS bucket, count(*) FROM raw GROUP BY 1;
CREATE MATERIALIZED VIEW wide WITH (metricsdb.continuous) AS SELECT time_bucket('1000 years', time) AS bucket, count(*) FROM raw GROUP BY 1;
CREATE MATERIALIZED VIEW late WITH (metricsdb.continuous, metricsdb.lateness = '178000000 years') AS SELECT time_bucket('1 h', time) AS bucket, count(*) FROM raw GROUP BY 1;
ALTER MATERIALIZED VIEW good SET (metricsdb.lateness = '2147483647 days');
ALTER MATERIALIZED VIEW good SET (metricsdb.lateness = '100 years');
SELECT view FROM metricsdb.aggregate_status WHERE view::text IN ('good', 'wide') ORDER BY 1;
RESET ROLE;
DROP SCHEMA hostile CASCADE;
DROP ROLE regress_mallory;

-- Serializable transactions look for aggregates, too: whose view is it?
CREATE SCHEMA serial;
SET search_path = serial, public, metricsdb;
CREATE TABLE raw (time timestamptz NOT NULL, n int) USING metricsdb;
INSERT INTO raw SELECT timestamptz '2026-01-01' + i * interval '1 min', i FROM generate_series(1, 1000) i;
CREATE VIEW ordinary AS SELECT 1 AS one;
CREATE MATERIALIZED VIEW hourly WITH (metricsdb.continuous) AS SELECT time_bucket('1 h', time) AS bucket, count(*) FROM raw GROUP BY 1;
CALL metricsdb.refresh('hourly');
BEGIN ISOLATION LEVEL SERIALIZABLE;
ALTER VIEW ordinary RENAME TO plain;
DROP VIEW plain;
SELECT sum(n) FROM (SELECT time_bucket('1 h', time), count(*) AS n FROM raw GROUP BY 1) x;
SELECT sum(count) FROM hourly;
ALTER MATERIALIZED VIEW hourly RENAME TO each_hour;
DROP MATERIALIZED VIEW each_hour;
COMMIT;
SELECT count(*) FROM pg_class WHERE relnamespace = 'serial'::regnamespace AND relkind IN ('v', 'r');
DROP SCHEMA serial CASCADE;

-- Times that are numbers
CREATE SCHEMA numbers;
SET search_path = numbers, public, metricsdb;
-- The view, and the routed query, against a heap
CREATE FUNCTION differs(bucket text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE n int; m int; q text := format('SELECT %s AS bucket, k, count(*), sum(n), min(n), max(n) FROM %%s GROUP BY 1, 2', bucket);
BEGIN
	CREATE TABLE plain AS SELECT * FROM t;
	EXECUTE format('SELECT count(*) FROM ((TABLE t_v EXCEPT ALL %1$s) UNION ALL (%1$s EXCEPT ALL TABLE t_v)) x', format(q, 'plain')) INTO n;
	EXECUTE format('SELECT count(*) FROM ((%2$s EXCEPT ALL %1$s) UNION ALL (%1$s EXCEPT ALL %2$s)) x', format(q, 'plain'), format(q, 't')) INTO m;
	DROP TABLE plain;
	RETURN n || ' ' || m;
END $$;
CREATE PROCEDURE try(type text, first int8, step int, bucket text) LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('CREATE TABLE t (time %s, k text, n int) USING metricsdb WITH (metricsdb.time = ''time'')', type);
	EXECUTE format('INSERT INTO t SELECT (%s + i * %s)::%s, ''k'' || i %% 3, i FROM generate_series(0::int8, 699) i', first, step, type);
	EXECUTE format('CREATE MATERIALIZED VIEW t_v WITH (metricsdb.continuous) AS SELECT %s AS bucket, k, count(*), sum(n), min(n), max(n) FROM t GROUP BY 1, 2', bucket);
	RAISE INFO '%: nothing is taken: %', type, differs(bucket);
	COMMIT;
	CALL metricsdb.refresh('t_v');
	DELETE FROM t WHERE n % 10 = 7;
	EXECUTE format('INSERT INTO t SELECT (%s + i * %s)::%s, ''k'' || i %% 3, i FROM generate_series(650::int8, 899) i', first, step, type);
	RAISE INFO '%: rows were deleted, others came: %', type, differs(bucket);
	COMMIT;
	CALL metricsdb.refresh('t_v', first::text, (first + 10 * step)::text);
	RAISE INFO '%: some buckets are made again: %', type, differs(bucket);
	COMMIT;
	CALL metricsdb.refresh('t_v');
	RAISE INFO '%: all is taken: %, % buckets are dirty', type, differs(bucket), (SELECT dirty_buckets FROM metricsdb.aggregate_status WHERE view = 't_v'::regclass);
	DROP TABLE t CASCADE;
END $$;
SET client_min_messages = warning;
CALL try('int8', -9000000000, 1000000000 / 50, 'time_bucket(1000000000::int8, time, 37::int8)');
CALL try('int8', 9223372036854775807 - 900 * 1000, 1000, 'time_bucket(7000::int8, time)');
CALL try('int4', -20000, 97, 'time_bucket(1000, time, 37)');
CALL try('int2', -9000, 20, 'time_bucket(100::int2, time)');
DROP SCHEMA numbers CASCADE;

-- needs: preload
-- Distributed tables: what is changed here is changed on the nodes; continuous aggregates of theirs.
SET client_min_messages = warning;
SET search_path = public, metricsdb;
SET timezone = 'UTC';
CREATE EXTENSION IF NOT EXISTS postgres_fdw;
CREATE DATABASE mdb_node_1;
CREATE DATABASE mdb_node_2;
SELECT current_database() AS home, 'host=' || split_part(current_setting('unix_socket_directories'), ',', 1) || ' port=' || current_setting('port') || ' dbname=' AS here \gset
\set one :here mdb_node_1
\set two :here mdb_node_2
\c mdb_node_1
SET client_min_messages = warning;
CREATE EXTENSION metricsdb;
\c mdb_node_2
SET client_min_messages = warning;
CREATE EXTENSION metricsdb;
\c :home
SET client_min_messages = warning;
SET search_path = public, metricsdb;
SET timezone = 'UTC';
SELECT add_node('one', :'one'), add_node('two', :'two');
CREATE SCHEMA "Data";
CREATE TABLE "Data".m (time timestamptz NOT NULL, host text, x float8) USING metricsdb WITH (metricsdb.time = 'time', metricsdb.series = 'host');
BEGIN;
SELECT distribute('"Data".m');
SELECT count(*) FROM "Data".m;	-- would wait for itself
ROLLBACK;
SELECT distribute('"Data".m');

-- What nodes have, as a query of theirs tells.
\set shown 'SELECT n.nspname, c.relname, a.attname, format_type(a.atttypid, a.atttypmod) AS type, a.attnotnull FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace JOIN pg_attribute a ON a.attrelid = c.oid WHERE relname IN (''m'', ''m2'') AND attnum > 0 AND NOT attisdropped ORDER BY 1, 2, attnum; SELECT label FROM pg_seclabel WHERE provider = ''metricsdb''; SELECT relname FROM pg_class JOIN metricsdb.aggregate_status ON view = pg_class.oid ORDER BY 1'
\c mdb_node_1
:shown;
INSERT INTO "Data".m SELECT timestamptz '2026-01-01 00:00+00' + i * interval '1 min', 'h' || i % 3, i FROM generate_series(1, 600, 2) i;
\c mdb_node_2
INSERT INTO "Data".m SELECT timestamptz '2026-01-01 00:00+00' + i * interval '1 min', 'h' || i % 3, i FROM generate_series(2, 600, 2) i;
\c :home
SET client_min_messages = warning;
SET search_path = public, metricsdb;
SET timezone = 'UTC';

-- Columns
ALTER TABLE "Data".m ADD COLUMN y int4 DEFAULT 7, ADD COLUMN "z z" numeric(10, 2) NOT NULL DEFAULT 1.5, ADD COLUMN gone text;
SELECT host, sum(x), sum(y), sum("z z"), count(gone) FROM "Data".m GROUP BY 1 ORDER BY 1;
ALTER TABLE "Data".m DROP COLUMN gone, ALTER COLUMN y TYPE int8;
ALTER TABLE "Data".m RENAME COLUMN host TO hostname;
ALTER TABLE "Data".m RENAME TO m2;
CREATE SCHEMA other;
ALTER TABLE "Data".m2 SET SCHEMA other;
SELECT hostname, sum(y) FROM other.m2 GROUP BY 1 ORDER BY 1;
SELECT set_retention('other.m2', '100 years');
ALTER TABLE other.m2 ADD COLUMN IF NOT EXISTS y int4;
BEGIN;
ALTER TABLE other.m2 ADD COLUMN q int4;
INSERT INTO other.m2 (time) VALUES ('2026-01-01');	-- would wait for itself
ROLLBACK;
BEGIN;
INSERT INTO other.m2 (time) VALUES ('2026-01-01');
ALTER TABLE other.m2 ADD COLUMN q int4;	-- rows are lines of the table as it was
ROLLBACK;
BEGIN;
ALTER TABLE other.m2 ADD COLUMN q int4;
CREATE ROLE mdb_other SUPERUSER;
SET ROLE mdb_other;
ALTER TABLE other.m2 ADD COLUMN r int4;	-- not as the one before
ROLLBACK;
ALTER TABLE other.m2 ALTER COLUMN y TYPE int8 USING y * 1000;
ALTER SCHEMA other RENAME TO another;
\c mdb_node_1
:shown;
\c mdb_node_2
:shown;
\c :home
SET client_min_messages = warning;
SET search_path = public, metricsdb;
SET timezone = 'UTC';

-- What is rolled back here is rolled back there; what fails there fails here.
BEGIN;
ALTER TABLE other.m2 ADD COLUMN never int4;
ROLLBACK;
BEGIN;
SAVEPOINT s;
ALTER TABLE other.m2 ADD COLUMN never int4;
ROLLBACK TO s;
COMMIT;
BEGIN;
ALTER TABLE other.m2 ADD COLUMN w int4;
PREPARE TRANSACTION 'x';
ALTER TABLE other.m2 ADD COLUMN w int4 NOT NULL;
ALTER TABLE other.m2 SET ACCESS METHOD heap;
SELECT set_options('other.m2', series => ARRAY[]::text[]);
SELECT attname FROM pg_attribute WHERE attrelid = 'other.m2'::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum;

-- What did not reach a node is mended.
\c mdb_node_2
ALTER TABLE other.m2 DROP COLUMN y;
\c :home
SET client_min_messages = warning;
SET search_path = public, metricsdb;
SET timezone = 'UTC';
\set VERBOSITY terse
SELECT sum(y) FROM other.m2;
\set VERBOSITY default
SELECT distribute('other.m2');
SELECT sum(y) FROM other.m2;

-- Continuous aggregates
CREATE MATERIALIZED VIEW hourly WITH (metricsdb.continuous, metricsdb.lateness = '1 min') AS
	SELECT time_bucket('1 hour', time) AS bucket, hostname, avg(x) AS average, count(*) AS n FROM other.m2 GROUP BY 1, 2;
CREATE MATERIALIZED VIEW IF NOT EXISTS hourly WITH (metricsdb.continuous) AS SELECT 1 AS x FROM other.m2;
\set VERBOSITY terse
CREATE MATERIALIZED VIEW bad WITH (metricsdb.continuous) AS SELECT hostname, count(*) FROM other.m2 GROUP BY 1;
\set VERBOSITY default
SELECT "table", view, options FROM node_view;
\c mdb_node_1
CALL metricsdb.refresh('public.hourly');
:shown;
\c mdb_node_2
:shown;
\c :home
SET client_min_messages = warning;
SET search_path = public, metricsdb;
SET timezone = 'UTC';
SELECT * FROM hourly WHERE hostname = 'h1' ORDER BY 1 LIMIT 2;
SELECT time_bucket('2 hours', bucket) AS b, sum(n) FROM hourly GROUP BY 1 ORDER BY 1 LIMIT 2;
EXPLAIN (VERBOSE, COSTS OFF) SELECT time_bucket('1 hour', time), avg(x) FROM other.m2 GROUP BY 1;
-- Of a join with a small table nodes are asked for what has a partner.
CREATE TABLE hosts (host text, rack text);
INSERT INTO hosts VALUES ('h1', 'a'), ('h2', 'b'), ('h9', 'a'), (NULL, 'a');
CREATE FUNCTION sent(query text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	line text;
BEGIN
	FOR line IN EXECUTE 'EXPLAIN (ANALYZE, VERBOSE, COSTS OFF, SUMMARY OFF, TIMING OFF) ' || query LOOP
		IF line ~ '^ *Node' THEN
			RETURN NEXT trim(regexp_replace(line, 'bytes=\d+', 'bytes=...'));
		END IF;
	END LOOP;
END $$;
SELECT sent('SELECT rack, count(*) FROM other.m2 JOIN hosts ON host = hostname WHERE rack = ''a'' GROUP BY 1');
SELECT sent('SELECT x FROM other.m2, hosts WHERE host = hostname AND rack = ''b'' AND x < 10');
SELECT sent('SELECT max(x) FROM other.m2 WHERE hostname IN (SELECT host FROM hosts WHERE rack = ''a'')');
SELECT sent('SELECT count(*) FROM other.m2 LEFT JOIN hosts ON host = hostname AND rack = ''a''');
SELECT rack, count(*) FROM other.m2 JOIN hosts ON host = hostname WHERE rack = 'a' GROUP BY 1;
SELECT count(*) FROM other.m2 WHERE hostname IN (SELECT host FROM hosts WHERE rack = 'a');
INSERT INTO hosts SELECT 'x' || i, 'a' FROM generate_series(1, 2000) i;
SELECT rack, count(*) FROM other.m2 JOIN hosts ON host = hostname GROUP BY 1 ORDER BY 1;
DROP TABLE hosts;
DROP FUNCTION sent;
ALTER VIEW hourly RENAME TO each_hour;
-- A node that comes later has them.
\c mdb_node_1
SELECT count(*) FROM public.each_hour;
DROP VIEW public.each_hour;
\c :home
SET client_min_messages = warning;
SET search_path = public, metricsdb;
SET timezone = 'UTC';
SELECT add_node('one');
DROP MATERIALIZED VIEW each_hour;
SELECT count(*) FROM node_view;
\c mdb_node_1
:shown;
\c :home
SET client_min_messages = warning;
SET search_path = public, metricsdb;
SET timezone = 'UTC';
SELECT create_rollups('other.m2');
SELECT view FROM node_view ORDER BY 1;
SELECT undistribute('other.m2');
SELECT count(*) FROM node_view;
DROP TABLE other.m2 CASCADE;
DROP SCHEMA other, "Data";

-- A node of another version is read as text.
CREATE TABLE v (time timestamptz NOT NULL, host text, x float8) USING metricsdb;
SELECT distribute('v');
\c mdb_node_1
INSERT INTO v SELECT timestamptz '2026-01-01 00:00+00' + i * interval '1 min', 'h' || i % 3, i FROM generate_series(1, 600, 2) i;
UPDATE pg_extension SET extversion = '0.0.9' WHERE extname = 'metricsdb';
\c :home
SET client_min_messages = warning;
SET search_path = public, metricsdb;
SET timezone = 'UTC';
SELECT host, avg(x), last(x, time), stddev(x)::int FROM v GROUP BY 1 ORDER BY 1;
SELECT node, version, breaker, failures FROM nodes;
ALTER TABLE v ADD COLUMN w int4;
SELECT create_distributed_source('s', 'localhost:1', 't', 'v', 'nonsense', secrets => '{"sasl.password": "hidden"}');
SELECT remove_node('one', true), remove_node('two', true);
SELECT create_distributed_source('s', 'localhost:1', 't', 'v', 'nonsense');	-- by nobody
DROP TABLE v;
DROP DATABASE mdb_node_1 WITH (FORCE);
DROP DATABASE mdb_node_2 WITH (FORCE);

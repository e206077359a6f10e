-- needs: preload
-- Distributed tables: nodes, which are databases of this cluster here, what is sent to them, and who may read.
SET client_min_messages = warning;
SET search_path = public, metricsdb;
SET timezone = 'UTC';
CREATE EXTENSION IF NOT EXISTS postgres_fdw;
CREATE DATABASE mdb_node_1;
CREATE DATABASE mdb_node_2;
SELECT current_database() AS home, 'host=' || split_part(current_setting('unix_socket_directories'), ',', 1) || ' port=' || current_setting('port') || ' dbname=' AS here \gset
\set one :here mdb_node_1
\set two :here mdb_node_2

-- Nodes: what is wrong with one is told when it is added.
SELECT add_node('one', 'nonsense');
SELECT add_node('one');
SELECT add_node('one', :'one');	-- no extension there
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
SELECT count(*) FROM node;
\set self :here :home
SELECT add_node('self', :'self');
CREATE TABLE cpu (time timestamptz NOT NULL, host text, core int, x float8, n int8, gone int, "odd ""name" numeric(10, 2)) USING metricsdb
	WITH (metricsdb.time = 'time', metricsdb.series = 'host, core');
ALTER TABLE cpu DROP COLUMN gone;
SELECT distribute('cpu');	-- no nodes
SELECT add_node('one', :'one');
SELECT add_node('one', :'one');	-- again
SELECT add_node('one', :'one', shard => 'other');
SELECT add_node('two', :'two', shard => 'one', replica => 1);
INSERT INTO cpu VALUES (now());
SELECT distribute('cpu');	-- has rows
TRUNCATE cpu;
SELECT distribute('cpu');
SELECT distribute('cpu');
SELECT distribute('pg_class');
-- A node that comes later gets the table.
SELECT add_node('two', :'two');
SELECT node, shard, replica, draining, healthy, error, version, lag, series, bytes > 0 AS has_bytes FROM nodes;
SELECT drain_node('two'), drain_node('two'), drain_node('two', false);
SELECT drain_node('two', drain => false, move_rows => true);
SELECT drain_node('three');

\c mdb_node_1
SELECT "column", type, role FROM metricsdb.describe('cpu');
INSERT INTO cpu SELECT timestamptz '2026-01-01' + i * interval '1 min', 'h' || i % 4, i % 2, i, i, i FROM generate_series(1, 1000, 2) i;
CALL metricsdb.compact('cpu');
\c mdb_node_2
INSERT INTO cpu SELECT timestamptz '2026-01-01' + i * interval '1 min', 'h' || i % 4, i % 2, i, i, i FROM generate_series(2, 1000, 2) i;
\c :home
SET client_min_messages = warning;
SET search_path = public, metricsdb;
SET timezone = 'UTC';

-- What is sent.
CREATE FUNCTION sent(query text, analyze_too bool DEFAULT false) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	line text;
BEGIN
	FOR line IN EXECUTE 'EXPLAIN (VERBOSE, COSTS OFF, SUMMARY OFF, TIMING OFF' || CASE WHEN analyze_too THEN ', ANALYZE' ELSE '' END || ') ' || query LOOP
		IF line ~ '^ *(Node|Filter)' THEN
			RETURN NEXT trim(regexp_replace(line, 'bytes=\d+', 'bytes=...'));
		END IF;
	END LOOP;
END $$;
SELECT sent('SELECT host, avg(x), count(*) FROM cpu GROUP BY 1', true);
SELECT sent('SELECT * FROM cpu WHERE host = ''h1'' AND time >= ''2026-01-01 12:00''::timestamp ORDER BY time DESC LIMIT 3');
SELECT sent('SELECT x FROM cpu WHERE n > random() AND core = 1');
SELECT sent('SELECT DISTINCT ON (host) host, time, "odd ""name" FROM cpu ORDER BY host, time DESC');
SELECT sent('SELECT time_bucket(''1 hour'', time), max(n) FROM cpu GROUP BY 1 ORDER BY 1 DESC LIMIT 2 OFFSET 1');
SELECT sent('SELECT time_bucket(''1 hour'', time), count(DISTINCT host) FROM cpu GROUP BY 1 ORDER BY 1 DESC LIMIT 2');
SELECT sent('SELECT date_trunc(''day'', time), stddev(n), last(x, time) FROM cpu WHERE time::date = ''2026-01-01'' GROUP BY 1 HAVING count(*) > 1');
SELECT sent('SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY x) FROM cpu');
SELECT sent('SELECT count(*) FROM cpu WHERE time < now() + interval ''1 month'' AND host = ANY (ARRAY[''h1'', ''x''''y'', E''\\\\'', E''line\nbreak''])') ~ 'now|timestamp with time zone' AS folded;
SELECT sent('SELECT sum(n) FROM cpu WHERE host = (SELECT ''h1''::text)');
SET DateStyle = 'German, DMY';
SELECT sent('SELECT count(*) FROM cpu WHERE time < ''02.01.2026''::timestamptz AND x < 0.1::float8');
RESET DateStyle;
PREPARE p (int8, int8) AS SELECT host, sum(n) FROM cpu WHERE n > $1 GROUP BY 1 ORDER BY 1 LIMIT $2;
SET plan_cache_mode = force_generic_plan;
EXECUTE p(990, 2);
SELECT sent('EXECUTE p(990, 2)');
RESET plan_cache_mode;
EXECUTE p(990, 1);
SELECT host, count(*), avg(x), first(n, time), last(n, time) FROM cpu GROUP BY 1 ORDER BY 1;
SELECT time, host, "odd ""name" FROM cpu ORDER BY time DESC LIMIT 3;
SELECT c FROM cpu c WHERE n IN (7, 8) ORDER BY n;
SELECT tableoid::regclass, count(*) FROM cpu GROUP BY 1;
SELECT ctid FROM cpu;

-- What series there are: nodes are asked, each series is told once.
SELECT * FROM metric_names('cpu');
SELECT * FROM tag_keys('cpu');
SELECT * FROM tag_values('cpu', NULL, 'host');
SELECT * FROM tag_values('cpu', 'cpu', 'core', "from" => (SELECT min(time) FROM cpu), "to" => (SELECT min(time) + interval '1 min' FROM cpu));
SELECT * FROM tag_values('cpu', 'other', 'host');
SELECT * FROM series('cpu') ORDER BY tags::text;
SELECT * FROM series('cpu', condition => 'host > ''h1'' AND core = 1');
SELECT * FROM series('cpu', condition => 'host = lower(''H2'') OR host = current_setting(''my.host'', true)');
SET my.host = 'h0';
SELECT * FROM series('cpu', condition => 'host = lower(''H2'') OR host = current_setting(''my.host'', true)', "to" => 'infinity');
CREATE FUNCTION own(text) RETURNS bool LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN $1 < 'h1'; END $$;
SELECT * FROM series('cpu', condition => 'own(host)');	-- not known to nodes: rows tell
SELECT * FROM series('cpu', condition => 'x > 1');
SELECT metricsdb.cardinality('cpu'), metricsdb.cardinality('cpu', "from" => (SELECT max(time) - interval '1 min' FROM cpu)), metricsdb.cardinality('cpu', 'other'), approximate_row_count('cpu');
SELECT * FROM explain_series('cpu', 'host IN (''h1'', ''h2'') AND core = 0');
SELECT * FROM explain_series('cpu', 'own(host)');
DROP FUNCTION own;
RESET my.host;

-- What is refused.
SET metricsdb.distributed_writes = off;
INSERT INTO cpu SELECT now();
COPY cpu FROM stdin;
2026-01-01	a	1	1	1	1
\.
RESET metricsdb.distributed_writes;
INSERT INTO cpu SELECT now() ON CONFLICT DO NOTHING;
UPDATE cpu SET x = 1;
DELETE FROM cpu;
TRUNCATE cpu;
MERGE INTO cpu USING (VALUES (1)) v ON false WHEN NOT MATCHED THEN INSERT (time) VALUES (now());
SELECT * FROM cpu FOR UPDATE;
SELECT * FROM cpu TABLESAMPLE SYSTEM (10);
SELECT remove_node('two');
-- A node that lacks the table is named.
\c mdb_node_2
ALTER TABLE cpu RENAME TO gone;
\c :home
SET client_min_messages = warning;
SET search_path = public, metricsdb;
SET timezone = 'UTC';
SELECT metricsdb.cardinality('cpu');
\c mdb_node_2
ALTER TABLE gone RENAME TO cpu;
\c :home
SET client_min_messages = warning;
SET search_path = public, metricsdb;
SET timezone = 'UTC';
CALL apply_retention('cpu');

-- Who reads.  The nodes ask nobody for a password here.
CREATE ROLE mdb_dist_reader LOGIN PASSWORD 'secret';
CREATE VIEW of_owner AS SELECT host, count(*) FROM cpu GROUP BY 1;
GRANT SELECT ON of_owner TO mdb_dist_reader;
GRANT SELECT (time, host, n) ON cpu TO mdb_dist_reader;
SET ROLE mdb_dist_reader;
SELECT count(*) FROM node;
SELECT count(*) FROM nodes;
SELECT add_node('three', '');
SELECT distribute('cpu'), undistribute('cpu');
SELECT avg(x) FROM cpu;
\set VERBOSITY sqlstate
SELECT sum(n) FROM cpu;
\set VERBOSITY default
SELECT * FROM of_owner ORDER BY 1;	-- reads as its owner
RESET ROLE;
CREATE USER MAPPING FOR mdb_dist_reader SERVER one OPTIONS (user 'mdb_dist_reader');
CREATE USER MAPPING FOR mdb_dist_reader SERVER two OPTIONS (user 'mdb_dist_reader', password 'secret');
SET ROLE mdb_dist_reader;
SELECT sum(n) FROM cpu;
RESET ROLE;
ALTER USER MAPPING FOR mdb_dist_reader SERVER one OPTIONS (ADD password 'secret');
SET ROLE mdb_dist_reader;
\set VERBOSITY terse
SELECT sum(n) FROM cpu;
\set VERBOSITY default
RESET ROLE;
\c mdb_node_2
GRANT SELECT ON cpu TO mdb_dist_reader;
\c :home
SET client_min_messages = warning;
SET search_path = public, metricsdb;
SET timezone = 'UTC';
ALTER USER MAPPING FOR mdb_dist_reader SERVER one OPTIONS (ADD password_required 'false');
ALTER USER MAPPING FOR mdb_dist_reader SERVER two OPTIONS (ADD password_required 'false');
SET ROLE mdb_dist_reader;
\set VERBOSITY terse
SELECT sum(n) FROM cpu;	-- nobody has let him read there
\set VERBOSITY default
RESET ROLE;
\c mdb_node_1
GRANT SELECT ON cpu TO mdb_dist_reader;
\c :home
SET client_min_messages = warning;
SET search_path = public, metricsdb;
SET timezone = 'UTC';
SET ROLE mdb_dist_reader;
SELECT sum(n) FROM cpu;

-- Row-level security is the coordinator's.
RESET ROLE;
CREATE FUNCTION leak(int8) RETURNS bool LANGUAGE plpgsql COST 0.0001 AS $$ BEGIN RAISE WARNING 'seen: %', $1; RETURN true; END $$;
ALTER TABLE cpu ENABLE ROW LEVEL SECURITY;
CREATE POLICY p ON cpu TO mdb_dist_reader USING (host = 'h1');
GRANT EXECUTE ON FUNCTION sent TO mdb_dist_reader;
SET ROLE mdb_dist_reader;
SELECT host, count(*) FROM cpu GROUP BY 1;
SELECT sent('SELECT host, count(*) FROM cpu WHERE n > 10 GROUP BY 1');
SELECT sent('SELECT n FROM cpu WHERE 1 / (n - 2) > 0');
SELECT sent('SELECT count(*) FROM cpu WHERE 1 / (n - 2) > 0');
SELECT count(*) FROM cpu WHERE 1 / (n - 2) = 0;	-- rows that are hidden are no errors
SELECT n FROM cpu WHERE leak(n) AND n < 10;
RESET ROLE;
GRANT SELECT ON cpu TO mdb_dist_reader;
SET ROLE mdb_dist_reader;
SELECT series('cpu'), metricsdb.cardinality('cpu'), tag_values('cpu', NULL, 'host'), approximate_row_count('cpu');
RESET ROLE;
REVOKE SELECT ON cpu FROM mdb_dist_reader;
GRANT SELECT (time, host, n) ON cpu TO mdb_dist_reader;
RESET ROLE;
DROP POLICY p ON cpu;
CREATE POLICY p ON cpu TO mdb_dist_reader USING (host = current_setting('my.host'));
SET ROLE mdb_dist_reader;
SET my.host = 'h2';
SELECT host, count(*) FROM cpu GROUP BY 1;
SET my.host = 'h3';
SELECT host, count(*) FROM cpu GROUP BY 1;
RESET ROLE;

-- Columns of a query two levels further out keep their meaning where a join is narrowed.
CREATE TABLE small (host text, k int);
INSERT INTO small VALUES ('h1', 1), ('h2', 2);
SELECT x, (SELECT (SELECT count(*) FROM cpu JOIN small ON small.host = cpu.host WHERE k = o.x) FROM (VALUES (0)) v (y)) FROM (VALUES (1), (2)) o (x);
DROP TABLE small;

-- The end.
SELECT undistribute('cpu'), undistribute('cpu');
SELECT count(*) FROM cpu;
SELECT distribute('cpu');
SELECT count(*) FROM cpu;
DROP VIEW of_owner;
DROP TABLE cpu;
SELECT count(*) FROM distributed;
SELECT remove_node('two'), remove_node('two');
SELECT remove_node('one');
SELECT count(*) FROM pg_foreign_server;
\c mdb_node_1
DROP OWNED BY mdb_dist_reader;
\c mdb_node_2
DROP OWNED BY mdb_dist_reader;
\c :home
SET client_min_messages = warning;
DROP FUNCTION sent;
DROP FUNCTION leak;
DROP OWNED BY mdb_dist_reader;
DROP ROLE mdb_dist_reader;
DROP DATABASE mdb_node_1 WITH (FORCE);
DROP DATABASE mdb_node_2 WITH (FORCE);

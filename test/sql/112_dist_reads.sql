-- needs: preload
-- Distributed tables: which part of a query nodes do, with HAVING, LIMIT and roll-ups; what the planner knows of them.
\pset format unaligned
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
CREATE TABLE spread (time timestamptz NOT NULL, host text, core int, x float8, n int8 NOT NULL) USING metricsdb WITH (metricsdb.time = 'time', metricsdb.series = 'host, core');
CREATE TABLE whole (LIKE spread) USING metricsdb WITH (metricsdb.time = 'time', metricsdb.series = 'host, core');
SELECT distribute('spread');
\set rows 'SELECT timestamptz ''2026-01-01 00:00+00'' + i * interval ''1 min'', ''h'' || i % 40, i % 2, CASE WHEN i % 40 > 3 AND i % 3 > 0 THEN hashint8(i) % 1000 END, abs(hashint8(i + 1)) % 1000 FROM generate_series(1, 4000) i'
INSERT INTO whole :rows;
\c mdb_node_1
INSERT INTO spread :rows WHERE i % 7 < 4;
\c mdb_node_2
INSERT INTO spread :rows WHERE i % 7 >= 4;
\c :home
SET client_min_messages = warning;
SET search_path = public, metricsdb;
SET timezone = 'UTC';

-- A query of one table, and of the other: what nodes are sent, how many rows they send, whether all is the same.
CREATE FUNCTION same_on_both(query text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	line text;
	a text;
	b text;
BEGIN
	FOR line IN EXECUTE format('EXPLAIN (ANALYZE, VERBOSE, COSTS OFF, SUMMARY OFF, TIMING OFF) ' || query, 'spread') LOOP
		IF line ~ '^ *Node' THEN
			RETURN NEXT trim(regexp_replace(line, ' bytes=\d+', ''));
		END IF;
	END LOOP;
	EXECUTE format('SELECT array_agg(q)::text FROM (' || query || ') q', 'spread') INTO a;
	EXECUTE format('SELECT array_agg(q)::text FROM (' || query || ') q', 'whole') INTO b;
	RETURN NEXT CASE WHEN a IS NOT DISTINCT FROM b THEN 'same' ELSE a || ' instead of ' || b END;
END $$;
-- HAVING by keys, by what is largest, by what is neither.
SELECT same_on_both('SELECT host, count(*) FROM %s GROUP BY host HAVING host > ''h7'' AND count(*) > 10 ORDER BY 1');
SELECT same_on_both('SELECT host, max(n) FROM %s GROUP BY host HAVING max(n) > 990 ORDER BY 1');
SELECT same_on_both('SELECT host, max(x) FROM %s GROUP BY host HAVING 900 <= max(x) AND host <> ''h5'' ORDER BY 1 LIMIT 3');
SELECT same_on_both('SELECT host, min(x) FROM %s GROUP BY host HAVING min(x) < -990 ORDER BY 1');
SELECT same_on_both('SELECT host, min(x) FROM %s GROUP BY host HAVING min(x) > -990 ORDER BY 1');
SELECT same_on_both('SELECT host, max(n), count(*) FROM %s GROUP BY host HAVING max(n) > 997 ORDER BY 1');
SELECT same_on_both('SELECT host, max(n) FROM %s GROUP BY host HAVING max(n) > 990 OR host = ''h1'' ORDER BY 1');
-- The first in the order of what is largest.  A node that knows of NULLs only may not know all.
SELECT same_on_both('SELECT host, max(n) FROM %s GROUP BY host ORDER BY 2 DESC, 1 LIMIT 3');
SELECT same_on_both('SELECT host, core, max(time) FROM %s GROUP BY host, core ORDER BY max(time) DESC LIMIT 4 OFFSET 1');
SELECT same_on_both('SELECT host, min(x) FROM %s GROUP BY host ORDER BY min(x), host LIMIT 3');
SELECT same_on_both('SELECT host, max(x) FROM %s GROUP BY host ORDER BY max(x) DESC NULLS LAST, host LIMIT 3');
SELECT same_on_both('SELECT host, max(x) FROM %s GROUP BY host ORDER BY max(x) DESC, host LIMIT 5');
SELECT same_on_both('SELECT host, max(x) FROM %s GROUP BY host HAVING max(x) > 0 ORDER BY max(x) DESC, host LIMIT 3');
SELECT same_on_both('SELECT host, max(n) FILTER (WHERE core = 1) FROM %s GROUP BY host ORDER BY 2 DESC, 1 LIMIT 3');
SELECT same_on_both('SELECT host, max(n) FROM %s GROUP BY host ORDER BY 2, 1 LIMIT 3');
SELECT same_on_both('SELECT host, max(n), max(x) FROM %s GROUP BY host ORDER BY 2 DESC, 1 LIMIT 3');
SELECT same_on_both('SELECT host, max(n), avg(n) FROM %s GROUP BY host ORDER BY 2 DESC, 1 LIMIT 3');
SELECT same_on_both('SELECT host, sum(n) FROM %s GROUP BY host ORDER BY 2 DESC, 1 LIMIT 3');
SELECT same_on_both('SELECT host, max(n), count(DISTINCT core) FROM %s GROUP BY host ORDER BY 2 DESC, 1 LIMIT 3');
SELECT same_on_both('SELECT host, count(*) FROM %s GROUP BY host HAVING host < ''h2'' ORDER BY host DESC LIMIT 2');
SELECT same_on_both('SELECT host, bool_or(n > 998) FROM %s GROUP BY host ORDER BY 2 DESC NULLS LAST, 1 LIMIT 3');
CREATE FUNCTION done_by_nodes(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	line text;
BEGIN
	FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || query LOOP
		IF line ~ '^ *Done by Nodes:' THEN
			RETURN trim(line);
		END IF;
	END LOOP;
END $$;
SELECT done_by_nodes('SELECT host, max(n) FROM spread WHERE core = 1 GROUP BY host HAVING max(n) > 3 ORDER BY 2 DESC LIMIT 3');
SELECT done_by_nodes('SELECT host, max(n), sum(x) FROM spread GROUP BY host HAVING max(n) > 3 ORDER BY 2 DESC LIMIT 3');
SELECT done_by_nodes('SELECT x FROM spread WHERE n > random() ORDER BY time LIMIT 3');
SELECT done_by_nodes('SELECT DISTINCT ON (host) host, x FROM spread WHERE core = 1 ORDER BY host, time DESC');

-- What would be something else the second time is not asked twice for the values of a join.
CREATE TABLE hosts (host text);
INSERT INTO hosts SELECT 'h' || i FROM generate_series(1, 9) i;
SELECT same_on_both('SELECT count(*) FROM %s WHERE host IN (SELECT host FROM hosts WHERE host > ''h7'')');
SELECT same_on_both('SELECT count(*) > 0 FROM %s WHERE host IN (SELECT host FROM hosts LIMIT 1)');
SELECT same_on_both('SELECT count(*) > 0 FROM %s WHERE host IN (SELECT host FROM hosts WHERE random() >= 0)');
DROP TABLE hosts;

-- ANALYZE: what nodes have is known here as of any table.
CREATE FUNCTION estimate(query text) RETURNS numeric LANGUAGE plpgsql AS $$
DECLARE
	plan json;
BEGIN
	EXECUTE 'EXPLAIN (FORMAT json) ' || query INTO plan;
	plan := plan->0->'Plan';
	WHILE plan->'Plans' IS NOT NULL LOOP
		plan := plan->'Plans'->0;
	END LOOP;
	RETURN plan->>'Plan Rows';
END $$;
SELECT estimate('SELECT * FROM spread');
ANALYZE spread;
ANALYZE whole;
SELECT reltuples FROM pg_class WHERE oid = 'spread'::regclass;
SELECT attname, null_frac, n_distinct FROM pg_stats WHERE tablename = 'spread' AND attname IN ('host', 'core', 'time') ORDER BY 1;
SELECT attname, abs(null_frac - 0.4) < 0.1 AS some FROM pg_stats WHERE tablename = 'spread' AND attname = 'x';
SELECT q, estimate('SELECT * FROM spread ' || q) / estimate('SELECT * FROM whole ' || q) BETWEEN 0.8 AND 1.25 AS alike
	FROM unnest(ARRAY['', 'WHERE host = ''h1''', 'WHERE time >= ''2026-01-02'' AND time < ''2026-01-03''', 'WHERE core = 1 AND host IN (''h1'', ''h3'')', 'WHERE n < 100']) q;
SELECT estimate('SELECT host, sum(n) FROM spread GROUP BY 1') AS by_host, estimate('SELECT host, core, sum(n) FROM spread WHERE host > ''h1'' GROUP BY 1, 2') BETWEEN 80 AND 200 AS by_both, estimate('SELECT sum(n) FROM spread') AS one;
VACUUM spread;
SELECT reltuples FROM pg_class WHERE oid = 'spread'::regclass;
\c mdb_node_2
ALTER TABLE spread RENAME TO gone;
\c :home
SET client_min_messages = warning;
SET search_path = public, metricsdb;
SET timezone = 'UTC';
\set VERBOSITY terse
ANALYZE spread;
\set VERBOSITY default
SELECT estimate('SELECT * FROM spread');	-- nobody is asked
\c mdb_node_2
ALTER TABLE gone RENAME TO spread;
\c :home
SET client_min_messages = warning;
SET search_path = public, metricsdb;
SET timezone = 'UTC';

-- Roll-ups of nodes answer what the coordinator asks of the table.
SET metricsdb.rollup_routing = exact;
CREATE MATERIALIZED VIEW hourly WITH (metricsdb.continuous) AS SELECT time_bucket('1 hour', time) AS bucket, host, max(n) AS most, sum(n) AS total FROM spread GROUP BY 1, 2;
-- What is said of it here is said to the nodes.
REFRESH MATERIALIZED VIEW hourly;
CALL refresh('hourly');
CALL refresh('hourly', "from" => timestamptz '2026-01-02 00:00+00');
ALTER MATERIALIZED VIEW hourly SET (metricsdb.lateness = '5 min');
ALTER MATERIALIZED VIEW hourly SET (metricsdb.lateness = '6 min');
ALTER MATERIALIZED VIEW hourly RESET (metricsdb.lateness);
ALTER MATERIALIZED VIEW hourly SET (metricsdb.nonsense = '6 min');
SELECT options FROM node_view;
SELECT add_node('two');	-- one that gets it anew
\c mdb_node_1
SELECT lateness FROM metricsdb.continuous_aggregate;
CALL metricsdb.refresh('public.hourly');
\c mdb_node_2
CALL metricsdb.refresh('public.hourly');
\c :home
SET client_min_messages = warning;
SET search_path = public, metricsdb;
SET timezone = 'UTC';
SET metricsdb.rollup_routing = exact;
SELECT same_on_both('SELECT time_bucket(''1 day'', time), host, max(n), sum(n) FROM %s WHERE host < ''h11'' GROUP BY 1, 2 ORDER BY 1, 2');
-- That the node goes by its roll-up its own plan tells, of the text that it was sent, under either setting.
CREATE FUNCTION routed(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	line text;
BEGIN
	FOR line IN EXECUTE 'EXPLAIN (VERBOSE, COSTS OFF) ' || query LOOP
		IF line ~ '^ *Node SQL:' THEN
			RETURN regexp_replace(line, '^ *Node SQL: ', '');
		END IF;
	END LOOP;
END $$;
SELECT routed('SELECT host, sum(n) FROM spread GROUP BY 1') AS sql \gset
\c mdb_node_1
CREATE FUNCTION uses_rollup(query text) RETURNS bool LANGUAGE plpgsql AS $$
DECLARE
	line text;
BEGIN
	FOR line IN EXECUTE 'EXPLAIN ' || query LOOP
		IF line ~ 'hourly_states' THEN
			RETURN true;
		END IF;
	END LOOP;
	RETURN false;
END $$;
SET metricsdb.rollup_routing = exact;
SELECT uses_rollup(:'sql');
SET metricsdb.rollup_routing = off;
SELECT uses_rollup(:'sql');
-- Where the roll-up says something else than the table one sees who has answered.
UPDATE hourly_states SET sum_n = sum_n + 1000000 WHERE bucket = '2026-01-02 00:00+00' AND host = 'h0';
\c :home
SET client_min_messages = warning;
SET search_path = public, metricsdb;
SET timezone = 'UTC';
SET metricsdb.rollup_routing = exact;
SELECT (SELECT sum(n) FROM spread) - (SELECT sum(n) FROM whole) AS by_rollup;
SET metricsdb.rollup_routing = off;
SELECT (SELECT sum(n) FROM spread) - (SELECT sum(n) FROM whole) AS by_rows;
RESET metricsdb.rollup_routing;

-- A role has so many transactions at once that ask nodes, and does not change that itself.
CREATE ROLE mdb_limited LOGIN;
ALTER ROLE mdb_limited SET metricsdb.max_distributed_queries = 1;
GRANT SELECT ON spread TO mdb_limited;
CREATE USER MAPPING FOR mdb_limited SERVER one OPTIONS (password_required 'false');
CREATE USER MAPPING FOR mdb_limited SERVER two OPTIONS (password_required 'false');
\c mdb_node_1
GRANT SELECT ON spread TO mdb_limited;
\c mdb_node_2
GRANT SELECT ON spread TO mdb_limited;
\c :home
SET client_min_messages = warning;
-- Another session of the role is one that a foreign table has.
CREATE SCHEMA other_session;
SELECT split_part(current_setting('unix_socket_directories'), ',', 1) AS host, current_setting('port') AS port, current_user AS me \gset
CREATE SERVER self FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host :'host', port :'port', dbname :'home');
CREATE USER MAPPING FOR mdb_limited SERVER self OPTIONS (user 'mdb_limited', password_required 'false');
CREATE FOREIGN TABLE other_session.spread (time timestamptz, host text, core int, x float8, n int8) SERVER self OPTIONS (schema_name 'public');
GRANT USAGE ON SCHEMA other_session TO mdb_limited;
GRANT SELECT ON other_session.spread TO mdb_limited;
\c :home mdb_limited
SELECT count(*) FROM spread;
SET metricsdb.max_distributed_queries = 0;
BEGIN;
SELECT count(*) FROM spread;
SAVEPOINT s;
SELECT count(*) FROM spread WHERE core = 1;
ROLLBACK TO s;
SELECT count(*) FROM spread WHERE core = 1;
\set VERBOSITY terse
SELECT count(*) FROM other_session.spread;
ROLLBACK;
SELECT count(*) FROM other_session.spread;
BEGIN;
SELECT count(*) FROM other_session.spread;
SELECT 1 / (count(*) - 4000) FROM spread;
ROLLBACK;
SELECT 1 / (count(*) - 4000) FROM spread;	-- what has failed is no longer counted
SELECT count(*) FROM other_session.spread;
\set VERBOSITY default
\c :home :me
SET client_min_messages = warning;
SET search_path = public, metricsdb;
DROP SERVER self CASCADE;
DROP SCHEMA other_session;
SELECT undistribute('spread');
DROP TABLE spread, whole CASCADE;
SELECT remove_node('one'), remove_node('two');
DROP FUNCTION same_on_both, done_by_nodes, estimate, routed;
DROP DATABASE mdb_node_1 WITH (FORCE);
DROP DATABASE mdb_node_2 WITH (FORCE);
DROP OWNED BY mdb_limited;
DROP ROLE mdb_limited;

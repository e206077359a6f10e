-- Who may know what: functions and views about tables, EXPLAIN, and what runs with whose rights.
CREATE SCHEMA priv;
SET search_path = priv, public;
SET metricsdb.direct_rows = 10;
SET timezone = 'UTC';
CREATE ROLE mdb_owner;
CREATE ROLE mdb_reader;
CREATE ROLE mdb_nobody;
GRANT USAGE, CREATE ON SCHEMA priv TO mdb_owner;
GRANT USAGE ON SCHEMA priv TO mdb_reader, mdb_nobody;
SET ROLE mdb_owner;
CREATE TABLE open (time timestamptz, host text, v int) USING metricsdb;
CREATE TABLE closed (time timestamptz, host text, v int) USING metricsdb;
CREATE TABLE columns (time timestamptz, host text, v int) USING metricsdb;
CREATE TABLE guarded (time timestamptz, host text, v int) USING metricsdb;
INSERT INTO open SELECT '2024-01-01Z'::timestamptz + i * '1 h'::interval, 'h' || i % 4, i FROM generate_series(1, 1000) i;
INSERT INTO closed SELECT * FROM open;
INSERT INTO columns SELECT * FROM open;
INSERT INTO guarded SELECT * FROM open;
INSERT INTO guarded VALUES ('2024-01-01Z', 'h1', 0), ('2024-01-01Z', 'secret', 0);
GRANT SELECT ON open, guarded TO mdb_reader;
GRANT SELECT (time, v) ON columns TO mdb_reader;
GRANT INSERT, UPDATE, DELETE, TRUNCATE ON closed TO mdb_reader;
ALTER TABLE guarded ENABLE ROW LEVEL SECURITY;
CREATE POLICY h1 ON guarded USING (host ~ '^h1');
CREATE VIEW barrier WITH (security_barrier) AS SELECT * FROM open WHERE host ~ '^h1';
GRANT SELECT ON barrier TO mdb_nobody;
RESET ROLE;

-- Each function and view, asked by each role: the figures, a refusal, or figures without what is hidden
CREATE FUNCTION ask(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE answer text;
BEGIN
	EXECUTE 'SELECT string_agg(x::text, '' '') FROM (' || query || ') x' INTO answer;
	RETURN answer;
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE || ' ' || SQLERRM;
END $$;
CREATE VIEW questions AS
	SELECT f || ' ' || t AS question, format(CASE f
		WHEN 'describe' THEN 'SELECT "column", role FROM metricsdb.describe(%L)'
		WHEN 'relation_size' THEN 'SELECT metricsdb.relation_size(%L) > 0 AS some'
		WHEN 'relation_stats' THEN 'SELECT rows, samples, series, delta_rows, bytes_per_sample > 0, bytes_per_row > 0, total_bytes > 0 FROM metricsdb.relation_stats(%L)'
		WHEN 'column_stats' THEN 'SELECT "column", "values", codecs IS NOT NULL, bytes > 0 FROM metricsdb.column_stats(%L) WHERE "column" IS NOT NULL'
		WHEN 'parts' THEN 'SELECT count(*) > 0, sum(rows), min(time_min), max(time_max), sum(series), sum(blocks) > 0, sum(bytes) > 0 FROM metricsdb.parts WHERE "table" = %L::regclass' END, t) AS query
	FROM unnest('{describe,relation_size,relation_stats,column_stats,parts}'::text[]) WITH ORDINALITY f(f, n), unnest('{open,closed,columns,guarded}'::text[]) WITH ORDINALITY t(t, m) ORDER BY n, m;
GRANT SELECT ON questions TO PUBLIC;
\pset format unaligned
\pset tuples_only on
SET ROLE mdb_owner;
SELECT question, ask(query) FROM questions;
SET ROLE mdb_reader;
SELECT question, ask(query) FROM questions;
SET ROLE mdb_nobody;
SELECT question, ask(query) FROM questions;
SELECT ask('SELECT count(*) FROM metricsdb.parts');
SET ROLE mdb_reader;
SELECT ask('SELECT metricsdb.set_options(''open'', series => ''{}'')');
SELECT ask('SELECT * FROM metricsdb.' || t) FROM unnest('{storage,part,delta,series,storage_id_seq,kafka_source,kafka_secret,kafka_offset,kafka_dead_letter}'::text[]) t;
SELECT ask('SELECT count(*) FROM metricsdb.' || t) FROM unnest('{kafka_sources,kafka_status,kafka_dead_letters,parts}'::text[]) t;
SELECT ask('SELECT metricsdb.' || f) FROM unnest('{running_workers(),wake_launcher(),"create_kafka_source(''a'', ''b'', ''c'', ''open'', ''metric'')","pause_kafka_source(''a'')","kafka_secrets(''a'')"}'::text[]) f;
SELECT ask('SELECT * FROM metricsdb.workers');
CALL metricsdb.compact('open');
CALL metricsdb.compact('closed');
RESET ROLE;
\pset format aligned
\pset tuples_only off

-- The heaps of the delta are nobody's
CREATE FUNCTION delta_of(t regclass) RETURNS text LANGUAGE sql AS $$ SELECT min(d.relid)::regclass::text FROM metricsdb.storage s JOIN metricsdb.delta d USING (storage_id) WHERE s.relid = t $$;
SELECT delta_of('guarded') AS delta \gset
SET ROLE mdb_owner;
\set VERBOSITY sqlstate
SELECT * FROM :delta;
INSERT INTO :delta VALUES ('');
DROP TABLE :delta;
ALTER TABLE :delta RENAME TO mine;
CREATE INDEX ON :delta (row);
TRUNCATE :delta;
LOCK TABLE :delta;
ANALYZE :delta;
RESET ROLE;
DROP TABLE :delta;
\set VERBOSITY default

-- What others make of them, which takes no privilege, is not in the owner's way, and goes with them
GRANT CREATE ON SCHEMA priv TO mdb_nobody;
SET ROLE mdb_owner;
CREATE TABLE watched (time timestamptz, host text, v int) USING metricsdb;
INSERT INTO watched VALUES ('2024-01-01Z', 'h', 1);
RESET ROLE;
SELECT delta_of('watched') AS delta \gset
SET ROLE mdb_nobody;
CREATE VIEW spy AS SELECT * FROM :delta;
CREATE TABLE spy_column (i int, x :delta) USING heap;
CREATE VIEW spy_name AS SELECT :'delta'::regclass;
CREATE FUNCTION spy_function() RETURNS bigint LANGUAGE sql BEGIN ATOMIC SELECT count(*) FROM :delta; END;
\set VERBOSITY sqlstate
SELECT * FROM spy;
\set VERBOSITY default
SET ROLE mdb_owner;
BEGIN;
DROP TABLE watched;
ROLLBACK;
BEGIN;
TRUNCATE watched;
ROLLBACK;
BEGIN;
ALTER TABLE watched ALTER v TYPE bigint;
ROLLBACK;
-- PostgreSQL 17 has no search_path while it does so, and names what is dropped by its schema.
\set VERBOSITY terse
VACUUM FULL watched;
\set VERBOSITY default
SELECT to_regclass('spy') AS spy, to_regclass('spy_name') AS spy_name, to_regproc('spy_function') AS spy_function;
\d spy_column
TABLE watched;
RESET ROLE;
SELECT delta_of('watched') AS delta \gset
SET ROLE mdb_nobody;
CREATE VIEW spy AS SELECT * FROM :delta;
SET ROLE mdb_owner;
DROP TABLE watched;
SET ROLE mdb_nobody;
\d spy_column
DROP TABLE spy_column;
RESET ROLE;

-- EXPLAIN tells a role that does not see all rows nothing that depends on the others
CREATE FUNCTION explained(query text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE line text;
BEGIN
	FOR line IN EXECUTE 'EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF, BUFFERS OFF) ' || query LOOP
		-- PostgreSQL 18 prints rows with two decimals
		RETURN NEXT regexp_replace(regexp_replace(line, 'Bytes Read: \d+', 'Bytes Read: N'), '(rows=\d+)\.00', '\1');
	END LOOP;
END $$;
-- With times and hosts that exist and that do not, the plans must be the same
CREATE FUNCTION tells(tab text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE c text; first text; other text;
BEGIN
	FOREACH c IN ARRAY ARRAY['time = ''2024-01-02 02:00Z'' AND v < 0', 'time = ''2030-01-01Z'' AND v < 0', 'time > ''2024-01-20Z'' AND v < 0', 'host = ''h2''', 'host = ''secret''', 'host = ''none''', 'host >= ''h2''', 'host > ''z'''] LOOP
		SELECT string_agg(regexp_replace(x, '''[^'']*''|[=><]+', '_', 'g'), E'\n') FROM explained(format('SELECT v FROM %s WHERE %s', tab, c)) x WHERE x !~ 'Filter: ' INTO other;
		IF first IS NULL THEN
			first := other;
		ELSIF first <> other THEN
			RETURN NEXT format('%s, %s:', tab, c);
			RETURN NEXT other;
		END IF;
	END LOOP;
	RETURN QUERY SELECT * FROM unnest(string_to_array(first, E'\n'));
END $$;
SET ROLE mdb_owner;
SELECT * FROM explained('SELECT v FROM guarded WHERE host = ''h2'' AND time < ''2024-01-03Z''');
SET ROLE mdb_reader;
SELECT * FROM explained('SELECT v FROM guarded WHERE host = ''h2'' AND time < ''2024-01-03Z''');
SELECT * FROM tells('guarded');
SET ROLE mdb_nobody;
SELECT * FROM explained('SELECT v FROM barrier WHERE host = ''h2'' AND time < ''2024-01-03Z''');
SELECT * FROM tells('barrier');
SET ROLE mdb_owner;
CREATE TABLE whole (time timestamptz, host text, v int) PARTITION BY RANGE (time);
ALTER TABLE guarded DISABLE ROW LEVEL SECURITY;
ALTER TABLE whole ATTACH PARTITION guarded FOR VALUES FROM ('2024-01-01Z') TO ('2025-01-01Z');
CREATE TABLE later PARTITION OF whole FOR VALUES FROM ('2025-01-01Z') TO ('2026-01-01Z') USING metricsdb;
ALTER TABLE whole ENABLE ROW LEVEL SECURITY;
CREATE POLICY h1 ON whole USING (host ~ '^h1');
GRANT SELECT ON whole TO mdb_reader;
SET ROLE mdb_reader;
SELECT * FROM explained('SELECT v FROM whole WHERE host = ''h2'' AND time < ''2024-01-03Z''');
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SET max_parallel_workers_per_gather = 1;
SET parallel_leader_participation = off;
SELECT count(*) AS figures FROM explained('SELECT v FROM whole WHERE host = ''h2'' AND time < ''2024-01-03Z''') x WHERE x ~ 'Blocks|Parts|Skipped|Removed';
RESET ROLE;
SELECT count(*) > 0 AS figures FROM explained('SELECT v FROM whole WHERE host = ''h2'' AND time < ''2024-01-03Z''') x WHERE x ~ 'Blocks|Parts|Skipped|Removed';
RESET parallel_setup_cost;
RESET parallel_tuple_cost;
RESET min_parallel_table_scan_size;
RESET max_parallel_workers_per_gather;
RESET parallel_leader_participation;

-- Functions and operators that a caller puts before those of pg_catalog are not called with the rights
-- of others.
CREATE SCHEMA evil;
GRANT USAGE, CREATE ON SCHEMA evil TO mdb_owner;
GRANT EXECUTE ON FUNCTION metricsdb.create_kafka_source(text, text, text, regclass, text, text, jsonb, jsonb) TO mdb_owner;
SET ROLE mdb_owner;
CREATE FUNCTION evil.note() RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE INFO 'called as %', current_user; END $$;
CREATE FUNCTION evil.eq(text, text) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN PERFORM evil.note(); RETURN false; END $$;
CREATE FUNCTION evil.eq(int, int) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN PERFORM evil.note(); RETURN false; END $$;
CREATE FUNCTION evil.eq(oid, oid) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN PERFORM evil.note(); RETURN false; END $$;
CREATE FUNCTION evil.eq(int8, int8) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN PERFORM evil.note(); RETURN false; END $$;
CREATE FUNCTION evil.eq(timestamptz, timestamptz) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN PERFORM evil.note(); RETURN false; END $$;
CREATE FUNCTION evil.eq(name, name) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN PERFORM evil.note(); RETURN false; END $$;
CREATE FUNCTION evil.eq(name, text) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN PERFORM evil.note(); RETURN false; END $$;
DO $$
DECLARE t text; o text;
BEGIN
	FOREACH t IN ARRAY '{text,int,oid,int8,timestamptz,name}'::text[] LOOP
		FOREACH o IN ARRAY '{=,<>,<,>,<=,>=}'::text[] LOOP
			EXECUTE format('CREATE OPERATOR evil.%s (LEFTARG = %s, RIGHTARG = %2$s, FUNCTION = evil.eq)', o, t);
		END LOOP;
	END LOOP;
	CREATE OPERATOR evil.= (LEFTARG = name, RIGHTARG = text, FUNCTION = evil.eq);
END $$;
CREATE FUNCTION evil.now() RETURNS timestamptz LANGUAGE plpgsql AS $$ BEGIN PERFORM evil.note(); RETURN NULL; END $$;
CREATE FUNCTION evil.nextval(regclass) RETURNS int8 LANGUAGE plpgsql AS $$ BEGIN PERFORM evil.note(); RETURN 1; END $$;
CREATE FUNCTION evil.pg_has_role(oid, text) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN PERFORM evil.note(); RETURN true; END $$;
CREATE TYPE evil.timestamptz AS (x int);
CREATE TABLE evil.pg_extension (extname text, extversion text) USING heap;
INSERT INTO evil.pg_extension VALUES ('metricsdb', 'evil');
CREATE TEMP TABLE pg_extension (extname text, extversion text) USING heap;
SET search_path = evil, pg_catalog, priv, pg_temp;
SELECT 'a'::text = 'a'::text AS shadowed;
SELECT metricsdb.version() OPERATOR(pg_catalog.<>) 'evil'::text AS ours;
SELECT metricsdb.create_metrics_table('evil.metrics');
BEGIN;
-- Where the library is not preloaded there is a warning; what evil.note() says is shown at any level.
SET LOCAL client_min_messages = error;
SELECT metricsdb.create_kafka_source('s', 'localhost:1', 't', 'evil.metrics', 'metric', secrets => '{"sasl.password": "x"}') IS NOT NULL AS created;
SET LOCAL client_min_messages = notice;
SELECT metricsdb.pause_kafka_source('s');
SELECT metricsdb.set_kafka_secrets('s', '{"sasl.password": "y"}');
SELECT metricsdb.kafka_secrets('s');
SAVEPOINT s;
SELECT metricsdb.seek_kafka_source('s', 0, 5);
ROLLBACK TO s;
SELECT metricsdb.purge_kafka_dead_letters('s', pg_catalog.now());
SELECT metricsdb.resume_kafka_source('s');
SELECT source, state FROM metricsdb.kafka_sources;
SELECT source, partition, next_offset, state FROM metricsdb.kafka_status;
SELECT pg_catalog.count(*) FROM metricsdb.kafka_dead_letters;
SELECT metricsdb.drop_kafka_source('s');
COMMIT;
CREATE TABLE evil.t (time pg_catalog.timestamptz, host text, v int) USING metricsdb;
SELECT metricsdb.set_options('evil.t', series => '{v}');
INSERT INTO evil.t SELECT pg_catalog.now(), 'h', i FROM pg_catalog.generate_series(1, 30) i;
INSERT INTO evil.t VALUES (pg_catalog.now(), 'h', 1);
CALL metricsdb.compact('evil.t');
SELECT pg_catalog.count(*) FROM metricsdb.parts WHERE "table" OPERATOR(pg_catalog.=) 'evil.t'::regclass;
SELECT "column", role FROM metricsdb.describe('evil.t');
SELECT rows FROM metricsdb.relation_stats('evil.t');
ANALYZE evil.t;
DROP TABLE evil.t;
RESET ROLE;
SET search_path = priv, public;

-- A function in an expression of the table runs as its owner when somebody compacts, analyzes or
-- refreshes, not as who does it.
SET ROLE mdb_owner;
CREATE FUNCTION whoami(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN IF current_user <> 'mdb_owner' THEN RAISE WARNING 'called as %', current_user; END IF; RETURN $1; END $$;
CREATE TABLE e (time timestamptz, host text, v int, CHECK (whoami(host) IS NOT NULL)) USING metricsdb;
CREATE STATISTICS es ON whoami(host), v FROM e;
INSERT INTO e SELECT '2024-01-01Z', 'h' || i % 3, i FROM generate_series(1, 500) i;
INSERT INTO e SELECT '2024-01-01Z', 'h' || i % 3, i FROM generate_series(1, 5) i;
CREATE MATERIALIZED VIEW ev USING metricsdb AS SELECT '2024-01-01Z'::timestamptz AS time, whoami(host) AS host, v FROM e;
RESET ROLE;
CALL metricsdb.compact('e');
VACUUM ANALYZE e;
VACUUM FULL e;
REFRESH MATERIALIZED VIEW ev;
SELECT count(*) FROM ev;

SET client_min_messages = error;
DROP SCHEMA priv, evil CASCADE;
DROP OWNED BY mdb_owner, mdb_reader, mdb_nobody CASCADE;
DROP ROLE mdb_owner, mdb_reader, mdb_nobody;

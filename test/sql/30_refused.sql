-- What is refused, and in which words.  The rest is what heap tables do.
CREATE TABLE r (time timestamptz, host text, v int) USING metricsdb;
CREATE TABLE k (id int PRIMARY KEY) USING heap;
INSERT INTO k VALUES (1);
INSERT INTO r VALUES ('2024-01-01Z', 'a', 1);
CREATE FUNCTION noop() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE FUNCTION refuse(command text) RETURNS TABLE (line text) LANGUAGE plpgsql AS $$
DECLARE
	state text;
	message text;
	detail text;
	hint text;
BEGIN
	EXECUTE command;
	RETURN QUERY SELECT 'done: ' || command;
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	RETURN QUERY SELECT unnest(ARRAY[command, '  ' || state || ' ' || message, '  DETAIL ' || detail, '  HINT ' || hint]);
END $$;
\pset format unaligned
\pset tuples_only on
SELECT refuse('CREATE INDEX ON r USING brin (time)');
SELECT refuse('CREATE INDEX ON r USING gin (to_tsvector(''simple'', host))');
SELECT refuse('CREATE INDEX ON r USING gist (to_tsvector(''simple'', host))');
SELECT refuse('CREATE INDEX ON r USING spgist (host)');
SELECT refuse('CREATE INDEX ON r USING metricsdb_proxy (v)');
CREATE TABLE delta_like (version int8) USING heap;
SELECT refuse('CREATE INDEX ON delta_like USING metricsdb_proxy (version)');
-- a name is no more than a name
SELECT 'delta_' || storage_id || '_3' AS name FROM metricsdb.storage WHERE relid = 'r'::regclass \gset
ALTER TABLE delta_like RENAME TO :"name";
SELECT replace(refuse(format('CREATE INDEX ON %I USING metricsdb_proxy (version)', :'name')), :'name', 'NAME');
DROP TABLE :"name";
SELECT refuse('ALTER TABLE r ADD EXCLUDE USING gist (host WITH =)');
SELECT refuse('CREATE TABLE p (id int REFERENCES r (v)) USING heap');
SELECT refuse('INSERT INTO r VALUES (now(), ''a'', 1) ON CONFLICT (host) DO NOTHING');
SELECT refuse('INSERT INTO r VALUES (''2024-01-01Z'', repeat(''x'', 140000000), 1)');
SELECT refuse('UPDATE r SET host = repeat(''x'', 140000000)');
SELECT refuse('CALL metricsdb.compact(''r'')');
SELECT refuse('CALL metricsdb.compact(''k'')');
SELECT refuse('CALL metricsdb.compact(1)');
SELECT refuse('CALL metricsdb.compact(NULL)');
SELECT refuse('SELECT metricsdb.handler(NULL)');
SELECT refuse('SELECT metricsdb.proxy_handler(NULL)');
\pset format aligned
\pset tuples_only off
BEGIN;
CALL metricsdb.compact('r');
ROLLBACK;
DO $$ BEGIN CALL metricsdb.compact('r'); END $$;
-- Indexes that a partition would inherit, and that a conversion would bring along
CREATE TABLE part (time timestamptz, host text, v int) PARTITION BY RANGE (time);
CREATE INDEX ON part USING brin (time);
CREATE TABLE part_1 PARTITION OF part DEFAULT USING metricsdb;
DROP TABLE part;
CREATE TABLE mixed (time timestamptz, host text, v int) USING heap;
CREATE INDEX mixed_brin ON mixed USING brin (time);
ALTER TABLE mixed SET ACCESS METHOD metricsdb;
DROP TABLE r, k, mixed;
DROP FUNCTION noop, refuse;
-- Kafka's worker cannot write to what only this session has
CREATE TEMP TABLE of_session (metric_name text, tags jsonb, time timestamptz, value float8) USING metricsdb;
SELECT metricsdb.create_kafka_source('temporary', 'localhost:1', 't', 'of_session', 'metric');
DROP TABLE of_session;
-- nor to what a crash empties, as offsets stay.
CREATE UNLOGGED TABLE forgets (metric_name text, tags jsonb, time timestamptz, value float8) USING metricsdb;
SELECT metricsdb.create_kafka_source('forgets', 'localhost:1', 't', 'forgets', 'metric');
DROP TABLE forgets;

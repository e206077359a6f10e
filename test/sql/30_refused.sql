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
SELECT refuse('UPDATE r SET v = 2');
SELECT refuse('UPDATE r SET v = 2 WHERE false');
SELECT refuse('DELETE FROM r');
SELECT refuse('DELETE FROM r USING k WHERE v = id');
SELECT refuse('INSERT INTO r VALUES (now(), ''a'', 1) ON CONFLICT (host) DO NOTHING');
SELECT refuse('INSERT INTO r VALUES (now(), ''a'', 1) ON CONFLICT (host) DO UPDATE SET v = 1');
SELECT refuse('SELECT * FROM r FOR UPDATE');
SELECT refuse('SELECT * FROM r FOR KEY SHARE');
SELECT refuse('SELECT * FROM r FOR UPDATE SKIP LOCKED');
SELECT refuse('CREATE INDEX ON r (time)');
SELECT refuse('CREATE INDEX ON r USING brin (time)');
SELECT refuse('CREATE INDEX ON r USING gin (to_tsvector(''simple'', host))');
SELECT refuse('CREATE INDEX ON r USING hash (host)');
SELECT refuse('CREATE UNIQUE INDEX ON r (host)');
SELECT refuse('ALTER TABLE r ADD PRIMARY KEY (time, host)');
SELECT refuse('ALTER TABLE r ADD UNIQUE (host)');
SELECT refuse('ALTER TABLE r ADD EXCLUDE USING btree (host WITH =)');
SELECT refuse('ALTER TABLE r ADD FOREIGN KEY (v) REFERENCES k');
SELECT refuse('CREATE TABLE p (time timestamptz, id int PRIMARY KEY) USING metricsdb');
SELECT refuse('CREATE TABLE p (time timestamptz, id int UNIQUE) USING metricsdb');
SELECT refuse('CREATE TABLE p (time timestamptz, id int REFERENCES k) USING metricsdb');
SELECT refuse('CREATE TABLE p (id int REFERENCES r (v)) USING heap');
SELECT refuse('CREATE TRIGGER a AFTER INSERT ON r FOR EACH ROW EXECUTE FUNCTION noop()');
SELECT refuse('CREATE CONSTRAINT TRIGGER a AFTER INSERT ON r DEFERRABLE FOR EACH ROW EXECUTE FUNCTION noop()');
SELECT refuse('MERGE INTO r USING k ON r.v = k.id WHEN MATCHED THEN DELETE');
SELECT refuse('MERGE INTO r USING k ON r.v = k.id WHEN MATCHED THEN UPDATE SET v = 3');
SELECT refuse('MERGE INTO r USING k ON r.v = k.id + 100 WHEN NOT MATCHED THEN INSERT VALUES (NULL, ''merged'', id)');
SELECT refuse('ALTER TABLE k SET ACCESS METHOD metricsdb');
SELECT refuse('INSERT INTO r VALUES (NULL, repeat(''x'', 140000000), 1)');
SELECT refuse('CLUSTER r USING r_pkey');
SELECT refuse('CALL metricsdb.compact(''r'')');
SELECT refuse('CALL metricsdb.compact(''k'')');
SELECT refuse('CALL metricsdb.compact(1)');
SELECT refuse('CALL metricsdb.compact(NULL)');
SELECT refuse('SELECT metricsdb.handler(NULL)');
\pset format aligned
\pset tuples_only off
BEGIN;
CALL metricsdb.compact('r');
ROLLBACK;
BEGIN;
DECLARE c CURSOR FOR SELECT * FROM r;
FETCH c;
DELETE FROM r WHERE CURRENT OF c;
ROLLBACK;
DO $$ BEGIN CALL metricsdb.compact('r'); END $$;
-- Triggers that a partition would inherit, and that a conversion would bring along
CREATE TABLE part (time timestamptz, host text, v int) PARTITION BY RANGE (time);
CREATE TRIGGER a AFTER INSERT ON part FOR EACH ROW EXECUTE FUNCTION noop();
CREATE TABLE part_1 PARTITION OF part DEFAULT USING metricsdb;
DROP TABLE part;
CREATE TABLE part (time timestamptz, host text, v int) PARTITION BY RANGE (time);
CREATE INDEX ON part (time);
CREATE TABLE part_1 PARTITION OF part DEFAULT USING metricsdb;
DROP TABLE part;
CREATE TABLE trig (time timestamptz, host text, v int) USING heap;
CREATE TRIGGER a AFTER INSERT ON trig FOR EACH ROW EXECUTE FUNCTION noop();
ALTER TABLE trig SET ACCESS METHOD metricsdb;
INSERT INTO trig VALUES (now(), 'a', 1);
-- An UPDATE of a partitioned table that moves nothing out of a heap partition
CREATE TABLE mixed (time timestamptz, host text, v int) PARTITION BY LIST (host);
CREATE TABLE mixed_heap PARTITION OF mixed FOR VALUES IN ('heap') USING heap;
CREATE TABLE mixed_mdb PARTITION OF mixed FOR VALUES IN ('mdb') USING metricsdb;
INSERT INTO mixed VALUES ('2024-01-01Z', 'heap', 1), ('2024-01-01Z', 'heap', 2), ('2024-01-01Z', 'mdb', 3);
UPDATE mixed SET v = v + 10 WHERE host = 'heap';
UPDATE mixed SET host = 'mdb' WHERE v = 11;
UPDATE mixed SET host = 'heap' WHERE v = 3;
DELETE FROM mixed WHERE host = 'heap';
DELETE FROM mixed;
SELECT host, v FROM mixed ORDER BY v;
-- Nothing of all this changed the tables
SELECT * FROM r ORDER BY time, host, v;
DROP TABLE r, k, mixed, trig;
DROP FUNCTION noop, refuse;

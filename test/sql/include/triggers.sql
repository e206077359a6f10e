\ir begin.sql
\set ECHO all
CREATE TABLE t (time timestamptz, host text, v int);
CREATE TABLE log (what text, n bigint) USING heap;
-- BEFORE ROW: changes, and drops, rows
CREATE FUNCTION before_row() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF NEW.v % 10 = 0 THEN
		RETURN NULL;
	END IF;
	NEW.host := upper(NEW.host);
	NEW.v := NEW.v * 2;
	RETURN NEW;
END $$;
CREATE TRIGGER b BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION before_row();
INSERT INTO t SELECT '2024-01-01Z', 'a' || i % 2, i FROM generate_series(1, 30) i;
INSERT INTO t VALUES ('2024-01-01Z', 'b', 10), ('2024-01-01Z', 'b', 11) RETURNING *;
COPY t FROM stdin;
2024-01-01 00:00:00+00	copy	1
2024-01-01 00:00:00+00	copy	20
\.
SELECT host, count(*), sum(v) FROM t GROUP BY host ORDER BY host;
-- Statement triggers, which read the table and write to it
CREATE FUNCTION statement() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO log SELECT TG_WHEN || ' ' || TG_OP, count(*) FROM t;
	RETURN NULL;
END $$;
CREATE TRIGGER s1 BEFORE INSERT OR TRUNCATE ON t FOR EACH STATEMENT EXECUTE FUNCTION statement();
CREATE TRIGGER s2 AFTER INSERT OR TRUNCATE ON t FOR EACH STATEMENT EXECUTE FUNCTION statement();
INSERT INTO t SELECT '2024-01-02Z', 's', i FROM generate_series(1, 19) i;
INSERT INTO t VALUES ('2024-01-02Z', 's', 1);
TABLE log;
TRUNCATE log;
TRUNCATE t;
TABLE log;
DROP TRIGGER s1 ON t;
DROP TRIGGER s2 ON t;
-- Transition tables
CREATE FUNCTION transition() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO log SELECT 'new rows', count(*) FROM new_rows;
	INSERT INTO log SELECT host, sum(v) FROM new_rows GROUP BY host;
	INSERT INTO log SELECT 'in the table', count(*) FROM t;
	RETURN NULL;
END $$;
CREATE TRIGGER tr AFTER INSERT ON t REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION transition();
TRUNCATE log;
INSERT INTO t SELECT '2024-01-02Z', 'x' || i % 2, i FROM generate_series(1, 50) i;
SELECT * FROM log ORDER BY what COLLATE "C", n;
TRUNCATE log;
INSERT INTO t VALUES ('2024-01-03Z', 'y', 1);
SELECT * FROM log ORDER BY what COLLATE "C", n;
TRUNCATE log;
COPY t FROM stdin;
2024-01-01 00:00:00+00	copy	1
2024-01-01 00:00:00+00	copy	2
\.
SELECT * FROM log ORDER BY what COLLATE "C", n;
DROP TRIGGER tr ON t;
-- A BEFORE ROW trigger that reads the table it is on
CREATE FUNCTION counting() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	NEW.v := (SELECT count(*) FROM t);
	RETURN NEW;
END $$;
DROP TRIGGER b ON t;
TRUNCATE t;
CREATE TRIGGER c BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION counting();
INSERT INTO t SELECT '2024-01-01Z', 'n', i FROM generate_series(1, 25) i;
INSERT INTO t SELECT '2024-01-01Z', 'm', i FROM generate_series(1, 5) i;
SELECT host, v, count(*) FROM t GROUP BY host, v ORDER BY host, v;
DROP TRIGGER c ON t;
-- ... and one that writes to it
CREATE FUNCTION cloning() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF NEW.host <> 'clone' THEN
		INSERT INTO t VALUES (NEW.time, 'clone', NEW.v);
	END IF;
	RETURN NEW;
END $$;
CREATE TRIGGER c BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION cloning();
TRUNCATE t;
INSERT INTO t SELECT '2024-01-01Z', 'n', i FROM generate_series(1, 25) i;
SELECT host, count(*), sum(v) FROM t GROUP BY host ORDER BY host;
-- INSTEAD OF triggers on a view
CREATE VIEW w AS SELECT host, v FROM t;
CREATE FUNCTION instead() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO t VALUES ('2024-02-02Z', NEW.host, NEW.v);
	RETURN NEW;
END $$;
CREATE TRIGGER i INSTEAD OF INSERT ON w FOR EACH ROW EXECUTE FUNCTION instead();
INSERT INTO w SELECT 'clone', i FROM generate_series(100, 120) i;
SELECT host, count(*), sum(v) FROM w GROUP BY host ORDER BY host;
-- Event triggers see the commands
CREATE FUNCTION on_ddl() RETURNS event_trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO work.log SELECT command_tag, count(*) FROM pg_event_trigger_ddl_commands() WHERE object_type = 'table' GROUP BY 1;
END $$;
TRUNCATE log;
CREATE EVENT TRIGGER mdb_ddl ON ddl_command_end EXECUTE FUNCTION on_ddl();
CREATE TABLE made (time timestamptz, v int);
ALTER TABLE made ADD COLUMN w int DEFAULT 4;
ALTER TABLE made ALTER w TYPE bigint;
DROP EVENT TRIGGER mdb_ddl;
TABLE log;
\set ECHO none

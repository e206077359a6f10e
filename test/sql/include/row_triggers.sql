\ir begin.sql
\set ECHO all
CREATE TABLE t (time timestamptz, host text, v int, g int GENERATED ALWAYS AS (v * 2) STORED);
CREATE TABLE log (id serial, what text, host text, was int, new int) USING heap;
INSERT INTO t SELECT '2024-01-01Z'::timestamptz + i * '1 min'::interval, 'h' || i % 3, i FROM generate_series(1, 150) i;
CALL settle();
CREATE FUNCTION logged() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF TG_OP = 'INSERT' THEN
		INSERT INTO log (what, host, new) VALUES (TG_NAME || ' ' || TG_WHEN || ' insert', NEW.host, NEW.v);
		RETURN NEW;
	ELSIF TG_OP = 'DELETE' THEN
		INSERT INTO log (what, host, was) VALUES (TG_NAME || ' ' || TG_WHEN || ' delete', OLD.host, OLD.v);
		RETURN OLD;
	ELSE
		INSERT INTO log (what, host, was, new) VALUES (TG_NAME || ' ' || TG_WHEN || ' update', NEW.host, OLD.v, NEW.v);
		RETURN NEW;
	END IF;
END $$;
CREATE VIEW logs AS SELECT what, count(*), sum(was) AS was, sum(new) AS new, min(host), max(host) FROM log GROUP BY what ORDER BY what;
CREATE TRIGGER a BEFORE INSERT OR UPDATE OR DELETE ON t FOR EACH ROW EXECUTE FUNCTION logged();
CREATE TRIGGER z AFTER INSERT OR UPDATE OR DELETE ON t FOR EACH ROW EXECUTE FUNCTION logged();
INSERT INTO t VALUES ('2024-02-01Z', 'one', 1000);
INSERT INTO t SELECT '2024-02-02Z', 'many', i FROM generate_series(2001, 2150) i;
UPDATE t SET v = v + 1 WHERE v = 1000;
UPDATE t SET v = v + 10000 WHERE host = 'h1';
DELETE FROM t WHERE v = 1001;
DELETE FROM t WHERE host = 'h2';
TABLE logs;
TRUNCATE log;
COPY t (time, host, v) FROM stdin;
2024-03-01 00:00:00+00	copy	1
2024-03-01 00:00:00+00	copy	2
\.
SELECT what, host, was, new FROM log ORDER BY id;
SELECT count(*), sum(v), sum(g) FROM t;
CALL settle();
-- BEFORE: a row changed, a row left out
CREATE FUNCTION change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF TG_OP = 'DELETE' THEN
		RETURN CASE WHEN OLD.v % 2 = 0 THEN OLD END;
	END IF;
	NEW.host := coalesce(NEW.host, '') || '+';
	RETURN CASE WHEN NEW.v % 5 > 0 THEN NEW END;
END $$;
TRUNCATE log;
CREATE TRIGGER b BEFORE INSERT OR UPDATE OR DELETE ON t FOR EACH ROW EXECUTE FUNCTION change();
INSERT INTO t SELECT '2024-04-01Z', 'before', i FROM generate_series(3001, 3020) i;
UPDATE t SET v = v + 1 WHERE v BETWEEN 2001 AND 2050;
DELETE FROM t WHERE v BETWEEN 2051 AND 2100;
SELECT host, count(*), sum(v), sum(g) FROM t GROUP BY host ORDER BY host;
TABLE logs;
DROP TRIGGER b ON t;
-- WHEN, UPDATE OF, several in the order of their names
TRUNCATE log;
DROP TRIGGER a ON t; DROP TRIGGER z ON t;
CREATE TRIGGER of_host AFTER UPDATE OF host ON t FOR EACH ROW EXECUTE FUNCTION logged();
CREATE TRIGGER changed AFTER UPDATE ON t FOR EACH ROW WHEN (OLD.v IS DISTINCT FROM NEW.v) EXECUTE FUNCTION logged();
CREATE TRIGGER large BEFORE INSERT ON t FOR EACH ROW WHEN (NEW.v > 5000) EXECUTE FUNCTION logged();
CREATE TRIGGER gone AFTER DELETE ON t FOR EACH ROW WHEN (OLD.host = 'copy') EXECUTE FUNCTION logged();
UPDATE t SET v = v WHERE v < 50;
UPDATE t SET v = v + 1 WHERE v = 3;
UPDATE t SET host = host WHERE v = 4;
UPDATE t SET host = 'of', v = v + 1 WHERE v = 6;
INSERT INTO t VALUES (NULL, 'x', 4999), (NULL, 'x', 5001);
DELETE FROM t WHERE host IN ('copy', 'x');
SELECT what, host, was, new FROM log ORDER BY what, was, new;
DROP TRIGGER of_host ON t; DROP TRIGGER changed ON t; DROP TRIGGER large ON t; DROP TRIGGER gone ON t;
-- Statement triggers, also where no row is met
TRUNCATE log;
CREATE FUNCTION statement() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO log (what, new) SELECT TG_WHEN || ' ' || TG_OP, count(*) FROM t;
	RETURN NULL;
END $$;
CREATE TRIGGER s1 BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON t FOR EACH STATEMENT EXECUTE FUNCTION statement();
CREATE TRIGGER s2 AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON t FOR EACH STATEMENT EXECUTE FUNCTION statement();
INSERT INTO t SELECT '2024-05-01Z', 's', i FROM generate_series(1, 130) i;
UPDATE t SET v = v + 1 WHERE host = 's';
UPDATE t SET v = v WHERE false;
DELETE FROM t WHERE host = 's' AND v % 2 = 0;
DELETE FROM t WHERE false;
SELECT what, new FROM log ORDER BY id;
DROP TRIGGER s1 ON t; DROP TRIGGER s2 ON t;
-- Transition tables
CREATE FUNCTION transition() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF TG_OP <> 'INSERT' THEN
		INSERT INTO log (what, host, was) SELECT TG_OP || ' old', host, sum(v) FROM old_rows GROUP BY host;
	END IF;
	IF TG_OP <> 'DELETE' THEN
		INSERT INTO log (what, host, new) SELECT TG_OP || ' new', host, sum(v) FROM new_rows GROUP BY host;
	END IF;
	IF TG_OP = 'UPDATE' THEN
		INSERT INTO log (what, was, new) SELECT 'both', count(*), sum(n.v - o.v) FROM old_rows o JOIN new_rows n USING (time, host);
	END IF;
	RETURN NULL;
END $$;
CREATE TRIGGER ti AFTER INSERT ON t REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION transition();
CREATE TRIGGER tu AFTER UPDATE ON t REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION transition();
CREATE TRIGGER td AFTER DELETE ON t REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION transition();
TRUNCATE log;
CALL settle();
INSERT INTO t SELECT '2024-06-01Z'::timestamptz + i * '1 s'::interval, 'tr' || i % 2, i FROM generate_series(1, 130) i;
UPDATE t SET v = v + 100 WHERE host = 'tr1';
UPDATE t SET v = v + 1 WHERE host IN ('h0', 's') AND time < '2024-01-01 01:00Z';
DELETE FROM t WHERE host = 'tr0' OR v = 9;
MERGE INTO t USING generate_series(101, 140) i ON v = i AND host = 'tr1' WHEN MATCHED AND i % 2 = 0 THEN DELETE WHEN MATCHED THEN UPDATE SET v = -v WHEN NOT MATCHED AND i > 138 THEN INSERT VALUES ('2024-07-01Z', 'merged', i);
SELECT what, host, was, new FROM log ORDER BY what, host, was, new;
-- ... row triggers may see them, too
CREATE FUNCTION row_transition() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO log (what, was, new) SELECT 'row', OLD.v, (SELECT sum(v) FROM new_rows);
	RETURN NULL;
END $$;
DROP TRIGGER ti ON t; DROP TRIGGER tu ON t; DROP TRIGGER td ON t;
CREATE TRIGGER tr AFTER UPDATE ON t REFERENCING NEW TABLE AS new_rows FOR EACH ROW EXECUTE FUNCTION row_transition();
TRUNCATE log;
UPDATE t SET v = v + 1 WHERE v BETWEEN 10 AND 16;
SELECT what, was, new FROM log ORDER BY was, new;
DROP TRIGGER tr ON t;
-- Constraint triggers: at once, at the end of the command, at commit
CREATE FUNCTION check_sum() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF (SELECT count(*) FROM t WHERE host = 'pair') % 2 = 1 THEN
		RAISE EXCEPTION 'an odd number of rows at % of %', TG_OP, coalesce(NEW.v, OLD.v);
	END IF;
	RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER pairs AFTER INSERT OR UPDATE OR DELETE ON t DEFERRABLE INITIALLY IMMEDIATE FOR EACH ROW EXECUTE FUNCTION check_sum();
INSERT INTO t VALUES ('2024-08-01Z', 'pair', 1);
INSERT INTO t VALUES ('2024-08-01Z', 'pair', 1), ('2024-08-01Z', 'pair', 2);
DELETE FROM t WHERE host = 'pair' AND v = 1;
CALL settle();
BEGIN;
SET CONSTRAINTS pairs DEFERRED;
DELETE FROM t WHERE host = 'pair' AND v = 1;
INSERT INTO t VALUES ('2024-08-01Z', 'pair', 3);
COMMIT;
BEGIN;
SET CONSTRAINTS ALL DEFERRED;
UPDATE t SET host = 'single' WHERE host = 'pair' AND v = 2;
SAVEPOINT s;
SET CONSTRAINTS ALL IMMEDIATE;
ROLLBACK TO s;
UPDATE t SET host = 'pair' WHERE host = 'single';
SET CONSTRAINTS ALL IMMEDIATE;
SET CONSTRAINTS ALL DEFERRED;
INSERT INTO t SELECT '2024-08-02Z', 'pair', i FROM generate_series(10, 140) i;
COMMIT;
SELECT host, count(*), sum(v) FROM t WHERE host IN ('pair', 'single') GROUP BY host;
-- A trigger that changes the table it is on: other rows, the same row
CREATE FUNCTION others() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF pg_trigger_depth() = 1 THEN
		UPDATE t SET v = v + 1 WHERE host = 'counter';
		DELETE FROM t WHERE host = 'victim' AND v = NEW.v;
	END IF;
	RETURN NEW;
END $$;
CREATE TRIGGER o AFTER UPDATE ON t FOR EACH ROW EXECUTE FUNCTION others();
DROP TRIGGER pairs ON t;
INSERT INTO t VALUES (NULL, 'counter', 0), (NULL, 'victim', 11), (NULL, 'victim', 12);
UPDATE t SET host = 'touched' WHERE v BETWEEN 10 AND 14 AND host NOT IN ('pair', 'victim', 'counter');
SELECT host, count(*), sum(v) FROM t WHERE host IN ('touched', 'counter', 'victim') GROUP BY host ORDER BY host;
DROP TRIGGER o ON t;
CREATE FUNCTION same_row() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	UPDATE t SET v = -1 WHERE ctid = OLD.ctid;
	RETURN NEW;
END $$;
CREATE TRIGGER o BEFORE DELETE ON t FOR EACH ROW EXECUTE FUNCTION same_row();
DELETE FROM t WHERE host = 'counter';
SELECT host, v FROM t WHERE host = 'counter';
DROP TRIGGER o ON t;
-- INSTEAD OF
CREATE VIEW w AS SELECT host, v FROM t;
CREATE FUNCTION instead() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF TG_OP = 'INSERT' THEN INSERT INTO t VALUES ('2024-09-01Z', NEW.host, NEW.v); RETURN NEW; END IF;
	IF TG_OP = 'UPDATE' THEN UPDATE t SET v = NEW.v WHERE host = OLD.host AND v = OLD.v; RETURN NEW; END IF;
	DELETE FROM t WHERE host = OLD.host AND v = OLD.v;
	RETURN OLD;
END $$;
CREATE TRIGGER i INSTEAD OF INSERT OR UPDATE OR DELETE ON w FOR EACH ROW EXECUTE FUNCTION instead();
INSERT INTO w VALUES ('view', 1), ('view', 2), ('view', 3);
UPDATE w SET v = v * 10 WHERE host = 'view' AND v > 1;
DELETE FROM w WHERE host = 'view' AND v = 20 RETURNING *;
SELECT host, v FROM t WHERE host = 'view' ORDER BY v;
CALL settle();
SELECT count(*), sum(v), sum(g) FROM t;
\set ECHO none

-- Functions of a table's owner that moves, merges and VACUUM come to call, whoever has these run: they run as the
-- owner, who cannot become anybody else.
CREATE SCHEMA code;
SET search_path = code, public;
SET timezone = 'UTC';
CREATE ROLE mdb_coder;
GRANT USAGE, CREATE ON SCHEMA code TO mdb_coder;
SET ROLE mdb_coder;
CREATE TABLE log (what text, who name, may_change bool);
CREATE FUNCTION note(what text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	may_change bool := true;
BEGIN
	BEGIN
		PERFORM pg_catalog.set_config('role', 'none', true);
		RAISE 'not restricted';
	EXCEPTION
		WHEN insufficient_privilege THEN may_change := false;
		WHEN raise_exception THEN NULL;
	END;
	INSERT INTO code.log VALUES (what, current_user, may_change);
END $$;
-- called when an index is opened, for constants are folded
CREATE FUNCTION one(i int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN PERFORM code.note('constant'); RETURN i; END $$;
CREATE FUNCTION valid(i int) RETURNS bool IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN PERFORM code.note('predicate'); RETURN true; END $$;
CREATE FUNCTION same(i int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN PERFORM code.note('expression'); RETURN i; END $$;
-- called by GiST when it looks for a place, with pages locked: no place to catch an error
CREATE FUNCTION note_support() RETURNS void LANGUAGE sql AS $$ INSERT INTO code.log VALUES ('support', current_user, NULL) $$;
CREATE FUNCTION distance(a float8, b float8) RETURNS float8 IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN PERFORM code.note_support(); RETURN a - b; END $$;
CREATE TYPE span AS RANGE (subtype = float8, subtype_diff = distance);
CREATE VIEW told AS SELECT DISTINCT what, who, may_change FROM log ORDER BY what;
CREATE VIEW others AS SELECT * FROM told WHERE who <> 'mdb_coder' OR may_change;
CREATE TABLE mine (time timestamptz, host text, v int, s span) USING metricsdb;
CREATE INDEX ON mine ((v + one(1)));
CREATE INDEX ON mine (host) WHERE valid(v);
CREATE INDEX ON mine (same(v));
CREATE INDEX ON mine USING gist (s);
INSERT INTO mine SELECT '2024-01-01'::timestamptz + i * '1 s'::interval, 'h' || i % 3, i, span(i, i + 2) FROM generate_series(1, 400) i;
RESET ROLE;
SELECT 'delta_' || storage_id || '_3' AS rows FROM metricsdb.storage WHERE relid = 'mine'::regclass \gset

-- in a session that has not opened the indexes yet
\c -
SET search_path = code, public;
SET timezone = 'UTC';
-- rows to parts
TRUNCATE log;
CALL metricsdb.compact('mine');
SELECT * FROM told;
-- VACUUM of the row heap, as autovacuum does it
DELETE FROM mine WHERE v < 50;
TRUNCATE log;
VACUUM (INDEX_CLEANUP ON) metricsdb.:"rows";
SELECT * FROM others;
-- merges
SET metricsdb.direct_rows = 10;
INSERT INTO mine SELECT '2024-01-01'::timestamptz + i * '1 s'::interval, 'h' || i % 3, i, span(i, i + 2) FROM generate_series(500, 1000) i;
TRUNCATE log;
CALL metricsdb.compact('mine');
SELECT * FROM others;
-- VACUUM of the table, and of entries of rows of parts
DELETE FROM mine WHERE v > 900;
TRUNCATE log;
VACUUM (INDEX_CLEANUP ON) mine;
SELECT * FROM others;
-- rewrites
TRUNCATE log;
VACUUM FULL mine;
SELECT * FROM others;
TRUNCATE log;
REINDEX TABLE mine;
SELECT * FROM others;
TRUNCATE log;
ANALYZE mine;
SELECT * FROM others;
-- the owner himself is restricted, too, and all the others get back what they had
SET ROLE mdb_coder;
INSERT INTO mine VALUES ('2024-02-01', 'h', 1, NULL);
TRUNCATE log;
CALL metricsdb.compact('mine');
CALL metricsdb.collect_series('mine', NULL);
SELECT current_user;
SELECT * FROM told WHERE what <> 'constant';
SELECT count(*), sum(v) FROM mine;
RESET ROLE;
SET search_path = public;
SET client_min_messages = warning;
DROP SCHEMA code CASCADE;
DROP ROLE mdb_coder;

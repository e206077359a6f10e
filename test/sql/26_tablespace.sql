-- SET TABLESPACE takes all heaps of the delta along, whoever owns the table, and tells event triggers
-- of the table alone.
SET client_min_messages = error;
SET allow_in_place_tablespaces = on;
CREATE TABLESPACE mdb_one LOCATION '';
CREATE TABLESPACE mdb_two LOCATION '';
RESET client_min_messages;
SET metricsdb.direct_rows = 10;
CREATE ROLE mdb_mover;
GRANT CREATE ON TABLESPACE mdb_one, mdb_two TO mdb_mover;
GRANT CREATE ON SCHEMA public TO mdb_mover;
CREATE FUNCTION heaps(OUT slot int2, OUT live bool, OUT filled bool, OUT space name, OUT toast name, OUT "index" name) RETURNS SETOF record LANGUAGE sql AS $$
	SELECT d.slot, d.live, pg_relation_size(d.relid) > 0, s.spcname, ts.spcname, xs.spcname
	FROM metricsdb.storage JOIN metricsdb.delta d USING (storage_id) JOIN pg_class c ON c.oid = d.relid JOIN pg_class t ON t.oid = c.reltoastrelid
		JOIN pg_index i ON i.indrelid = t.oid JOIN pg_class x ON x.oid = i.indexrelid
		LEFT JOIN pg_tablespace s ON s.oid = c.reltablespace LEFT JOIN pg_tablespace ts ON ts.oid = t.reltablespace LEFT JOIN pg_tablespace xs ON xs.oid = x.reltablespace
	WHERE storage.relid = pg_catalog.to_regclass('m') ORDER BY slot
$$;
CREATE FUNCTION told() RETURNS event_trigger LANGUAGE plpgsql AS $$
DECLARE c record;
BEGIN
	FOR c IN SELECT * FROM pg_event_trigger_ddl_commands() LOOP
		RAISE NOTICE '% %', c.command_tag, c.object_identity;
	END LOOP;
END $$;

SET ROLE mdb_mover;
CREATE TABLE m (time timestamptz, host text, v int, note text) USING metricsdb TABLESPACE mdb_one;
INSERT INTO m SELECT '2024-01-01Z', 'h' || i % 3, i, 'part' FROM generate_series(1, 1000) i;
-- Heaps that were emptied and used again, TOAST, and more of them than the first
SET metricsdb.direct_rows = 1000;
INSERT INTO m SELECT '2024-01-01Z', 'w', i, repeat('delta', 380) FROM generate_series(1, 300) i;
SET metricsdb.direct_rows = 10;
CALL metricsdb.compact('m');
INSERT INTO m SELECT '2024-01-01Z', 'a', i, 'delta' FROM generate_series(1, 5) i;
CALL metricsdb.compact('m');
INSERT INTO m SELECT '2024-01-01Z', 'b', 1, string_agg(md5(i::text), '') FROM generate_series(1, 3000) i;
CALL metricsdb.compact('m');
INSERT INTO m SELECT '2024-01-01Z', 'c', i, 'delta' FROM generate_series(1, 5) i;
INSERT INTO m SELECT '2024-01-01Z', 'd', 1, string_agg(md5(i::text), '') FROM generate_series(1, 3000) i;
RESET ROLE;
SELECT bool_and(space = 'mdb_one' AND toast = 'mdb_one' AND "index" = 'mdb_one') AS all_in_one, bool_or(filled) AS some_filled, count(*) > 0 AS some FROM heaps();
CREATE TABLE copy USING heap AS SELECT * FROM m;
GRANT SELECT, INSERT ON copy TO mdb_mover;

CREATE EVENT TRIGGER told ON ddl_command_end EXECUTE FUNCTION told();
SET ROLE mdb_mover;
ALTER TABLE m SET TABLESPACE mdb_two;
SELECT compare('m', 'copy');
RESET ROLE;
SELECT bool_and(space = 'mdb_two' AND toast = 'mdb_two' AND "index" = 'mdb_two') AS all_in_two, bool_or(filled) AS some_filled, count(*) > 0 AS some FROM heaps();
DROP TABLESPACE mdb_one;
SET ROLE mdb_mover;
INSERT INTO m SELECT '2024-01-01Z', 'e', i, 'delta' FROM generate_series(1, 5) i;
INSERT INTO copy SELECT '2024-01-01Z', 'e', i, 'delta' FROM generate_series(1, 5) i;
BEGIN;
ALTER TABLE m SET TABLESPACE pg_default;
ROLLBACK;
SELECT compare('m', 'copy');
RESET ROLE;
DROP EVENT TRIGGER told;
SET ROLE mdb_mover;
BEGIN;
INSERT INTO m SELECT '2024-01-01Z', 'lost', i, 'delta' FROM generate_series(1, 5) i;
ALTER TABLE m SET TABLESPACE pg_default;
INSERT INTO m SELECT '2024-01-01Z', 'lost', i, 'part' FROM generate_series(1, 15) i;
ROLLBACK;
SELECT compare('m', 'copy');
BEGIN;
INSERT INTO m SELECT '2024-01-01Z', 'f', i, 'delta' FROM generate_series(1, 5) i;
ALTER TABLE m SET TABLESPACE pg_default;
INSERT INTO m SELECT '2024-01-01Z', 'f', i, 'part' FROM generate_series(1, 15) i;
COMMIT;
RESET ROLE;
INSERT INTO copy SELECT '2024-01-01Z', 'f', i, 'delta' FROM generate_series(1, 5) i;
INSERT INTO copy SELECT '2024-01-01Z', 'f', i, 'part' FROM generate_series(1, 15) i;
SELECT compare('m', 'copy');
SELECT bool_and(space IS NULL AND toast IS NULL AND "index" IS NULL) AS all_in_default FROM heaps();
DROP TABLESPACE mdb_two;
SET ROLE mdb_mover;
CALL metricsdb.compact('m');
CALL metricsdb.compact('m');
SELECT compare('m', 'copy');
RESET ROLE;
DROP TABLE m, copy;
DROP FUNCTION heaps, told;
REVOKE ALL ON SCHEMA public FROM mdb_mover;
DROP ROLE mdb_mover;

-- Rows that are older than their table keeps them.  The background does not look for them here: metricsdb.retention_interval = -1.
CREATE SCHEMA ret;
SET search_path = ret, public;
SET timezone = 'UTC';
SET intervalstyle = 'postgres';
SET metricsdb.direct_rows = 500;
CREATE VIEW policies AS SELECT "table", metric, keep, parts, rows, due_parts, unsorted_parts FROM metricsdb.retention_policies;

-- What has a policy
CREATE TABLE t (time timestamptz, host text, v int) USING metricsdb;
SELECT metricsdb.set_retention('t', '30 days');
SELECT metricsdb.set_retention('t', '1 year 2 mons 3 days 04:05:06.5');
TABLE policies;
SET intervalstyle = 'iso_8601';
SELECT metricsdb.set_retention('t', keep => 'P30DT1H');
SELECT label FROM pg_seclabels WHERE objoid = 't'::regclass;
RESET intervalstyle;
TABLE policies;
SELECT metricsdb.set_retention('t', NULL);
TABLE policies;
SELECT label FROM pg_seclabels WHERE objoid = 't'::regclass;
-- Transactional
BEGIN;
SELECT metricsdb.set_retention('t', '1 day');
ROLLBACK;
TABLE policies;

-- What has none
CREATE TABLE heap (time timestamptz) USING heap;
CREATE TABLE ints (time int, v int) USING metricsdb;
CREATE TABLE untimed (host text, v int) USING metricsdb;
CREATE TABLE parent (time timestamptz) PARTITION BY RANGE (time);
CREATE VIEW view AS SELECT * FROM t;
SELECT metricsdb.set_retention(NULL, '1 day');
SELECT metricsdb.set_retention('heap', '1 day');
SELECT metricsdb.set_retention('parent', '1 day');
SELECT metricsdb.set_retention('view', '1 day');
SELECT metricsdb.set_retention('ints', '1 day');
SELECT metricsdb.set_retention('untimed', '1 day');
SELECT metricsdb.set_retention('t', '0');
SELECT metricsdb.set_retention('t', '-1 day');
SELECT metricsdb.set_retention('t', '178000000 years');
SELECT metricsdb.set_retention('t', '7000 years');
SELECT metricsdb.set_retention('t', '1 day', 'audit_*');
SELECT metricsdb.set_retention('t', NULL, 'audit_*');
CREATE TABLE pk (time timestamptz, id int PRIMARY KEY) USING metricsdb;
CREATE TABLE fk (id int REFERENCES pk);
SELECT metricsdb.set_retention('pk', '1 day');
SELECT metricsdb.set_retention('pk', NULL);
DROP TABLE fk;
SELECT metricsdb.set_retention('pk', '1 day');
CREATE TABLE fk (id int REFERENCES pk);
CALL metricsdb.apply_retention('pk');
CALL metricsdb.apply_retention();
DROP TABLE fk, pk;
CALL metricsdb.apply_retention('heap');
BEGIN;
CALL metricsdb.apply_retention('t');
ROLLBACK;
-- Nothing to do
CALL metricsdb.apply_retention();
CALL metricsdb.apply_retention('t');

-- Labels
SECURITY LABEL FOR metricsdb ON TABLE t IS '{"retention": {"keep": "3 days", "base": 0}}';
TABLE policies;
SECURITY LABEL FOR metricsdb ON TABLE t IS '{"retention": {"keep": 3, "base": 0}}';
SECURITY LABEL FOR metricsdb ON TABLE t IS '{"retention": {"keep": "-3 days", "base": 0}}';
SECURITY LABEL FOR metricsdb ON TABLE t IS '{"retention": {"keep": "often", "base": 0}}';
SECURITY LABEL FOR metricsdb ON TABLE t IS '{"retention": {"keep": "290000 years", "base": 0}}';
SECURITY LABEL FOR metricsdb ON TABLE t IS '{"retention": {"keep": "3 days", "base": -1}}';
SECURITY LABEL FOR metricsdb ON TABLE t IS '{"retention": {"base": 32767, "classes": {"a": "1 day"}}}';
SECURITY LABEL FOR metricsdb ON TABLE t IS '{"retention": {"keeps": "3 days"}}';
SECURITY LABEL FOR metricsdb ON TABLE t IS '{"retention": ["3 days"]}';
SECURITY LABEL FOR metricsdb ON TABLE t IS NULL;

-- Whole parts go, and rows of the delta: 100 days, each of 100 rows, and some rows that are late, or have no time
SELECT metricsdb.set_retention('t', '30 days');
INSERT INTO t SELECT now() - d * '1 day'::interval + '1 h', 'h' || i % 5, d FROM generate_series(0, 99) d, generate_series(1, 100) i;
INSERT INTO t VALUES (now() - '31 days'::interval, 'late', 31), (now() - '29 days'::interval, 'late', 29), (NULL, 'never', 0), ('-infinity', 'long ago', 0), ('infinity', 'not yet', 0);
CREATE TABLE kept USING heap AS SELECT * FROM t WHERE time IS NULL OR time >= now() - '30 days'::interval;
SELECT parts, rows, due_parts FROM policies;
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''deleted''; END';
CREATE TRIGGER refuse BEFORE DELETE ON t FOR EACH ROW EXECUTE FUNCTION refuse();
CREATE TRIGGER refuse_all BEFORE DELETE ON t EXECUTE FUNCTION refuse();
CALL metricsdb.apply_retention();
SELECT compare('t', 'kept');
SELECT parts, rows, due_parts FROM policies;
CALL metricsdb.apply_retention('t');
SELECT compare('t', 'kept');
SELECT * FROM metricsdb.check('t');
-- The file shrinks, and the planner knows
INSERT INTO t SELECT now() - '50 days'::interval, 'h1', hashint4(i) FROM generate_series(1, 200000) i;
ANALYZE t;
SELECT reltuples > 100000 AS many FROM pg_class WHERE oid = 't'::regclass;
SELECT pg_relation_size('t') AS before \gset
CALL metricsdb.apply_retention('t');
SELECT compare('t', 'kept');
SELECT abs(reltuples - (SELECT count(*) FROM t)) / reltuples < 0.1 AS known FROM pg_class WHERE oid = 't'::regclass;
CREATE FUNCTION estimated(query text) RETURNS float8 LANGUAGE plpgsql AS $$ DECLARE plan json; BEGIN EXECUTE 'EXPLAIN (FORMAT json) ' || query INTO plan; RETURN (plan->0->'Plan'->>'Plan Rows')::float8; END $$;
SELECT estimated('SELECT * FROM t') BETWEEN 0.8 * count(*) AND 1.2 * count(*) AS estimated FROM t;
CALL metricsdb.compact('t');
SELECT pg_relation_size('t') < :before / 2 AS cut;
SELECT estimated('SELECT * FROM t') BETWEEN 0.8 * count(*) AND 1.2 * count(*) AS estimated FROM t;
SELECT compare('t', 'kept');
DROP TABLE t, kept CASCADE;

-- A part with a newer row stays: one of many days, of a table with a few rows a day
CREATE TABLE daily (time timestamptz, v int) USING metricsdb;
SELECT metricsdb.set_retention('daily', '1000 days');
INSERT INTO daily SELECT now() - d * '1 day'::interval, d FROM generate_series(500, 1499) d, generate_series(1, 5);
CALL metricsdb.apply_retention('daily');
SELECT max(v) BETWEEN 999 AND 999 + 32 AS whole_parts, count(*) = 5 * (max(v) - 499) AS no_others FROM daily;
-- Without a policy a part may span all of time; with one, an eighth of the time that rows are kept
SELECT max(partition_to - partition_from) <= '125 days' AS narrow FROM metricsdb.parts WHERE "table" = 'daily'::regclass;
DROP TABLE daily;

-- Other types of time
CREATE TABLE stamps (time timestamp, v int) USING metricsdb;
CREATE TABLE dates (time date, v int) USING metricsdb;
SELECT metricsdb.set_retention('stamps', '10 days'), metricsdb.set_retention('dates', '10 days');
INSERT INTO stamps SELECT now()::timestamp - d * '1 day'::interval + '1 h', d FROM generate_series(0, 19) d, generate_series(1, 100);
INSERT INTO dates SELECT current_date - d, d FROM generate_series(0, 19) d, generate_series(1, 100);
INSERT INTO stamps SELECT now()::timestamp - d * '1 day'::interval + '1 h', d FROM generate_series(0, 19) d;
INSERT INTO dates SELECT current_date - d, d FROM generate_series(0, 19) d;
CALL metricsdb.apply_retention();
SELECT max(v), count(*) FROM stamps;
SELECT max(v), count(*) FROM dates;
DROP TABLE stamps, dates;

-- Indexes: entries of rows that are gone go with VACUUM, keys are free at once
CREATE TABLE ix (time timestamptz, host text, v int, k int UNIQUE) USING metricsdb;
SELECT metricsdb.set_retention('ix', '30 days');
INSERT INTO ix SELECT now() - d * '1 day'::interval + '1 h', 'h' || d % 5, d, d * 100 + i FROM generate_series(0, 59) d, generate_series(1, 100) i;
CALL metricsdb.compact('ix');
DELETE FROM ix WHERE v = 50 AND k % 2 = 0;
UPDATE ix SET host = 'h9' WHERE v = 51 AND k % 2 = 0;
CALL metricsdb.apply_retention('ix');
SELECT count(*), max(v) FROM ix;
SET enable_seqscan = off;
SET metricsdb.enable_custom_scan = off;
SELECT count(*) FROM ix WHERE k BETWEEN 1000 AND 7000;
INSERT INTO ix SELECT now(), 'again', 0, d * 100 + i FROM generate_series(31, 59) d, generate_series(1, 100) i;
INSERT INTO ix VALUES (now(), 'twice', 0, 3101);
SELECT count(*) FROM ix WHERE k BETWEEN 1000 AND 7000;
RESET enable_seqscan;
RESET metricsdb.enable_custom_scan;
SELECT pg_relation_size('ix_k_key') > 0 AS entries;
VACUUM ix;
SELECT count(*), count(DISTINCT k) FROM ix;
CALL metricsdb.compact('ix');
VACUUM ix;
SELECT count(*), count(DISTINCT k) FROM ix;
SELECT * FROM metricsdb.check('ix');
DROP TABLE ix;

-- Classes of metrics: the pattern with the most characters of its own counts
SELECT metricsdb.create_metrics_table('m');
SELECT metricsdb.set_retention('m', '30 days');
SELECT metricsdb.set_retention('m', metric => 'audit_*', keep => '2 years');
SELECT metricsdb.set_retention('m', metric => '*_debug', keep => '5 days');
SELECT metricsdb.set_retention('m', metric => 'audit_?_debug', keep => '10 days');
SELECT metricsdb.set_retention('m', metric => 'a\*', keep => '50 days');
SELECT metricsdb.set_retention('m', metric => '', keep => '50 days');
SELECT metricsdb.set_retention('m', metric => 'no such', keep => NULL);
TABLE policies;
CREATE TABLE names (metric text, days int);
INSERT INTO names VALUES ('cpu', 30), ('audit_', 730), ('audit_login', 730), ('audit_x_debug', 10), ('audit_ü_debug', 10), ('audit_xy_debug', 5), ('x_debug', 5), ('_debug', 5), ('debug', 30), ('a*', 50), ('ab', 30), ('Audit_x', 30);
CREATE PROCEDURE fill(n int) LANGUAGE sql AS $$
	INSERT INTO m (metric_name, tags, "time", value) SELECT metric, jsonb_build_object('host', i), now() - d * '1 day'::interval + '1 h', d FROM names, generate_series(0, 99) d, generate_series(1, n) i $$;
CALL fill(70);
SELECT metric, rows, unsorted_parts FROM policies;
SET metricsdb.direct_rows = 1000000;
CALL fill(1);
RESET metricsdb.direct_rows;
CALL metricsdb.apply_retention('m');
-- Rows by metric: as many days as it is kept, and an hour
CREATE VIEW wrong AS SELECT metric, days, max(value) AS has, count(*) FROM names JOIN m ON metric = metric_name GROUP BY 1, 2 HAVING max(value) <> least(days, 99) OR count(*) <> (least(days, 99) + 1) * 71 ORDER BY 1;
TABLE wrong;
SELECT * FROM metricsdb.check('m');
-- Which check() compares
SELECT storage_id, part_id, class FROM metricsdb.part JOIN metricsdb.storage USING (storage_id) WHERE relid = 'm'::regclass ORDER BY class, part_id LIMIT 1 \gset
UPDATE metricsdb.part SET class = class + 1 WHERE storage_id = :storage_id AND part_id = :part_id;
SELECT severity, kind, part = :part_id AS part, message ~ 'are of another retention class than the part' AS message FROM metricsdb.check('m');
UPDATE metricsdb.part SET class = :class WHERE storage_id = :storage_id AND part_id = :part_id;
SELECT * FROM metricsdb.check('m');
-- Merges leave them apart
CALL metricsdb.compact('m');
SELECT metric, rows, unsorted_parts FROM policies;
TABLE wrong;
SELECT * FROM metricsdb.check('m');

-- Other classes: rows that are there stay as long as any class, until they are sorted
TRUNCATE m;
TABLE policies;
CALL fill(71);
SELECT metricsdb.set_retention('m', metric => 'cpu', keep => '3 days');
UPDATE names SET days = 3 WHERE metric = 'cpu';
SELECT metric, rows, due_parts, unsorted_parts FROM policies;
CALL metricsdb.apply_retention('m');
SELECT count(*) FROM m;
CALL metricsdb.compact('m');
SELECT metric, rows, unsorted_parts FROM policies;
SELECT count(*) FROM m;
CALL metricsdb.apply_retention('m');
TABLE wrong;
SELECT * FROM metricsdb.check('m');
-- Parts of one class need not be written anew
CREATE VIEW ids AS SELECT part_id FROM metricsdb.part WHERE storage_id = (SELECT storage_id FROM metricsdb.storage WHERE relid = 'm'::regclass);
CREATE TABLE before AS TABLE ids;
SELECT metricsdb.set_retention('m', metric => 'another', keep => '3 days');
SELECT unsorted_parts > 100 AS unsorted FROM policies WHERE metric IS NULL;
CALL metricsdb.compact('m');
SELECT unsorted_parts FROM policies WHERE metric IS NULL;
SELECT count(*) > 100 AS same FROM (TABLE before INTERSECT TABLE ids) x;
TABLE wrong;
-- A class less
SELECT metricsdb.set_retention('m', metric => 'audit_*', keep => NULL);
CALL metricsdb.compact('m');
SELECT metric, rows, due_parts, unsorted_parts FROM policies;
-- Deleted rows, and some that change while classes do
TRUNCATE m;
CALL fill(71);
CALL metricsdb.compact('m');
DELETE FROM m WHERE tags->>'host' = '3';
UPDATE m SET tags = '{"host": 11}' WHERE tags->>'host' = '2';
CREATE TABLE m_heap AS TABLE m;
SELECT metricsdb.set_retention('m', metric => 'c*', keep => '3 days');
SELECT metricsdb.set_retention('m', metric => '?b', keep => '3 days');
CALL metricsdb.compact('m');
SELECT unsorted_parts FROM policies WHERE metric IS NULL;
SELECT compare('m', 'm_heap');
SELECT * FROM metricsdb.check('m');
-- In a table with indexes, too
CREATE INDEX ON m (value);
SELECT metricsdb.set_retention('m', metric => '?b', keep => NULL);
SELECT metricsdb.set_retention('m', metric => 'a?', keep => '1 day');
CALL metricsdb.compact('m');
SELECT unsorted_parts FROM policies WHERE metric IS NULL;
SELECT compare('m', 'm_heap');
SET enable_seqscan = off;
SET metricsdb.enable_custom_scan = off;
SELECT count(*) FROM m WHERE value = 7;
RESET enable_seqscan;
RESET metricsdb.enable_custom_scan;
SELECT * FROM metricsdb.check('m');

-- It stays: a new name, a new file, another access method, other options
ALTER TABLE m RENAME TO n;
SELECT "table", count(*) FROM policies GROUP BY 1;
DROP VIEW wrong;
VACUUM FULL n;
SELECT metric, rows, unsorted_parts FROM policies;
ALTER TABLE n ALTER value TYPE numeric;
SELECT sum(rows), sum(unsorted_parts) FROM policies;
ALTER TABLE n ALTER value TYPE float8;
ALTER TABLE n SET ACCESS METHOD heap;
TABLE policies;
ALTER TABLE n SET ACCESS METHOD metricsdb;
SELECT sum(rows), sum(unsorted_parts) FROM policies;
SELECT compare('n', 'm_heap');
TRUNCATE n;
SELECT sum(rows), count(*) FROM policies;
SELECT metricsdb.set_options('n', "time" => 'time');
SELECT sum(rows), count(*) FROM policies;
-- Not by a label that would take parts for others than they are
DROP INDEX m_value_idx;
VACUUM n;
INSERT INTO n TABLE m_heap;
SELECT sum(rows), sum(parts) > 1 AS parts FROM policies;
SELECT label FROM pg_seclabels WHERE objoid = 'n'::regclass \gset
SECURITY LABEL FOR metricsdb ON TABLE n IS :'label';
SELECT replace(:'label', '"c*"', '"d*"') AS other \gset
SECURITY LABEL FOR metricsdb ON TABLE n IS :'other';
SELECT metricsdb.set_retention('n', NULL);
SELECT label FROM pg_seclabels WHERE objoid = 'n'::regclass;
TABLE policies;
-- Columns that are no metric any more: rows stay as long as any class
SELECT metricsdb.set_retention('n', '1 day');
SELECT metricsdb.set_retention('n', '50 days', 'audit_login');
ALTER TABLE n DROP COLUMN tags;
INSERT INTO n SELECT 'audit_login', now() - d * '1 day'::interval + '1 h', d FROM generate_series(0, 99) d, generate_series(1, 70);
SET metricsdb.direct_rows = 1000000;
INSERT INTO n SELECT 'audit_login', now() - d * '1 day'::interval + '1 h', d FROM generate_series(0, 99) d;
RESET metricsdb.direct_rows;
CALL metricsdb.compact('n');
CALL metricsdb.apply_retention('n');
SELECT max(value) FROM n;
SELECT * FROM metricsdb.check('n');

-- Temporary and unlogged tables
CREATE TEMP TABLE tmp (time timestamptz, v int) USING metricsdb;
CREATE UNLOGGED TABLE unl (time timestamptz, v int) USING metricsdb;
SELECT metricsdb.set_retention('tmp', '1 day'), metricsdb.set_retention('unl', '1 day');
INSERT INTO tmp SELECT now() - d * '1 day'::interval + '1 h', d FROM generate_series(0, 9) d, generate_series(1, 100);
INSERT INTO unl TABLE tmp;
CALL metricsdb.apply_retention();
SELECT max(v), count(*) FROM tmp UNION ALL SELECT max(v), count(*) FROM unl;

-- Who may: the owner
CREATE ROLE mdb_keeper;
CREATE ROLE mdb_other;
GRANT USAGE, CREATE ON SCHEMA ret TO mdb_keeper;
GRANT USAGE ON SCHEMA ret TO mdb_other;
SET ROLE mdb_keeper;
CREATE TABLE own (time timestamptz, v int) USING metricsdb;
SELECT metricsdb.set_retention('own', '1 day');
INSERT INTO own SELECT now() - d * '1 day'::interval + '1 h', d FROM generate_series(0, 9) d, generate_series(1, 100);
SET ROLE mdb_other;
SELECT metricsdb.set_retention('own', '1 h');
CALL metricsdb.apply_retention('own');
CALL metricsdb.apply_retention();
SELECT count(*) FROM metricsdb.retention_policies;
RESET ROLE;
SELECT count(*) FROM own;
GRANT SELECT, INSERT, DELETE ON own TO mdb_other;
ALTER TABLE own ENABLE ROW LEVEL SECURITY;
SET ROLE mdb_other;
SELECT metricsdb.set_retention('own', '1 h');
CALL metricsdb.apply_retention('own');
SELECT "table", keep, parts, rows, due_parts FROM metricsdb.retention_policies;
SET ROLE mdb_keeper;
TABLE pg_temp.tmp;
CALL metricsdb.apply_retention();
SELECT max(v), count(*) FROM own;
RESET ROLE;
SET client_min_messages = warning;
DROP SCHEMA ret CASCADE;
DROP TABLE tmp;
DROP ROLE mdb_keeper, mdb_other;

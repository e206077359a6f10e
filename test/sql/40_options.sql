-- Options of tables: metricsdb.set_options, labels; CREATE TABLE ... WITH is in 41_with.
-- Inferred: the first timestamptz, else timestamp, else date; text-like columns beside it
CREATE TYPE size AS ENUM ('s', 'm');
CREATE TABLE inferred (d date, ts timestamp, tz timestamptz, tz2 timestamptz, a text, b varchar, c uuid, e bool, f size, g jsonb, h inet, i int, j float8, k numeric, l bytea, m "char", n text[], o name) USING metricsdb;
SELECT * FROM metricsdb.describe('inferred');
CREATE TABLE untimed (a text, b int) USING metricsdb;
SELECT * FROM metricsdb.describe('untimed');
-- Said
CREATE TABLE o (at timestamptz, seen timestamptz, host text, "Region" text, note text, v float8) USING metricsdb;
SELECT metricsdb.set_options('o', 'seen', ARRAY['Region', 'host']);
SELECT * FROM metricsdb.describe('o');
SELECT label FROM pg_seclabels WHERE objoid = 'o'::regclass;
SELECT metricsdb.set_options('o', series => '{host}');
SELECT "column", role, declared FROM metricsdb.describe('o');
SELECT metricsdb.set_options('o', '', '{}');
SELECT "column", role, declared FROM metricsdb.describe('o');
SELECT label FROM pg_seclabels WHERE objoid = 'o'::regclass;
SELECT metricsdb.set_options('o');
SELECT "column", role, declared FROM metricsdb.describe('o');
SELECT label FROM pg_seclabels WHERE objoid = 'o'::regclass;
-- Mistakes
SELECT metricsdb.set_options('o', 'nope');
SELECT metricsdb.set_options('o', 'ctid');
SELECT metricsdb.set_options('o', series => '{host,nope}');
SELECT metricsdb.set_options('o', series => '{host,host}');
SELECT metricsdb.set_options('o', series => '{host,NULL}');
SELECT metricsdb.set_options('o', 'at', '{at}');
SELECT metricsdb.set_options('o', 'v');
SELECT metricsdb.set_options(NULL, 'v');
SELECT metricsdb.set_options(0, 'v');
SELECT metricsdb.set_options('pg_class', 'v');
SELECT metricsdb.set_options('metricsdb.part', 'v');
CREATE VIEW o_view AS SELECT * FROM o;
SELECT metricsdb.set_options('o_view', 'at');
CREATE TABLE o_part (at timestamptz, host text) PARTITION BY RANGE (at);
SELECT metricsdb.set_options('o_part', 'at');
SELECT metricsdb.describe('o_part');
SELECT metricsdb.describe('o_view');
SECURITY LABEL FOR metricsdb ON VIEW o_view IS '{}';
DROP VIEW o_view;
-- Only an empty table: rows in the delta, in a part, of this transaction
INSERT INTO o (at, host, v) VALUES ('2024-01-01Z', 'a', 1);
SELECT metricsdb.set_options('o', series => '{host}');
-- ... the same roles again are fine
SELECT metricsdb.set_options('o', 'at', '{host,Region,note}');
CALL metricsdb.compact('o');
SELECT metricsdb.set_options('o', series => '{host}');
TRUNCATE o;
BEGIN;
INSERT INTO o (at, host, v) VALUES ('2024-01-01Z', 'a', 1);
SELECT metricsdb.set_options('o', series => '{host}');
ROLLBACK;
-- Rows that were rolled back do not count
SELECT metricsdb.set_options('o', series => '{host}');
SELECT label FROM pg_seclabels WHERE objoid = 'o'::regclass;
-- It is transactional
BEGIN;
SELECT metricsdb.set_options('o', series => '{note}');
INSERT INTO o (at, host, note) SELECT '2024-01-01Z', 'h', 'n' || i FROM generate_series(1, 2000) i;
SELECT "column" FROM metricsdb.describe('o') WHERE role = 'series';
ROLLBACK;
SELECT "column" FROM metricsdb.describe('o') WHERE role = 'series';
SELECT label FROM pg_seclabels WHERE objoid = 'o'::regclass;
SELECT count(*) FROM o;
BEGIN;
SAVEPOINT s;
SELECT metricsdb.set_options('o', series => '{note}');
ROLLBACK TO s;
INSERT INTO o (at, host, note) VALUES ('2024-01-01Z', 'h', 'n');
COMMIT;
SELECT host, note FROM o;
TRUNCATE o;
-- Not while the table is being read
BEGIN;
DECLARE c CURSOR FOR SELECT * FROM o;
SELECT metricsdb.set_options('o', series => '{note}');
ROLLBACK;
SELECT n, metricsdb.set_options('o', series => '{note}') FROM (SELECT count(*) AS n FROM o) x;
-- TRUNCATE, VACUUM FULL, ALTER TYPE and other rewrites keep them
INSERT INTO o (at, seen, host, note, v) SELECT '2024-01-01Z', '2024-01-01Z', 'h' || i % 2, 'n' || i % 3, i FROM generate_series(1, 20) i;
TRUNCATE o;
SELECT "column", role FROM metricsdb.describe('o');
INSERT INTO o (at, seen, host, note, v) SELECT '2024-01-01Z', '2024-01-01Z', 'h' || i % 2, 'n' || i % 3, i FROM generate_series(1, 20) i;
VACUUM FULL o;
ALTER TABLE o ALTER v TYPE numeric, ALTER host TYPE varchar(20);
ALTER TABLE o ADD COLUMN r float8 DEFAULT random();
SELECT "column", role FROM metricsdb.describe('o');
SELECT host, count(*), sum(v) FROM o GROUP BY host ORDER BY host;
-- Renamed and dropped columns are so in the options
SELECT label FROM pg_seclabels WHERE objoid = 'o'::regclass;
ALTER TABLE o RENAME host TO "Host";
SELECT label FROM pg_seclabels WHERE objoid = 'o'::regclass;
VACUUM FULL o;
SELECT "column" FROM metricsdb.describe('o') WHERE role = 'series';
ALTER TABLE o DROP COLUMN "Host";
SELECT label FROM pg_seclabels WHERE objoid = 'o'::regclass;
SELECT count(*), sum(v) FROM o;
VACUUM FULL o;
SELECT count(*), sum(v) FROM o;
SELECT "column", role FROM metricsdb.describe('o');
-- A time column that is not a timestamp
CREATE TABLE epoch (ms bigint, host text, v int) USING metricsdb;
SELECT metricsdb.set_options('epoch', 'ms');
INSERT INTO epoch SELECT 1700000000000 + i * 1000, 'h' || i % 3, i FROM generate_series(1, 2000) i;
INSERT INTO epoch VALUES (-5, 'h1', -1), (NULL, 'h1', -2), (9223372036854775807, 'h1', -3), (-9223372036854775808, 'h1', -4);
CALL metricsdb.compact('epoch');
SELECT "column", role FROM metricsdb.describe('epoch');
SELECT host, count(*), sum(v), min(ms), max(ms) FROM epoch GROUP BY host ORDER BY host;
CREATE TABLE tick (n smallint, m int, host text) USING metricsdb;
SELECT metricsdb.set_options('tick', 'n');
INSERT INTO tick SELECT i - 1000, i, 'h' || i % 3 FROM generate_series(1, 2000) i;
SELECT host, count(*), min(n), max(n) FROM tick GROUP BY host ORDER BY host;
SELECT metricsdb.set_options('tick', 'm');
TRUNCATE tick;
SELECT metricsdb.set_options('tick', 'm', '{n}');
INSERT INTO tick SELECT i % 3, i - 1000, 'h' || i % 3 FROM generate_series(1, 2000) i;
SELECT n, host, count(*), min(m), max(m) FROM tick GROUP BY n, host ORDER BY n;
-- Labels by hand, as pg_restore sets them
SECURITY LABEL FOR metricsdb ON TABLE o IS '{"time": "seen", "series": []}';
TRUNCATE o;
SECURITY LABEL FOR metricsdb ON TABLE o IS '{"time": "seen", "series": []}';
SELECT "column", role, declared FROM metricsdb.describe('o');
SECURITY LABEL FOR metricsdb ON TABLE o IS '{"time": null}';
SELECT label FROM pg_seclabels WHERE objoid = 'o'::regclass;
SELECT "column", role, declared FROM metricsdb.describe('o');
SECURITY LABEL FOR metricsdb ON TABLE o IS NULL;
SELECT "column", role, declared FROM metricsdb.describe('o');
SECURITY LABEL FOR metricsdb ON TABLE o IS 'nonsense';
SECURITY LABEL FOR metricsdb ON TABLE o IS '[]';
SECURITY LABEL FOR metricsdb ON TABLE o IS '"time"';
SECURITY LABEL FOR metricsdb ON TABLE o IS '{"thyme": "seen"}';
SECURITY LABEL FOR metricsdb ON TABLE o IS '{"time": 1}';
SECURITY LABEL FOR metricsdb ON TABLE o IS '{"series": {"a": 1}}';
SECURITY LABEL FOR metricsdb ON TABLE o IS '{"series": [1]}';
SECURITY LABEL FOR metricsdb ON TABLE o IS '{"series": ["nope"]}';
SECURITY LABEL FOR metricsdb ON COLUMN o.v IS '{}';
SECURITY LABEL FOR metricsdb ON SCHEMA public IS '{}';
-- Options of a heap table wait for its conversion
CREATE TABLE conv (at timestamptz, host text, note text, v int) USING heap;
INSERT INTO conv SELECT '2024-01-01Z', 'h' || i % 2, 'n' || i, i FROM generate_series(1, 2000) i;
SELECT metricsdb.set_options('conv', series => '{host}');
SELECT metricsdb.describe('conv');
ALTER TABLE conv SET ACCESS METHOD metricsdb;
SELECT "column", role, declared FROM metricsdb.describe('conv');
SELECT host, count(*), sum(v) FROM conv GROUP BY host ORDER BY host;
-- Only the owner
CREATE ROLE mdb_user;
GRANT ALL ON conv, o TO mdb_user;
SET ROLE mdb_user;
SELECT metricsdb.set_options('o', series => '{note}');
SECURITY LABEL FOR metricsdb ON TABLE o IS '{"series": ["note"]}';
RESET ROLE;
DROP OWNED BY mdb_user;
DROP ROLE mdb_user;
DROP TABLE inferred, untimed, o, o_part, epoch, tick, conv;
DROP TYPE size;

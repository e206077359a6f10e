\ir begin.sql
\set ECHO all
CREATE TABLE t (time timestamptz, host text, v int);
INSERT INTO t SELECT '2024-01-01Z'::timestamptz + i * '1 h'::interval, 'h' || i % 3, i FROM generate_series(1, 100) i;
-- TRUNCATE
BEGIN;
TRUNCATE t;
SELECT count(*) FROM t;
INSERT INTO t VALUES ('2024-01-01Z', 'x', 1);
SELECT count(*) FROM t;
ROLLBACK;
SELECT count(*), sum(v) FROM t;
BEGIN;
CREATE TABLE n (time timestamptz, host text, v int);
INSERT INTO n SELECT * FROM t;
TRUNCATE n;
INSERT INTO n SELECT * FROM t WHERE v < 30;
SELECT count(*) FROM n;
TRUNCATE n;
SELECT count(*) FROM n;
INSERT INTO n SELECT * FROM t WHERE v < 20;
SAVEPOINT s;
TRUNCATE n;
ROLLBACK TO s;
SELECT count(*) FROM n;
COMMIT;
SELECT count(*), sum(v) FROM n;
TRUNCATE n, t;
SELECT count(*) FROM n, t;
INSERT INTO t SELECT '2024-01-01Z'::timestamptz + i * '1 h'::interval, 'h' || i % 3, i FROM generate_series(1, 100) i;
DROP TABLE n;
BEGIN;
DROP TABLE t;
ROLLBACK;
SELECT count(*), sum(v) FROM t;

-- ADD COLUMN before and after data, with and without defaults
ALTER TABLE t ADD COLUMN a int;
ALTER TABLE t ADD COLUMN b int DEFAULT 42;
ALTER TABLE t ADD COLUMN c text DEFAULT 'text';
ALTER TABLE t ADD COLUMN d text NOT NULL DEFAULT 'not null';
ALTER TABLE t ADD COLUMN e timestamptz DEFAULT '2020-02-02Z';
ALTER TABLE t ADD COLUMN f numeric DEFAULT 1.50;
SELECT a, b, c, d, e, f, count(*) FROM t GROUP BY 1, 2, 3, 4, 5, 6;
INSERT INTO t (time, host, v, b, c) VALUES ('2024-02-01Z', 'new', 1, NULL, NULL);
INSERT INTO t (time, host, v, b, c) SELECT '2024-02-02Z', 'new', i, i, 'c' || i FROM generate_series(1, 20) i;
SELECT host, a, b, c, d, f, count(*) FROM t GROUP BY 1, 2, 3, 4, 5, 6 ORDER BY 1, 3, 4;
ALTER TABLE t ALTER b SET DEFAULT 43;
ALTER TABLE t ALTER b DROP DEFAULT;
SELECT b, count(*) FROM t WHERE host LIKE 'h%' GROUP BY b;
-- ... a volatile default rewrites the table
ALTER TABLE t ADD COLUMN r float8 DEFAULT random();
SELECT count(DISTINCT r) > 100 AS random, count(*), sum(v), sum(b) FROM t;
-- DROP COLUMN: values, series, time
ALTER TABLE t DROP COLUMN a, DROP COLUMN r;
ALTER TABLE t DROP COLUMN c;
INSERT INTO t VALUES ('2024-02-03Z', 'after', 5, 6, 'd', NULL, 7);
SELECT * FROM t WHERE host = 'after' OR v = 50 ORDER BY time;
ALTER TABLE t DROP COLUMN host;
INSERT INTO t (time, v) SELECT '2024-02-04Z', i FROM generate_series(1, 12) i;
ALTER TABLE t ADD COLUMN host text DEFAULT 'again';
INSERT INTO t (time, v, host) SELECT '2024-02-05Z', i, 'host' || i % 2 FROM generate_series(1, 12) i;
SELECT host, count(*), sum(v) FROM t GROUP BY host ORDER BY host;
ALTER TABLE t DROP COLUMN time;
SELECT count(*), sum(v), sum(b) FROM t;
INSERT INTO t (v, host) SELECT i, 'host' || i % 3 FROM generate_series(1, 14) i;
ALTER TABLE t ADD COLUMN time timestamptz;
INSERT INTO t (v, host, time) SELECT i, 'host' || i % 3, '2024-03-01Z' FROM generate_series(1, 14) i;
SELECT host, time, count(*), sum(v), sum(b) FROM t GROUP BY 1, 2 ORDER BY 1, 2;
VACUUM FULL t;
SELECT host, time, count(*), sum(v), sum(b) FROM t GROUP BY 1, 2 ORDER BY 1, 2;
-- Renames
ALTER TABLE t RENAME COLUMN v TO value;
ALTER TABLE t RENAME TO t2;
SELECT sum(value) FROM t2;
ALTER TABLE t2 RENAME TO t;

-- ALTER TYPE, with and without a rewrite
DROP TABLE t;
CREATE TABLE t (time timestamp, host varchar(10), v int, w numeric(10,2));
INSERT INTO t SELECT '2024-01-01'::timestamp + i * '1 h'::interval, 'h' || i % 3, i, i / 4.0 FROM generate_series(1, 100) i;
INSERT INTO t VALUES ('2024-01-01', 'x', 5, 1);
ALTER TABLE t ALTER host TYPE text;
ALTER TABLE t ALTER v TYPE bigint;
ALTER TABLE t ALTER w TYPE float8;
INSERT INTO t VALUES ('2024-01-01', 'longer than ten', 5000000000, 1.125);
SET timezone = 'UTC';
ALTER TABLE t ALTER time TYPE timestamptz;
SELECT host, count(*), sum(v), sum(w), min(time) FROM t GROUP BY host ORDER BY host;
ALTER TABLE t ALTER v TYPE int;
ALTER TABLE t ALTER v TYPE text USING 'v' || v;
ALTER TABLE t ALTER host TYPE int USING length(host);
SELECT host, count(*), min(v), max(v) FROM t GROUP BY host ORDER BY host;
ALTER TABLE t ALTER v TYPE int USING 1 / 0;
SELECT count(*) FROM t;
-- ... of a type whose values are not to be rewritten
CREATE DOMAIN small AS int CHECK (VALUE < 100);
ALTER TABLE t ALTER host TYPE small;
INSERT INTO t VALUES (now(), 100, 'x', 1);
ALTER TABLE t ALTER v SET NOT NULL;
ALTER TABLE t ADD CONSTRAINT positive CHECK (host > 0) NOT VALID;
ALTER TABLE t VALIDATE CONSTRAINT positive;
INSERT INTO t VALUES ('2024-01-01', 0, 'x', 1);
ALTER TABLE t ALTER v SET STORAGE EXTERNAL;
ALTER TABLE t ALTER v SET STATISTICS 10;
ALTER TABLE t SET (autovacuum_enabled = off);
ALTER TABLE t RESET (autovacuum_enabled);
SELECT count(*) FROM t;

-- SET ACCESS METHOD both ways
CREATE TABLE h (time timestamptz, host text, v float8, note text) USING heap;
INSERT INTO h SELECT '2024-01-01Z'::timestamptz + i * '1 min'::interval, 'h' || i % 5, i / 3.0, CASE WHEN i % 2 = 0 THEN repeat('x', i % 50) END FROM generate_series(1, 2500) i;
CREATE TABLE h2 USING heap AS SELECT * FROM h;
ALTER TABLE h SET ACCESS METHOD :am;
SELECT compare('h', 'h2');
INSERT INTO h VALUES ('2025-01-01Z', 'late', 1, 'late');
INSERT INTO h2 VALUES ('2025-01-01Z', 'late', 1, 'late');
ALTER TABLE h SET ACCESS METHOD heap;
SELECT compare('h', 'h2');
ALTER TABLE h SET ACCESS METHOD :am, ADD COLUMN extra int DEFAULT 5, ALTER v TYPE numeric USING round(v::numeric, 3);
SELECT count(*), sum(v), sum(extra) FROM h;
BEGIN;
ALTER TABLE h SET ACCESS METHOD heap;
INSERT INTO h VALUES ('2025-01-02Z', 'later', 1, 'late', 1);
ROLLBACK;
SELECT count(*), sum(v), sum(extra) FROM h;

-- Temporary tables
CREATE TEMP TABLE tmp (time timestamptz, host text, v int);
INSERT INTO tmp SELECT '2024-01-01Z'::timestamptz + i * '1 h'::interval, 'h' || i % 3, i FROM generate_series(1, 100) i;
INSERT INTO tmp VALUES ('2024-01-01Z', 'one', 1);
SELECT count(*), sum(v) FROM tmp;
BEGIN;
CREATE TEMP TABLE tmp_drop (time timestamptz, v int) ON COMMIT DROP;
INSERT INTO tmp_drop SELECT now(), i FROM generate_series(1, 20) i;
SELECT count(*) FROM tmp_drop;
COMMIT;
SELECT to_regclass('tmp_drop');
CREATE TEMP TABLE tmp_delete (time timestamptz, host text, v int) ON COMMIT DELETE ROWS;
BEGIN;
INSERT INTO tmp_delete SELECT now(), 'h' || i % 3, i FROM generate_series(1, 20) i;
INSERT INTO tmp_delete VALUES (now(), 'x', 1);
SELECT count(*) FROM tmp_delete;
COMMIT;
SELECT count(*) FROM tmp_delete;
BEGIN;
INSERT INTO tmp_delete SELECT now(), 'h' || i % 3, i FROM generate_series(1, 20) i;
SELECT host, count(*) FROM tmp_delete GROUP BY host ORDER BY host;
COMMIT;
SELECT count(*) FROM tmp_delete;
DISCARD TEMP;
SELECT to_regclass('tmp'), to_regclass('tmp_delete');
-- Unlogged tables
CREATE UNLOGGED TABLE u (time timestamptz, host text, v int);
INSERT INTO u SELECT '2024-01-01Z'::timestamptz + i * '1 h'::interval, 'h' || i % 3, i FROM generate_series(1, 100) i;
INSERT INTO u VALUES ('2024-01-01Z', 'one', 1);
SELECT count(*), sum(v) FROM u;
ALTER TABLE u SET LOGGED;
SELECT count(*), sum(v) FROM u;
INSERT INTO u VALUES ('2024-01-01Z', 'one', 1);
ALTER TABLE u SET UNLOGGED;
INSERT INTO u SELECT '2024-01-01Z', 'x', i FROM generate_series(1, 20) i;
SELECT count(*), sum(v) FROM u;
-- Materialized views
CREATE MATERIALIZED VIEW mv AS SELECT host, date_trunc('day', time) AS day, sum(v) AS total FROM u GROUP BY 1, 2;
SELECT count(*), sum(total) FROM mv;
INSERT INTO u SELECT '2024-05-01Z', 'x', i FROM generate_series(1, 20) i;
REFRESH MATERIALIZED VIEW mv;
SELECT count(*), sum(total) FROM mv;
CREATE MATERIALIZED VIEW mv2 AS SELECT * FROM mv WITH NO DATA;
SELECT * FROM mv2;
REFRESH MATERIALIZED VIEW mv2;
SELECT count(*), sum(total) FROM mv2;
REFRESH MATERIALIZED VIEW mv2 WITH NO DATA;
DROP MATERIALIZED VIEW mv CASCADE;
-- Generated and identity columns
CREATE TABLE g (time timestamptz, host text, v int, twice int GENERATED ALWAYS AS (v * 2) STORED, id int GENERATED ALWAYS AS IDENTITY, tag text GENERATED ALWAYS AS ('t' || v % 2) STORED);
INSERT INTO g (time, host, v) SELECT '2024-01-01Z', 'h', i FROM generate_series(1, 30) i;
INSERT INTO g (time, host, v) VALUES ('2024-01-02Z', 'h', 100) RETURNING twice, id, tag;
INSERT INTO g (time, host, v, twice) VALUES ('2024-01-02Z', 'h', 100, 1);
INSERT INTO g (time, host, v, id) VALUES ('2024-01-02Z', 'h', 100, 1);
SELECT tag, count(*), sum(twice), min(id), max(id) FROM g GROUP BY tag ORDER BY tag;
ALTER TABLE g ADD COLUMN thrice bigint GENERATED ALWAYS AS (v * 3) STORED;
SELECT sum(thrice) FROM g;
-- Tablespaces
SET allow_in_place_tablespaces = on;
SET client_min_messages = error;
CREATE TABLESPACE mdb_space LOCATION '';
RESET client_min_messages;
ALTER TABLE g SET TABLESPACE mdb_space;
SELECT tag, count(*), sum(twice) FROM g GROUP BY tag ORDER BY tag;
INSERT INTO g (time, host, v) SELECT '2024-01-03Z', 'h', i FROM generate_series(1, 30) i;
CREATE TABLE in_space (time timestamptz, host text, v int) TABLESPACE mdb_space;
INSERT INTO in_space SELECT '2024-01-03Z', 'h', i FROM generate_series(1, 30) i;
ALTER TABLE g SET TABLESPACE pg_default;
SELECT tag, count(*), sum(twice) FROM g GROUP BY tag ORDER BY tag;
SELECT sum(v) FROM in_space;
DROP TABLE in_space;
DROP TABLESPACE mdb_space;
-- Composite and typed tables, views on top, rules
CREATE TYPE reading AS (time timestamptz, host text, v int);
CREATE TABLE typed OF reading;
INSERT INTO typed SELECT '2024-01-03Z', 'h' || i % 2, i FROM generate_series(1, 30) i;
CREATE VIEW over AS SELECT host, v FROM typed;
INSERT INTO over VALUES ('view', 1);
SELECT host, count(*), sum(v) FROM over GROUP BY host ORDER BY host;
CREATE RULE twice AS ON INSERT TO over DO ALSO INSERT INTO typed VALUES (NULL, 'rule', NEW.v);
INSERT INTO over VALUES ('ruled', 5);
SELECT host, count(*), sum(v) FROM over GROUP BY host ORDER BY host;
-- DROP SCHEMA takes everything along
CREATE SCHEMA inner_schema CREATE TABLE a (time timestamptz, v int) CREATE TABLE b (time timestamptz, v int);
INSERT INTO inner_schema.a VALUES (now(), 1);
SET client_min_messages = warning;
DROP SCHEMA inner_schema CASCADE;
\set ECHO none

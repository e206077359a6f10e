\ir begin.sql
\set ECHO all
CREATE TABLE t (time timestamptz NOT NULL, host text NOT NULL, v int, note text, PRIMARY KEY (host, time));
INSERT INTO t SELECT '2024-01-01Z'::timestamptz + i * '1 min'::interval, 'h' || i % 5, i, 'old' FROM generate_series(1, 300) i;
CALL settle();
CREATE VIEW state AS SELECT count(*), sum(v), count(note) AS noted, count(DISTINCT note) AS notes, md5(string_agg(t::text, ',' ORDER BY v, t::text COLLATE "C")) FROM t;
TABLE state;
-- Without ON CONFLICT it is an error
INSERT INTO t VALUES ('2024-01-01 00:01Z', 'h1', 0);
INSERT INTO t VALUES ('2024-02-01Z', 'h1', 0), ('2024-02-01Z', 'h1', 0);
INSERT INTO t SELECT '2024-01-01Z'::timestamptz + i * '1 min'::interval, 'h' || i % 5, i FROM generate_series(290, 600) i;
TABLE state;
-- DO NOTHING
INSERT INTO t VALUES ('2024-01-01 00:01Z', 'h1', 1000) ON CONFLICT DO NOTHING;
INSERT INTO t VALUES ('2024-01-01 00:01Z', 'h1', 1000) ON CONFLICT (host, time) DO NOTHING;
INSERT INTO t VALUES ('2024-01-01 00:01Z', 'h1', 1000) ON CONFLICT ON CONSTRAINT t_pkey DO NOTHING RETURNING *;
INSERT INTO t VALUES ('2024-01-01 00:01Z', 'h1', 1000), ('2024-02-01Z', 'h1', 1001), ('2024-02-01Z', 'h1', 1002) ON CONFLICT (time, host) DO NOTHING;
TABLE state;
INSERT INTO t SELECT '2024-01-01Z'::timestamptz + i * '1 min'::interval, 'h' || i % 5, i, 'new' FROM generate_series(250, 350) i ON CONFLICT DO NOTHING;
TABLE state;
WITH i AS (INSERT INTO t SELECT '2024-01-01Z'::timestamptz + i * '1 min'::interval, 'h' || i % 5, i, 'newer' FROM generate_series(345, 353) i ON CONFLICT DO NOTHING RETURNING *) SELECT * FROM i ORDER BY v;
-- DO UPDATE
INSERT INTO t VALUES ('2024-01-01 00:01Z', 'h1', 1000, 'updated') ON CONFLICT (host, time) DO UPDATE SET v = excluded.v, note = excluded.note RETURNING *;
INSERT INTO t AS x VALUES ('2024-01-01 00:02Z', 'h2', 1000) ON CONFLICT (host, time) DO UPDATE SET v = x.v + excluded.v, note = x.note || ' and more' RETURNING *, xmax <> 0 AS updated;
INSERT INTO t VALUES ('2024-03-01Z', 'h1', 1003) ON CONFLICT (host, time) DO UPDATE SET v = 0 RETURNING *, xmax <> 0 AS updated;
INSERT INTO t VALUES ('2024-03-01Z', 'h1', 1004) ON CONFLICT (host, time) DO UPDATE SET v = excluded.v RETURNING *, xmax <> 0 AS updated;
INSERT INTO t VALUES ('2024-01-01 00:03Z', 'h3', 1000) ON CONFLICT (host, time) DO UPDATE SET (v, note) = (SELECT excluded.v + max(v), 'sub' FROM t) RETURNING *;
TABLE state;
INSERT INTO t SELECT '2024-01-01Z'::timestamptz + i * '1 min'::interval, 'h' || i % 5, -i, 'upsert' FROM generate_series(280, 420) i ON CONFLICT (host, time) DO UPDATE SET v = t.v + excluded.v, note = 'upserted';
TABLE state;
SELECT note, count(*), sum(v) FROM t GROUP BY note ORDER BY note;
-- ... under a condition, which locks the row only
INSERT INTO t SELECT '2024-01-01Z'::timestamptz + i * '1 min'::interval, 'h' || i % 5, i, 'some' FROM generate_series(1, 20) i ON CONFLICT (host, time) DO UPDATE SET note = excluded.note WHERE t.v % 2 = 0;
INSERT INTO t VALUES ('2024-01-01 00:01Z', 'h1', 1) ON CONFLICT (host, time) DO UPDATE SET note = 'x' WHERE excluded.v > 5 RETURNING *;
TABLE state;
-- The same row twice
INSERT INTO t VALUES ('2024-01-01 00:04Z', 'h4', 1), ('2024-01-01 00:04Z', 'h4', 2) ON CONFLICT (host, time) DO UPDATE SET v = excluded.v;
INSERT INTO t VALUES ('2024-04-01Z', 'h4', 1), ('2024-04-01Z', 'h4', 2) ON CONFLICT (host, time) DO UPDATE SET v = excluded.v;
INSERT INTO t VALUES ('2024-04-01Z', 'h4', 1), ('2024-04-01Z', 'h4', 2) ON CONFLICT (host, time) DO NOTHING;
SELECT v FROM t WHERE time = '2024-04-01Z';
-- The key itself is changed, to a free one and to one that is taken
INSERT INTO t VALUES ('2024-01-01 00:05Z', 'h0', 1) ON CONFLICT (host, time) DO UPDATE SET host = 'h99' RETURNING *;
INSERT INTO t VALUES ('2024-01-01 00:06Z', 'h1', 1) ON CONFLICT (host, time) DO UPDATE SET time = '2024-01-01 00:11Z' RETURNING *;
INSERT INTO t VALUES ('2024-01-01 00:05Z', 'h0', 5) ON CONFLICT (host, time) DO NOTHING RETURNING *;
TABLE state;
-- After deletes and updates: what is gone is no conflict
DELETE FROM t WHERE v BETWEEN 100 AND 110;
INSERT INTO t SELECT '2024-01-01Z'::timestamptz + i * '1 min'::interval, 'h' || i % 5, i, 'back' FROM generate_series(95, 115) i ON CONFLICT (host, time) DO UPDATE SET note = 'was there';
SELECT note, count(*), sum(v) FROM t WHERE v BETWEEN 90 AND 120 GROUP BY note ORDER BY note;
UPDATE t SET host = 'other' WHERE v BETWEEN 120 AND 125;
INSERT INTO t SELECT '2024-01-01Z'::timestamptz + i * '1 min'::interval, 'h' || i % 5, i, 'free' FROM generate_series(118, 127) i ON CONFLICT DO NOTHING;
SELECT host, v, note FROM t WHERE v BETWEEN 118 AND 127 ORDER BY v, host;
CALL settle();
TABLE state;
INSERT INTO t SELECT time, host, v, 'again' FROM t ON CONFLICT (host, time) DO UPDATE SET note = excluded.note || t.v % 3;
SELECT note, count(*), sum(v) FROM t GROUP BY note ORDER BY note;
-- Other unique indexes: of an expression, partial, with INCLUDE, several of them
CREATE TABLE u (time timestamptz DEFAULT '2024-01-01Z', name text, kind text, v int, live bool DEFAULT true);
CREATE UNIQUE INDEX u_name ON u (lower(name)) INCLUDE (v);
CREATE UNIQUE INDEX u_live ON u (kind) WHERE live;
INSERT INTO u (name, kind, v) SELECT 'Name' || i, 'k' || i, i FROM generate_series(1, 150) i;
CALL settle();
INSERT INTO u (name, kind, v) VALUES ('NAME7', 'x', 1000) ON CONFLICT (lower(name)) DO UPDATE SET v = excluded.v RETURNING *;
INSERT INTO u (name, kind, v) VALUES ('fresh', 'k8', 1000) ON CONFLICT (kind) WHERE live DO UPDATE SET live = false RETURNING *;
INSERT INTO u (name, kind, v) VALUES ('fresh', 'k8', 1001) ON CONFLICT (kind) WHERE live DO UPDATE SET live = false RETURNING *;
INSERT INTO u (name, kind, v) VALUES ('fresh2', 'k8', 1002) ON CONFLICT (kind) DO NOTHING;
INSERT INTO u (name, kind, v) VALUES ('name9', 'k10', 1) ON CONFLICT (lower(name)) DO UPDATE SET v = -1;
INSERT INTO u (name, kind, v) VALUES ('name9', 'k10', 1) ON CONFLICT DO NOTHING;
INSERT INTO u (name, kind, v, live) VALUES ('dead', 'k10', 1, false) ON CONFLICT (kind) WHERE live DO NOTHING RETURNING *;
SELECT count(*), sum(v), count(*) FILTER (WHERE live) AS live FROM u;
-- In one transaction with the rows that it conflicts with
BEGIN;
INSERT INTO t VALUES ('2024-05-01Z', 'own', 1);
INSERT INTO t VALUES ('2024-05-01Z', 'own', 2) ON CONFLICT (host, time) DO UPDATE SET v = t.v + excluded.v RETURNING v;
INSERT INTO t SELECT '2024-05-02Z'::timestamptz + i * '1 min'::interval, 'own', i FROM generate_series(1, 150) i;
INSERT INTO t SELECT '2024-05-02Z'::timestamptz + i * '1 min'::interval, 'own', i FROM generate_series(100, 200) i ON CONFLICT (host, time) DO UPDATE SET v = -t.v;
SELECT count(*), sum(v) FROM t WHERE host = 'own';
SAVEPOINT s;
INSERT INTO t SELECT '2024-05-02Z'::timestamptz + i * '1 min'::interval, 'own', i FROM generate_series(1, 250) i ON CONFLICT (host, time) DO UPDATE SET v = 0;
SELECT count(*), sum(v) FROM t WHERE host = 'own';
ROLLBACK TO s;
INSERT INTO t SELECT '2024-05-02Z'::timestamptz + i * '1 min'::interval, 'own', i FROM generate_series(200, 250) i ON CONFLICT (host, time) DO NOTHING;
SELECT count(*), sum(v) FROM t WHERE host = 'own';
COMMIT;
-- A plan that is reused; without an index there is no arbiter
PREPARE p (int) AS INSERT INTO t VALUES ('2024-06-01Z', 'p', $1) ON CONFLICT (host, time) DO UPDATE SET v = t.v + excluded.v RETURNING v;
EXECUTE p (1); EXECUTE p (1); EXECUTE p (1); EXECUTE p (1); EXECUTE p (1); EXECUTE p (1); EXECUTE p (1);
INSERT INTO t VALUES ('2024-01-01Z', 'x', 1) ON CONFLICT (v) DO NOTHING;
INSERT INTO t VALUES ('2024-01-01Z', 'x', 1) ON CONFLICT DO UPDATE SET v = 1;
ALTER TABLE t DROP CONSTRAINT t_pkey;
EXECUTE p (1);
DEALLOCATE p;
INSERT INTO t VALUES ('2024-06-01Z', 'p', -1) ON CONFLICT DO NOTHING;
SELECT count(*) FROM t WHERE host = 'p';
-- Partitions
CREATE TABLE parted (k int PRIMARY KEY, time timestamptz DEFAULT '2024-01-01Z', v int) PARTITION BY RANGE (k);
CREATE TABLE parted1 PARTITION OF parted FOR VALUES FROM (0) TO (100);
CREATE TABLE parted2 PARTITION OF parted FOR VALUES FROM (100) TO (200) USING heap;
INSERT INTO parted (k, v) SELECT i, i FROM generate_series(1, 150) i;
CALL settle();
INSERT INTO parted (k, v) SELECT i, i FROM generate_series(91, 190) i ON CONFLICT (k) DO UPDATE SET v = parted.v + excluded.v;
INSERT INTO parted (k, v) SELECT i, 0 FROM generate_series(0, 199) i ON CONFLICT DO NOTHING;
SELECT tableoid::regclass, count(*), sum(v) FROM parted GROUP BY 1 ORDER BY 1;
INSERT INTO parted (k, v) VALUES (5, 5) ON CONFLICT (k) DO UPDATE SET k = 6;
INSERT INTO parted (k, v) VALUES (5, 5) ON CONFLICT (k) DO UPDATE SET k = 1000;
\set ECHO none

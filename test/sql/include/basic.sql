\ir begin.sql
\set ECHO all
-- INSERT, one row and several
CREATE TABLE cpu (time timestamptz NOT NULL, host text, region text, usage float8, n int DEFAULT 7);
INSERT INTO cpu VALUES ('2024-01-01 00:00:00Z', 'a', 'eu', 1.5, 1);
INSERT INTO cpu (time, host) VALUES ('2024-01-01 00:00:01Z', 'a'), ('2024-01-01 00:00:00Z', 'b'), ('2023-12-31 23:59:59Z', NULL);
SELECT * FROM cpu ORDER BY time, host;
SELECT count(*), sum(usage), min(time), max(n) FROM cpu;
SELECT host, count(*) FROM cpu GROUP BY host ORDER BY host;

-- Constraints and defaults are checked as ever
INSERT INTO cpu VALUES (NULL, 'a');
ALTER TABLE cpu ADD CHECK (usage < 100);
INSERT INTO cpu VALUES ('2024-01-01Z', 'a', 'eu', 101);
INSERT INTO cpu VALUES ('2024-01-01Z', 'a', 'eu', 'NaN');
SELECT count(*) FROM cpu;

-- RETURNING
INSERT INTO cpu VALUES ('2024-01-02Z', 'r', 'eu', 2, 3), ('2024-01-03Z', 'r', 'eu', 4, 5) RETURNING host, usage * 2 AS double, n;
WITH i AS (INSERT INTO cpu VALUES ('2024-01-04Z', 'w', 'eu', 2, 3) RETURNING *) SELECT host, n FROM i;
WITH i AS (INSERT INTO cpu VALUES ('2024-01-05Z', 'w', 'eu', 2, 3) RETURNING *) SELECT count(*) FROM cpu WHERE host = 'w';
SELECT count(*) FROM cpu WHERE host = 'w';

-- INSERT ... SELECT, many rows, and from itself
INSERT INTO cpu SELECT '2024-02-01Z'::timestamptz + i * '1 min'::interval, 'h' || i % 7, 'r' || i % 3, i % 10, i FROM generate_series(1, 3000) i;
SELECT count(*), count(DISTINCT host), sum(n), sum(usage) FROM cpu WHERE time >= '2024-02-01Z';
INSERT INTO cpu SELECT time + '1 day', host, region, usage, -n FROM cpu WHERE time >= '2024-02-01Z';
SELECT count(*), count(DISTINCT host), sum(n), sum(usage) FROM cpu WHERE time >= '2024-02-01Z';
SELECT region, count(*), round(avg(n)::numeric, 2) FROM cpu WHERE host = 'h3' GROUP BY region ORDER BY region;
SELECT time, host, n FROM cpu WHERE host = 'h5' AND region = 'r1' ORDER BY time DESC, n LIMIT 3;

-- ON CONFLICT DO NOTHING without an arbiter, which a table without indexes never needs
INSERT INTO cpu VALUES ('2024-01-01Z', 'c', 'eu', 1, 1) ON CONFLICT DO NOTHING;
SELECT count(*) FROM cpu WHERE host = 'c';

-- CTAS, SELECT INTO, TABLE, LIKE, VALUES
CREATE TABLE copy1 AS SELECT * FROM cpu;
SELECT * INTO copy2 FROM cpu WHERE host IS NOT NULL;
CREATE TABLE copy3 (LIKE cpu INCLUDING ALL);
INSERT INTO copy3 TABLE cpu;
CREATE TABLE copy4 AS SELECT * FROM cpu WITH NO DATA;
SELECT compare('cpu', 'copy1'), compare('cpu', 'copy3'), (SELECT count(*) FROM copy2) - (SELECT count(*) FROM cpu) AS fewer, (SELECT count(*) FROM copy4) AS none;
EXPLAIN (ANALYZE, COSTS off, TIMING off, SUMMARY off) CREATE TABLE copy5 AS SELECT 1 AS one \g /dev/null
SELECT * FROM copy5;

-- COPY, in and out, text, CSV and binary
CREATE TABLE c (time timestamptz, host text, note text, v float8, i int, b bytea);
COPY c FROM stdin;
2024-01-01 00:00:00+00	a	one	1.5	1	\\x0001
2024-01-01 00:00:00+00	b	\N	-0	\N	\N
2024-01-01 00:01:00+00	a	tab\tnew\nline	NaN	-5	\\x
infinity	\N		Infinity	2147483647	\\xff
\.
COPY c (v, host) FROM stdin (FORMAT csv, NULL 'none');
1e-300,"x, y"
none,""
\.
COPY c FROM stdin;
2024-01-01 00:00:00+00	a	short
\.
COPY (SELECT * FROM c ORDER BY time, host, v) TO stdout;
COPY (SELECT * FROM c ORDER BY time, host, v) TO stdout (FORMAT csv, HEADER);
COPY c (host, i) TO '/dev/null' (FORMAT binary);
-- More rows than a batch of COPY has
COPY (SELECT '2024-01-01Z'::timestamptz + i * '10 s'::interval, 'h' || i % 20, 'n', i, i, NULL FROM generate_series(1, 5000) i) TO :'file';
COPY c FROM :'file';
SELECT count(*), sum(v) FROM c WHERE note = 'n';
COPY c FROM :'file' WHERE i % 100 = 0;
SELECT count(*), sum(v) FROM c WHERE note = 'n';
TRUNCATE c;
BEGIN;
TRUNCATE c;
COPY c FROM :'file' (FREEZE);
SELECT count(*), sum(v) FROM c;
COMMIT;
SELECT count(*), sum(v) FROM c;

-- Prepared statements, before and after more data and after DDL
PREPARE q(text) AS SELECT count(*), sum(i) FROM c WHERE host = $1;
EXECUTE q('h3');
INSERT INTO c (time, host, i) VALUES (now(), 'h3', 1000000);
EXECUTE q('h3');
PREPARE ins(int, text) AS INSERT INTO c (time, i, host) VALUES ('2024-05-05Z', $1, $2);
EXECUTE ins(1, 'p'); EXECUTE ins(2, 'p'); EXECUTE ins(3, 'p'); EXECUTE ins(4, 'p'); EXECUTE ins(5, 'p'); EXECUTE ins(6, 'p'); EXECUTE ins(7, 'p');
ALTER TABLE c ADD COLUMN more int DEFAULT 3;
EXECUTE ins(8, 'p');
TRUNCATE c;
EXECUTE ins(9, 'p');
EXECUTE q('p');
DEALLOCATE ALL;

-- Joins, subqueries, window functions, lateral, whole rows, set operations
CREATE TABLE hosts (host text, owner text);
INSERT INTO hosts SELECT 'h' || i, 'o' || i % 2 FROM generate_series(0, 6) i;
SELECT owner, count(*), sum(n) FROM cpu JOIN hosts USING (host) GROUP BY owner ORDER BY owner;
SELECT host, last.n FROM hosts, LATERAL (SELECT n FROM cpu WHERE cpu.host = hosts.host ORDER BY time DESC, n LIMIT 1) last ORDER BY host;
SELECT host, n, n - lag(n) OVER (PARTITION BY host ORDER BY time, n) AS diff FROM cpu WHERE host IN ('h1', 'h2') AND time < '2024-02-01 00:30Z' ORDER BY host, time, n;
SELECT c FROM cpu c WHERE host = 'r' ORDER BY c.time;
SELECT c IS NULL, c IS NOT NULL, (c).host FROM cpu c WHERE c.host IS NULL OR c.host = 'r' ORDER BY c.time;
SELECT count(*) FROM cpu c WHERE c IN (SELECT d FROM cpu d WHERE d.host = 'h1');
SELECT count(*) FROM cpu a WHERE EXISTS (SELECT 1 FROM cpu b WHERE b.host = a.host AND b.time = a.time - '1 day'::interval);
(SELECT host FROM cpu EXCEPT SELECT host FROM hosts) ORDER BY 1;
SELECT count(*) FROM (SELECT * FROM cpu EXCEPT ALL SELECT * FROM copy1) x;
SELECT tableoid::regclass, count(*) FROM cpu GROUP BY 1;

-- A table without columns, and one of a single one
CREATE TABLE nothing ();
INSERT INTO nothing DEFAULT VALUES;
INSERT INTO nothing SELECT FROM generate_series(1, 50);
SELECT count(*) FROM nothing;
SELECT FROM nothing LIMIT 2;
ALTER TABLE nothing ADD COLUMN i int DEFAULT 5;
INSERT INTO nothing SELECT i FROM generate_series(1, 50) i;
SELECT i, count(*) FROM nothing GROUP BY i ORDER BY 2 DESC, 1 LIMIT 3;
CREATE TABLE single (host text);
INSERT INTO single SELECT 'x' || i % 3 FROM generate_series(1, 100) i;
SELECT host, count(*) FROM single GROUP BY 1 ORDER BY 1;
\set ECHO none

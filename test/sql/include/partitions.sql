\ir begin.sql
\set ECHO all
-- Partitions by time: some of them heap tables
CREATE TABLE m (time timestamptz NOT NULL, host text, v float8) PARTITION BY RANGE (time);
CREATE TABLE m_1 PARTITION OF m FOR VALUES FROM ('2024-01-01Z') TO ('2024-02-01Z');
CREATE TABLE m_2 PARTITION OF m FOR VALUES FROM ('2024-02-01Z') TO ('2024-03-01Z') USING heap;
CREATE TABLE m_rest PARTITION OF m DEFAULT;
INSERT INTO m SELECT '2024-01-15Z'::timestamptz + i * '1 h'::interval, 'h' || i % 4, i FROM generate_series(1, 1500) i;
INSERT INTO m VALUES ('2020-01-01Z', 'old', 1), ('2024-02-15Z', 'one', 2), ('2024-01-20Z', 'one', 3);
SELECT tableoid::regclass AS part, count(*), sum(v) FROM m GROUP BY 1 ORDER BY 1;
SELECT host, count(*) FROM m WHERE time >= '2024-01-20Z' AND time < '2024-02-10Z' GROUP BY host ORDER BY host;
COPY m FROM stdin;
2024-01-16 00:00:00+00	copy	1
2024-02-16 00:00:00+00	copy	2
2030-01-01 00:00:00+00	copy	3
\.
SELECT tableoid::regclass AS part, v FROM m WHERE host = 'copy' ORDER BY v;
-- Wrong partition, detach, attach with a check of the rows
INSERT INTO m_1 VALUES ('2024-03-01Z', 'x', 1);
ALTER TABLE m DETACH PARTITION m_1;
SELECT count(*) FROM m;
INSERT INTO m_1 VALUES ('2024-03-01Z', 'x', 1);
ALTER TABLE m ATTACH PARTITION m_1 FOR VALUES FROM ('2024-01-01Z') TO ('2024-02-01Z');
CREATE TABLE m_new (LIKE m_1);
INSERT INTO m_new SELECT * FROM m_1 WHERE time < '2024-02-01Z';
ALTER TABLE m ATTACH PARTITION m_new FOR VALUES FROM ('2024-01-01Z') TO ('2024-02-01Z');
SELECT count(*), sum(v) FROM m;
CREATE TABLE m_dec PARTITION OF m FOR VALUES FROM ('2019-12-01Z') TO ('2019-12-31Z');
CREATE TABLE m_jan PARTITION OF m FOR VALUES FROM ('2020-01-01Z') TO ('2020-02-01Z');
-- Partition pruning and partitionwise work
SET enable_partitionwise_aggregate = on;
SET enable_partitionwise_join = on;
SELECT date_trunc('month', time AT TIME ZONE 'UTC') AS month, count(*), sum(v) FROM m GROUP BY 1 ORDER BY 1;
SELECT count(*) FROM m a JOIN m b USING (time, host) WHERE a.host = 'h1';
TRUNCATE m_2;
SELECT count(*) FROM m;
TRUNCATE m;
SELECT count(*) FROM m;
-- List and hash, two levels; a partition key that is a series column
CREATE TABLE l (time timestamptz, region text, host text, v int) PARTITION BY LIST (region);
CREATE TABLE l_eu PARTITION OF l FOR VALUES IN ('eu');
CREATE TABLE l_other PARTITION OF l DEFAULT PARTITION BY HASH (host);
CREATE TABLE l_other_0 PARTITION OF l_other FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE l_other_1 PARTITION OF l_other FOR VALUES WITH (MODULUS 2, REMAINDER 1);
INSERT INTO l SELECT '2024-01-01Z', CASE WHEN i % 3 = 0 THEN 'eu' ELSE 'r' || i % 2 END, 'h' || i % 10, i FROM generate_series(1, 200) i;
SELECT region, count(*), sum(v) FROM l GROUP BY region ORDER BY region;
SELECT tableoid::regclass = 'l_eu'::regclass AS eu, count(*) FROM l GROUP BY 1 ORDER BY 1;
ALTER TABLE l ADD COLUMN w int DEFAULT 9;
INSERT INTO l (time, region, host, v) VALUES ('2024-01-02Z', 'eu', 'h', 1);
SELECT w, count(*) FROM l GROUP BY w;
ALTER TABLE l DROP COLUMN v;
ALTER TABLE l ALTER w TYPE bigint;
SELECT w, count(*) FROM l GROUP BY w;
-- A partition whose columns are in another order
CREATE TABLE l_us (w bigint, dropped int, host text, region text, time timestamptz);
ALTER TABLE l_us DROP COLUMN dropped;
ALTER TABLE l ATTACH PARTITION l_us FOR VALUES IN ('us');
INSERT INTO l SELECT '2024-01-01Z', 'us', 'h' || i % 10, i FROM generate_series(1, 20) i;
INSERT INTO l VALUES ('2024-01-01Z', 'us', 'h', 1);
SELECT region, host, sum(w) FROM l WHERE region = 'us' GROUP BY 1, 2 ORDER BY 1, 2;
-- Inheritance
CREATE TABLE parent (time timestamptz, host text, v int);
CREATE TABLE child (extra text) INHERITS (parent);
CREATE TABLE heap_child () INHERITS (parent) USING heap;
INSERT INTO parent SELECT '2024-01-01Z', 'p', i FROM generate_series(1, 20) i;
INSERT INTO child SELECT '2024-01-01Z', 'c', i, 'e' || i FROM generate_series(1, 20) i;
INSERT INTO heap_child SELECT '2024-01-01Z', 'hc', i FROM generate_series(1, 20) i;
SELECT host, tableoid::regclass, count(*), sum(v) FROM parent GROUP BY 1, 2 ORDER BY 1;
SELECT host, count(*) FROM ONLY parent GROUP BY 1;
ALTER TABLE parent ADD COLUMN later int DEFAULT 1;
SELECT later, count(*) FROM parent GROUP BY 1;
\set ECHO none

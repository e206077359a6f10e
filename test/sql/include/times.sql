\ir begin.sql
\set ECHO all
-- Out of order, equal, in the far past and future, infinite, NULL
CREATE TABLE t (time timestamptz, host text, v int);
INSERT INTO t SELECT '2024-01-01Z'::timestamptz + (i * 7919 % 2000) * '1 min'::interval, 'h' || i % 3, i FROM generate_series(1, 2000) i;
SELECT host, count(*), sum(v), min(time), max(time) FROM t GROUP BY host ORDER BY host;
SELECT v FROM t WHERE host = 'h1' ORDER BY time LIMIT 5;
INSERT INTO t SELECT '2024-01-01Z', 'same', i FROM generate_series(1, 1500) i;
INSERT INTO t SELECT '2024-01-01Z', 'same', i FROM generate_series(1, 3) i;
SELECT count(*), sum(v) FROM t WHERE host = 'same';
CREATE TABLE edge (time timestamptz, host text, v int);
INSERT INTO edge SELECT x::timestamptz, 'h' || i % 2, i FROM generate_series(1, 20) i,
	unnest('{infinity,-infinity,NULL,"4713-01-01 BC","294276-12-31 23:59:59.999999","0001-01-01 BC","0001-01-01",1999-12-31 23:59:59.999999,2000-01-01,1970-01-01,2262-04-12}'::text[]) x;
INSERT INTO edge VALUES ('infinity', 'i', 0), ('-infinity', 'i', 0), (NULL, 'i', 0);
SELECT time, count(*), sum(v) FROM edge GROUP BY time ORDER BY time;
SELECT count(*) FROM edge WHERE time = 'infinity' OR time = '-infinity' OR time < '0001-01-01';
SELECT count(*) FROM edge WHERE isfinite(time);
-- Rows that spread over many days, and over few
CREATE TABLE days (time timestamptz, host text, v int);
INSERT INTO days SELECT '1990-01-01Z'::timestamptz + i * '3 days'::interval, 'h' || i % 5, i FROM generate_series(1, 4000) i;
INSERT INTO days SELECT '2024-06-01Z'::timestamptz + i * '1 s'::interval, 'h' || i % 5, i FROM generate_series(1, 4000) i;
INSERT INTO days SELECT '2024-06-30Z'::timestamptz - i * '1 day'::interval, 'h' || i % 5, i FROM generate_series(1, 40) i;
SELECT date_trunc('year', time)::date AS year, count(*), sum(v) FROM days GROUP BY 1 ORDER BY 1 LIMIT 5;
SELECT count(*), sum(v), min(time), max(time) FROM days;
-- timestamp and date as the time column
CREATE TABLE ts (time timestamp, host text, v int);
INSERT INTO ts SELECT '2024-01-01'::timestamp + i * '1 h'::interval, 'h' || i % 2, i FROM generate_series(1, 500) i;
INSERT INTO ts VALUES ('infinity', 'x', 1), ('-infinity', 'x', 2), (NULL, 'x', 3), ('0044-03-15 BC', 'x', 4);
SELECT host, count(*), sum(v), min(time), max(time) FROM ts GROUP BY host ORDER BY host;
CREATE TABLE d (day date, host text, v int);
INSERT INTO d SELECT '2024-01-01'::date + i / 2, 'h' || i % 2, i FROM generate_series(1, 2000) i;
INSERT INTO d SELECT x::date, 'x', i FROM unnest('{infinity,-infinity,NULL,"0044-03-15 BC","4713-01-01 BC",5874897-12-31}'::text[]) WITH ORDINALITY AS u (x, i), generate_series(1, 12);
SELECT host, count(*), sum(v), min(day), max(day) FROM d GROUP BY host ORDER BY host;
SELECT day, sum(v) FROM d WHERE host = 'x' GROUP BY day ORDER BY day;
-- A domain over timestamptz; two time columns; a time column that is not the first
CREATE DOMAIN instant AS timestamptz;
CREATE TABLE dom (host text, at instant NOT NULL, seen timestamp, v int);
INSERT INTO dom SELECT 'h' || i % 2, '2024-01-01Z'::timestamptz + i * '1 s'::interval, '2000-01-01', i FROM generate_series(1, 100) i;
SELECT host, count(*), min(at), max(at), max(seen), sum(v) FROM dom GROUP BY host ORDER BY host;
-- No time column at all: text columns then are values
CREATE TABLE no_time (host text, region text, a int, b float8);
INSERT INTO no_time SELECT 'h' || i % 10, 'r' || i % 3, i, i / 2.0 FROM generate_series(1, 2500) i;
INSERT INTO no_time VALUES ('x', NULL, 1, 1);
SELECT region, count(*), count(DISTINCT host), sum(a), sum(b) FROM no_time GROUP BY region ORDER BY region;
-- No value column
CREATE TABLE no_value (time timestamptz, host text);
INSERT INTO no_value SELECT '2024-01-01Z'::timestamptz + i * '1 s'::interval, 'h' || i % 3 FROM generate_series(1, 2500) i;
INSERT INTO no_value VALUES ('2024-01-01Z', 'x');
SELECT host, count(*), max(time) FROM no_value GROUP BY host ORDER BY host;
-- No series column
CREATE TABLE no_series (time timestamptz, v float8);
INSERT INTO no_series SELECT '2024-01-01Z'::timestamptz + i * '1 s'::interval, sin(i) FROM generate_series(1, 2500) i;
INSERT INTO no_series VALUES ('2024-01-01Z', 5);
SELECT count(*), round(sum(v)::numeric, 6), max(v), max(time) FROM no_series;
\set ECHO none

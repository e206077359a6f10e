\ir begin.sql
\set ECHO all
-- NULLs: columns of nothing else, rows of nothing else, some in each block
CREATE TABLE n (time timestamptz, host text, a int, b float8, c text, d numeric);
INSERT INTO n SELECT NULL, NULL, NULL, NULL, NULL, NULL FROM generate_series(1, 30);
INSERT INTO n SELECT '2024-01-01Z', NULL, NULL, NULL, NULL, NULL FROM generate_series(1, 30);
INSERT INTO n SELECT NULL, 'h', i, i, 'c' || i, i FROM generate_series(1, 30) i;
INSERT INTO n SELECT CASE WHEN i % 2 = 0 THEN '2024-01-01Z'::timestamptz + i * '1 h'::interval END, CASE WHEN i % 3 = 0 THEN 'h' || i % 9 END,
	CASE WHEN i % 5 = 0 THEN i END, CASE WHEN i % 7 > 0 THEN i END, CASE WHEN i % 11 > 0 THEN 'c' || i % 4 END, CASE WHEN i % 13 = 0 THEN i END FROM generate_series(1, 3000) i;
INSERT INTO n DEFAULT VALUES;
SELECT count(*), count(time), count(host), count(a), count(b), count(c), count(d), sum(a), sum(b), sum(d), min(c), max(time) FROM n;
SELECT host, count(*), sum(a) FROM n WHERE time IS NULL GROUP BY host ORDER BY host;
SELECT count(*) FROM n WHERE n IS NULL;
SELECT md5(string_agg(n::text, ',' ORDER BY n::text COLLATE "C")) FROM n;
-- Many columns
SELECT 'CREATE TABLE w (time timestamptz, host text, ' || string_agg(format('c%s %s', i, (ARRAY['int', 'float8', 'text', 'bool', 'numeric'])[1 + i % 5]), ', ' ORDER BY i) || ')' AS create_wide FROM generate_series(1, 600) i \gset
\set ECHO none
:create_wide;
SELECT format('INSERT INTO w SELECT ''2024-01-01Z''::timestamptz + r * ''1 min''::interval, ''h'' || r %% 3, %s FROM generate_series(1, 40) r',
	string_agg(CASE i % 5 WHEN 0 THEN format('CASE WHEN r %% 9 > 0 THEN r * %s END', i) WHEN 1 THEN format('r / %s.0', i) WHEN 2 THEN format('''t%s'' || r', i)
	WHEN 3 THEN format('(r + %s) %% 2 = 0', i) ELSE format('r * 0.01 * %s', i) END, ', ' ORDER BY i)) AS insert_wide FROM generate_series(1, 600) i \gset
\set ECHO all
\set ECHO none
:insert_wide;
\set ECHO all
INSERT INTO w (time, host, c1, c600) VALUES ('2024-01-02Z', 'last', 1, 2);
SELECT count(*), sum(c5), min(c1), sum(c600), max(c597), count(*) FILTER (WHERE c598) AS c598, sum(c599) FROM w;
SELECT md5(string_agg(w::text, ',' ORDER BY w::text COLLATE "C")) FROM w;
-- Large values
CREATE TABLE big (time timestamptz, host text, t text, b bytea, j jsonb, a int[]);
INSERT INTO big SELECT '2024-01-01Z'::timestamptz + i * '1 s'::interval, 'h' || i % 2,
	(SELECT string_agg(md5((i * 1000 + k)::text), '') FROM generate_series(1, 300 * i) k), decode(repeat(md5(i::text), 100 * i), 'hex'),
	jsonb_build_object('k', repeat('v' || i, 1000)), array_fill(i, ARRAY[2000]) FROM generate_series(1, 15) i;
INSERT INTO big SELECT * FROM big LIMIT 3;
INSERT INTO big VALUES ('2024-01-02Z', 'h0', repeat('x', 5000000), NULL, NULL, NULL);
INSERT INTO big SELECT '2024-01-03Z', 'h1', string_agg(md5(i::text), ''), NULL, NULL, NULL FROM generate_series(1, 100000) i;
SELECT count(*), sum(length(t)), sum(length(b)), sum(length(j ->> 'k')), sum(cardinality(a)) FROM big;
SELECT md5(string_agg(md5(big::text), ',' ORDER BY md5(big::text) COLLATE "C")) FROM big;
SELECT substr(t, 100, 20), length(t) FROM big WHERE time >= '2024-01-02Z' ORDER BY time;
-- Values that another table keeps out of line
CREATE TABLE ext (time timestamptz, host text, t text) USING heap;
ALTER TABLE ext ALTER t SET STORAGE EXTERNAL, ALTER host SET STORAGE EXTERNAL;
INSERT INTO ext SELECT '2024-01-01Z', repeat('host' || i % 2, 2000), repeat('long' || i, 3000) FROM generate_series(1, 20) i;
CREATE TABLE got AS SELECT * FROM ext;
INSERT INTO got SELECT * FROM ext LIMIT 2;
DROP TABLE ext;
SELECT count(*), sum(length(t)), count(DISTINCT host), sum(length(host)) FROM got;
ALTER TABLE got ALTER t SET COMPRESSION pglz;
INSERT INTO got SELECT time, host, t || t FROM got;
SELECT count(*), sum(length(t)) FROM got;
-- Expanded and composite values
DO $$
DECLARE
	a int[];
BEGIN
	FOR i IN 1 .. 100 LOOP
		a[i] := i;
		IF i % 5 = 0 THEN
			INSERT INTO big (time, host, a) VALUES ('2024-02-01Z', 'expanded', a);
		END IF;
	END LOOP;
END $$;
SELECT count(*), sum(cardinality(a)) FROM big WHERE host = 'expanded';
-- Many series: one for each row
CREATE TABLE s (time timestamptz, host text, v int);
INSERT INTO s SELECT '2024-01-01Z', 'host' || i, i FROM generate_series(1, 20000) i;
INSERT INTO s SELECT '2024-01-02Z', 'host' || i, i FROM generate_series(20000, 1, -1) i;
SELECT count(*), count(DISTINCT host), sum(v) FROM s;
SELECT * FROM s WHERE host = 'host777' ORDER BY time;
SELECT count(*) FROM s a JOIN s b USING (host, v) WHERE a.time < b.time;
\set ECHO none

-- The cardinality guard for rows that SQL writes: limits, actions, what is counted and what is not.
SET timezone = 'UTC';
-- An hour that ends in the middle would begin to count anew.
DO $$ BEGIN IF extract(minute FROM now()) = 59 AND extract(second FROM now()) > 20 THEN PERFORM pg_sleep(60 - extract(second FROM now())); END IF; END $$;
-- What an error says, without the hour
CREATE FUNCTION try(sql text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE state text; message text; detail text; hint text;
BEGIN
	EXECUTE sql;
	RETURN 'ok';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	RETURN state || ' ' || message || ' | ' || regexp_replace(detail, 'since [^.]*\.', 'since T.') || ' | ' || hint;
END $$;
CREATE VIEW status AS SELECT "table", metric, "limit", sql_limit, new_series, refused, action, drop_tag, tag, tag_values, active
	FROM metricsdb.cardinality_status WHERE hour = date_trunc('hour', now()) ORDER BY 1, 2;

SELECT metricsdb.create_metrics_table('fleet');
-- Without a limit SQL writes what it likes, and nothing is counted.
INSERT INTO fleet SELECT 'cpu', jsonb_build_object('host', 'h' || i), now(), i FROM generate_series(1, 5) i;
INSERT INTO fleet SELECT 'disk', jsonb_build_object('host', 'h' || i), now(), i FROM generate_series(1, 2000) i;
SELECT * FROM status;

-- A metric with a limit
SELECT metricsdb.set_cardinality_limit('fleet', 'cpu', 10);
SELECT * FROM status;
INSERT INTO fleet SELECT 'cpu', jsonb_build_object('host', 'g' || i, 'dc', 'eu'), now(), i FROM generate_series(1, 8) i;
SELECT * FROM status;
SELECT try($$INSERT INTO fleet SELECT 'cpu', jsonb_build_object('host', 'x' || i, 'dc', 'eu'), now(), i FROM generate_series(1, 3) i$$);
-- The statement failed whole; others metrics, and what is left, are not touched.
SELECT count(*) FROM fleet WHERE tags->>'host' LIKE 'x%';
INSERT INTO fleet SELECT 'disk', jsonb_build_object('host', 'i' || i), now(), i FROM generate_series(1, 20) i;
INSERT INTO fleet SELECT 'cpu', jsonb_build_object('host', 'x' || i, 'dc', 'eu'), now(), i FROM generate_series(1, 2) i;
SELECT try($$INSERT INTO fleet VALUES ('cpu', '{"host": "y"}', now(), 1)$$);
SELECT * FROM status;

-- Known series go on: those that were counted, and those whose rows have been in the delta all the time.
INSERT INTO fleet SELECT 'cpu', jsonb_build_object('host', 'g' || i % 8 + 1, 'dc', 'eu'), now(), i FROM generate_series(1, 20) i;
INSERT INTO fleet SELECT 'cpu', jsonb_build_object('host', 'h' || i), now(), i FROM generate_series(1, 5) i;
INSERT INTO fleet SELECT 'cpu', jsonb_build_object('host', 'h' || i % 5 + 1), now(), i FROM generate_series(1, 5000) i;
CALL metricsdb.compact('fleet');
INSERT INTO fleet SELECT 'cpu', jsonb_build_object('host', 'h' || i), now(), i FROM generate_series(1, 5) i;
SELECT count(*) FROM fleet WHERE metric_name = 'cpu';

-- 1,000 rows of which one is too many: none comes in, with COPY neither.
SELECT try($$INSERT INTO fleet SELECT 'cpu', jsonb_build_object('host', CASE WHEN i = 777 THEN 'new' ELSE 'h' || i % 5 + 1 END), now(), i FROM generate_series(1, 1000) i$$);
\set VERBOSITY terse
COPY fleet (metric_name, tags, time, value) FROM stdin;
cpu	{"host": "h1"}	2026-01-01 00:00:00+00	1
cpu	{"host": "new"}	2026-01-01 00:00:00+00	2
\.
\set VERBOSITY default
SELECT count(*) FROM fleet WHERE metric_name = 'cpu';
COPY fleet (metric_name, tags, time, value) FROM stdin;
cpu	{"host": "h1"}	2026-01-01 00:00:00+00	1
cpu	{"host": "h2"}	2026-01-01 00:00:00+00	2
\.
-- Rows that change, and those that need a place at once
SELECT try($$UPDATE fleet SET tags = '{"host": "changed"}' WHERE tags = '{"host": "h1"}'$$);
UPDATE fleet SET tags = '{"host": "h2"}' WHERE tags = '{"host": "h1"}' AND time < '2026-02-01';
CREATE TABLE indexed (time timestamptz, host text, region text, value float8) USING metricsdb;
CREATE UNIQUE INDEX ON indexed (host);
SELECT metricsdb.set_cardinality_limit('indexed', NULL, 3);
INSERT INTO indexed SELECT now(), 'h' || i, 'eu', i FROM generate_series(1, 3) i;
SELECT try($$INSERT INTO indexed VALUES (now(), 'h4', 'eu', 1)$$);
SELECT try($$INSERT INTO indexed VALUES (now(), 'h4', 'eu', 1) ON CONFLICT (host) DO NOTHING$$);
INSERT INTO indexed VALUES (now(), 'h3', 'eu', 1) ON CONFLICT (host) DO UPDATE SET value = 99;
SELECT try($$UPDATE indexed SET region = 'us' WHERE host = 'h1'$$);
UPDATE indexed SET value = 7 WHERE host = 'h1';
SELECT host, region, value FROM indexed ORDER BY 1;

-- Counts go with their transactions, and subtransactions.
SELECT metricsdb.set_cardinality_limit('fleet', 'mem', 5);
BEGIN;
INSERT INTO fleet SELECT 'mem', jsonb_build_object('host', 'h' || i), now(), i FROM generate_series(1, 4) i;
ROLLBACK;
BEGIN;
INSERT INTO fleet SELECT 'mem', jsonb_build_object('host', 'h' || i), now(), i FROM generate_series(1, 3) i;
SAVEPOINT a;
INSERT INTO fleet SELECT 'mem', jsonb_build_object('host', 'i' || i), now(), i FROM generate_series(1, 2) i;
ROLLBACK TO a;
INSERT INTO fleet SELECT 'mem', jsonb_build_object('host', 'i' || i), now(), i FROM generate_series(2, 3) i;
COMMIT;
SELECT new_series, active FROM status WHERE metric = 'mem';
SELECT try($$INSERT INTO fleet VALUES ('mem', '{"host": "i1"}', now(), 1)$$);
-- A restart of counting: what a new limit means at once
SELECT metricsdb.set_cardinality_limit('fleet', 'mem', 6);
SELECT try($$INSERT INTO fleet VALUES ('mem', '{"host": "i1"}', now(), 1)$$);
SELECT try($$INSERT INTO fleet VALUES ('mem', '{"host": "i4"}', now(), 1)$$);

-- Without the tag
SELECT metricsdb.set_cardinality_limit('fleet', 'req', 4, 'drop_tag', 'id');
INSERT INTO fleet SELECT 'req', jsonb_build_object('id', i, 'host', 'h' || i % 2), now(), i FROM generate_series(1, 100) i;
SELECT tags, count(*) FROM fleet WHERE metric_name = 'req' GROUP BY 1 ORDER BY 1;
INSERT INTO fleet SELECT 'req', jsonb_build_object('id', i, 'host', 'h' || i % 2), now(), i FROM generate_series(101, 2100) i;
SELECT count(*), count(DISTINCT tags) FROM fleet WHERE metric_name = 'req';
-- ... which another tag that explodes does not get around.
SELECT try($$INSERT INTO fleet SELECT 'req', jsonb_build_object('id', i, 'host', 'j' || i), now(), i FROM generate_series(1, 100) i$$);
SELECT try($$INSERT INTO fleet VALUES ('req', '{"host": "k"}', now(), 1)$$);
SELECT "limit", new_series, action, drop_tag, tag, tag_values BETWEEN 5 AND 9 AS few, active FROM status WHERE metric = 'req';
CREATE TABLE columns (time timestamptz, host text, session text, value float8) USING metricsdb;
SELECT metricsdb.set_cardinality_limit('columns', NULL, 2, 'drop_tag', 'session');
INSERT INTO columns SELECT now(), 'h', 's' || i, i FROM generate_series(1, 5) i;
SELECT host, session, value FROM columns ORDER BY value;

-- A table's own limit, and those of its metrics; 0, and any number
SELECT metricsdb.create_metrics_table('many');
SELECT metricsdb.set_cardinality_limit('many', NULL, 2), metricsdb.set_cardinality_limit('many', 'none', 0), metricsdb.set_cardinality_limit('many', 'any', NULL);
SELECT try($$INSERT INTO many SELECT 'none', '{}', now(), 1$$);
SELECT try($$INSERT INTO many SELECT 'any', jsonb_build_object('i', i), now(), 1 FROM generate_series(1, 3000) i$$);
SELECT try($$INSERT INTO many SELECT 'a', jsonb_build_object('i', i), now(), 1 FROM generate_series(1, 3) i$$);
SELECT try($$INSERT INTO many SELECT m, jsonb_build_object('i', i), now(), 1 FROM generate_series(1, 2) i, unnest('{a,b,c}'::text[]) m$$);
SELECT * FROM status WHERE "table" = 'many'::regclass;
SELECT metricsdb.set_cardinality_limit('many', 'wide', 4000);
INSERT INTO many SELECT 'wide', jsonb_build_object('dc', i % 100, 'i', i, 'few', i % 7), now(), 1 FROM generate_series(1, 3000) i;
SELECT metric, "limit", new_series, tag, tag_values BETWEEN 2600 AND 3400 AS about, active FROM status WHERE metric = 'wide';
-- The setting, and the way around it, which is not for everybody
SET metricsdb.max_new_series_sql = 100;
CREATE TABLE plain (time timestamptz, host text, value float8) USING metricsdb;
SELECT try($$INSERT INTO plain SELECT now(), 'h' || i, i FROM generate_series(1, 101) i$$);
SELECT try($$CREATE TABLE filled USING metricsdb AS SELECT now() AS time, 'h' || i AS host, i AS value FROM generate_series(1, 101) i$$);
SET metricsdb.cardinality_guard = off;
INSERT INTO plain SELECT now(), 'h' || i, i FROM generate_series(1, 2000) i;
RESET metricsdb.cardinality_guard;
INSERT INTO plain SELECT now(), 'h' || i, i FROM generate_series(1, 2000) i;
RESET metricsdb.max_new_series_sql;
-- Rewrites, and a table that begins anew
VACUUM FULL fleet;
ALTER TABLE fleet ALTER value TYPE float8 USING value + 0;
TRUNCATE indexed;
INSERT INTO indexed SELECT now(), 'n' || i, 'eu', i FROM generate_series(1, 3) i;
SELECT try($$INSERT INTO indexed VALUES (now(), 'n4', 'eu', 1)$$);
-- Without series columns there is nothing to count.
CREATE TABLE none (time timestamptz, value float8) USING metricsdb;
SELECT metricsdb.set_cardinality_limit('none', NULL, 0);
INSERT INTO none VALUES (now(), 1);

-- What is refused
SELECT try($$SELECT metricsdb.set_cardinality_limit(NULL, 'a', 1)$$);
SELECT try($$SELECT metricsdb.set_cardinality_limit('fleet', 'a', -1)$$);
SELECT try($$SELECT metricsdb.set_cardinality_limit('fleet', 'a', 1, 'ignore')$$);
SELECT try($$SELECT metricsdb.set_cardinality_limit('fleet', 'a', 1, 'drop_tag')$$);
SELECT try($$SELECT metricsdb.set_cardinality_limit('fleet', 'a', 1, 'reject', 'x')$$);
SELECT try($$SELECT metricsdb.set_cardinality_limit('columns', 'a', 1)$$);
SELECT try($$SELECT metricsdb.set_cardinality_limit('columns', NULL, 1, 'drop_tag', 'value')$$);
SELECT try($$SELECT metricsdb.set_cardinality_limit('fleet', repeat('x', 2000), 1)$$);
CREATE TABLE heap (a int);
SELECT try($$SELECT metricsdb.set_cardinality_limit('heap', NULL, 1)$$);
SELECT try($$SELECT metricsdb.drop_cardinality_limit('heap')$$);
-- Whose they are
CREATE ROLE card_owner;
CREATE ROLE card_other;
CREATE ROLE card_monitor IN ROLE pg_monitor;
ALTER TABLE many OWNER TO card_owner;
GRANT INSERT, SELECT ON many TO card_other;
GRANT EXECUTE ON FUNCTION try(text) TO PUBLIC;
SET ROLE card_other;
SELECT try($$SELECT metricsdb.set_cardinality_limit('many', NULL, 1000)$$);
SELECT try($$SELECT metricsdb.drop_cardinality_limit('many')$$);
SELECT try($$SET metricsdb.cardinality_guard = off$$);
SELECT try($$SET metricsdb.max_new_series = 1$$);
SELECT try($$SELECT * FROM metricsdb.cardinality_limit$$);
SELECT try($$INSERT INTO many SELECT 'd', jsonb_build_object('i', i), now(), 1 FROM generate_series(1, 3) i$$);
SELECT try($$INSERT INTO many SELECT 'd', jsonb_build_object('i', i), now(), 1 FROM generate_series(1, 2) i$$);
SELECT count(*) FROM metricsdb.cardinality_status;
SET ROLE card_owner;
SELECT DISTINCT "table" FROM metricsdb.cardinality_status;
SELECT metricsdb.drop_cardinality_limit('many'), metricsdb.drop_cardinality_limit('many');
SET ROLE card_monitor;
SELECT count(DISTINCT "table") > 3 AS all_of_them FROM metricsdb.cardinality_status;
RESET ROLE;
SELECT try($$INSERT INTO many SELECT 'd', jsonb_build_object('i', i), now(), 1 FROM generate_series(1, 300) i$$);
-- Limits and counts go with their table.
DROP TABLE many, columns, indexed, plain, none;
SELECT count(*) FROM metricsdb.cardinality_limit l WHERE NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = l."table");
SELECT count(*) FROM metricsdb.cardinality c WHERE NOT EXISTS (SELECT FROM metricsdb.storage s WHERE s.storage_id = c.storage_id);
ALTER TABLE fleet SET ACCESS METHOD heap;
DROP TABLE fleet, heap;
SELECT count(*) FROM metricsdb.cardinality_limit;
DROP VIEW status;
DROP FUNCTION try(text);
DROP ROLE card_owner, card_other, card_monitor;

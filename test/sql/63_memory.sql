-- A session does not keep what its largest row has taken; but series it knows.
CREATE SCHEMA memory;
SET search_path = memory, public;
CREATE TABLE large (id int PRIMARY KEY, time timestamptz, host text, v text) USING metricsdb;
CREATE VIEW large_contexts AS SELECT count(*) AS contexts FROM pg_backend_memory_contexts WHERE name LIKE 'metricsdb%' AND name NOT LIKE '%dictionar%' AND total_bytes > 4000000;
INSERT INTO large VALUES (1, '2024-01-01Z', 'a', repeat('x', 5000000));
SELECT * FROM large_contexts;
INSERT INTO large VALUES (1, '2024-01-01Z', 'a', repeat('x', 5000000)) ON CONFLICT (id) DO UPDATE SET v = excluded.v || 'y';
SELECT * FROM large_contexts;
UPDATE large SET v = repeat('z', 5000000);
SELECT * FROM large_contexts;
SELECT metricsdb.set_cardinality_limit('large', NULL, 10);
INSERT INTO large VALUES (2, '2024-01-01Z', repeat('b', 5000000), '');
SELECT * FROM large_contexts;
SET search_path = public;
SET client_min_messages = warning;
DROP SCHEMA memory CASCADE;

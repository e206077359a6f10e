-- Everything that the extension makes says what it is, and PUBLIC may do only what is meant for all.
SELECT p.oid::regprocedure AS without_comment FROM pg_proc p WHERE pronamespace = 'metricsdb'::regnamespace AND obj_description(p.oid, 'pg_proc') IS NULL ORDER BY p.oid::regprocedure::text;
SELECT c.oid::regclass AS without_comment, relkind FROM pg_class c WHERE relnamespace = 'metricsdb'::regnamespace AND relkind IN ('r', 'v', 'm', 'S', 'f', 'p') AND relname !~ '^delta_[0-9]+_' AND obj_description(c.oid, 'pg_class') IS NULL ORDER BY c.oid::regclass::text;
SELECT obj_description(oid, 'pg_am') IS NOT NULL AS access_method FROM pg_am WHERE amname = 'metricsdb';
-- A role without any privilege: what it may call, and what it may read
CREATE ROLE mdb_nobody;
SELECT p.oid::regprocedure AS callable FROM pg_proc p WHERE pronamespace = 'metricsdb'::regnamespace AND has_function_privilege('mdb_nobody', p.oid, 'EXECUTE') ORDER BY p.oid::regprocedure::text COLLATE "C";
SELECT c.oid::regclass AS readable FROM pg_class c WHERE relnamespace = 'metricsdb'::regnamespace AND relkind IN ('r', 'v', 'm', 'p') AND has_table_privilege('mdb_nobody', c.oid, 'SELECT') ORDER BY c.oid::regclass::text COLLATE "C";
SELECT c.oid::regclass AS writable FROM pg_class c WHERE relnamespace = 'metricsdb'::regnamespace AND relkind IN ('r', 'v', 'm', 'p') AND has_table_privilege('mdb_nobody', c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER') ORDER BY c.oid::regclass::text;
SELECT has_schema_privilege('mdb_nobody', 'metricsdb', 'USAGE') AS usage, has_schema_privilege('mdb_nobody', 'metricsdb', 'CREATE') AS creates;
DROP ROLE mdb_nobody;
-- Functions in SQL or PL/pgSQL, and those with more rights than their caller, have a fixed search_path
SELECT p.oid::regprocedure AS without_search_path FROM pg_proc p JOIN pg_language l ON l.oid = prolang
WHERE pronamespace = 'metricsdb'::regnamespace AND (lanname IN ('sql', 'plpgsql') OR prosecdef) AND NOT coalesce(proconfig::text ~ 'search_path', false) AND prosqlbody IS NULL ORDER BY p.oid::regprocedure::text;
-- All functions in C are there, and named after us
SELECT count(*) = 0 AS all_named FROM pg_proc WHERE pronamespace = 'metricsdb'::regnamespace AND probin IS NOT NULL AND prosrc !~ '^mdb_';

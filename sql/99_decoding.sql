-- The tables of the engine are not for logical decoding: see src/store/decoding.c.
UPDATE pg_catalog.pg_class SET relrewrite = oid
WHERE relnamespace = 'metricsdb'::pg_catalog.regnamespace AND relkind = 'r'
	OR oid IN (SELECT reltoastrelid FROM pg_catalog.pg_class WHERE relnamespace = 'metricsdb'::pg_catalog.regnamespace);

-- The extension, and what the other tests use.
SET client_min_messages = warning;
CREATE EXTENSION metricsdb;

-- Compares two tables row by row, by the text of the rows; order does not matter.
CREATE FUNCTION compare(a regclass, b regclass) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	only_a bigint;
	only_b bigint;
BEGIN
	EXECUTE format('SELECT count(*) FROM (SELECT t::text FROM %1$s t EXCEPT ALL SELECT t::text FROM %2$s t) x', a, b) INTO only_a;
	EXECUTE format('SELECT count(*) FROM (SELECT t::text FROM %2$s t EXCEPT ALL SELECT t::text FROM %1$s t) x', a, b) INTO only_b;
	RETURN CASE WHEN only_a = 0 AND only_b = 0 THEN 'equal'
		ELSE format('%s rows only in %s, %s rows only in %s', only_a, a, only_b, b) END;
END $$;

-- Where test.settle is on: moves all rows of the metricsdb tables of the schema work, and of temporary
-- ones, into parts; else nothing.  So a script finds its rows in parts in one run, in deltas in another.
CREATE PROCEDURE settle() LANGUAGE plpgsql AS $$
DECLARE
	tables regclass[];
	t regclass;
BEGIN
	IF current_setting('test.settle', true) = 'on' THEN
		tables := ARRAY(SELECT c.oid FROM pg_class c JOIN pg_am a ON a.oid = relam WHERE amname = 'metricsdb' AND relkind IN ('r', 'm')
			AND relnamespace IN ('work'::regnamespace, pg_my_temp_schema()) ORDER BY c.oid);
		FOREACH t IN ARRAY tables LOOP
			CALL metricsdb.compact(t);
		END LOOP;
	END IF;
END $$;

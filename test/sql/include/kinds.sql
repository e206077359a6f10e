-- Runs :script on heap tables, and on metricsdb tables whose rows lie in each of the places where rows
-- can be: in the delta, in parts as written, in parts that compaction made.  99_equal checks that all
-- of it reads alike.
\set ECHO none
\set am heap
\set direct_rows 1000
SET test.settle = off;
\echo === heap
\ir :script
-- As long as metricsdb refuses what a script needs, all its runs are on heap.
CREATE TABLE public.probe (v int) USING metricsdb;
INSERT INTO public.probe VALUES (1);
DO $$ BEGIN DELETE FROM public.probe; PERFORM set_config('test.change', 'metricsdb', false);
EXCEPTION WHEN feature_not_supported THEN PERFORM set_config('test.change', 'heap', false); END $$;
DO $$ BEGIN CREATE INDEX ON public.probe (v); PERFORM set_config('test.index', 'metricsdb', false);
EXCEPTION WHEN feature_not_supported THEN PERFORM set_config('test.index', 'heap', false); END $$;
DROP TABLE public.probe;
\if :{?needs}
\else
\set needs change
\endif
SELECT current_setting('test.' || :'needs') AS am \gset
\set direct_rows 1000000
\echo === metricsdb, in the delta
\ir :script
\set direct_rows 1
\echo === metricsdb, in parts
\ir :script
\set direct_rows 100
SET test.settle = on;
SET metricsdb.enable_custom_scan = off;
\echo === metricsdb, compacted
\ir :script
\echo === end
SET client_min_messages = warning;
DROP SCHEMA work CASCADE;
RESET client_min_messages;

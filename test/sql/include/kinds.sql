-- Runs :script on heap tables, and on metricsdb tables whose rows lie in each of the places where rows
-- can be: in the delta, in parts as written, in parts that compaction made.  99_equal checks that all
-- of it reads alike.
\set ECHO none
\set am heap
\set direct_rows 1000
SET test.settle = off;
\echo === heap
\ir :script
\set am metricsdb
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

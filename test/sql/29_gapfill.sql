-- One script on heap tables, on metricsdb tables of small parts, and on metricsdb tables as they
-- are: 99_equal checks that the outputs are the same.
\set ECHO none
\getenv srcdir PG_ABS_SRCDIR
\set dir :srcdir '/sql/include'
\cd :dir
\set am heap
\set direct_rows 1000
\echo === heap
\ir gapfill.sql
\set am metricsdb
\set direct_rows 10
\echo === metricsdb, small parts
\ir gapfill.sql
\set direct_rows 1000
\echo === metricsdb
\ir gapfill.sql
\echo === end
DROP SCHEMA work CASCADE;

-- Rows change, and change their partition; see include/kinds.sql.
\set ECHO none
\set script partitions_change.sql
\getenv srcdir PG_ABS_SRCDIR
\set dir :srcdir '/sql/include'
\cd :dir
\ir kinds.sql

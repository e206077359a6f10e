-- Scans of indexes; see include/kinds.sql.
\set ECHO none
\set script index_scans.sql
\getenv srcdir PG_ABS_SRCDIR
\set dir :srcdir '/sql/include'
\cd :dir
\ir kinds.sql

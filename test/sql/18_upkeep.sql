-- VACUUM, CLUSTER, REINDEX, ANALYZE after changes; see include/kinds.sql.
\set ECHO none
\set script upkeep.sql
\getenv srcdir PG_ABS_SRCDIR
\set dir :srcdir '/sql/include'
\cd :dir
\ir kinds.sql

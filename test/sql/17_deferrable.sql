-- Unique constraints, deferred or not; see include/kinds.sql.
\set ECHO none
\set script deferrable.sql
\getenv srcdir PG_ABS_SRCDIR
\set dir :srcdir '/sql/include'
\cd :dir
\ir kinds.sql

-- Foreign keys; see include/kinds.sql.
\set ECHO none
\set script foreign_keys.sql
\getenv srcdir PG_ABS_SRCDIR
\set dir :srcdir '/sql/include'
\cd :dir
\ir kinds.sql

-- What a command sees of itself and of those before; see include/kinds.sql.
\set ECHO none
\set script own_changes.sql
\getenv srcdir PG_ABS_SRCDIR
\set dir :srcdir '/sql/include'
\cd :dir
\ir kinds.sql

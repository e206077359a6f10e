-- UPDATE and DELETE WHERE CURRENT OF; see include/kinds.sql.
\set ECHO none
\set script current_of.sql
\getenv srcdir PG_ABS_SRCDIR
\set dir :srcdir '/sql/include'
\cd :dir
\ir kinds.sql

-- SELECT FOR UPDATE and its sisters; see include/kinds.sql.
\set ECHO none
\set script locks.sql
\getenv srcdir PG_ABS_SRCDIR
\set dir :srcdir '/sql/include'
\cd :dir
\ir kinds.sql

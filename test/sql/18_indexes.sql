-- Indexes of all kinds; see include/kinds.sql.
\set ECHO none
\set script indexes.sql
\getenv srcdir PG_ABS_SRCDIR
\set dir :srcdir '/sql/include'
\cd :dir
\ir kinds.sql

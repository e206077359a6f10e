-- UPDATE of all kinds of columns; see include/kinds.sql.
\set ECHO none
\set script update_columns.sql
\getenv srcdir PG_ABS_SRCDIR
\set dir :srcdir '/sql/include'
\cd :dir
\ir kinds.sql

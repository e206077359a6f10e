-- Prepared transactions that changed rows; see include/kinds.sql.
\set ECHO none
\set script prepared_changes.sql
\getenv srcdir PG_ABS_SRCDIR
\set dir :srcdir '/sql/include'
\cd :dir
\ir kinds.sql

-- Indexes of tables that are compacted; see include/kinds.sql.
\set ECHO none
\set script indexes_moved.sql
\getenv srcdir PG_ABS_SRCDIR
\set dir :srcdir '/sql/include'
\cd :dir
\set needs index
\ir kinds.sql

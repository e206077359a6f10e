-- COPY into and out of tables whose rows changed; see include/kinds.sql.
\set ECHO none
\set script copy_changed.sql
\getenv srcdir PG_ABS_SRCDIR
\set dir :srcdir '/sql/include'
\cd :dir
\ir kinds.sql

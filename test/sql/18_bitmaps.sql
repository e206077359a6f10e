-- Bitmap scans, and GIN indexes, which do nothing else; see include/kinds.sql.
\set ECHO none
\set script bitmaps.sql
\getenv srcdir PG_ABS_SRCDIR
\set dir :srcdir '/sql/include'
\cd :dir
\ir kinds.sql

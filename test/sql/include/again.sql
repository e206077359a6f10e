\set ECHO none
SET search_path = work, public;
SET default_table_access_method = :am;
SET metricsdb.direct_rows = :direct_rows;
\set ECHO all

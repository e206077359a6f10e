SET client_min_messages = warning;
DROP SCHEMA IF EXISTS work CASCADE;
CREATE SCHEMA work;
SET search_path = work, public;
SET timezone = 'UTC';
RESET client_min_messages;
\getenv out PG_ABS_BUILDDIR
\set file :out '/results/copy.data'
SET default_table_access_method = :am;
SET metricsdb.direct_rows = :direct_rows;

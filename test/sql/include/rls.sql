\ir begin.sql
SET client_min_messages = warning;
CREATE ROLE mdb_owner;
CREATE ROLE mdb_eu;
CREATE ROLE mdb_us;
CREATE ROLE mdb_by BYPASSRLS;
RESET client_min_messages;
GRANT USAGE, CREATE ON SCHEMA work TO mdb_owner;
GRANT USAGE ON SCHEMA work TO mdb_eu, mdb_us, mdb_by;
-- Functions that remember what they were called with
CREATE FUNCTION heard(text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM set_config('mdb.heard', coalesce(current_setting('mdb.heard', true), '') || '|' || $1, false); END $$;
CREATE FUNCTION leak(text) RETURNS bool LANGUAGE plpgsql COST 0.0000001 IMMUTABLE AS $$ BEGIN PERFORM work.heard($1); RETURN true; END $$;
CREATE FUNCTION leak(timestamptz) RETURNS bool LANGUAGE plpgsql COST 0.0000001 STABLE AS $$ BEGIN PERFORM work.heard($1::text); RETURN true; END $$;
CREATE FUNCTION leak(float8) RETURNS bool LANGUAGE plpgsql COST 0.0000001 VOLATILE AS $$ BEGIN PERFORM work.heard($1::text); RETURN true; END $$;
CREATE FUNCTION tight(text) RETURNS bool LANGUAGE plpgsql COST 0.0000001 IMMUTABLE LEAKPROOF AS $$ BEGIN RETURN $1 <> 'h1'; END $$;
CREATE FUNCTION after(timestamptz, timestamptz) RETURNS bool LANGUAGE plpgsql COST 0.0000001 AS $$ BEGIN PERFORM work.heard($1::text); RETURN $1 > $2; END $$;
\set heard 'SELECT string_agg(x, \', \' ORDER BY x COLLATE "C") AS heard FROM (SELECT DISTINCT unnest(string_to_array(current_setting(\'mdb.heard\'), \'|\')) x) y WHERE x <> \'\'; SET mdb.heard = \'\';'
CREATE OPERATOR >>> (LEFTARG = timestamptz, RIGHTARG = timestamptz, FUNCTION = after);
\set ECHO all
SET ROLE mdb_owner;
CREATE TABLE t (time timestamptz, host text, region text, v float8, note text);
INSERT INTO t SELECT '2024-01-01Z'::timestamptz + i * '1 h'::interval, 'h' || i % 4, CASE i % 2 WHEN 0 THEN 'eu' ELSE 'us' END, i, 'n' || i FROM generate_series(1, 12) i;
INSERT INTO t SELECT '2024-01-02Z'::timestamptz + i * '1 s'::interval, 'big', 'none', i, NULL FROM generate_series(1, 2000) i;
INSERT INTO t VALUES ('2024-01-03Z', 'd0', 'eu', 100, 'delta'), ('2024-01-03Z', 'd1', 'us', 101, 'delta');
GRANT SELECT, INSERT ON t TO mdb_eu, mdb_us, mdb_by;
ALTER TABLE t ENABLE ROW LEVEL SECURITY;
CREATE POLICY eu ON t TO mdb_eu USING (region = 'eu') WITH CHECK (region = 'eu');
CREATE POLICY us ON t TO mdb_us USING (region = 'us' AND v < 105);
CREATE POLICY add ON t FOR INSERT TO mdb_us WITH CHECK (region = 'us' AND host IS NOT NULL);
SELECT count(*), sum(v) FROM t;
-- Who sees what
SET ROLE mdb_eu;
SELECT count(*), sum(v) FROM t;
SELECT host, count(*), min(time), max(time) FROM t GROUP BY host ORDER BY host;
SELECT count(*) FROM t WHERE region = 'us';
SELECT count(*) FROM t WHERE time > '2024-01-01 08:00Z';
SELECT count(*) FROM t WHERE host = 'big' OR time < '2024-01-01 04:00Z';
SELECT v FROM t WHERE host LIKE 'h%' AND time BETWEEN '2024-01-01 03:00Z' AND '2024-01-01 09:00Z' ORDER BY v;
SET ROLE mdb_us;
SELECT count(*), sum(v) FROM t;
SELECT count(*), sum(v) FROM t WHERE host = 'd1' AND time = '2024-01-03Z';
SET ROLE mdb_by;
SELECT count(*), sum(v) FROM t;
RESET ROLE;
SELECT count(*), sum(v) FROM t;
SET ROLE mdb_owner;
ALTER TABLE t FORCE ROW LEVEL SECURITY;
SELECT count(*), sum(v) FROM t;
ALTER TABLE t NO FORCE ROW LEVEL SECURITY;
SET ROLE mdb_eu;
SET row_security = off;
SELECT count(*) FROM t;
RESET row_security;
COPY (SELECT host, region FROM t ORDER BY host, time) TO stdout;

-- Functions that tell are called with rows that may be seen only, wherever the condition is
SELECT count(*) FROM t WHERE leak(host) AND v < 5;
:heard
SELECT count(*) FROM t WHERE leak(host || region) AND time < '2024-01-01 06:00Z';
:heard
SELECT count(*) FROM t WHERE leak(time) AND host = 'h2';
:heard
SELECT count(*) FROM t WHERE leak(v) AND host = 'h2' AND time < '2024-01-01 08:00Z';
:heard
SELECT count(*) FROM t WHERE time >>> '2024-01-01 08:00Z';
:heard
SELECT count(*) FROM t WHERE CASE WHEN leak(host) THEN region = 'us' END;
:heard
SELECT count(*) FROM t WHERE 1 / (v - 1) < 2;
SELECT count(*) FROM t WHERE host::name = 'h0' OR (1 / (length(region) - 4)) > 0;
SELECT count(*) FROM t WHERE region::int = 5;
SELECT count(*) FROM t WHERE tight(host);
SELECT count(*) FROM t WHERE tight(host) AND host >= 'h1' AND time > '2024-01-01 08:00Z';
SELECT leak(a.host) FROM t a JOIN t b ON a.host = b.host AND leak(b.region) WHERE a.v = 2 AND b.v = 6;
:heard
SELECT count(*) FROM (SELECT * FROM t OFFSET 0) x WHERE leak(region) AND v = 2;
:heard
PREPARE p(text) AS SELECT count(*), sum(v) FROM t WHERE host = $1 AND leak(region);
EXECUTE p('h2');
:heard
RESET ROLE;
EXECUTE p('h2');
SELECT 'eu' = ANY (string_to_array(current_setting('mdb.heard'), '|')) AS heard; SET mdb.heard = ''; -- in whatever order
SET ROLE mdb_us;
EXECUTE p('h2');
:heard
EXECUTE p('h3');
:heard
DEALLOCATE p;

-- Writing
INSERT INTO t VALUES ('2024-01-04Z', 'new', 'eu', 1);
INSERT INTO t VALUES ('2024-01-04Z', NULL, 'us', 1);
INSERT INTO t VALUES ('2024-01-04Z', 'new', 'us', 200);
INSERT INTO t VALUES ('2024-01-04Z', 'new', 'us', 20) RETURNING host, v;
INSERT INTO t VALUES ('2024-01-04Z', 'new', 'us', 200) RETURNING host, v;
INSERT INTO t SELECT '2024-01-04Z', 'many', 'us', i / 100.0 FROM generate_series(1, 1010) i;
INSERT INTO t SELECT '2024-01-04Z', 'many', CASE WHEN i < 1010 THEN 'us' ELSE 'eu' END, i / 100.0 FROM generate_series(1, 1010) i;
SELECT host, count(*) FROM t GROUP BY host ORDER BY host;
TRUNCATE t;
ALTER TABLE t DISABLE ROW LEVEL SECURITY;
DROP TABLE t;
SET ROLE mdb_owner;
SELECT host, count(*) FROM t GROUP BY host ORDER BY host;

-- Policies with functions, subqueries and the user's name
CREATE TABLE rights (who name, host text) USING heap;
INSERT INTO rights VALUES ('mdb_eu', 'h0'), ('mdb_eu', 'd1'), ('mdb_us', 'h1');
GRANT SELECT ON rights TO mdb_us;
CREATE FUNCTION may_see(text) RETURNS bool LANGUAGE sql STABLE SECURITY DEFINER SET search_path = work AS $$ SELECT EXISTS (SELECT FROM rights WHERE host = $1 AND who = session_user) $$;
DROP POLICY eu ON t;
DROP POLICY us ON t;
CREATE POLICY eu ON t FOR SELECT TO mdb_eu USING (leak(host) AND host IN ('h0', 'd1'));
CREATE POLICY us ON t FOR SELECT TO mdb_us USING (host IN (SELECT host FROM rights WHERE who = current_user));
CREATE POLICY latest ON t AS RESTRICTIVE FOR SELECT USING (time < '2024-01-03Z');
SET ROLE mdb_us;
SELECT host, count(*), sum(v) FROM t GROUP BY host;
SELECT host, count(*), sum(v) FROM t WHERE leak(host) AND time > '2024-01-01 06:00Z' GROUP BY host;
:heard
SET ROLE mdb_eu;
SELECT host, count(*), sum(v) FROM t GROUP BY host;
SELECT host, count(*), sum(v) FROM t WHERE time > '2024-01-01 06:00Z' GROUP BY host;
SET mdb.heard = '';

-- Partitions and children have the policies of the table that is named
SET ROLE mdb_owner;
CREATE TABLE p (time timestamptz, host text, v int) PARTITION BY RANGE (time);
CREATE TABLE p1 PARTITION OF p FOR VALUES FROM ('2024-01-01Z') TO ('2024-02-01Z');
CREATE TABLE p2 PARTITION OF p DEFAULT USING heap;
INSERT INTO p SELECT '2024-01-20Z'::timestamptz + i * '1 h'::interval, 'h' || i % 4, i FROM generate_series(1, 1500) i;
ALTER TABLE p ENABLE ROW LEVEL SECURITY;
CREATE POLICY x ON p USING (host = 'h1');
ALTER TABLE p1 ENABLE ROW LEVEL SECURITY;
GRANT SELECT ON p, p1, p2 TO mdb_eu;
SET ROLE mdb_eu;
SELECT tableoid::regclass, count(*), sum(v) FROM p GROUP BY 1 ORDER BY 1;
SELECT count(*) FROM p WHERE leak(host) AND v BETWEEN 280 AND 290 AND time < '2024-02-02Z';
:heard
SELECT count(*) FROM p1;
SELECT count(*) FROM p2;

-- Views with security_barrier, and with security_invoker
SET ROLE mdb_owner;
CREATE VIEW plain AS SELECT * FROM t WHERE region = 'eu' AND v < 9;
CREATE VIEW barrier WITH (security_barrier) AS SELECT * FROM t WHERE region = 'eu' AND v < 9;
CREATE VIEW stacked WITH (security_barrier) AS SELECT * FROM barrier WHERE host <> 'h0';
CREATE VIEW invoker WITH (security_invoker, security_barrier) AS SELECT * FROM t WHERE v < 9;
GRANT SELECT ON barrier, stacked, invoker TO mdb_eu;
SET ROLE mdb_eu;
SELECT count(*) FROM barrier WHERE leak(host);
:heard
SELECT count(*) FROM barrier WHERE leak(time) AND time > '2024-01-01 05:00Z' AND tight(host);
:heard
SELECT count(*) FROM stacked WHERE leak(host) AND time > '2024-01-01 05:00Z';
:heard
SELECT count(*), sum(v) FROM invoker WHERE time > '2024-01-01 02:00Z';
SELECT count(*) FROM plain;

-- Columns
SET ROLE mdb_owner;
CREATE TABLE c (time timestamptz, host text, secret text, v int);
INSERT INTO c SELECT '2024-01-01Z', 'h', 's' || i, i FROM generate_series(1, 1010) i;
GRANT SELECT (time, v), INSERT (time, host, v) ON c TO mdb_eu;
SET ROLE mdb_eu;
SELECT count(*), sum(v) FROM c;
SELECT count(*), sum(v) FROM c WHERE time = '2024-01-01Z';
SELECT count(*) FROM c WHERE host = 'h';
SELECT secret FROM c;
SELECT c FROM c;
SELECT * FROM c;
SELECT ctid FROM c;
SELECT v FROM c WHERE secret = 's1';
SELECT v FROM c ORDER BY host;
SELECT count(*) FROM c TABLESAMPLE BERNOULLI (100);
INSERT INTO c (time, host, v) VALUES ('2024-01-02Z', 'mine', 1);
INSERT INTO c (time, host, v) VALUES ('2024-01-02Z', 'mine', 1) RETURNING v;
INSERT INTO c (time, host, v) VALUES ('2024-01-02Z', 'mine', 1) RETURNING host;
INSERT INTO c (time, secret) VALUES ('2024-01-02Z', 'mine');
INSERT INTO c VALUES ('2024-01-02Z', 'mine', 'x', 1);
-- By their codes, as their words are others in each version
\set VERBOSITY sqlstate
COPY c (v) TO '/dev/null';
\set VERBOSITY default
COPY c TO stdout;
COPY c (time, v) FROM stdin;
2024-01-03Z	7
\.
SELECT max(time), sum(v) FROM c;
LOCK TABLE c IN ACCESS EXCLUSIVE MODE;
TRUNCATE c;
\set VERBOSITY sqlstate
ANALYZE c;
VACUUM c;
\set VERBOSITY default
ALTER TABLE c ADD x int;
COMMENT ON TABLE c IS 'mine';
SELECT attname FROM pg_stats WHERE schemaname = 'work' AND tablename = 'c' ORDER BY attname;
RESET ROLE;
SET client_min_messages = warning;
ANALYZE c;
RESET client_min_messages;
SET ROLE mdb_eu;
SELECT attname FROM pg_stats WHERE schemaname = 'work' AND tablename = 'c' ORDER BY attname;
RESET ROLE;
\set ECHO none
SET client_min_messages = warning;
DROP OWNED BY mdb_owner, mdb_eu, mdb_us, mdb_by CASCADE;
DROP ROLE mdb_owner, mdb_eu, mdb_us, mdb_by;

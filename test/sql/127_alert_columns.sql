-- Threshold rules whose column goes, or whose owner may read the table no more, while others go on, and come back.
\getenv srcdir PG_ABS_SRCDIR
\set dir :srcdir '/sql/include'
\cd :dir
\ir no_alert_worker.sql
\pset format unaligned
CREATE SCHEMA watching;
SET search_path = watching, metricsdb;
SET timezone = UTC;
CREATE ROLE mdb_watcher;
GRANT USAGE ON SCHEMA watching, metricsdb TO mdb_watcher;
GRANT EXECUTE ON FUNCTION create_alert TO mdb_watcher;
CREATE TABLE w (time timestamptz NOT NULL, host text, a float8, b float8) USING metricsdb;
GRANT SELECT ON w TO mdb_watcher;
INSERT INTO w SELECT '2026-01-01 00:00:00'::timestamptz + i * interval '1 s', 'h' || i % 500, i, -i FROM generate_series(1, 1000) i;
SELECT create_alert('mine', source => 'w', value_column => 'a', aggregate => 'max', "window" => '1 hour', every => '10 s', op => '>', threshold => 0) > 0 AS made;
SELECT create_alert('column', source => 'w', value_column => 'b', aggregate => 'min', "window" => '1 hour', every => '10 s', op => '<', threshold => 0) > 0 AS made;
SET ROLE mdb_watcher;
SELECT create_alert('theirs', source => 'w', value_column => 'a', aggregate => 'max', "window" => '1 hour', every => '10 s', op => '>', threshold => 0) > 0 AS made;
RESET ROLE;
CREATE FUNCTION seen(at timestamptz) RETURNS TABLE (rule text, series bigint, lowest float8, most float8, error text) LANGUAGE sql VOLATILE AS $$
	SELECT name, count(labels), min(value), max(value), min(error)
	FROM (SELECT r.name, o.* FROM metricsdb.alert_rule r, LATERAL metricsdb.threshold_observe(r.rule_id, at) o WHERE r.source = 'watching.w'::regclass ORDER BY r.name) x GROUP BY name ORDER BY name $$;
-- The first look tells writers; then history is read.
SELECT rule FROM seen('2026-01-01 00:20:00');
SELECT * FROM seen('2026-01-01 00:20:10');
REVOKE SELECT ON w FROM mdb_watcher;
SELECT * FROM seen('2026-01-01 00:20:20');
INSERT INTO w SELECT '2026-01-01 00:20:15'::timestamptz, 'h' || i % 500, 2000 + i, -i FROM generate_series(1, 2000) i;
SELECT * FROM seen('2026-01-01 00:20:30');
GRANT SELECT ON w TO mdb_watcher;
SELECT * FROM seen('2026-01-01 00:20:40');
INSERT INTO w SELECT '2026-01-01 00:20:45'::timestamptz, 'h' || i % 500, 5000 + i, -i FROM generate_series(1, 2000) i;
SELECT * FROM seen('2026-01-01 00:20:50');
-- A rule without its column fails; the others have what comes.
ALTER TABLE w DROP COLUMN b;
SELECT * FROM seen('2026-01-01 00:21:00');
INSERT INTO w SELECT '2026-01-01 00:21:05'::timestamptz, 'h' || i % 500, 8000 + i FROM generate_series(1, 2000) i;
SELECT * FROM seen('2026-01-01 00:21:10');
-- Rows of which no rule knows any more, and names of labels that change.
ALTER TABLE w RENAME COLUMN host TO machine;
INSERT INTO w SELECT '2026-01-01 00:21:15'::timestamptz, 'h' || i % 500, 11000 + i FROM generate_series(1, 2000) i;
SELECT rule, series, most FROM seen('2026-01-01 00:21:20');
SELECT labels, value FROM threshold_observe((SELECT rule_id FROM alert_rule WHERE name = 'mine'), '2026-01-01 00:21:20') WHERE value = 13000;
-- Another rule goes, so that series are attached anew; then who may not read for a while counts each sample once again.
SET ROLE mdb_watcher;
SELECT create_alert('counted', source => 'w', value_column => 'a', aggregate => 'count', "window" => '1 min', every => '10 s', op => '>', threshold => 0) > 0 AS made;
RESET ROLE;
SELECT create_alert('fleeting', source => 'w', value_column => 'a', aggregate => 'min', "window" => '1 hour', every => '10 s', op => '>', threshold => 0) > 0 AS made;
SELECT rule FROM seen('2026-01-01 00:30:00');
SELECT * FROM seen('2026-01-01 00:30:10');
SELECT drop_alert('fleeting');
INSERT INTO w SELECT '2026-01-01 00:30:15'::timestamptz, 'h' || i % 500, i FROM generate_series(1, 2000) i;
SELECT * FROM seen('2026-01-01 00:30:20');
REVOKE SELECT ON w FROM mdb_watcher;
SELECT * FROM seen('2026-01-01 00:30:30');
GRANT SELECT ON w TO mdb_watcher;
SELECT * FROM seen('2026-01-01 00:30:40');
INSERT INTO w SELECT '2026-01-01 00:30:45'::timestamptz, 'h' || i % 500, i FROM generate_series(1, 2000) i;
SELECT * FROM seen('2026-01-01 00:30:50');
DELETE FROM alert_rule WHERE source = 'w'::regclass;
SET client_min_messages = warning;
DROP SCHEMA watching CASCADE;
REVOKE USAGE ON SCHEMA metricsdb FROM mdb_watcher;
REVOKE EXECUTE ON FUNCTION metricsdb.create_alert FROM mdb_watcher;
DROP ROLE mdb_watcher;
ALTER SYSTEM RESET metricsdb.alert_interval;
SELECT pg_reload_conf();

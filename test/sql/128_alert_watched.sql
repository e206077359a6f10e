-- Threshold and dead-man rules: who may have them; transactions that are prepared, or began before the rule; odd samples and tables.
\getenv srcdir PG_ABS_SRCDIR
\set dir :srcdir '/sql/include'
\cd :dir
\ir no_alert_worker.sql
\set VERBOSITY terse
\pset format unaligned
SET timezone = 'UTC';
SET client_min_messages = warning;
CREATE SCHEMA watched;
SET search_path = watched, metricsdb, public;
SELECT create_metrics_table('m');
INSERT INTO m SELECT 'cpu', '{"host": "a"}', '2026-01-01 00:00:00'::timestamptz + i * interval '10 s', i FROM generate_series(1, 12) i;

-- What the rule by that name observes; the second look is what is told, as the first may only have writers told.
CREATE FUNCTION observe(rule text, at timestamptz) RETURNS TABLE (labels jsonb, value numeric, holds text, error text) LANGUAGE sql AS
	$$ SELECT o.labels - 'alertname', round(o.value::numeric, 6), o.holds, o.error FROM alert_rule r, threshold_observe(r.rule_id, at) o WHERE r.name = rule ORDER BY 1, 2 $$;
CREATE PROCEDURE tell_writers(rule text, at timestamptz) LANGUAGE plpgsql AS $$ BEGIN PERFORM observe(rule, at); COMMIT; END $$;

-- A transaction that has written before the rule was there is waited for: what it commits is in the history.
BEGIN;
INSERT INTO m VALUES ('cpu', '{"host": "before"}', '2026-01-01 00:02:00', 1);
PREPARE TRANSACTION 'before';
SELECT create_alert('avg', source => 'm', metric => 'cpu', aggregate => 'avg', "window" => '1 min', every => '10 s', op => '>', threshold => 9, recover => 4) > 0 AS created;
CALL tell_writers('avg', '2026-01-01 00:02:00');
SELECT * FROM observe('avg', '2026-01-01 00:02:00');
COMMIT PREPARED 'before';
SELECT * FROM observe('avg', '2026-01-01 00:02:00');

-- One that commits after others have been taken in is taken in when it has; one that is rolled back never.
BEGIN;
INSERT INTO m VALUES ('cpu', '{"host": "late"}', '2026-01-01 00:02:05', 100);
PREPARE TRANSACTION 'late';
BEGIN;
INSERT INTO m VALUES ('cpu', '{"host": "never"}', '2026-01-01 00:02:05', 100);
PREPARE TRANSACTION 'never';
INSERT INTO m VALUES ('cpu', '{"host": "b"}', '2026-01-01 00:02:10', 5);
SELECT * FROM observe('avg', '2026-01-01 00:02:10');
COMMIT PREPARED 'late';
ROLLBACK PREPARED 'never';
SELECT * FROM observe('avg', '2026-01-01 00:02:10');

-- NULL, the marker of an ended series and times without end are no samples; NaN is one, which holds of nothing.
INSERT INTO m VALUES ('cpu', '{"host": "null"}', '2026-01-01 00:02:11', NULL), ('cpu', '{"host": "late"}', '2026-01-01 00:02:11', 'NaN'),
	('cpu', '{"host": "inf"}', 'infinity', 1), ('cpu', '{"host": "inf"}', '-infinity', 1), ('cpu', '{"host": "far"}', '2041-01-01', 1);
SELECT * FROM observe('avg', '2026-01-01 00:02:20');
-- What is updated or deleted stays in the window: that has what was inserted.
UPDATE m SET value = 1000 WHERE tags = '{"host": "b"}';
DELETE FROM m WHERE tags = '{"host": "a"}';
SELECT * FROM observe('avg', '2026-01-01 00:02:20');

-- Rows that need a place at once: RETURNING, triggers, partitions.
CREATE TABLE p (time timestamptz NOT NULL, host text, v float8) PARTITION BY LIST (host);
CREATE TABLE p1 PARTITION OF p FOR VALUES IN ('a') USING metricsdb;
CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
CREATE TRIGGER t AFTER INSERT ON p1 FOR EACH ROW EXECUTE FUNCTION nothing();
SELECT create_alert('p', source => 'p1', aggregate => 'sum', "window" => '1 min', every => '10 s', op => '>', threshold => 9) > 0 AS created;
SELECT create_alert('dead', source => 'p1', silent_for => '30 s', every => '10 s') > 0 AS created;
CALL tell_writers('p', '2026-01-01 00:00:00');
CALL tell_writers('dead', '2026-01-01 00:00:00');
SELECT * FROM observe('p', '2026-01-01 00:00:00');
SELECT * FROM observe('dead', '2026-01-01 00:00:00');
INSERT INTO p SELECT '2026-01-01 00:00:01', 'a', i FROM generate_series(1, 10) i;
INSERT INTO p VALUES ('2026-01-01 00:00:02', 'a', 1) RETURNING host;
DROP TRIGGER t ON p1;
INSERT INTO p VALUES ('2026-01-01 00:00:02', 'a', 100) RETURNING v;
COPY p FROM STDIN (FORMAT csv);
2026-01-01 00:00:03,a,1000
\.
SELECT * FROM observe('p', '2026-01-01 00:00:10');
SELECT * FROM observe('dead', '2026-01-01 00:00:10');
SELECT * FROM observe('dead', '2026-01-01 00:00:33');
SELECT * FROM observe('dead', '2026-01-01 00:00:34');
INSERT INTO p VALUES ('2026-01-01 00:00:35', 'a', NULL);
SELECT * FROM observe('dead', '2026-01-01 00:00:40');

-- The owner: his privileges of the moment, policies.
CREATE ROLE watcher;
GRANT USAGE ON SCHEMA watched, metricsdb TO watcher;
GRANT EXECUTE ON FUNCTION create_alert TO watcher;
GRANT SELECT ON m TO watcher;
SET ROLE watcher;
SELECT create_alert('his', source => 'm', metric => 'cpu', aggregate => 'max', by => '{}', "window" => '10 min', every => '10 s', op => '>', threshold => 9) > 0 AS created;
RESET ROLE;
CALL tell_writers('his', '2026-01-01 00:03:00');
SELECT * FROM observe('his', '2026-01-01 00:03:00');
REVOKE SELECT ON m FROM watcher;
INSERT INTO m VALUES ('cpu', '{"host": "z"}', '2026-01-01 00:03:00', 12345);
SELECT * FROM observe('his', '2026-01-01 00:03:10');
GRANT SELECT ON m TO watcher;
SELECT * FROM observe('his', '2026-01-01 00:03:10');
ALTER TABLE m ENABLE ROW LEVEL SECURITY;
SELECT * FROM observe('his', '2026-01-01 00:03:20');
ALTER TABLE m DISABLE ROW LEVEL SECURITY;
SELECT * FROM observe('his', '2026-01-01 00:03:20');
-- He sees neither what others write down for him, nor what the functions tell.
SET ROLE watcher;
SELECT count(*) FROM alert_batch;
SELECT threshold_counters();
SELECT * FROM threshold_observe(1, now());
RESET ROLE;

-- A rule that is changed begins anew; one whose metrics share their labels is an error; a table that is gone.
SELECT alter_alert('avg', threshold => 1000);
CALL tell_writers('avg', '2026-01-01 00:03:00');
SELECT * FROM observe('avg', '2026-01-01 00:03:00');
SELECT create_alert('two', source => 'm', matchers => '{__name__=~"cpu|mem"}', aggregate => 'max', "window" => '10 min', every => '10 s', op => '>', threshold => 9) > 0 AS created;
CALL tell_writers('two', '2026-01-01 00:03:00');
INSERT INTO m VALUES ('mem', '{"host": "z"}', '2026-01-01 00:03:00', 1);
SELECT holds, error FROM observe('two', '2026-01-01 00:03:00');
-- What is ahead by more than a quarter of an hour waits until its time has come; what was, by more than a day, before the rule, is not seen.
INSERT INTO m VALUES ('cpu', '{"host": "far"}', '2041-01-01 00:02:00', 41);
SELECT * FROM observe('his', '2041-01-01 00:03:00');
BEGIN;
LOCK TABLE m;
SELECT count(*) FROM observe('his', '2041-01-01 00:03:10');
COMMIT;
SET client_min_messages = error;
DROP TABLE m;
SET client_min_messages = warning;
SELECT * FROM threshold_observe((SELECT rule_id FROM alert_rule WHERE name = 'avg'), '2026-01-01 00:03:10');
DELETE FROM alert_rule;
DROP SCHEMA watched CASCADE;
REVOKE ALL ON FUNCTION create_alert FROM watcher;
REVOKE USAGE ON SCHEMA metricsdb FROM watcher;
DROP ROLE watcher;
ALTER SYSTEM RESET metricsdb.alert_interval;
SELECT pg_reload_conf();

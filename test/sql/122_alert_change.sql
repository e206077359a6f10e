-- What changes of a rule make of its instances, and of what targets were told: alter, disable, drop, DROP TABLE.
CREATE SCHEMA alerting;
SET search_path = alerting, metricsdb;
SET timezone = 'UTC';
SET client_min_messages = warning;
SELECT create_metrics_table('alerting.m');
INSERT INTO alert_target (name, owner, kind, home) VALUES ('t1', CURRENT_USER::regrole, 'notify', ''), ('t2', CURRENT_USER::regrole, 'notify', '');
CREATE FUNCTION rule(name text) RETURNS int LANGUAGE sql AS $$SELECT rule_id FROM alert_rules WHERE rule = $1$$;
-- As if the worker had seen one that fires since ten minutes, and one that is pending.
CREATE PROCEDURE seen(name text) LANGUAGE sql AS $$
	DELETE FROM alert_instance; DELETE FROM alert_outbox; DELETE FROM alert_event;
	INSERT INTO alert_instance SELECT rule($1), '\x01', '{"host": "x"}', '{}', 'firing', 5, now() - interval '20 min', now() - interval '10 min', NULL, NULL, now(), 0, now();
	INSERT INTO alert_instance SELECT rule($1), '\x02', '{"host": "y"}', '{}', 'pending', 6, now() - interval '20 s', NULL, NULL, NULL, now(), 0, now();
	INSERT INTO alert_instance SELECT rule($1), '\x03', '{"host": "z"}', '{}', 'resolved', 7, NULL, now() - interval '20 min', NULL, now() - interval '1 min', now(), 0, now();
	INSERT INTO alert_outbox SELECT target_id, rule($1), '\x01', $1, CURRENT_USER::regrole, 'firing', '{"host": "x"}', '{}', 5, now() - interval '10 min', NULL, '4 min', 1, now() FROM alert_target WHERE alert_target.name = 't1' $$;
CREATE VIEW told AS SELECT t.name AS target, rule, state, annotations, seq > 1 AS anew, ends_at >= starts_at AS ends, valid_for FROM alert_outbox JOIN alert_target t USING (target_id) ORDER BY 1;
CREATE VIEW stands AS SELECT rule, labels, state, annotations, starts_at IS NOT NULL AS fires FROM alerts ORDER BY labels;
CREATE VIEW was AS SELECT rule, labels, from_state, to_state, value FROM alert_history ORDER BY event_id;

SELECT create_alert('a', query => $$SELECT tags->>'host' AS host, avg(value) AS value FROM m WHERE time > eval_time() - interval '5 min' GROUP BY 1$$,
	op => '>', threshold => 3, hold => '1 min', labels => '{"severity": "page"}', annotations => '{"summary": "{{ $labels.host }} has {{ $value }}"}', targets => '{t1}') > 0 AS a;
CALL seen('a');
-- Nothing of the identity: what fires goes on to.  New texts are told, a new target hears of it, an old one that it is over.
SELECT alter_alert('a', annotations => '{"summary": "{{ $labels.host }}: {{ $value }}"}', targets => '{t1,t2}', every => '30 s');
SELECT * FROM told; SELECT * FROM stands; SELECT * FROM was;
SELECT alter_alert('a', targets => '{t2}');
SELECT * FROM told;
-- It has to hold for longer, though not for longer than it has; then for longer than that.
SELECT alter_alert('a', hold => '15 min');
SELECT * FROM stands; SELECT * FROM was;
SELECT alter_alert('a', hold => '30 min');
SELECT * FROM told; SELECT * FROM stands; SELECT * FROM was;
-- Other labels, another name: it is another alert.
CALL seen('a');
SELECT alter_alert('a', labels => '{"severity": "warn"}');
SELECT * FROM told; SELECT * FROM stands; SELECT * FROM was;
CALL seen('a');
SELECT alter_alert('a', new_name => 'b', reset => '{hold,targets,threshold,op}');
SELECT * FROM told; SELECT * FROM was;
SELECT rule, hold, labels, targets, definition ? 'threshold' AS compares, version, source FROM alert_rules;
-- Another query may have another source.
SELECT alter_alert('b', query => 'SELECT 1 AS value');
SELECT alter_alert('b', query => 'SELECT value, value2 FROM m');
SELECT alter_alert('b', query => 'SELECT value FROM m WHERE time > now()');
SELECT alter_alert('b', "window" => '5 min');
SELECT alter_alert('b', reset => '{query}');
SELECT alter_alert('b', reset => '{something}');
SELECT alter_alert('none', every => '5 s');
SELECT create_alert('c', query => 'SELECT 1 AS value') > 0 AS c;
SELECT alter_alert('b', new_name => 'c');
-- A rule of another kind
CALL seen('b');
SELECT alter_alert('b', reset => '{query,search_path}', source => 'm', metric => 'cpu', aggregate => 'avg', "window" => '5 min', op => '>', threshold => 1);
SELECT rule, kind, definition, options FROM alert_rules WHERE rule = 'b';
SELECT * FROM was;

CALL seen('b');
SELECT disable_alert('b');
SELECT * FROM told; SELECT * FROM stands; SELECT * FROM was;
SELECT rule, health, enabled FROM alert_status ORDER BY rule;
SELECT enable_alert('b');
SELECT rule, enabled FROM alert_status ORDER BY rule;
CALL seen('b');
-- A rolled-back drop is none.
BEGIN;
SAVEPOINT s;
DROP TABLE m;
ROLLBACK TO s;
SELECT drop_alert('c');
COMMIT;
SELECT rule, enabled, source FROM alert_rules;
DROP TABLE m;
SELECT * FROM told; SELECT * FROM stands; SELECT * FROM was;
SELECT rule, health, enabled, source, last_error FROM alert_status;
SELECT enable_alert('b');
SELECT disable_alert('b');
SELECT create_metrics_table('alerting.m');
SELECT alter_alert('b', source => 'm', enabled => true);
SELECT rule, enabled, source FROM alert_rules;
CALL seen('b');
SELECT drop_alert('b');
SELECT drop_alert('b');
SELECT * FROM told; SELECT * FROM stands; SELECT * FROM was;

-- Grafana's annotations: from when to when
INSERT INTO alert_event (rule_id, rule, owner, labels, from_state, to_state, at, value, happened_at) VALUES
	(0, 'cpu', CURRENT_USER::regrole, '{"host": "x", "dc": "f"}', 'inactive', 'pending', '2024-01-01 00:00', 1, now()),
	(0, 'cpu', CURRENT_USER::regrole, '{"host": "x", "dc": "f"}', 'pending', 'firing', '2024-01-01 00:01', 2, now()),
	(0, 'cpu', CURRENT_USER::regrole, '{"host": "y", "dc": "f"}', 'inactive', 'firing', '2024-01-01 00:02', 3, now()),
	(0, 'cpu', CURRENT_USER::regrole, '{"host": "x", "dc": "f"}', 'firing', 'recovering', '2024-01-01 00:03', 2, now()),
	(0, 'cpu', CURRENT_USER::regrole, '{"host": "x", "dc": "f"}', 'recovering', 'firing', '2024-01-01 00:04', 2, now()),
	(0, 'cpu', CURRENT_USER::regrole, '{"host": "x", "dc": "f"}', 'firing', 'resolved', '2024-01-01 00:05', 1, now()),
	(0, 'cpu', CURRENT_USER::regrole, '{"host": "x", "dc": "f"}', 'inactive', 'firing', '2024-01-01 00:06', 4, now());
SELECT "time", timeend, text, tags, value FROM alert_annotations WHERE rule = 'cpu' ORDER BY "time";
DELETE FROM alert_event; DELETE FROM alert_outbox; DELETE FROM alert_target;
SET client_min_messages = error;
DROP SCHEMA alerting CASCADE;

-- Rules: what create_alert() takes, completes and refuses.
CREATE SCHEMA alerting;
SET search_path = alerting, metricsdb;
SET timezone = 'UTC';
SELECT create_metrics_table('alerting.m');
CREATE TABLE w (host text, dc text, time timestamptz, load float8, temp float8, note text) USING metricsdb;
SECURITY LABEL FOR metricsdb ON TABLE w IS '{"time": "time", "series": ["host", "dc"]}';
CREATE TABLE h (a int);
CREATE TABLE nt (host text, v float8) USING metricsdb;
INSERT INTO m SELECT 'cpu', jsonb_build_object('host', 'web' || i, 'mode', 'idle'), '2024-01-01', i FROM generate_series(1, 3) i;
INSERT INTO w SELECT 'web' || i, 'fra', '2024-01-01', i, i FROM generate_series(1, 3) i;
INSERT INTO alert_target (name, owner, kind, home) VALUES ('am', CURRENT_USER::regrole, 'alertmanager', ''), ('hook', CURRENT_USER::regrole, 'webhook', '');

-- Each kind
SELECT create_alert('q', query => $$SELECT tags->>'host' AS host, avg(value) AS value FROM m WHERE metric_name = 'cpu' AND time > eval_time() - interval '5 min' GROUP BY 1 HAVING avg(value) > 90$$,
	every => '10 s', hold => '1 min', keep_firing_for => '2 min', labels => '{"severity": "page", "tier": 1, "empty": "", "none": null}',
	annotations => '{"summary": "{{ $labels.host }} is at {{ $value | humanize }}"}', targets => '{hook,am,hook}', absent => 'keep', absent_for => '1 hour', nodata => 'alert',
	error => 'error', max_new_instances => 50, timeout => '2 s', max_rows => 100) > 0 AS q;
SELECT create_alert('q2', query => 'SELECT host, load AS value, firing FROM w, (VALUES (true)) f(firing)', holds_of => 3, "of" => 5, enabled => false) > 0 AS q2;
SELECT create_alert('q3', query => 'WITH x AS (SELECT 1 AS n) SELECT n, ''a''::text AS a FROM x', op => '>', threshold => 90, recover => 80, search_path => 'pg_catalog') > 0 AS q3;
SELECT create_alert('t', source => 'm', metric => 'cpu', matchers => '{mode="idle"}', aggregate => 'AVG', "window" => '5 min', op => '==', threshold => 'Infinity', by => '{host}') > 0 AS t;
SELECT create_alert('t2', source => 'w', value_column => 'load', aggregate => 'max', "window" => '30 s', op => '!=', threshold => 3, without => '{dc}') > 0 AS t2;
SELECT create_alert('d', source => 'm', metric => 'cpu', silent_for => '5 min', by => '{}') > 0 AS d;
SELECT create_alert('c', expression => 'alert(''q'') AND NOT alert(''d'')') > 0 AS c;
SELECT create_alert('r', query => 'SELECT host, avg(load) AS value FROM w GROUP BY host', record => 'host:load:avg', into_table => 'm', labels => '{"by": "rule"}') > 0 AS r;
SELECT rule, kind, source, every, hold, keep_firing_for, labels, annotations, max_new_instances, targets, enabled, version FROM alert_rules ORDER BY rule_id;
SELECT rule, jsonb_pretty(definition) AS definition, options FROM alert_rules ORDER BY rule_id;
SELECT create_alert('q', query => 'SELECT 1 AS value');
SELECT create_alert(NULL, query => 'SELECT 1 AS value');
SELECT create_alert('', query => 'SELECT 1 AS value');
SELECT create_alert(repeat('x', 201), query => 'SELECT 1 AS value');

-- What is no rule
SELECT create_alert('n');
SELECT create_alert('n', query => 'SELECT 1 AS value', "window" => '5 min');
SELECT create_alert('n', query => 'SELECT 1 AS value', record => 'x', into_table => 'm', hold => '1 min');
SELECT create_alert('n', query => 'SELECT 1 AS value', record => 'x', into_table => 'm', absent => 'keep');
SELECT create_alert('n', query => 'SELECT 1 AS value', record => 'x', into_table => 'h');
SELECT create_alert('n', query => 'SELECT 1 AS value', record => 'x');
SELECT create_alert('n', query => 'SELECT 1 AS value', every => '1.5 s');
SELECT create_alert('n', query => 'SELECT 1 AS value', every => '0');
SELECT create_alert('n', query => 'SELECT 1 AS value', hold => '-1 s');
SELECT create_alert('n', query => 'SELECT 1 AS value', timeout => '1 min');
SELECT create_alert('n', query => 'SELECT 1 AS value', absent => 'ignore');
SELECT create_alert('n', query => 'SELECT 1 AS value', absent_for => '1 min');
SELECT create_alert('n', query => 'SELECT 1 AS value', holds_of => 3);
SELECT create_alert('n', query => 'SELECT 1 AS value', holds_of => 6, "of" => 5);
SELECT create_alert('n', query => 'SELECT 1 AS value', holds_of => 3, "of" => 65);
SELECT create_alert('n', query => 'SELECT 1 AS value', holds_of => 3, "of" => 5, hold => '1 s');
SELECT create_alert('n', query => 'SELECT 1 AS value', labels => '[1]');
SELECT create_alert('n', query => 'SELECT 1 AS value', labels => '{"a": {"b": 1}}');
SELECT create_alert('n', query => 'SELECT 1 AS value', labels => '{"": "a"}');
SELECT create_alert('n', query => 'SELECT 1 AS value', annotations => '{"a": "{{ $labels.x"}');
SELECT create_alert('n', query => 'SELECT 1 AS value', annotations => '{"a": "{{ query \"up\" }}"}');
SELECT create_alert('n', query => 'SELECT 1 AS value', op => '>');
SELECT create_alert('n', query => 'SELECT 1 AS value', op => '=>', threshold => 1);
SELECT create_alert('n', query => 'SELECT 1 AS value', op => '>', threshold => 'NaN');
SELECT create_alert('n', query => 'SELECT 1 AS value', op => '>', threshold => 1, recover => 2);
SELECT create_alert('n', query => 'SELECT 1 AS value', op => '<', threshold => 1, recover => 0);
SELECT create_alert('n', query => 'SELECT 1 AS value', op => '=', threshold => 1, recover => 0);
SELECT create_alert('n', query => 'SELECT 1 AS value', targets => '{nobody}');
SELECT create_alert('n', query => 'SELECT 1 AS value', targets => '{NULL}');
SELECT create_alert('n', query => 'SELECT 1 AS value', source => 'h');
SELECT create_alert('n', source => 'm', metric => 'cpu', aggregate => 'avg', "window" => '5 min');
SELECT create_alert('n', source => 'm', metric => 'cpu', aggregate => 'median', "window" => '5 min', op => '>', threshold => 1);
SELECT create_alert('n', source => 'm', metric => 'cpu', aggregate => 'mode', "window" => '5 min', op => '>', threshold => 1);
SELECT create_alert('n', source => 'm', metric => 'cpu', aggregate => 'avg', "window" => '8 days', op => '>', threshold => 1);
SELECT create_alert('n', source => 'm', aggregate => 'avg', "window" => '5 min', op => '>', threshold => 1);
SELECT create_alert('n', source => 'm', metric => 'cpu', matchers => '{mode=}', aggregate => 'avg', "window" => '5 min', op => '>', threshold => 1);
SELECT create_alert('n', source => 'm', metric => 'cpu', aggregate => 'avg', "window" => '5 min', op => '>', threshold => 1, by => '{a}', without => '{b}');
SELECT create_alert('n', source => 'w', aggregate => 'avg', "window" => '5 min', op => '>', threshold => 1);
SELECT create_alert('n', source => 'w', value_column => 'note', aggregate => 'avg', "window" => '5 min', op => '>', threshold => 1);
SELECT create_alert('n', source => 'w', value_column => 'loda', aggregate => 'avg', "window" => '5 min', op => '>', threshold => 1);
SELECT create_alert('n', source => 'w', metric => 'load', value_column => 'load', aggregate => 'avg', "window" => '5 min', op => '>', threshold => 1);
SELECT create_alert('n', source => 'w', value_column => 'load', aggregate => 'avg', "window" => '5 min', op => '>', threshold => 1, by => '{region}');
SELECT create_alert('n', source => 'w', matchers => '{region="x"}', silent_for => '5 min');
SELECT create_alert('n', source => 'nt', silent_for => '5 min');
SELECT create_alert('n', source => 'h', silent_for => '5 min');
SELECT create_alert('n', silent_for => '5 min');
SELECT create_alert('n', expression => ' ');

-- What is no query of a rule
SELECT create_alert('n', query => '');
SELECT create_alert('n', query => 'SELECT 1 AS value; SELECT 2');
SELECT create_alert('n', query => 'DELETE FROM h RETURNING a');
SELECT create_alert('n', query => 'WITH x AS (DELETE FROM h RETURNING a) SELECT a AS value FROM x');
SELECT create_alert('n', query => 'SELECT a AS value INTO h2 FROM h');
SELECT create_alert('n', query => 'SELECT a AS value FROM h FOR UPDATE');
SELECT create_alert('n', query => 'SELECT a AS value FROM (SELECT a FROM h FOR SHARE) x');
SELECT create_alert('n', query => 'SELECT a AS value FRM h');
SELECT create_alert('n', query => 'SELECT b AS value FROM h');
SELECT create_alert('n', query => 'SELECT 1 AS a, 2 AS b');
SELECT create_alert('n', query => 'SELECT 1 AS a, 2 AS a');
SELECT create_alert('n', query => 'SELECT ''a'' AS a', op => '>', threshold => 1);
SELECT create_alert('n', query => 'SELECT time, load AS value FROM w');
SELECT create_alert('n', query => 'SELECT true AS firing, load AS value FROM w', op => '>', threshold => 1);

-- The clock: wherever it stands
SELECT create_alert('n', query => 'SELECT load AS value FROM w WHERE time > now() - interval ''5 min''');
SELECT create_alert('n', query => 'SELECT load AS value FROM w WHERE time > ''now''');
SELECT create_alert('n', query => 'SELECT load AS value FROM w WHERE time > timestamptz ''yesterday''');
SELECT create_alert('n', query => 'SELECT load AS value FROM w WHERE time > CURRENT_TIMESTAMP');
SELECT create_alert('n', query => 'SELECT load AS value FROM w WHERE time > LOCALTIMESTAMP(0)');
SELECT create_alert('n', query => 'SELECT load AS value FROM w WHERE (SELECT clock_timestamp()) > time');
SELECT create_alert('n', query => 'WITH x AS (SELECT * FROM w WHERE time > statement_timestamp()) SELECT load AS value FROM x');
SELECT create_alert('n', query => 'SELECT load AS value FROM w WHERE age(time) < interval ''5 min''');
CREATE VIEW recent AS SELECT * FROM w WHERE time > now() - interval '1 hour';
SELECT create_alert('n', query => 'SELECT load AS value FROM recent');
SELECT create_alert('word', query => 'SELECT load AS value FROM w WHERE host <> ''now'' AND time > ''2024-01-01''') > 0 AS fine;

-- The table that it follows is the one that it reads, through views, too; of several none, unless one is named.
CREATE VIEW two AS SELECT w.host, w.load AS value FROM w JOIN m ON m.tags->>'host' = w.host;
CREATE VIEW one AS SELECT host, load AS value FROM w;
SELECT create_alert('s1', query => 'SELECT * FROM one') > 0 AS s1;
SELECT create_alert('s2', query => 'SELECT * FROM two') > 0 AS s2;
SELECT create_alert('s3', query => 'SELECT * FROM two', source => 'm') > 0 AS s3;
SELECT rule, source FROM alert_rules WHERE rule ~ '^s' ORDER BY rule;

-- A label that depends on the value
SELECT create_alert('v', query => 'SELECT 1 AS value', labels => '{"v": "{{ $value }}"}') > 0 AS v;

-- What can match nothing is told
SELECT create_alert('u1', query => $$SELECT value FROM m WHERE metric_name = 'cup'$$) > 0 AS u1;
SELECT create_alert('u2', query => $$SELECT value FROM m WHERE 'cpu' = metric_name AND tags->>'hots' = 'web1'$$) > 0 AS u2;
SELECT create_alert('u3', query => $$SELECT value FROM m WHERE metric_name = 'cpu' AND tags->>'host' = 'wbe1' AND value > 3$$) > 0 AS u3;
SELECT create_alert('u4', query => $$SELECT value FROM m WHERE match(metric_name, tags, 'cpu{mode="idel"}')$$) > 0 AS u4;
SELECT create_alert('u5', query => $$SELECT value FROM (SELECT * FROM m WHERE tags->>'host' LIKE 'db%') x$$) > 0 AS u5;
SELECT create_alert('u6', query => $$SELECT w.load AS value FROM w JOIN h ON h.a = 1 AND w.dc = 'fre'$$) > 0 AS u6;
SELECT create_alert('u7', source => 'm', metric => 'cpus', aggregate => 'rate', "window" => '1 min', op => '>', threshold => 1) > 0 AS u7;
SELECT create_alert('u8', source => 'm', metric => 'cpu', matchers => '{mode=~"idle|user",host="web"}', silent_for => '1 min') > 0 AS u8;
SELECT create_alert('u9', source => 'w', matchers => '{host="web7"}', silent_for => '1 min') > 0 AS u9;
SELECT create_alert('u10', source => 'w', matchers => '{host=~"web.",dc="fra"}', silent_for => '1 min') > 0 AS u10;
TRUNCATE m;
SELECT create_alert('u11', source => 'm', metric => 'cpu', silent_for => '1 min') > 0 AS u11;

DELETE FROM alert_rule;
DELETE FROM alert_target;
DROP SCHEMA alerting CASCADE;

-- Policies of rules: what is refused, and what a dead-man rule makes of a series that is silent for ever; what alert_status
-- tells of the data that a rule waits for.
CREATE SCHEMA alerting;
SET search_path = alerting, metricsdb;
SET timezone = 'UTC'; SET datestyle = 'ISO';
SELECT create_metrics_table('alerting.m');
INSERT INTO m SELECT 'up', '{"host": "a"}', t, 1 FROM generate_series(timestamptz '2024-01-01 00:00', '2024-01-01 00:10', '10 s') t;
INSERT INTO m SELECT 'up', '{"host": "b"}', t, 1 FROM generate_series(timestamptz '2024-01-01 00:00', '2024-01-01 00:02', '10 s') t;

-- forget_after
SELECT create_alert('d', source => 'm', metric => 'up', silent_for => '1 min', forget_after => '1 min');
SELECT create_alert('d', source => 'm', metric => 'up', silent_for => '1 min', forget_after => '11 years');
SELECT create_alert('d', query => 'SELECT 1 AS value', forget_after => '1 min');
SELECT create_alert('d', source => 'm', metric => 'up', silent_for => '1 min', forget_after => '5 min', every => '10 s') > 0 AS d;
SELECT definition->>'forget_after' AS forget_after FROM alert_rules WHERE rule = 'd';
-- b is missed after a minute, and given up after five; a is there.
SELECT labels->>'host' AS host, from_state, to_state, date_trunc('minute', at) AS minute FROM backtest('d', '2024-01-01 00:01', '2024-01-01 00:10') ORDER BY at;
SELECT alter_alert('d', forget_after => '20 s');
SELECT alter_alert('d', silent_for => '6 min');
SELECT alter_alert('d', reset => '{forget_after}');
SELECT definition->>'forget_after' AS forget_after FROM alert_rules WHERE rule = 'd';
SELECT labels->>'host' AS host, from_state, to_state, date_trunc('minute', at) AS minute FROM backtest('d', '2024-01-01 00:01', '2024-01-01 00:10') ORDER BY at;

-- recover
SELECT create_alert('r', query => 'SELECT 1 AS value', op => '>', threshold => 90, recover => 95);
SELECT create_alert('r', query => 'SELECT 1 AS value', op => '<', threshold => 10, recover => 5);
SELECT create_alert('r', query => 'SELECT 1 AS value', op => '=', threshold => 10, recover => 5);
SELECT create_alert('r', query => 'SELECT 1 AS value', recover => 5);
SELECT create_alert('r', query => 'SELECT 1 AS value', op => '>', threshold => 90, recover => 'NaN');

-- absent, nodata, error, max_new_instances
SELECT create_alert('p', query => 'SELECT 1 AS value', absent => 'sometimes');
SELECT create_alert('p', query => 'SELECT 1 AS value', nodata => 'firing');
SELECT create_alert('p', query => 'SELECT 1 AS value', error => 'panic');
SELECT create_alert('p', query => 'SELECT 1 AS value', absent_for => '1 min');
SELECT create_alert('p', query => 'SELECT 1 AS value', max_new_instances => 0);

-- what is known of the data
SELECT watermark IS NOT NULL AS watermark, waits_for, health FROM alert_status WHERE rule = 'd';
CREATE ROLE alerting_alice;
GRANT EXECUTE ON FUNCTION create_alert TO alerting_alice;
GRANT USAGE ON SCHEMA alerting TO alerting_alice;
GRANT SELECT ON m TO alerting_alice;
SET ROLE alerting_alice;
SELECT create_alert('hers', source => 'm', query => 'SELECT value FROM alerting.m WHERE time > metricsdb.eval_time()') > 0 AS hers;
SELECT rule, watermark IS NOT NULL AS watermark FROM alert_status;
RESET ROLE;
REVOKE SELECT ON m FROM alerting_alice;
SET ROLE alerting_alice;
SELECT rule, watermark IS NOT NULL AS watermark FROM alert_status;
RESET ROLE;
DROP TABLE m;
SELECT rule, watermark IS NOT NULL AS watermark, health FROM alert_status ORDER BY 1;

SELECT count(drop_alert(rule)) FROM alert_rules;
DROP SCHEMA alerting CASCADE;
REVOKE EXECUTE ON FUNCTION create_alert FROM alerting_alice;
DROP ROLE alerting_alice;

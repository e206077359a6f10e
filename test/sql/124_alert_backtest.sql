-- backtest(): what a rule would have done over the rows that there are.  Threshold and dead-man rules are the queries they are said to equal.
CREATE SCHEMA alerting;
SET search_path = alerting, metricsdb;
SET timezone = 'UTC'; SET datestyle = 'ISO';
SET client_min_messages = warning;
SELECT create_metrics_table('alerting.m');
CREATE TABLE w (host text, dc text, time timestamptz, load float8, hits int) USING metricsdb;
SECURITY LABEL FOR metricsdb ON TABLE w IS '{"time": "time", "series": ["host", "dc"]}';
-- Twenty minutes, a sample every ten seconds: web1 is high from the 5th to the 10th, dips for a sample at the 7th, is between at the 10th; web2 is silent from the 8th to the 14th.
INSERT INTO m SELECT 'cpu', jsonb_build_object('host', 'web' || i, 'dc', CASE i WHEN 3 THEN 'b' ELSE 'a' END), t,
		CASE WHEN i <> 1 OR t < '2024-01-01 00:05' OR t >= '2024-01-01 00:12' THEN 10 * i WHEN t = '2024-01-01 00:07' THEN 20 WHEN t >= '2024-01-01 00:10' THEN 85 ELSE 95 END
	FROM generate_series(1, 3) i, generate_series(timestamptz '2024-01-01 00:00', '2024-01-01 00:20', '10 s') t
	WHERE i <> 2 OR t < '2024-01-01 00:08' OR t >= '2024-01-01 00:14';
INSERT INTO m SELECT 'hits', jsonb_build_object('host', 'web' || i), t, CASE WHEN t < '2024-01-01 00:10' THEN 1 ELSE 5 END * i * extract(epoch FROM t - '2024-01-01 00:00') / 10
	FROM generate_series(1, 2) i, generate_series(timestamptz '2024-01-01 00:00', '2024-01-01 00:20', '10 s') t;
INSERT INTO w SELECT tags->>'host', tags->>'dc', time, value, value FROM m WHERE metric_name = 'cpu';
CREATE FUNCTION shown(name text) RETURNS TABLE (at time, host text, dc text, change text, value numeric, said text) LANGUAGE sql AS $$
	SELECT at::time, labels->>'host', labels->>'dc', from_state || ' -> ' || to_state, value::numeric(12, 3), annotations->>'s' FROM backtest(name, '2024-01-01 00:00', '2024-01-01 00:21') ORDER BY 1, 2, 3 $$;

-- Where in its interval a rule has its ticks goes by its id.
ALTER SEQUENCE alert_rule_id_seq RESTART 1000000;
SELECT create_alert('q', query => $$SELECT tags->>'host' AS host, value FROM m WHERE metric_name = 'cpu' AND time > eval_time() - interval '1 s' AND time <= eval_time() AND value > 90$$, every => '1 s') > 0 AS q;
SELECT count(*), min(at), max(at), count(DISTINCT labels) FROM backtest('q', '2024-01-01 00:00', '2024-01-01 00:20');
SELECT alter_alert('q', query => $$SELECT tags->>'host' AS host, tags->>'dc' AS dc, last(value, time) AS value FROM m WHERE metric_name = 'cpu' AND time > eval_time() - interval '10 s' AND time <= eval_time() GROUP BY 1, 2$$,
	op => '>', threshold => 90, every => '10 s', annotations => '{"s": "{{ $labels.host }} {{ $value }}"}');
SELECT * FROM shown('q');
SELECT alter_alert('q', hold => '1 min');
SELECT * FROM shown('q');
SELECT alter_alert('q', recover => 80, keep_firing_for => '30 s');
SELECT * FROM shown('q');
SELECT alter_alert('q', holds_of => 4, "of" => 6, reset => '{hold,keep_firing_for,recover}');
SELECT * FROM shown('q');
SELECT alter_alert('q', reset => '{holds_of,of}', op => '>', threshold => 0, absent => 'nodata', hold => '1 min');
SELECT * FROM shown('q');

SELECT create_alert('t', source => 'm', metric => 'cpu', aggregate => 'avg', "window" => '1 min', op => '>', threshold => 90, every => '10 s') > 0 AS t;
SELECT * FROM shown('t');
SELECT alter_alert('t', by => '{dc}', threshold => 50, recover => 40);
SELECT * FROM shown('t');
SELECT alter_alert('t', reset => '{by}', without => '{host}', matchers => '{host!="web1"}', threshold => 19, recover => 18);
SELECT * FROM shown('t');
-- Each aggregate, by series and by groups: the state at a time, as SQL says it
CREATE FUNCTION at10(name text) RETURNS TABLE (labels jsonb, value numeric) LANGUAGE sql AS
	$$SELECT labels - 'alertname', value::numeric(12, 4) FROM backtest(name, '2024-01-01 00:10', '2024-01-01 00:10') ORDER BY 1::text $$;
CREATE PROCEDURE make(aggregate text, source regclass, metric text, "column" text, by text[]) LANGUAGE plpgsql AS $$
BEGIN
	PERFORM drop_alert('x') FROM alert_rules WHERE rule = 'x';
	PERFORM create_alert('x', source => source, metric => metric, value_column => "column", aggregate => aggregate, "window" => '2 min', op => '>', threshold => '-Infinity', every => '1 s', by => by);
END $$;
\set ECHO none
SELECT format($$CALL make(%1$L, 'm', %2$L, NULL, NULL); SELECT %1$L AS aggregate, * FROM at10('x'); CALL make(%1$L, 'w', NULL, 'load', '{dc}'); SELECT %1$L AS aggregate, * FROM at10('x')$$,
	a, CASE WHEN a IN ('rate', 'increase', 'delta') THEN 'hits' ELSE 'cpu' END)
	FROM unnest('{avg,min,max,sum,count,first,last,stddev,stddev_pop,rate,increase,delta}'::text[]) a \gexec
\set ECHO all

SELECT create_alert('d', source => 'm', metric => 'cpu', silent_for => '2 min', every => '10 s', annotations => '{"s": "{{ $labels.host }} is silent for {{ $value | humanizeDuration }}"}') > 0 AS d;
SELECT * FROM shown('d');
SELECT alter_alert('d', by => '{dc}');
SELECT * FROM shown('d');

-- What fails is told, and keeps states.
SELECT create_alert('f', query => $$SELECT 'x' AS host, 1 / (CASE WHEN eval_time() BETWEEN '2024-01-01 00:05' AND '2024-01-01 00:06' THEN 0 ELSE 1 END) AS value$$, every => '1 s', search_path => 'metricsdb') > 0 AS f;
SELECT at, labels, from_state, to_state FROM backtest('f', '2024-01-01 00:00', '2024-01-01 00:10');
SELECT alter_alert('f', error => 'error');
SELECT at, labels, from_state, to_state FROM backtest('f', '2024-01-01 00:00', '2024-01-01 00:10');
SELECT alter_alert('f', query => $$SELECT 'x' AS host, v AS value FROM generate_series(1, 2) v$$);
SELECT at, labels, from_state, to_state FROM backtest('f', '2024-01-01 00:00', '2024-01-01 00:00:03');
SELECT create_alert('c', expression => 'alert(''q'')') > 0 AS c;
SELECT * FROM backtest('c', '2024-01-01', '2024-01-02');
SELECT * FROM backtest('none', '2024-01-01', '2024-01-02');
SELECT * FROM backtest('q', '-infinity', '2024-01-02');
-- Nothing is stored.
SELECT count(*) FROM alert_instance UNION ALL SELECT count(*) FROM alert_event UNION ALL SELECT count(*) FROM alert_outbox;
DELETE FROM alert_rule;
SET client_min_messages = error;
DROP SCHEMA alerting CASCADE;

-- Expressions and rule files of Prometheus: translated, or refused by name and place.
SET search_path = public, metricsdb;
SET timezone = 'UTC';
SET client_min_messages = warning;
SELECT create_metrics_table('prom');
INSERT INTO prom (metric_name, tags, time, value)
SELECT 'http_requests_total', jsonb_build_object('job', job, 'code', code), timestamptz '2026-01-05 10:00' + i * interval '15 s', i * code / 100
FROM generate_series(0, 40) i, unnest('{api,web}'::text[]) job, unnest('{200,500}'::int[]) code;
INSERT INTO prom (metric_name, tags, time, value) VALUES
	('up', '{"job": "api", "empty": "", "none": null, "port": 80, "tls": true}', '2026-01-05 10:05', 1),
	('up', '{"job": "web"}', '2026-01-05 10:05', 0),
	('ended', '{"job": "web"}', '2026-01-05 10:04', 7);

-- Labels are texts, and not empty.
SELECT * FROM promql('up', 'prom', '2026-01-05 10:06') ORDER BY labels;
SELECT * FROM promql('sum by (job) (rate(http_requests_total[5m]))', 'prom', '2026-01-05 10:06') ORDER BY labels;
SELECT * FROM promql('up == 0', 'prom', '2026-01-05 10:06');
SELECT * FROM promql('1 / 0 - vector(1)', 'prom', '2026-01-05 10:06');
SELECT * FROM promql('0 / 0 > bool 1', 'prom', '2026-01-05 10:06');
-- Look-back.
SELECT count(*) FROM promql('ended', 'prom', '2026-01-05 10:09');
SELECT count(*) FROM promql('ended', 'prom', '2026-01-05 10:09:00.001');
SELECT count(*) FROM promql('ended', 'prom', '2026-01-05 10:15', lookback => '1 h');

-- What is wrong is told with its place.
SELECT * FROM promql('sum(rate(up))', 'prom');
SELECT * FROM promql('up +', 'prom');
SELECT * FROM promql('up{job=~"("}', 'prom');
SELECT * FROM promql('no_such(up)', 'prom');
SELECT * FROM promql('{job=""}', 'prom');
-- What is not translated, by its name.
SELECT promql_to_sql('1 + count_values("v", up)', 'prom');
SELECT promql_to_sql('holt_winters(up[5m], 0.5, 0.5)', 'prom');
SELECT promql_to_sql('label_replace(up, "a", "$1", "job", "(.*)")', 'prom');
SELECT promql_to_sql('up and on(__name__) up', 'prom');
SELECT promql_to_sql('ALERTS{alertname="x"}', 'prom');
SELECT promql_to_sql('up[5m]', 'prom');
SELECT promql_to_sql('"text"', 'prom');
SELECT promql('up', 'prom', 'infinity');
SELECT promql('up', 'prom', lookback => '1 month');
SELECT promql('up', NULL);
-- Labels that match more than once.
SELECT * FROM promql('http_requests_total + on(job) http_requests_total', 'prom', '2026-01-05 10:06');
SELECT * FROM promql('up + on() http_requests_total', 'prom', '2026-01-05 10:06');
SELECT * FROM promql('absent_metric + on() http_requests_total', 'prom', '2026-01-05 10:06');

-- Tables: columns as labels and as metrics, and those that will not do.
CREATE TABLE prom_wide (at timestamptz, host text, tags jsonb, "cpu usage" float8, mem int) USING metricsdb;
INSERT INTO prom_wide VALUES ('2026-01-05 10:00', 'a', '{"dc": "x", "host": "hidden"}', 5, 10), ('2026-01-05 10:00', 'b', NULL, 6, NULL);
SELECT * FROM promql('mem{host="a"} * 2', 'prom_wide', '2026-01-05 10:01');
SELECT * FROM promql('{__name__="cpu usage", dc=""}', 'prom_wide', '2026-01-05 10:01');
SELECT * FROM promql('disk', 'prom_wide', '2026-01-05 10:01');
SELECT * FROM promql('{__name__=~"m.*"}', 'prom_wide', '2026-01-05 10:01');
CREATE TABLE prom_none (at timestamp, metric text, value float8);
SELECT promql('m', 'prom_none');
CREATE TABLE prom_two (at timestamptz, metric text, a float8, b float8);
SELECT promql('m', 'prom_two');
CREATE TABLE prom_heap (at timestamptz, metric text, n int);
INSERT INTO prom_heap VALUES ('2026-01-05 10:00', 'm', 3);
SELECT * FROM promql('m', 'prom_heap', '2026-01-05 10:01');
-- Temporary ones, too.
CREATE TEMP TABLE prom_temp AS SELECT * FROM prom_heap;
SELECT * FROM promql('m', 'prom_temp', '2026-01-05 10:01');

-- Whoever may not read it learns nothing.
CREATE ROLE prom_other;
GRANT USAGE ON SCHEMA public TO prom_other;
GRANT USAGE ON SCHEMA metricsdb TO prom_other;
SET ROLE prom_other;
SELECT promql_to_sql('up', 'prom');
SELECT * FROM promql('up', 'prom');
SELECT * FROM import_prometheus_rules('groups: []', 'prom');
RESET ROLE;

-- Functions of what is translated.
SELECT promql_op(1, '/', 0), promql_op(-1, '/', 0), promql_op(0, '%', 0), promql_op(2, '^', 10);
SELECT promql_op(1, '&', 0);
SELECT promql_compare('NaN', '==', 'NaN'), promql_compare('NaN', '!=', 1), promql_compare('NaN', '>', 1);
SELECT promql_math('ln', -1), promql_math('round', 2.5, 1), promql_math('clamp', 7, 1, 5), promql_math('day_of_week', 0);
SELECT promql_math('nothing', 1);
SELECT promql_by('{"a": "1", "b": "2"}', 'b', 'c'), promql_labels('{"a": 1, "b": "", "c": null, "d": "x"}');
SELECT promql_labels('[]');

-- Rule files.
CREATE ROLE prom_owner;
GRANT USAGE, CREATE ON SCHEMA public TO prom_owner;
GRANT USAGE ON SCHEMA metricsdb TO prom_owner;
GRANT SELECT, INSERT ON prom TO prom_owner;
SET ROLE prom_owner;
-- Not who may not create rules.
SELECT status, reason FROM import_prometheus_rules($$
groups: [{name: g, rules: [{alert: x, expr: up}]}]
$$, 'prom');
RESET ROLE;
GRANT EXECUTE ON FUNCTION create_alert TO prom_owner;
SET ROLE prom_owner;
SET client_min_messages = error;
SELECT "group", rule, kind, status, left(reason, 66) AS reason FROM import_prometheus_rules($$
groups:
  - name: http
    interval: 30s
    limit: 100
    rules:
      - record: job:errors:ratio
        expr: |
          sum by (job) (rate(http_requests_total{code="500"}[5m]))
            / sum by (job) (rate(http_requests_total[5m]))
        labels: {from: rule}
      - &errors
        alert: Errors
        expr: job:errors:ratio > 0.1
        for: 2m
        keep_firing_for: 5m
        labels: {severity: warning}
        annotations: {summary: "{{ $labels.job }} has {{ $value | humanizePercentage }} errors"}
      - <<: *errors
        expr: job:errors:ratio > 0.5
        labels: {severity: page}
      - alert: Down
        expr: up == 0
      - alert: Values
        expr: count_values("v", up) > 1
      - alert: Template
        expr: up == 0
        annotations: {summary: '{{ query "up" }}'}
      - alert: Wrong
        expr: rate(up)
  - name: other
    rules:
      - alert: Gone
        expr: absent(up{job="db"})
---
groups:
  - name: http
    rules: []
$$, 'prom', prefix => 'p:');
RESET ROLE;
SELECT name, owner, kind, source, every, hold, keep_firing_for, labels, annotations, options - 'search_path' AS options, definition - 'query' AS definition
FROM alert_rule WHERE name LIKE 'p:%' ORDER BY rule_id;
SELECT definition->>'query' FROM alert_rule WHERE name = 'p:Down';
-- Rules that are there stay as they are.
SELECT status, reason FROM import_prometheus_rules('groups: [{name: g, rules: [{alert: Down, expr: up}]}]', 'prom', prefix => 'p:');
-- Unless they are to be changed.
SELECT rule, kind, status, reason FROM import_prometheus_rules('groups: [{name: g, rules: [{alert: Down, expr: up < 1, for: 5m, labels: {a: b}}, {record: "job:errors:ratio", expr: up}, {alert: New, expr: up}]}]',
	'prom', prefix => 'p:', replace => true);
SELECT rule, every, hold, labels, options - 'search_path' AS options, definition->>'query' LIKE '%<%' AS query FROM alert_rules WHERE rule IN ('p:Down', 'p:job:errors:ratio', 'p:New') ORDER BY rule;
-- What compares an aggregate over a range with a number may be evaluated as the data comes in.
SELECT rule, kind, status, reason FROM import_prometheus_rules($$
groups:
  - name: incremental
    rules:
      - {alert: T1, expr: 'up{job=~"a.*"} == 0'}
      - {alert: T2, expr: '-5 < avg_over_time(up[10m])'}
      - {alert: T3, expr: 'sum by (job) (rate(http_requests_total{code="500"}[5m])) > 1e-3'}
      - {alert: T4, expr: 'max without (code) (max_over_time(http_requests_total[1m])) >= 5', for: 1m}
      - {alert: T5, expr: 'sum(increase(http_requests_total[5m])) < 1'}
      - {alert: Q1, expr: 'up offset 5m == 0'}
      - {alert: Q2, expr: 'avg by (job) (avg_over_time(up[10m])) > 1'}
      - {alert: Q3, expr: 'up > bool 1'}
      - {alert: Q4, expr: '{__name__=~"u.*"} > 1'}
      - {alert: Q5, expr: 'rate(http_requests_total[5m]) > up'}
$$, 'prom', prefix => 'i:', incremental => true);
SELECT rule, kind, definition FROM alert_rules WHERE rule LIKE 'i:T%' ORDER BY rule;
SELECT rule, kind, status, reason FROM import_prometheus_rules('groups: [{name: g, rules: [{alert: W, expr: ''avg_over_time(mem{host="a"}[1m]) > 5''}]}]', 'prom_wide', prefix => 'i:', incremental => true);
SELECT count(drop_alert(rule)) FROM alert_rules WHERE rule LIKE 'i:%';
-- What is no rule file.
SELECT import_prometheus_rules('groups: [', 'prom');
SELECT import_prometheus_rules('group: []', 'prom');
SELECT import_prometheus_rules('groups: [{rules: []}]', 'prom');
SELECT import_prometheus_rules(E'groups:\n- name: a\n  rules:\n  - alert: x\n    expr: up\n    fro: 5m', 'prom');
SELECT import_prometheus_rules('groups: [{name: a, rules: [{alert: x, expr: up, for: 5}]}]', 'prom');
SELECT import_prometheus_rules('groups: [{name: a, rules: [{record: x, expr: up, for: 5m}]}]', 'prom');
SELECT import_prometheus_rules('groups: [{name: a, rules: [{alert: x, record: y, expr: up}]}]', 'prom');
SELECT import_prometheus_rules('groups: [{name: a}, {name: a}]', 'prom');
SELECT import_prometheus_rules('groups: [{name: a, rules: [{alert: x, expr: up, labels: {a-b: c}}]}]', 'prom');

-- Unit tests of rules.
CREATE TEMP TABLE prom_files AS SELECT $$
groups:
  - name: g
    rules:
      - record: job:m:sum
        expr: sum by (job) (m)
        labels: {from: rule}
      - alert: High
        expr: job:m:sum > 10
        for: 2m
        labels: {severity: page}
        annotations: {summary: "{{ $labels.job }} is at {{ $value }}"}
      - alert: Keep
        expr: m > 20
        keep_firing_for: 3m
      - alert: Gone
        expr: absent(m{job="a"})
$$ AS rules;
SELECT t.* FROM prom_files, run_alert_tests($$
rule_files: [rules.yml]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - series: 'm{job="a", inst="1"}'
        values: '1+2x10 stale _x5 30 1x5'
      - series: 'm{job="b", inst="1"}'
        values: '5x20'
    alert_rule_test:
      - {eval_time: 6m, alertname: High}
      - eval_time: 8m
        alertname: High
        exp_alerts: [{exp_labels: {severity: page, job: a, from: rule}, exp_annotations: {summary: a is at 17}}]
      - {eval_time: 8m, alertname: High}
      - {eval_time: 12m, alertname: Gone, exp_alerts: [{exp_labels: {job: a}}]}
      - {eval_time: 20m, alertname: Keep, exp_alerts: [{exp_labels: {job: a, inst: "1"}}]}
      - {eval_time: 21m, alertname: Keep}
    promql_expr_test:
      - {expr: 'sum(rate(m[5m]))', eval_time: 5m, exp_samples: [{labels: '{}', value: 0.0333333333333333333}]}
      - expr: job:m:sum
        eval_time: 5m
        exp_samples: [{labels: 'job:m:sum{job="a",from="rule"}', value: 11}, {labels: 'job:m:sum{job="b",from="rule"}', value: 6}]
      - {expr: 'rate(m)', eval_time: 0m}
  - name: nothing
    promql_expr_test: [{expr: 1 / 0, eval_time: 0, exp_samples: [{labels: '', value: .inf}]}]
$$, rules) t;
-- Rules that cannot be evaluated are told.
SELECT * FROM run_alert_tests($$
tests:
  - input_series: [{series: 'm{a="1"}', values: 1x3}, {series: 'm{a="2"}', values: 1x3}]
    alert_rule_test: [{eval_time: 2m, alertname: Twice}]
$$, $$
groups: [{name: g, rules: [{alert: Twice, expr: 'm + on() m'}, {alert: Holt, expr: 'holt_winters(m[5m], 0.5, 0.5)'}]}]
$$);
-- What is no file of tests.
SELECT run_alert_tests('tests: [{nothing: 1}]');
SELECT run_alert_tests('tests: [{input_series: [{series: "m", values: "1 2 x"}]}]');
SELECT run_alert_tests('tests: [{input_series: [{series: "m{a!=\"b\"}", values: "1"}]}]');
SELECT run_alert_tests('tests: [{alert_rule_test: [{eval_time: 1x, alertname: a}]}]');
SELECT run_alert_tests('tests: [{alert_rule_test: [{eval_time: 1m}]}]');
SELECT run_alert_tests(NULL);
SELECT to_regclass('pg_temp.metricsdb_test_samples') IS NULL AS no_table_is_left;

SELECT count(drop_alert(name)) FROM alert_rule WHERE name LIKE 'p:%';
DROP TABLE prom, prom_wide, prom_none, prom_two, prom_heap;
REVOKE ALL ON SCHEMA public, metricsdb FROM prom_other, prom_owner;
REVOKE ALL ON FUNCTION create_alert FROM prom_owner;
DROP ROLE prom_other, prom_owner;

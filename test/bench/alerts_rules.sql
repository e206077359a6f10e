-- Read by alerts.sh: rules of a metric in a cluster each, some of which are queries.
SET client_min_messages = error;
WITH rules AS (
	SELECT m, c, row_number() OVER (ORDER BY c % (:rules / 10 / greatest(:queries / 10, 1)), c, m) <= :queries AS query
	FROM generate_series(0, 9) m, generate_series(0, :rules / 10 - 1) c)
SELECT FROM (
	SELECT count(CASE WHEN query THEN
		metricsdb.create_alert(format('m%s_c%s', m, c), source => 'metrics', every => '5 s', op => '>', threshold => 1000, targets => '{am}',
			query => format($$SELECT tags->>'host' AS host, max(value) AS value FROM public.metrics
				WHERE metric_name = 'm%s' AND tags->>'cluster' = 'c%s' AND time > metricsdb.eval_time() - interval '10 s' AND time <= metricsdb.eval_time()
				GROUP BY 1$$, m, c))
	ELSE
		metricsdb.create_alert(format('m%s_c%s', m, c), source => 'metrics', every => '1 s', op => '>', threshold => 1000, targets => '{am}',
			metric => 'm' || m, matchers => format('{cluster="c%s"}', c), aggregate => (ARRAY['max', 'avg'])[1 + m % 2], "window" => '10 s')
	END) FROM rules) made;

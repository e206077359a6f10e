-- Aggregates of samples, as Prometheus has them: alike on heap and on metricsdb, in parallel, too.
SET search_path = public, metricsdb;
SELECT count_over_time(v), sum_over_time(v), avg_over_time(v), min_over_time(v), max_over_time(v), stdvar_over_time(v),
	stddev_over_time(v), present_over_time(v), quantile_over_time(0.5, v), mad_over_time(v)
	FROM unnest('{1, 2, NULL, 4, 9}'::float8[]) v;

SELECT date_trunc('hour', time) AS hour, avg(usage_user), stddev(usage_user) FROM :t GROUP BY 1 ORDER BY 1;

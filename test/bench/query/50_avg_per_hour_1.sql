SELECT time_bucket('1 hour', time) AS hour, avg(usage_user) FROM :t GROUP BY 1 ORDER BY 1;

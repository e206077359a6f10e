\set span 43200
\set from 1700000000 + random(0, greatest(:length - :span, 0))
SELECT time_bucket('1 hour', time) AS hour, hostname, avg(usage_user) FROM :t WHERE time >= to_timestamp(:from) AND time < to_timestamp(:from + :span) GROUP BY 1, 2 ORDER BY 1, 2;

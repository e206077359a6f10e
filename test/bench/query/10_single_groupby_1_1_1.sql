\set span 3600
\set from 1700000000 + random(0, greatest(:length - :span, 0))
\set a random(0, :hosts - 1)
SELECT time_bucket('1 minute', time) AS minute, max(usage_user) FROM :t WHERE hostname = 'host_:a' AND time >= to_timestamp(:from) AND time < to_timestamp(:from + :span) GROUP BY 1 ORDER BY 1;

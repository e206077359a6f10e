\set span 3600
\set from 1700000000 + random(0, greatest(:length - :span, 0))
SELECT time_bucket('1 minute', time) AS minute, max(usage_user) FROM :t WHERE time < to_timestamp(:from + :span) GROUP BY 1 ORDER BY 1 DESC LIMIT 5;

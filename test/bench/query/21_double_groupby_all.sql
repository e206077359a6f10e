\set span 43200
\set from 1700000000 + random(0, greatest(:length - :span, 0))
SELECT time_bucket('1 hour', time) AS hour, hostname, avg(usage_user), avg(usage_system), avg(usage_idle), avg(usage_nice), avg(usage_iowait), avg(usage_irq), avg(usage_softirq), avg(usage_steal), avg(usage_guest), avg(usage_guest_nice) FROM :t WHERE time >= to_timestamp(:from) AND time < to_timestamp(:from + :span) GROUP BY 1, 2 ORDER BY 1, 2;

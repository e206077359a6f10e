\set span 28800
\set from 1700000000 + random(0, greatest(:length - :span, 0))
\set a random(0, :hosts - 1)
\set b random(0, :hosts - 1)
\set c random(0, :hosts - 1)
\set d random(0, :hosts - 1)
\set e random(0, :hosts - 1)
\set f random(0, :hosts - 1)
\set g random(0, :hosts - 1)
\set h random(0, :hosts - 1)
SELECT time_bucket('1 hour', time) AS hour, max(usage_user), max(usage_system), max(usage_idle), max(usage_nice), max(usage_iowait), max(usage_irq), max(usage_softirq), max(usage_steal), max(usage_guest), max(usage_guest_nice) FROM :t WHERE hostname IN ('host_:a', 'host_:b', 'host_:c', 'host_:d', 'host_:e', 'host_:f', 'host_:g', 'host_:h') AND time >= to_timestamp(:from) AND time < to_timestamp(:from + :span) GROUP BY 1 ORDER BY 1;

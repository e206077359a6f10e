\set span 43200
\set from 1700000000 + random(0, greatest(:length - :span, 0))
SELECT time, hostname, usage_user FROM :t WHERE usage_user > 90 AND time >= to_timestamp(:from) AND time < to_timestamp(:from + :span);

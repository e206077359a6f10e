SELECT DISTINCT ON (hostname) * FROM :t ORDER BY hostname, time DESC;

SELECT sum(usage_user) FROM :t;

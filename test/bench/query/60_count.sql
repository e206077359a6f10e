SELECT count(*) FROM :t;

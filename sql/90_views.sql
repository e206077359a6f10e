-- Views for operators.  What they show is decided by the functions below them, by the caller's
-- privileges: the catalogs themselves are not readable.

CREATE VIEW parts AS SELECT * FROM all_parts();
COMMENT ON VIEW parts IS
	'the immutable parts of the metricsdb tables that you may read; what row-level security hides is NULL';
GRANT SELECT ON parts TO PUBLIC;

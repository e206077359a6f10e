-- Watermarks: up to when the data of tables is complete.

CREATE FUNCTION watermark("table" regclass) RETURNS timestamptz
	LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'mdb_watermark_time';
COMMENT ON FUNCTION watermark(regclass) IS
	'up to when the data of a table is complete, as far as can be told: what alerts on it take for the time; NULL if it is not known';

CREATE FUNCTION watermark_state("table" regclass, OUT watermark timestamptz, OUT lag interval, OUT reason text)
	LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'mdb_watermark_state';
COMMENT ON FUNCTION watermark_state(regclass) IS
	'the watermark of a table, how far it is behind the clock, and why, if it is late';

CREATE VIEW watermarks WITH (security_barrier) AS
	SELECT t."table", w.watermark, w.lag, w.reason
	FROM (SELECT target AS "table" FROM metricsdb.kafka_source
			UNION SELECT source FROM metricsdb.alert_rule WHERE source IS NOT NULL) t
		CROSS JOIN LATERAL metricsdb.watermark_state(t."table") w
	WHERE pg_catalog.has_table_privilege(t."table", 'SELECT') OR pg_catalog.pg_has_role('pg_monitor', 'USAGE')
		AND EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid OPERATOR(pg_catalog.=) t."table"::pg_catalog.oid);
COMMENT ON VIEW watermarks IS
	'up to when the data of tables is complete that Kafka sources fill or alerts watch: those you may read, all for pg_monitor';
GRANT SELECT ON watermarks TO PUBLIC;

-- Kafka sources that read what they are told to: which partitions, from where, up to where.  A node of a distributed table
-- obeys these rows, and needs nobody to go on: src/ingest/assign.c, src/dist/README.md.

CREATE TABLE kafka_assignment (
	source_id   int4 NOT NULL REFERENCES kafka_source ON DELETE CASCADE,
	partition   int4 NOT NULL,
	epoch       int8 NOT NULL,	-- each change of who reads the partition has the next number
	shard       text NOT NULL,
	from_offset int8 NOT NULL,
	to_offset   int8,			-- the first message that is another shard's; NULL = there is none
	PRIMARY KEY (source_id, partition, epoch)
) USING heap;
COMMENT ON TABLE kafka_assignment IS
	'what an assigned Kafka source reads and has read; written by metricsdb.assign_kafka_partition() and close_kafka_partition()';
REVOKE ALL ON kafka_assignment FROM PUBLIC;
SELECT pg_catalog.pg_extension_config_dump('metricsdb.kafka_assignment', '');

CREATE FUNCTION assign_kafka_partition(
	source text, partition int4, epoch int8, shard text, from_offset int8, to_offset int8 DEFAULT NULL) RETURNS bool
	LANGUAGE C VOLATILE AS 'MODULE_PATHNAME', 'mdb_assign_kafka_partition';
COMMENT ON FUNCTION assign_kafka_partition(text, int4, int8, text, int8, int8) IS
	'have a Kafka source with the option assigned read a partition from an offset on, when it has finished the epochs before; '
	'false if it was told so before. For the source''s owner';

CREATE FUNCTION close_kafka_partition(source text, partition int4, epoch int8, at_least int8 DEFAULT 0) RETURNS int8
	LANGUAGE C VOLATILE STRICT AS 'MODULE_PATHNAME', 'mdb_close_kafka_partition';
COMMENT ON FUNCTION close_kafka_partition(text, int4, int8, int8) IS
	'end an epoch of an assigned Kafka source at the earliest offset that is possible, at_least this one, which is returned: the '
	'source stores what lies before it, and never anything from it on. For the source''s owner';

CREATE FUNCTION lock_kafka_assignments(
	source text, OUT partition int4, OUT epoch int8, OUT shard text, OUT from_offset int8, OUT to_offset int8) RETURNS SETOF record
	LANGUAGE C VOLATILE STRICT AS 'MODULE_PATHNAME', 'mdb_lock_kafka_assignments';
COMMENT ON FUNCTION lock_kafka_assignments(text) IS
	'the epochs of a Kafka source, which nobody else changes until the end of the transaction; reading goes on. For the '
	'source''s owner';

CREATE FUNCTION kafka_watermarks(
	source text, OUT partition int4, OUT low_watermark int8, OUT high_watermark int8) RETURNS SETOF record
	LANGUAGE C VOLATILE STRICT AS 'MODULE_PATHNAME', 'mdb_kafka_watermarks';
COMMENT ON FUNCTION kafka_watermarks(text) IS
	'the partitions of a Kafka source''s topic and the offsets that they have, asked of the brokers. For the source''s owner';

CREATE VIEW kafka_assignments WITH (security_barrier) AS
	SELECT s.name AS source, a.partition, a.epoch, a.shard, a.from_offset, a.to_offset,
		CASE WHEN o.epoch > a.epoch THEN a.to_offset WHEN o.epoch = a.epoch THEN o.next_offset ELSE a.from_offset END AS next_offset
	FROM metricsdb.kafka_assignment a
		JOIN metricsdb.kafka_source s USING (source_id)
		LEFT JOIN metricsdb.kafka_offset o USING (source_id, partition)
	WHERE pg_catalog.pg_has_role(s.owner::oid, 'USAGE') OR pg_catalog.pg_has_role('pg_monitor', 'USAGE');
COMMENT ON VIEW kafka_assignments IS
	'what assigned Kafka sources read and have read, and how far each epoch is stored: those of the user, all for pg_monitor';
GRANT SELECT ON kafka_assignments TO PUBLIC;

-- Kafka sources of distributed tables: each shard reads its partitions, by itself: src/dist/assign.c.

CREATE TABLE distributed_source (
	name           text        NOT NULL PRIMARY KEY,
	"table"        regclass    NOT NULL,
	brokers        text        NOT NULL,
	topic          text        NOT NULL,
	format         text        NOT NULL,
	timestamp_unit text        NOT NULL,
	options        jsonb       NOT NULL,
	since          timestamptz NOT NULL DEFAULT pg_catalog.now()
) USING heap;
COMMENT ON TABLE distributed_source IS
	'Kafka sources of distributed tables; written by metricsdb.create_distributed_source() and drop_distributed_source()';
SELECT pg_catalog.pg_extension_config_dump('metricsdb.distributed_source', '');

-- What nodes hold, as of the last metricsdb.assign_partitions(), which asks them and does not believe this.
CREATE TABLE distributed_epoch (
	source      text NOT NULL REFERENCES distributed_source ON DELETE CASCADE,
	partition   int4 NOT NULL,
	epoch       int8 NOT NULL,
	shard       text NOT NULL,
	from_offset int8 NOT NULL,
	to_offset   int8,
	PRIMARY KEY (source, partition, epoch)
) USING heap;
COMMENT ON TABLE distributed_epoch IS
	'which shard reads which offsets of which partition: a copy of what the nodes have, of the last metricsdb.assign_partitions()';
SELECT pg_catalog.pg_extension_config_dump('metricsdb.distributed_epoch', '');
REVOKE ALL ON distributed_source, distributed_epoch FROM PUBLIC;

CREATE FUNCTION create_distributed_source(
	name           text,
	brokers        text,
	topic          text,
	"table"        regclass,
	format         text,
	timestamp_unit text  DEFAULT 'ms',
	options        jsonb DEFAULT '{}',
	secrets        jsonb DEFAULT NULL) RETURNS int8
	LANGUAGE C VOLATILE AS 'MODULE_PATHNAME', 'mdb_create_distributed_source';
COMMENT ON FUNCTION create_distributed_source(text, text, text, regclass, text, text, jsonb, jsonb) IS
	'have the nodes of a distributed table read a topic, each partition by one shard; how many partitions there are. Arguments are '
	'those of create_kafka_source(), which it calls on the nodes. For the table''s owner';
REVOKE ALL ON FUNCTION create_distributed_source(text, text, text, regclass, text, text, jsonb, jsonb) FROM PUBLIC;

CREATE FUNCTION drop_distributed_source(name text) RETURNS void
	LANGUAGE C VOLATILE STRICT AS 'MODULE_PATHNAME', 'mdb_drop_distributed_source';
COMMENT ON FUNCTION drop_distributed_source(text) IS
	'drop a distributed table''s Kafka source on all nodes; the points it stored stay. For the table''s owner';

CREATE FUNCTION assign_partitions(source text) RETURNS int8
	LANGUAGE C VOLATILE STRICT AS 'MODULE_PATHNAME', 'mdb_assign_partitions';
COMMENT ON FUNCTION assign_partitions(text) IS
	'give partitions that no shard reads, those of shards that are drained, and as many of the others as shards differ by more than '
	'one, to the shards that have fewest, and complete what was interrupted: each at an offset up to which the one before '
	'reads; how many. For the table''s owner';

CREATE FUNCTION pause_distributed_source(name text) RETURNS void
	LANGUAGE C VOLATILE STRICT AS 'MODULE_PATHNAME', 'mdb_pause_distributed_source';
COMMENT ON FUNCTION pause_distributed_source(text) IS
	'have no node read a distributed table''s Kafka source until it is resumed. For the table''s owner';

CREATE FUNCTION resume_distributed_source(name text) RETURNS void
	LANGUAGE C VOLATILE STRICT AS 'MODULE_PATHNAME', 'mdb_resume_distributed_source';
COMMENT ON FUNCTION resume_distributed_source(text) IS
	'have all nodes go on with a distributed table''s Kafka source that was paused or stopped. For the table''s owner';

CREATE FUNCTION seek_distributed_source(name text, partition int4, next_offset int8) RETURNS void
	LANGUAGE C VOLATILE STRICT AS 'MODULE_PATHNAME', 'mdb_seek_distributed_source';
COMMENT ON FUNCTION seek_distributed_source(text, int4, int8) IS
	'have the replicas of the shard that reads a partition go on at another offset of their epoch: what lies between is not read, '
	'or is read and stored again. For the table''s owner';

CREATE FUNCTION distributed_source_status(
	source text, OUT node text, OUT shard text, OUT partition int4, OUT epoch int8, OUT state text, OUT next_offset int8,
	OUT to_offset int8, OUT lag_messages int8, OUT messages int8, OUT consumed int8, OUT stored int8, OUT dead_letters int8,
	OUT skipped int8, OUT last_error text) RETURNS SETOF record
	LANGUAGE C VOLATILE STRICT AS 'MODULE_PATHNAME', 'mdb_distributed_source_status';
COMMENT ON FUNCTION distributed_source_status(text) IS
	'rows of metricsdb.kafka_status of a distributed table''s Kafka source, of each node that is not evicted. For the table''s owner';

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
	OUT skipped int8, OUT last_error text, OUT load_points float8, OUT load_bytes float8, OUT top_metric text,
	OUT top_part float4) RETURNS SETOF record
	LANGUAGE C VOLATILE STRICT AS 'MODULE_PATHNAME', 'mdb_distributed_source_status';
COMMENT ON FUNCTION distributed_source_status(text) IS
	'rows of metricsdb.kafka_status of a distributed table''s Kafka source, of each node that is not evicted. For the table''s owner';

CREATE FUNCTION partition_load(
	source text, OUT partition int4, OUT shard text, OUT points float8, OUT bytes float8, OUT top_metric text,
	OUT top_part float4, OUT skewed bool) RETURNS SETOF record
	LANGUAGE sql VOLATILE STRICT SET search_path = pg_catalog AS $$
	SELECT p.partition, p.shard, r.points, r.bytes, p.top_metric, p.top_part, coalesce(greatest(r.points, r.bytes) > 1.5, false)
	FROM (SELECT *, avg(l.load_points) OVER () AS mean_points, avg(l.load_bytes) OVER () AS mean_bytes
			FROM (SELECT DISTINCT ON (s.partition) s.partition, s.shard, coalesce(s.load_points, 0) AS load_points,
					coalesce(s.load_bytes, 0) AS load_bytes, s.top_metric, s.top_part
				FROM metricsdb.distributed_source_status(source) s WHERE s.partition IS NOT NULL AND s.to_offset IS NULL
				ORDER BY s.partition, s.load_points DESC NULLS LAST) l) p
		CROSS JOIN LATERAL (SELECT p.load_points / nullif(p.mean_points, 0) AS points,
			p.load_bytes / nullif(p.mean_bytes, 0) AS bytes) r
	ORDER BY p.partition $$;
COMMENT ON FUNCTION partition_load(text) IS
	'what each partition of a distributed table''s Kafka source has brought in the last ten minutes or so, in points and bytes, 1 = '
	'the mean of all; the metric that most of its points are likely of, its first bytes, and how many, 0 to 1; skewed: more '
	'than 1.5 times the mean. For the table''s owner';

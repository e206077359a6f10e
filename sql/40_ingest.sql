-- Kafka ingestion: sources, their offsets and dead letters, and what people see of them.

CREATE SEQUENCE kafka_source_id_seq AS int4;
COMMENT ON SEQUENCE kafka_source_id_seq IS 'source of the ids of Kafka sources';

CREATE TABLE kafka_source (
	source_id      int4        NOT NULL PRIMARY KEY DEFAULT pg_catalog.nextval('metricsdb.kafka_source_id_seq'),
	name           text        NOT NULL UNIQUE,
	owner          regrole     NOT NULL,
	target         regclass    NOT NULL,
	brokers        text        NOT NULL,
	topic          text        NOT NULL,
	format         text        NOT NULL CHECK (format IN ('metric', 'metric_batch')),
	timestamp_unit text        NOT NULL CHECK (timestamp_unit IN ('s', 'ms', 'us', 'ns')),
	options        jsonb       NOT NULL DEFAULT '{}',
	state          text        NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'paused', 'stopped')),
	reason         text,				-- why it was stopped
	home           text        NOT NULL,	-- system identifier/database: a restored copy is not at home
	created_at     timestamptz NOT NULL DEFAULT pg_catalog.now()
) USING heap;
COMMENT ON TABLE kafka_source IS 'Kafka sources; written by metricsdb.create_kafka_source() and its sisters';

-- Secrets are in no view and in no dump.
CREATE TABLE kafka_secret (
	source_id      int4        NOT NULL PRIMARY KEY REFERENCES kafka_source ON DELETE CASCADE,
	secrets        jsonb       NOT NULL
) USING heap;
COMMENT ON TABLE kafka_secret IS 'passwords and keys of Kafka sources; not dumped';

-- Changed in the transaction that stores the points, each second: so small, and mostly in place.
CREATE TABLE kafka_offset (
	source_id       int4       NOT NULL REFERENCES kafka_source ON DELETE CASCADE,
	partition       int4       NOT NULL,
	next_offset     int8       NOT NULL,	-- the first message whose points are not stored
	high_watermark  int8,					-- as of the last flush
	messages        int8       NOT NULL DEFAULT 0,
	consumed        int8       NOT NULL DEFAULT 0,	-- points; = stored + dead_letters
	stored          int8       NOT NULL DEFAULT 0,
	dead_letters    int8       NOT NULL DEFAULT 0,
	skipped         int8       NOT NULL DEFAULT 0,	-- offsets that Kafka had no more
	stalled         text,					-- why the partition is not read
	last_message_at timestamptz,
	newest_time     timestamptz,			-- of the points stored, but for those from the future
	updated_at      timestamptz,
	epoch           int8,					-- of an assigned source: which of its assignments this is
	to_offset       int8,					-- the first message that is not ours any more; NULL = there is none
	load_points     float8,					-- points and bytes of late, as of updated_at; a third of it is left ten minutes later
	load_bytes      float8,
	top_metric      text,					-- that most of them are likely of; its first bytes
	top_part        float4,					-- how many, 0 to 1
	PRIMARY KEY (source_id, partition)
) USING heap WITH (fillfactor = 40, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
COMMENT ON TABLE kafka_offset IS 'how far each partition of each Kafka source is stored';

CREATE TABLE kafka_dead_letter (
	source_id      int4        NOT NULL REFERENCES kafka_source ON DELETE CASCADE,
	topic          text        NOT NULL,
	partition      int4        NOT NULL,
	"offset"       int8        NOT NULL,
	point_index    int4        NOT NULL,	-- in the message; -1 = the message, or its unreadable rest
	message_at     timestamptz,
	key            bytea,
	payload        bytea,					-- of the point, or message; cut at dead_letter_bytes
	payload_length int4        NOT NULL,
	code           text        NOT NULL,
	reason         text        NOT NULL,
	points         int4        NOT NULL DEFAULT 1,	-- that it stands for: in a flood it is the first of many
	last_offset    int8,					-- of them
	created_at     timestamptz NOT NULL DEFAULT pg_catalog.now(),
	-- With its time: in a topic that was made anew, other messages have the same offsets.
	UNIQUE NULLS NOT DISTINCT (source_id, partition, "offset", point_index, message_at)
) USING heap;
COMMENT ON TABLE kafka_dead_letter IS 'points and messages from Kafka that could not be stored, and why';

REVOKE ALL ON SEQUENCE kafka_source_id_seq FROM PUBLIC;
REVOKE ALL ON kafka_source, kafka_secret, kafka_offset, kafka_dead_letter FROM PUBLIC;

-- A dump holds points and offsets of one snapshot, so a restored database can go on from there; but
-- it does so only after resume_kafka_source(), for home tells it from the original.
SELECT pg_catalog.pg_extension_config_dump('metricsdb.kafka_source', '');
SELECT pg_catalog.pg_extension_config_dump('metricsdb.kafka_source_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('metricsdb.kafka_offset', '');
SELECT pg_catalog.pg_extension_config_dump('metricsdb.kafka_dead_letter', '');

-- Tables to write to

CREATE FUNCTION create_metrics_table(name text) RETURNS regclass
	LANGUAGE C VOLATILE STRICT AS 'MODULE_PATHNAME', 'mdb_create_metrics_table';
COMMENT ON FUNCTION create_metrics_table(text)
	IS 'create a table (metric_name, tags, time, value) USING metricsdb';

-- Sources.  A source makes the server connect to other hosts and occupies a worker process: who
-- may create one is for the administrator to say.

CREATE FUNCTION create_kafka_source(
	name           text,
	brokers        text,
	topic          text,
	target         regclass,
	format         text,
	timestamp_unit text  DEFAULT 'ms',
	options        jsonb DEFAULT '{}',
	secrets        jsonb DEFAULT NULL) RETURNS int4
	LANGUAGE C VOLATILE AS 'MODULE_PATHNAME', 'mdb_create_kafka_source';
COMMENT ON FUNCTION create_kafka_source(text, text, text, regclass, text, text, jsonb, jsonb)
	IS 'create a Kafka source, owned by the current user, that stores the points of a topic in a table';
REVOKE ALL ON FUNCTION create_kafka_source(text, text, text, regclass, text, text, jsonb, jsonb) FROM PUBLIC;

CREATE FUNCTION drop_kafka_source(name text) RETURNS void
	LANGUAGE C VOLATILE STRICT AS 'MODULE_PATHNAME', 'mdb_drop_kafka_source';
COMMENT ON FUNCTION drop_kafka_source(text)
	IS 'drop a Kafka source with its offsets and dead letters; the points it stored stay';

CREATE FUNCTION pause_kafka_source(name text) RETURNS void
	LANGUAGE C VOLATILE STRICT AS 'MODULE_PATHNAME', 'mdb_pause_kafka_source';
COMMENT ON FUNCTION pause_kafka_source(text) IS 'stop reading a Kafka source until it is resumed';

CREATE FUNCTION resume_kafka_source(name text) RETURNS void
	LANGUAGE C VOLATILE STRICT AS 'MODULE_PATHNAME', 'mdb_resume_kafka_source';
COMMENT ON FUNCTION resume_kafka_source(text)
	IS 'go on with a Kafka source that was paused or stopped, or came with a restored dump';

CREATE FUNCTION seek_kafka_source(name text, partition int4, next_offset int8) RETURNS void
	LANGUAGE C VOLATILE STRICT AS 'MODULE_PATHNAME', 'mdb_seek_kafka_source';
COMMENT ON FUNCTION seek_kafka_source(text, int4, int8)
	IS 'make a Kafka source go on at another offset of a partition, for one that has stalled';

CREATE FUNCTION set_kafka_secrets(name text, secrets jsonb) RETURNS void
	LANGUAGE C VOLATILE AS 'MODULE_PATHNAME', 'mdb_set_kafka_secrets';
COMMENT ON FUNCTION set_kafka_secrets(text, jsonb) IS 'replace the passwords and keys of a Kafka source';

CREATE FUNCTION kafka_secrets(name text) RETURNS jsonb
	LANGUAGE C VOLATILE STRICT AS 'MODULE_PATHNAME', 'mdb_kafka_secrets';
COMMENT ON FUNCTION kafka_secrets(text) IS 'the passwords and keys of a Kafka source, for its owner';

CREATE FUNCTION purge_kafka_dead_letters(source text, before timestamptz DEFAULT pg_catalog.now()) RETURNS int8
	LANGUAGE C VOLATILE STRICT AS 'MODULE_PATHNAME', 'mdb_purge_kafka_dead_letters';
COMMENT ON FUNCTION purge_kafka_dead_letters(text, timestamptz)
	IS 'delete dead letters of a Kafka source; returns how many';

-- What they do.  These functions show each user the sources of his own; pg_monitor sees all.

CREATE FUNCTION kafka_live(
	OUT source_id int4, OUT pid int4, OUT phase text, OUT since timestamptz,
	OUT pending_points int8, OUT pending_messages int8, OUT points_per_second int8,
	OUT last_error text, OUT last_error_at timestamptz) RETURNS SETOF record
	LANGUAGE C VOLATILE STRICT AS 'MODULE_PATHNAME', 'mdb_kafka_live';
COMMENT ON FUNCTION kafka_live() IS 'what the Kafka workers of this database are doing';

CREATE FUNCTION kafka_live_partitions(
	OUT source_id int4, OUT partition int4, OUT low_watermark int8, OUT high_watermark int8)
	RETURNS SETOF record
	LANGUAGE C VOLATILE STRICT AS 'MODULE_PATHNAME', 'mdb_kafka_live_partitions';
COMMENT ON FUNCTION kafka_live_partitions() IS 'the watermarks of Kafka partitions as their workers last heard';

CREATE FUNCTION kafka_home() RETURNS text
	LANGUAGE C STABLE STRICT AS 'MODULE_PATHNAME', 'mdb_kafka_home';
COMMENT ON FUNCTION kafka_home() IS 'what tells this database from a restored copy of it';

CREATE VIEW kafka_sources WITH (security_barrier) AS
	SELECT s.source_id, s.name AS source, s.owner, s.target, s.brokers, s.topic, s.format, s.timestamp_unit,
		s.options, s.state, s.reason, s.created_at
	FROM metricsdb.kafka_source s
	WHERE pg_catalog.pg_has_role(s.owner::oid, 'USAGE') OR pg_catalog.pg_has_role('pg_monitor', 'USAGE');
COMMENT ON VIEW kafka_sources IS 'Kafka sources: those of the user, all for pg_monitor';

CREATE VIEW kafka_status WITH (security_barrier) AS
	SELECT s.name AS source,
		s.topic,
		o.partition,
		CASE WHEN s.home <> metricsdb.kafka_home() AND s.state = 'running' THEN 'restored copy'
			WHEN s.state <> 'running' THEN s.state
			WHEN o.next_offset >= o.to_offset THEN 'handed over'
			WHEN o.stalled IS NOT NULL THEN 'stalled'
			WHEN l.pid IS NULL THEN 'waiting for a worker'
			WHEN l.phase = 'flushing' THEN 'running'
			ELSE l.phase END AS state,
		o.next_offset,
		w.high_watermark,
		least(w.high_watermark, o.to_offset) - o.next_offset AS lag_messages,
		CASE WHEN least(w.high_watermark, o.to_offset) > o.next_offset
			THEN greatest(pg_catalog.date_part('epoch', pg_catalog.clock_timestamp() - o.last_message_at), 0)
			WHEN o.next_offset IS NOT NULL THEN 0 END AS lag_seconds,
		CASE WHEN l.pid IS NOT NULL THEN l.points_per_second END AS source_points_per_second,
		o.messages,
		o.consumed,
		o.stored,
		o.dead_letters,
		o.skipped,
		o.consumed = o.stored + o.dead_letters AS balanced,
		coalesce(o.stalled, s.reason,
			CASE WHEN s.home <> metricsdb.kafka_home()
				THEN 'this database is a copy; metricsdb.resume_kafka_source() makes it consume' END,
			l.last_error) AS last_error,
		CASE WHEN o.stalled IS NULL AND s.reason IS NULL THEN l.last_error_at END AS last_error_at,
		l.pid AS worker_pid,
		o.updated_at,
		o.epoch,
		o.to_offset,
		o.load_points * d."left" AS load_points,
		o.load_bytes * d."left" AS load_bytes,
		o.top_metric,
		o.top_part
	FROM metricsdb.kafka_source s
		LEFT JOIN metricsdb.kafka_offset o USING (source_id)
		LEFT JOIN metricsdb.kafka_live() l USING (source_id)
		LEFT JOIN metricsdb.kafka_live_partitions() p USING (source_id, partition)
		CROSS JOIN LATERAL (SELECT greatest(p.high_watermark, o.high_watermark, o.next_offset) AS high_watermark) w
		-- What is older counts less: after ten minutes a third.
		CROSS JOIN LATERAL (SELECT pg_catalog.exp(-least(greatest(pg_catalog.date_part('epoch',
			pg_catalog.clock_timestamp() - o.updated_at), 0) / 600, 700)) AS "left") d
	WHERE pg_catalog.pg_has_role(s.owner::oid, 'USAGE') OR pg_catalog.pg_has_role('pg_monitor', 'USAGE');
COMMENT ON VIEW kafka_status IS 'one row for each partition of each Kafka source: position, lag, counts, state';

CREATE VIEW kafka_dead_letters WITH (security_barrier) AS
	SELECT s.name AS source, d.topic, d.partition, d."offset", d.point_index, d.message_at, d.key, d.payload,
		d.payload_length, d.code, d.reason, d.points, d.last_offset, d.created_at
	FROM metricsdb.kafka_dead_letter d JOIN metricsdb.kafka_source s USING (source_id)
	WHERE pg_catalog.pg_has_role(s.owner::oid, 'USAGE');
COMMENT ON VIEW kafka_dead_letters IS 'the dead letters of the user''s Kafka sources';

GRANT SELECT ON kafka_sources, kafka_status, kafka_dead_letters TO PUBLIC;

-- Workers

CREATE FUNCTION running_workers(
	OUT pid int4, OUT worker text, OUT database oid, OUT source_id int4, OUT since timestamptz)
	RETURNS SETOF record
	LANGUAGE C VOLATILE STRICT AS 'MODULE_PATHNAME', 'mdb_running_workers';
COMMENT ON FUNCTION running_workers() IS 'the background workers of metricsdb in the whole server';
REVOKE ALL ON FUNCTION running_workers() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION running_workers() TO pg_monitor;

CREATE VIEW workers AS
	SELECT w.pid, w.worker, d.datname AS database, w.source_id, w.since
	FROM metricsdb.running_workers() w LEFT JOIN pg_catalog.pg_database d ON d.oid = w.database;
COMMENT ON VIEW workers IS 'the background workers of metricsdb in the whole server';
GRANT SELECT ON workers TO pg_monitor;

-- Tell the launcher, at commit, that there is an extension to care for.
CREATE FUNCTION wake_launcher() RETURNS void
	LANGUAGE C VOLATILE STRICT AS 'MODULE_PATHNAME', 'mdb_wake_launcher';
COMMENT ON FUNCTION wake_launcher() IS 'make the launcher look for databases that need workers, after commit';
REVOKE ALL ON FUNCTION wake_launcher() FROM PUBLIC;
SELECT metricsdb.wake_launcher();

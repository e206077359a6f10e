-- Alerts: rules, the states of their instances, and what is to be told to whom.
--
-- Who writes what, so that nobody waits for another:
--   alert_rule, alert_target, alert_secret   the functions that define them
--   alert_instance, alert_event, alert_tick, alert_outbox   the alert worker, in the evaluation's transaction
--   alert_sent                               the sender
--   alert_batch                              whoever writes samples, in the transaction that does

CREATE SEQUENCE alert_target_id_seq AS int4;
COMMENT ON SEQUENCE alert_target_id_seq IS 'source of the ids of targets of alerts';
CREATE SEQUENCE alert_rule_id_seq AS int4;
COMMENT ON SEQUENCE alert_rule_id_seq IS 'source of the ids of rules';
CREATE SEQUENCE alert_event_id_seq;
COMMENT ON SEQUENCE alert_event_id_seq IS 'source of the ids of changes of alerts'' states';
CREATE SEQUENCE alert_batch_id_seq;
COMMENT ON SEQUENCE alert_batch_id_seq IS 'source of the ids of batches of states for rules';

CREATE TABLE alert_target (
	target_id  int4        NOT NULL PRIMARY KEY DEFAULT pg_catalog.nextval('metricsdb.alert_target_id_seq'),
	name       text        NOT NULL UNIQUE,
	owner      regrole     NOT NULL,
	kind       text        NOT NULL CHECK (kind IN ('alertmanager', 'webhook', 'notify')),
	urls       text[]      NOT NULL DEFAULT '{}',	-- Alertmanager: each of a cluster gets each alert; NOTIFY: the channel
	options    jsonb       NOT NULL DEFAULT '{}',
	enabled    bool        NOT NULL DEFAULT true,
	home       text        NOT NULL,	-- system identifier/database: a restored copy is not at home, and sends nothing
	created_at timestamptz NOT NULL DEFAULT pg_catalog.now()
) USING heap;
COMMENT ON TABLE alert_target IS 'where alerts are sent to; written by metricsdb.create_alert_target() and its sisters';

CREATE TABLE alert_secret (
	target_id  int4        NOT NULL PRIMARY KEY REFERENCES alert_target ON DELETE CASCADE,
	secrets    jsonb       NOT NULL
) USING heap;
COMMENT ON TABLE alert_secret IS 'passwords, tokens and keys of targets of alerts; not dumped';

-- definition, by kind:
--   query      {"query": text, "op": text, "threshold": number, "recover": number}
--   recording  {"query": text, "into": regclass's name, "metric": text}
--   threshold  {"metric": text, "matchers": text, "column": text, "aggregate": text, "window": interval, "op": text,
--               "threshold": number, "recover": number, "by": [text], "without": [text]}
--   deadman    {"metric": text, "matchers": text, "silent_for": interval,
--               "forget_after": interval, "by": [text], "without": [text]}
--   composite  {"expression": text}
CREATE TABLE alert_rule (
	rule_id         int4        NOT NULL PRIMARY KEY DEFAULT pg_catalog.nextval('metricsdb.alert_rule_id_seq'),
	name            text        NOT NULL UNIQUE,
	owner           regrole     NOT NULL,
	kind            text        NOT NULL CHECK (kind IN ('query', 'threshold', 'deadman', 'composite', 'recording')),
	source          regclass,				-- the table whose watermark it follows; NULL = the clock
	definition      jsonb       NOT NULL,
	every           interval    NOT NULL,
	hold            interval    NOT NULL DEFAULT '0',
	keep_firing_for interval    NOT NULL DEFAULT '0',
	labels          jsonb       NOT NULL DEFAULT '{}',
	annotations     jsonb       NOT NULL DEFAULT '{}',
	options         jsonb       NOT NULL DEFAULT '{}',	-- absent, absent_for, nodata, error, holds_of, of, timeout, max_rows, search_path
	max_new_instances int4      NOT NULL DEFAULT 1000,
	targets         int4[]      NOT NULL DEFAULT '{}',	-- of alert_target
	enabled         bool        NOT NULL DEFAULT true,
	version         int8        NOT NULL DEFAULT 1,
	created_at      timestamptz NOT NULL DEFAULT pg_catalog.now()
) USING heap;
COMMENT ON TABLE alert_rule IS 'rules; written by metricsdb.create_alert() and its sisters';

CREATE TABLE alert_instance (
	rule_id      int4        NOT NULL REFERENCES alert_rule ON DELETE CASCADE,
	key          bytea       NOT NULL,		-- of the labels
	labels       jsonb       NOT NULL,
	annotations  jsonb       NOT NULL,		-- expanded when it last changed
	state        text        NOT NULL,
	value        float8,
	active_since timestamptz,
	starts_at    timestamptz,
	keep_since   timestamptz,
	ends_at      timestamptz,
	last_seen    timestamptz,
	recent       int8        NOT NULL DEFAULT 0,
	updated_at   timestamptz NOT NULL,
	PRIMARY KEY (rule_id, key)
) USING heap WITH (fillfactor = 60, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);
COMMENT ON TABLE alert_instance IS 'each label set for which a rule is not inactive, and its state';

CREATE TABLE alert_event (
	event_id    int8        NOT NULL PRIMARY KEY DEFAULT pg_catalog.nextval('metricsdb.alert_event_id_seq'),
	rule_id     int4        NOT NULL,		-- which may be gone
	rule        text        NOT NULL,
	owner       regrole     NOT NULL,
	labels      jsonb       NOT NULL,
	from_state  text        NOT NULL,
	to_state    text        NOT NULL,
	at          timestamptz NOT NULL,		-- of the data
	value       float8,
	happened_at timestamptz NOT NULL		-- by the clock
) USING heap;
CREATE INDEX alert_event_happened_at ON alert_event (happened_at);
CREATE INDEX alert_event_rule ON alert_event (rule_id, at);
COMMENT ON TABLE alert_event IS 'changes of alerts'' states; old ones are deleted';

CREATE TABLE alert_tick (
	rule_id       int4        NOT NULL PRIMARY KEY REFERENCES alert_rule ON DELETE CASCADE,
	last_tick     timestamptz,				-- of the data; not moved each time if nothing happens
	evaluated_at  timestamptz,				-- by the clock
	duration      interval,
	missed        int8        NOT NULL DEFAULT 0,
	health        text        NOT NULL DEFAULT 'unknown' CHECK (health IN ('unknown', 'ok', 'late', 'error')),
	last_error    text,
	last_error_at timestamptz,
	strikes       int4        NOT NULL DEFAULT 0	-- how often in a row an evaluation has ended the worker
) USING heap WITH (fillfactor = 40, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
COMMENT ON TABLE alert_tick IS 'how the evaluations of each rule go';

-- The latest of each instance for each target.  A row whose seq the sender has sent is what it sends again while the
-- alert fires; it goes when the alert has been told as resolved for long enough.
CREATE TABLE alert_outbox (
	target_id   int4        NOT NULL REFERENCES alert_target ON DELETE CASCADE,
	rule_id     int4        NOT NULL,		-- which may be gone
	key         bytea       NOT NULL,
	rule        text        NOT NULL,
	owner       regrole     NOT NULL,
	state       text        NOT NULL CHECK (state IN ('firing', 'resolved')),
	labels      jsonb       NOT NULL,
	annotations jsonb       NOT NULL,
	value       float8,
	starts_at   timestamptz NOT NULL,
	ends_at     timestamptz,				-- when it was resolved
	valid_for   interval    NOT NULL,		-- a receiver that hears no more may take it for resolved after this
	seq         int8        NOT NULL,		-- rises with each change
	queued_at   timestamptz NOT NULL,
	PRIMARY KEY (target_id, rule_id, key)
) USING heap WITH (fillfactor = 60, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);
COMMENT ON TABLE alert_outbox IS 'what is to be told to each target of each alert: its latest state';

CREATE TABLE alert_sent (
	target_id  int4        NOT NULL REFERENCES alert_target ON DELETE CASCADE,
	rule_id    int4        NOT NULL,
	key        bytea       NOT NULL,
	url        text        NOT NULL,		-- each of a cluster is told by itself
	seq        int8        NOT NULL,
	sent_at    timestamptz,
	attempts   int4        NOT NULL DEFAULT 0,	-- that failed since
	next_at    timestamptz,
	last_error text,
	PRIMARY KEY (target_id, rule_id, key, url)
) USING heap WITH (fillfactor = 60, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);
COMMENT ON TABLE alert_sent IS 'what the sender has sent of the outbox';

CREATE TABLE alert_batch (
	batch_id   int8        NOT NULL PRIMARY KEY DEFAULT pg_catalog.nextval('metricsdb.alert_batch_id_seq'),
	source     oid         NOT NULL,		-- the table
	storage_id int8        NOT NULL,		-- whose series' ids these are
	xid        xid8        NOT NULL,		-- who wrote it: the transaction, not one within it
	covers     timestamptz NOT NULL,		-- no sample is later, none a quarter of an hour earlier
	states     bytea       NOT NULL,
	written_at timestamptz NOT NULL
) USING heap WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000,
	toast.autovacuum_vacuum_scale_factor = 0, toast.autovacuum_vacuum_threshold = 10000);
ALTER TABLE alert_batch ALTER states SET STORAGE EXTERNAL;
CREATE INDEX alert_batch_source ON alert_batch (source, xid);
COMMENT ON TABLE alert_batch IS 'samples of the series that some rule watches, as they were written; see src/alert/bytes.c';

REVOKE ALL ON SEQUENCE alert_target_id_seq, alert_rule_id_seq, alert_event_id_seq, alert_batch_id_seq FROM PUBLIC;
REVOKE ALL ON alert_target, alert_secret, alert_rule, alert_instance, alert_event, alert_tick, alert_outbox, alert_sent,
	alert_batch FROM PUBLIC;

-- A restored copy has the rules and their states, and sends nothing until resume_alert_targets() says that it shall.
SELECT pg_catalog.pg_extension_config_dump('metricsdb.alert_target', '');
SELECT pg_catalog.pg_extension_config_dump('metricsdb.alert_target_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('metricsdb.alert_rule', '');
SELECT pg_catalog.pg_extension_config_dump('metricsdb.alert_rule_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('metricsdb.alert_instance', '');
SELECT pg_catalog.pg_extension_config_dump('metricsdb.alert_event', '');
SELECT pg_catalog.pg_extension_config_dump('metricsdb.alert_event_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('metricsdb.alert_tick', '');
SELECT pg_catalog.pg_extension_config_dump('metricsdb.alert_outbox', '');
SELECT pg_catalog.pg_extension_config_dump('metricsdb.alert_sent', '');

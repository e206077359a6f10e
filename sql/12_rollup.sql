-- Catalogs of continuous aggregates.  Ordinary heaps, as all catalogs; src/store/aggregates.c, pending.c and dirty.c
-- write them.  An aggregate is named by the OID of its table of states.  Times are in the source's time
-- column's own units, intervals half-open; the least and the greatest int8 are for "without a bound".

CREATE TABLE continuous_aggregate (
	aggregate         oid         NOT NULL PRIMARY KEY,	-- its table of states
	view              oid         NOT NULL,	-- what users read
	source            oid         NOT NULL,	-- what it is made of: raw, or the states of a finer one
	raw               oid         NOT NULL,
	parent            oid         NOT NULL,	-- the finer one, 0 = none
	granularity       int8        NOT NULL,	-- width of a bucket; if that is not fixed, a day's
	materialized_only bool        NOT NULL,
	backfill          bool        NOT NULL,	-- false: rows that were there before it wait for refresh()
	lateness          interval    NOT NULL,
	attached          bool        NOT NULL,	-- false: nothing is applied for now, and merges do not wait for it
	floor             int8        NOT NULL,	-- raw has all its rows from here on
	failures          int4        NOT NULL,	-- in a row
	last_error        text,
	last_error_at     timestamptz,
	retry_at          timestamptz,
	last_applied_at   timestamptz,
	created_at        timestamptz NOT NULL,
	kept_from         int8        NOT NULL DEFAULT -9223372036854775808	-- buckets from here on: retention has not removed any
) USING heap WITH (fillfactor = 50);
CREATE INDEX continuous_aggregate_view_idx ON continuous_aggregate (view);
CREATE INDEX continuous_aggregate_source_idx ON continuous_aggregate (source);
CREATE INDEX continuous_aggregate_raw_idx ON continuous_aggregate (raw);
COMMENT ON TABLE continuous_aggregate IS 'one row for each continuous aggregate';

-- Rows of a part whose times are in the interval are not in the states of the aggregate yet.  A part without a row
-- here is wholly in them.  Changes once a second with each flush and each round of the worker that applies them.
CREATE TABLE pending (
	storage_id   int8  NOT NULL,
	part_id      int8  NOT NULL,
	aggregate    oid   NOT NULL,
	time_from    int8  NOT NULL,
	time_to      int8  NOT NULL,
	backfill     bool  NOT NULL,	-- was there before the aggregate
	PRIMARY KEY (storage_id, part_id, aggregate)
) USING heap WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200,
	autovacuum_vacuum_cost_delay = 0, autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 1000);
COMMENT ON TABLE pending IS 'times of parts whose rows continuous aggregates have not taken yet';

-- Buckets of an aggregate that touch the interval are to be made from the source again, of which rows were deleted
-- or changed.
CREATE TABLE dirty (
	aggregate    oid   NOT NULL,
	time_from    int8  NOT NULL,
	time_to      int8  NOT NULL,
	flagged      bool  NOT NULL		-- cannot be: the source does not have all rows any more
) USING heap WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200,
	autovacuum_vacuum_cost_delay = 0, autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 1000);
CREATE INDEX dirty_aggregate_idx ON dirty (aggregate);
COMMENT ON TABLE dirty IS 'times whose buckets continuous aggregates have to make again';

REVOKE ALL ON continuous_aggregate, pending, dirty FROM PUBLIC;

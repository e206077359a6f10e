-- Catalogs of the storage engine.  Ordinary heap tables: their MVCC is the engine's only
-- visibility rule.  They are written by C code alone; users read the views of 90_views.sql.

-- One row a storage, that is: a file of a metricsdb table.  A rewrite (TRUNCATE, ALTER TYPE,
-- VACUUM FULL) makes a new storage.  The metapage of the file says which one it is; relid serves where
-- there is no file, as with temporary tables after a crash.
CREATE TABLE storage (
	storage_id   int8        NOT NULL PRIMARY KEY,
	relid        oid         NOT NULL,
	created_at   timestamptz NOT NULL
) USING heap;
COMMENT ON TABLE storage IS 'one row for each file of a metricsdb table';

CREATE SEQUENCE storage_id_seq;
COMMENT ON SEQUENCE storage_id_seq IS 'source of storage ids';
-- Sessions remember what had an id: one that this database has seen before is not given out again.
CREATE FUNCTION first_storage_id() RETURNS int8
	AS 'MODULE_PATHNAME', 'mdb_first_storage_id' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION first_storage_id() IS 'where the ids of storages begin when the extension is created: beyond those of any earlier one';
REVOKE ALL ON FUNCTION first_storage_id() FROM PUBLIC;
SELECT setval('storage_id_seq', first_storage_id(), false);

-- One row an immutable part.  A part exists for a snapshot iff its row is visible to it.
CREATE TABLE part (
	storage_id    int8   NOT NULL,
	part_id       int8   NOT NULL,	-- unique within the storage; also on each page of the part
	incarnation   int4   NOT NULL,	-- of an unlogged file: parts of an earlier one are void
	format        int2   NOT NULL,	-- version of the part's layout
	level         int2   NOT NULL,	-- 0 = as written, each merge adds one
	class         int2   NOT NULL,	-- retention class
	day           int4   NOT NULL,	-- first day of the partition, days since 2000-01-01
	days          int4   NOT NULL,	-- width of the partition; 0 = no time column or NULL times
	row_first     int8   NOT NULL,	-- row numbers row_first .. row_first + nrows - 1
	nrows         int8   NOT NULL,
	nblocks       int4   NOT NULL,	-- encoded blocks (row groups)
	page_first    int8   NOT NULL,	-- extent in the main fork
	npages        int4   NOT NULL,
	nbytes        int8   NOT NULL,	-- payload bytes in that extent
	series_min    int8   NOT NULL,
	series_max    int8   NOT NULL,
	nseries       int8   NOT NULL,
	time_min      int8   NOT NULL,	-- in the time column's own units
	time_max      int8   NOT NULL,
	checksum      int8   NOT NULL,	-- crc32c of the part's directory
	overlapping   bool   NOT NULL,	-- may hold (series, time) pairs that another part holds
	merged_into   int8,				-- reserved: where a merge moved the rows
	created_at    timestamptz NOT NULL,
	source_id     int4,				-- the Kafka source that wrote it, and
	epoch         int8,				-- its shard epoch
	PRIMARY KEY (storage_id, part_id)
) USING heap WITH (fillfactor = 90, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200,
	autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 1000);
CREATE INDEX part_row_first_idx ON part (storage_id, row_first);
COMMENT ON TABLE part IS 'the parts of all metricsdb tables: one row for each immutable part';

-- The ring of delta heaps of a storage.  A live one is read by every snapshot that sees it live.
CREATE TABLE delta (
	storage_id   int8  NOT NULL,
	slot         int2  NOT NULL,
	relid        oid   NOT NULL,
	live         bool  NOT NULL,
	PRIMARY KEY (storage_id, slot)
) USING heap;
COMMENT ON TABLE delta IS 'the delta heaps that take the small writes of metricsdb tables';

-- Where the shadows of changed rows of parts are: each page of the row heap that has some stands for
-- a run of consecutive row numbers.  Rows are frozen at once, so that everybody sees them.
CREATE TABLE shadow (
	storage_id   int8  NOT NULL,
	run          int8  NOT NULL,	-- row numbers run * 224 .. run * 224 + 223
	block        int8  NOT NULL,	-- of the row heap
	PRIMARY KEY (storage_id, run)
) USING heap;
COMMENT ON TABLE shadow IS 'pages of row heaps that stand for rows of parts which were deleted, updated or locked';

-- Where rows went that a merge, or the delta's way into parts, has given new numbers: kept as long as
-- some snapshot may still know a row by its old one.
CREATE TABLE moved (
	storage_id   int8  NOT NULL,
	first        int8  NOT NULL,	-- old identities, see src/write/moved.c
	last         int8  NOT NULL,
	base         int8  NOT NULL,	-- what new row numbers are relative to
	payload      bytea NOT NULL		-- runs of rows that stayed together
) USING heap WITH (toast_tuple_target = 8160);
ALTER TABLE moved ALTER payload SET STORAGE EXTERNAL;
CREATE INDEX moved_last_idx ON moved (storage_id, last);
COMMENT ON TABLE moved IS 'new numbers of rows that were moved, for transactions that know the old ones';

-- The series dictionary: segments of (id, key) pairs.
CREATE TABLE series (
	storage_id   int8   NOT NULL,
	id_min       int8   NOT NULL,
	id_max       int8   NOT NULL,
	nseries      int4   NOT NULL,
	payload      bytea  NOT NULL,
	registrar    int8,	-- which rows are known not to have a key, or an id, of this one: see src/series/twins.c
	xid          int8,
	horizon      int8
) USING heap;
ALTER TABLE series ALTER payload SET STORAGE EXTERNAL;
CREATE INDEX series_id_idx ON series (storage_id, id_max);
COMMENT ON TABLE series IS 'the series dictionary: segments of (id, key) pairs';

-- The inverted index over the dictionary: terms, which are values of series columns and pairs of jsonb
-- ones, and the ids that have them.  A run is what one registration or merge has written, in order of terms.
CREATE TABLE posting (
	storage_id   int8   NOT NULL,
	run          int8   NOT NULL,
	last_term    bytea  NOT NULL,
	first_term   bytea  NOT NULL,
	run_ids      int8   NOT NULL,	-- of the whole run
	nentries     int4   NOT NULL,
	payload      bytea  NOT NULL
) USING heap;
ALTER TABLE posting ALTER payload SET STORAGE EXTERNAL, ALTER first_term SET STORAGE PLAIN, ALTER last_term SET STORAGE PLAIN;
CREATE INDEX posting_term_idx ON posting (storage_id, run, last_term);
COMMENT ON TABLE posting IS 'the inverted index over series: terms and the ids of the series that have them';

-- Series that no part has rows of any more, on their way out of the dictionary: see src/write/collect.c.
CREATE TABLE leaving_series (
	storage_id   int8   NOT NULL PRIMARY KEY,
	epoch        int8   NOT NULL,	-- what processes remember of the dictionary is of one of these
	ids          bytea  NOT NULL	-- which must not be used any more
) USING heap;
COMMENT ON TABLE leaving_series IS 'ids of series that are about to be removed from the dictionary';

REVOKE ALL ON storage, part, delta, shadow, moved, series, posting, leaving_series FROM PUBLIC;
REVOKE ALL ON SEQUENCE storage_id_seq FROM PUBLIC;

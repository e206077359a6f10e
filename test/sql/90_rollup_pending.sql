-- What continuous aggregates have not taken yet: metricsdb.pending, of parts.
-- There is an aggregate as soon as the catalog says so; what its states and its view are does not matter here, and
-- nobody applies it, for which it is tried again only at the end of time.
\set VERBOSITY terse
SET metricsdb.direct_rows = 10;
SET timezone = 'UTC';
CREATE SCHEMA pend;
SET search_path = pend, public;

CREATE TABLE raw (time timestamptz, host text, v float8) USING metricsdb;
CREATE TABLE s1 (bucket timestamptz, host text, n int8) USING metricsdb;
CREATE TABLE s2 (bucket timestamptz, n int8) USING metricsdb;

CREATE FUNCTION make_aggregate(s regclass, source regclass, width interval) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO metricsdb.continuous_aggregate VALUES (s, s, source, 'raw'::regclass, 0,
		extract(epoch FROM width) * 1000000, false, true, '1 min', true, -9223372036854775808,
		9, 'not tried', now(), 'infinity', NULL, now());
	-- as CREATE does: sessions look anew
	EXECUTE format('ALTER TABLE %s ALTER COLUMN %s SET STATISTICS -1', source,
				   (SELECT attname FROM pg_attribute WHERE attrelid = source AND attnum = 1));
END $$;
-- part ids count from 1 in each table
CREATE VIEW pending AS SELECT st.relid::regclass AS of, part_id, p.aggregate::regclass,
	CASE WHEN time_from > -9223372036854775808 THEN to_timestamp(time_from / 1e6 + 946684800) END AS time_from,
	CASE WHEN time_to < 9223372036854775807 THEN to_timestamp(time_to / 1e6 + 946684800) END AS time_to, backfill
	FROM metricsdb.pending p LEFT JOIN metricsdb.storage st USING (storage_id)
	WHERE st.relid IN (SELECT oid FROM pg_class WHERE relnamespace = 'pend'::regnamespace) OR st.relid IS NULL;
CREATE FUNCTION fill(day date, n int) RETURNS void LANGUAGE sql AS $$
	INSERT INTO raw SELECT day + i * interval '1 minute', 'h' || i % 3, i FROM generate_series(0, n - 1) i
$$;
-- Without an aggregate nothing is pending.
SELECT fill('2024-01-01', 100);
SELECT count(*) FROM pending;
-- From then on each part of new rows is, once for each aggregate; what goes to the delta is not.
SELECT make_aggregate('s1', 'raw', '1 hour');
SELECT fill('2024-01-01', 100), fill('2024-01-01', 5);
SELECT make_aggregate('s2', 'raw', '1 day');
SELECT fill('2024-01-01', 100);
SELECT * FROM pending ORDER BY 1, 2, 3;
-- COPY, and several partitions at once.
COPY raw FROM STDIN (FORMAT csv);
2024-02-01 00:00,x,1
2024-02-01 00:01,x,1
2024-02-01 00:02,x,1
2024-02-01 00:03,x,1
2024-02-01 00:04,x,1
2024-02-01 00:05,x,1
2024-02-01 00:06,x,1
2024-02-01 00:07,x,1
2024-02-01 00:08,x,1
2024-02-01 00:09,x,1
2024-02-01 00:10,x,1
2024-02-01 00:11,x,1
\.
INSERT INTO raw SELECT d + i * interval '1 second', 'x', i FROM generate_series(timestamptz '2024-02-02', '2024-02-03', '1 day') d, generate_series(1, 600) i;
SELECT part_id, aggregate, to_timestamp(time_min / 1e6 + 946684800) AS of_day
	FROM pending p JOIN metricsdb.storage st ON st.relid = p.of JOIN metricsdb.part USING (storage_id, part_id) WHERE part_id > 3 ORDER BY 1, 2;
-- It is there for whom the part is: not after a rollback, not for a cursor that is older.
BEGIN;
SAVEPOINT a;
SELECT fill('2024-01-05', 50);
ROLLBACK TO a;
SELECT count(*) FROM pending WHERE part_id > 6;
DECLARE c CURSOR FOR SELECT part_id FROM pending WHERE part_id > 6;
SELECT fill('2024-01-05', 50);
SELECT count(*) FROM pending WHERE part_id > 6;
FETCH ALL FROM c;
ROLLBACK;
SELECT count(*) FROM pending WHERE part_id > 6;
-- One that is gone gets nothing more.
DELETE FROM metricsdb.continuous_aggregate WHERE aggregate IN ('s2'::regclass);
SELECT fill('2024-01-06', 50);
SELECT aggregate FROM pending WHERE part_id > 6;
-- Rows of the delta are pending when they become rows of parts; and what a merge makes of parts is as they were.
CREATE FUNCTION parts_of(r regclass) RETURNS TABLE (part_id int8, level int2, nrows int8, first timestamptz, last timestamptz) LANGUAGE sql AS $$
	SELECT part_id, level, nrows, to_timestamp(time_min / 1e6 + 946684800), to_timestamp(time_max / 1e6 + 946684800)
		FROM metricsdb.part JOIN metricsdb.storage st USING (storage_id) WHERE st.relid = r
$$;
CREATE FUNCTION dirty(s regclass) RETURNS TABLE (dirty_from timestamptz, dirty_to timestamptz, flagged bool) LANGUAGE sql AS $$
	SELECT to_timestamp(time_from / 1e6 + 946684800), to_timestamp(time_to / 1e6 + 946684800), d.flagged FROM metricsdb.dirty d WHERE aggregate = s ORDER BY 1, 2
$$;
TRUNCATE raw;
INSERT INTO raw VALUES ('2024-03-01', 'a', 1);
SELECT count(*) FROM pending;
SELECT fill('2024-03-01', 60);
CALL metricsdb.compact('raw');
SELECT p.*, q.aggregate, q.time_from, q.time_to FROM parts_of('raw') p LEFT JOIN pending q USING (part_id) ORDER BY 1;

-- As data come in order: older parts are applied, one is half applied, newer ones are pending. They merge.
-- as who applies it does: up to a time, or all
CREATE PROCEDURE applied(part int8, upto timestamptz DEFAULT NULL) LANGUAGE sql AS $$
	UPDATE metricsdb.pending SET time_from = (extract(epoch FROM upto) - 946684800) * 1000000
		WHERE storage_id = (SELECT storage_id FROM metricsdb.storage WHERE relid = 'raw'::regclass) AND part_id = part AND upto IS NOT NULL;
	DELETE FROM metricsdb.pending
		WHERE storage_id = (SELECT storage_id FROM metricsdb.storage WHERE relid = 'raw'::regclass) AND part_id = part AND upto IS NULL
$$;
TRUNCATE raw;
INSERT INTO raw SELECT '2024-03-02 00:00'::timestamptz + i * interval '1 minute', 'a', i FROM generate_series(0, 59) i;
INSERT INTO raw SELECT '2024-03-02 01:00'::timestamptz + i * interval '1 minute', 'a', i FROM generate_series(0, 59) i;
INSERT INTO raw SELECT '2024-03-02 02:00'::timestamptz + i * interval '1 minute', 'a', i FROM generate_series(0, 59) i;
CALL applied(1);
CALL applied(2, '2024-03-02 01:30');
CALL metricsdb.compact('raw');
SELECT p.*, q.aggregate, q.time_from, q.time_to FROM parts_of('raw') p LEFT JOIN pending q USING (part_id) ORDER BY 1;
-- All of it is applied, and late rows come: they do not fit, and are merged when they are applied, too.
CALL applied(4);
INSERT INTO raw SELECT '2024-03-02 00:30:30'::timestamptz + i * interval '1 minute', 'b', i FROM generate_series(0, 59) i;
INSERT INTO raw SELECT '2024-03-02 00:30:40'::timestamptz + i * interval '1 minute', 'b', i FROM generate_series(0, 59) i;
CALL metricsdb.compact('raw');
SELECT p.*, q.aggregate, q.time_from, q.time_to FROM parts_of('raw') p LEFT JOIN pending q USING (part_id) ORDER BY 1;
CALL applied(7);
CALL metricsdb.compact('raw');
SELECT p.*, q.aggregate, q.time_from, q.time_to FROM parts_of('raw') p LEFT JOIN pending q USING (part_id) ORDER BY 1;
-- What was there before the aggregate, and is pending, does not fit with what is new.
INSERT INTO raw SELECT '2024-03-02 10:00'::timestamptz + i * interval '1 minute', 'b', i FROM generate_series(0, 59) i;
UPDATE metricsdb.pending SET backfill = true;
INSERT INTO raw SELECT '2024-03-02 11:00'::timestamptz + i * interval '1 minute', 'b', i FROM generate_series(0, 59) i;
CALL metricsdb.compact('raw');
SELECT p.*, q.aggregate, q.time_from, q.time_to, q.backfill FROM parts_of('raw') p LEFT JOIN pending q USING (part_id) ORDER BY 1;
SELECT * FROM dirty('s1');
-- For one that is detached nobody waits: it has to make again what it has not taken.
UPDATE metricsdb.continuous_aggregate SET attached = false WHERE aggregate = 's1'::regclass;
CALL metricsdb.compact('raw');
SELECT p.*, q.aggregate, q.time_from, q.time_to FROM parts_of('raw') p LEFT JOIN pending q USING (part_id) ORDER BY 1;
SELECT * FROM dirty('s1');
-- If it fits all the same, that stays.
INSERT INTO raw SELECT '2024-03-02 23:00'::timestamptz + i * interval '1 minute', 'b', i FROM generate_series(0, 39) i;
CALL metricsdb.compact('raw');
SELECT p.*, q.aggregate, q.time_from, q.time_to FROM parts_of('raw') p LEFT JOIN pending q USING (part_id) ORDER BY 1;
SELECT * FROM dirty('s1');
UPDATE metricsdb.continuous_aggregate SET attached = true WHERE aggregate = 's1'::regclass;
DELETE FROM metricsdb.dirty;

-- Rows without a time are a part of their own. They are never taken.
INSERT INTO raw SELECT NULL, 'c', i FROM generate_series(1, 100) i;
INSERT INTO raw SELECT NULL, 'c', i FROM generate_series(1, 100) i;
CALL metricsdb.compact('raw');
SELECT part_id, level, nrows, q.aggregate, q.time_from, q.time_to FROM parts_of('raw') p LEFT JOIN pending q USING (part_id) ORDER BY 1;

-- Rows of parts that are deleted or updated make their buckets dirty for each aggregate.
TRUNCATE raw;
DELETE FROM metricsdb.dirty;
INSERT INTO metricsdb.continuous_aggregate SELECT 's2'::regclass, "view", source, raw, parent, 86400000000::int8, materialized_only, backfill,
	lateness, attached, floor, failures, last_error, last_error_at, retry_at, NULL, now() FROM metricsdb.continuous_aggregate WHERE aggregate = 's1'::regclass;
ALTER TABLE raw ALTER v SET STATISTICS -1;
SELECT fill('2024-04-01', 300);
DELETE FROM raw WHERE time = '2024-04-01 01:30';
SELECT * FROM dirty('s1');
SELECT * FROM dirty('s2');
-- once in a transaction
BEGIN;
DELETE FROM raw WHERE time BETWEEN '2024-04-01 01:31' AND '2024-04-01 02:05';
UPDATE raw SET v = -1 WHERE time BETWEEN '2024-04-01 02:06' AND '2024-04-01 02:10';
SELECT * FROM dirty('s1');
SELECT * FROM dirty('s2');
-- what has been updated is in the delta now
UPDATE raw SET v = -2, time = '2024-04-01 04:00' WHERE v = -1;
DELETE FROM raw WHERE v = -2;
SELECT * FROM dirty('s1');
ROLLBACK;
SELECT * FROM dirty('s1');
-- a subtransaction that is rolled back takes its marks along
BEGIN;
SAVEPOINT a;
DELETE FROM raw WHERE time = '2024-04-01 03:01';
SAVEPOINT b;
DELETE FROM raw WHERE time = '2024-04-01 04:01';
RELEASE b;
SELECT * FROM dirty('s1');
ROLLBACK TO a;
DELETE FROM raw WHERE time = '2024-04-01 03:02';
SAVEPOINT c;
DELETE FROM raw WHERE time = '2024-04-01 03:03';
DELETE FROM raw WHERE time = '2024-04-01 04:02';
RELEASE c;
DELETE FROM raw WHERE time = '2024-04-01 04:03';
COMMIT;
SELECT * FROM dirty('s1');
-- a cursor that is older than the deletion sees neither
DELETE FROM metricsdb.dirty;
BEGIN;
DECLARE c CURSOR FOR SELECT count(*) FROM metricsdb.dirty;
DELETE FROM raw WHERE time = '2024-04-01 03:04';
FETCH c;
SELECT count(*) FROM metricsdb.dirty;
COMMIT;
-- MERGE and ON CONFLICT, too; locks do not
DELETE FROM metricsdb.dirty;
SELECT count(*) FROM (SELECT FROM raw WHERE time < '2024-04-01 00:30' FOR UPDATE) x;
SELECT * FROM dirty('s1');
MERGE INTO raw USING (VALUES ('2024-04-01 00:10'::timestamptz)) m(t) ON raw.time = m.t WHEN MATCHED THEN DELETE;
SELECT * FROM dirty('s1');
CREATE UNIQUE INDEX ON raw (time, host);
INSERT INTO raw VALUES ('2024-04-01 04:50', 'h2', 1) ON CONFLICT (time, host) DO NOTHING;
SELECT * FROM dirty('s1');
INSERT INTO raw VALUES ('2024-04-01 04:50', 'h2', 1) ON CONFLICT (time, host) DO UPDATE SET v = excluded.v;
SELECT * FROM dirty('s1');
DROP INDEX raw_time_host_idx;
VACUUM raw;
-- rows of the delta do not; nor do the merges that move the rows and leave the dead ones out
DELETE FROM metricsdb.dirty;
INSERT INTO raw VALUES ('2024-04-01 05:00', 'h2', 1);
DELETE FROM raw WHERE time = '2024-04-01 05:00';
CALL metricsdb.compact('raw', full => true);
SELECT count(*) FROM metricsdb.dirty;
-- Times at the ends, and none
INSERT INTO raw SELECT t, 'inf', 1 FROM generate_series(1, 100) i, unnest('{-infinity, infinity, NULL, 294276-12-31 23:59:59}'::timestamptz[]) t;
BEGIN;
DELETE FROM raw WHERE host = 'inf' AND time IS NULL;
SELECT count(*) FROM metricsdb.dirty;
DELETE FROM raw WHERE host = 'inf';
SELECT aggregate::regclass, time_from, time_to FROM metricsdb.dirty ORDER BY 1, 2;
ROLLBACK;
-- Of many rows few marks are made, which are wider then; and they have all that was deleted.
INSERT INTO raw SELECT '2023-01-01'::timestamptz + i * interval '100 s', 'many', i FROM generate_series(0, 299999) i;
DELETE FROM metricsdb.dirty;
DELETE FROM raw WHERE host = 'many' AND v::int % 3 = 0;
SELECT aggregate::regclass, count(*) BETWEEN 2 AND 300 FROM metricsdb.dirty GROUP BY 1 ORDER BY 1;
SELECT count(*) FROM generate_series(0, 299999, 3) i, LATERAL (SELECT '2023-01-01'::timestamptz + i * interval '100 s') x (t)
	WHERE NOT EXISTS (SELECT FROM dirty('s1') d WHERE t >= dirty_from AND t < dirty_to);
DELETE FROM metricsdb.dirty;

-- Retention leaves what aggregates need, and tells them what went.
CREATE FUNCTION floor_of(s regclass) RETURNS timestamptz LANGUAGE sql AS $$
	SELECT CASE WHEN floor > -9223372036854775808 THEN to_timestamp(floor / 1e6 + 946684800) END FROM metricsdb.continuous_aggregate WHERE aggregate = s
$$;
TRUNCATE raw;
SELECT metricsdb.set_retention('raw', '10 years');
SELECT fill('2010-01-01', 100), fill('2010-01-02', 100), fill('2010-01-03', 100);
INSERT INTO raw SELECT '2010-01-03 00:00:30'::timestamptz + i * interval '1 minute', 'h', i FROM generate_series(0, 99) i;
-- 1 and 2 are applied, but for one aggregate alone; 3 and 4 are not.
DELETE FROM metricsdb.pending WHERE part_id <= 2 AND aggregate = 's1'::regclass AND storage_id = (SELECT storage_id FROM metricsdb.storage WHERE relid = 'raw'::regclass);
CALL metricsdb.apply_retention('raw');
SELECT part_id FROM parts_of('raw');
SELECT floor_of('s1'), floor_of('s2');
CALL applied(1);
CALL applied(2);
-- something of the second day was deleted, which touches the next one, too, as far as the other aggregate is concerned
DELETE FROM raw WHERE time = '2010-01-02 00:05';
DELETE FROM metricsdb.dirty WHERE aggregate = 's2'::regclass;
SELECT * FROM dirty('s1');
CALL metricsdb.apply_retention('raw');
SELECT part_id FROM parts_of('raw');
SELECT floor_of('s1'), floor_of('s2');
-- what cannot be made again does not keep it
UPDATE metricsdb.dirty SET flagged = true;
CALL metricsdb.apply_retention('raw');
SELECT part_id FROM parts_of('raw');
SELECT floor_of('s1'), floor_of('s2');
-- parts that were there before an aggregate which does not take them by itself
UPDATE metricsdb.pending SET backfill = true;
UPDATE metricsdb.continuous_aggregate SET backfill = false WHERE aggregate = 's2'::regclass;
CALL metricsdb.apply_retention('raw');
UPDATE metricsdb.continuous_aggregate SET backfill = false;
CALL metricsdb.apply_retention('raw');
SELECT part_id FROM parts_of('raw');
SELECT count(*) FROM pending;
SELECT floor_of('s1'), floor_of('s2');
-- Old rows of the delta become rows of a part first; the next time they go, once they are applied.
INSERT INTO raw VALUES ('2010-01-04', 'h', 1), ('2010-01-05', 'h', 2), (now(), 'h', 3);
CALL metricsdb.apply_retention('raw');
SELECT count(*), count(*) FILTER (WHERE aggregate = 's1'::regclass) FROM pending;
SELECT count(*) FROM raw;
DELETE FROM metricsdb.pending;
CALL metricsdb.apply_retention('raw');
SELECT count(*) FROM raw WHERE time < now() - interval '10 years';
SELECT floor_of('s1') > '2010-01-05';
SELECT metricsdb.set_retention('raw', NULL);

-- A rewrite: what was pending is dirty, and so are the times of rows of the delta, before and after.
TRUNCATE raw;
SELECT floor_of('s1'), (SELECT count(*) FROM metricsdb.dirty), (SELECT count(*) FROM pending);
SELECT fill('2024-05-01', 100), fill('2024-05-02', 100), fill('2024-05-03', 100);
INSERT INTO raw SELECT NULL, 'c', i FROM generate_series(1, 100) i;
INSERT INTO raw VALUES ('2024-05-09 10:00', 'delta', 1), (NULL, 'delta', 1);
CALL applied(1);
CALL applied(2, '2024-05-02 01:00');
VACUUM FULL raw;
SELECT * FROM dirty('s1');
SELECT * FROM dirty('s2');
SELECT nrows, first, p.* FROM parts_of('raw') LEFT JOIN pending p USING (part_id) ORDER BY part_id, aggregate;
-- the new types are other ones, and columns before the time's have changed
DELETE FROM metricsdb.dirty;
CREATE TABLE wide_states (bucket timestamptz) USING metricsdb;
CREATE TABLE wide (a int, host text, time timestamptz, v float8) USING metricsdb;
INSERT INTO metricsdb.continuous_aggregate SELECT 'wide_states'::regclass, "view", 'wide'::regclass, raw, parent, granularity, materialized_only, backfill,
	lateness, attached, floor, failures, last_error, last_error_at, retry_at, NULL, now() FROM metricsdb.continuous_aggregate WHERE aggregate = 's1'::regclass;
ALTER TABLE wide ALTER v SET STATISTICS -1;
INSERT INTO wide SELECT i, 'x', '2024-06-01'::timestamptz + i * interval '1 minute', i FROM generate_series(1, 100) i;
DELETE FROM metricsdb.pending;
INSERT INTO wide SELECT 1, 'x', '2024-07-01 12:34:56', 1 FROM generate_series(1, 5);
ALTER TABLE wide ALTER a TYPE numeric, ADD b int DEFAULT random() * 10;
SELECT to_timestamp(time_from / 1e6 + 946684800), to_timestamp(time_to / 1e6 + 946684800) FROM metricsdb.dirty;
SELECT count(*), min(time), max(time) FROM wide;
SELECT count(*) FROM metricsdb.pending JOIN metricsdb.storage USING (storage_id) WHERE relid = 'wide'::regclass;
DROP TABLE wide_states, wide;
DELETE FROM metricsdb.dirty;

-- TRUNCATE empties the states, also of aggregates of aggregates.
CREATE TABLE s3 (bucket timestamptz, n int8) USING metricsdb;
INSERT INTO metricsdb.continuous_aggregate SELECT 's3'::regclass, "view", 's1'::regclass, raw, 's1'::regclass, 86400000000::int8 * 7, materialized_only, backfill,
	lateness, attached, 17, failures, last_error, last_error_at, retry_at, NULL, now() FROM metricsdb.continuous_aggregate WHERE aggregate = 's1'::regclass;
ALTER TABLE s1 ALTER n SET STATISTICS -1;
CREATE INDEX ON s3 (bucket);
INSERT INTO s1 SELECT '2024-01-01'::timestamptz + i * interval '1 hour', 'h', i FROM generate_series(1, 20) i;
INSERT INTO s2 VALUES ('2024-01-01', 1);
INSERT INTO s3 VALUES ('2024-01-01', 1);
DELETE FROM s1 WHERE n = 7;
SELECT of, aggregate FROM pending WHERE of = 's1'::regclass;
SELECT * FROM dirty('s3');
BEGIN;
TRUNCATE raw;
SELECT (SELECT count(*) FROM raw), (SELECT count(*) FROM s1), (SELECT count(*) FROM s2), (SELECT count(*) FROM s3), (SELECT count(*) FROM pending), (SELECT count(*) FROM metricsdb.dirty), floor_of('s3');
-- and once more, in the file that this transaction has made
INSERT INTO raw SELECT '2024-01-01'::timestamptz + i * interval '1 hour', 'h', i FROM generate_series(1, 20) i;
INSERT INTO s1 SELECT '2024-01-01'::timestamptz + i * interval '1 hour', 'h', i FROM generate_series(1, 20) i;
SELECT (SELECT count(*) FROM raw), (SELECT count(*) FROM s1), (SELECT count(*) FROM pending);
TRUNCATE raw;
SELECT (SELECT count(*) FROM raw), (SELECT count(*) FROM s1), (SELECT count(*) FROM pending);
ROLLBACK;
SELECT (SELECT count(*) FROM raw), (SELECT count(*) FROM s1), (SELECT count(*) FROM s2), (SELECT count(*) FROM s3), (SELECT count(*) FROM metricsdb.dirty);
BEGIN;
DECLARE c CURSOR FOR SELECT * FROM s3;
FETCH c;
TRUNCATE raw;
ROLLBACK;
TRUNCATE raw;
SELECT (SELECT count(*) FROM raw), (SELECT count(*) FROM s1), (SELECT count(*) FROM s2), (SELECT count(*) FROM s3), (SELECT count(*) FROM pending), (SELECT count(*) FROM metricsdb.dirty), floor_of('s3');
-- New options of an empty table do not.
INSERT INTO s2 VALUES ('2024-01-01', 1);
SELECT metricsdb.set_options('raw', series => '{host,v}');
SELECT count(*) FROM s2;

-- COPY FREEZE has its parts frozen, and what is pending of them with that.
BEGIN;
TRUNCATE raw;
COPY raw FROM STDIN (FORMAT csv, FREEZE);
2024-02-01 00:00,x,1
2024-02-01 00:01,x,1
2024-02-01 00:02,x,1
2024-02-01 00:03,x,1
2024-02-01 00:04,x,1
2024-02-01 00:05,x,1
2024-02-01 00:06,x,1
2024-02-01 00:07,x,1
2024-02-01 00:08,x,1
2024-02-01 00:09,x,1
2024-02-01 00:10,x,1
\.
COMMIT;
SELECT part_id, aggregate FROM pending ORDER BY 2;

-- metricsdb.check() tells what cannot be.
INSERT INTO raw SELECT NULL, 'c', i FROM generate_series(1, 100) i;
SELECT * FROM metricsdb.check('raw');
BEGIN;
INSERT INTO metricsdb.pending SELECT storage_id, 999, 's1'::regclass, 0, 1, false FROM metricsdb.storage WHERE relid = 'raw'::regclass;
INSERT INTO metricsdb.pending SELECT storage_id, 1, 4711, 0, 1, false FROM metricsdb.storage WHERE relid = 'raw'::regclass;
UPDATE metricsdb.pending SET time_from = 10, time_to = 10 WHERE aggregate = 's1'::regclass AND part_id = 1;
DELETE FROM metricsdb.pending WHERE aggregate = 's1'::regclass AND part_id = 2;
INSERT INTO metricsdb.dirty VALUES ('s2'::regclass, 5, 4, false);
SELECT severity, kind, part, regexp_replace(message, 'aggregate [0-9]{5,}', 'aggregate #', 'g') FROM metricsdb.check('raw') ORDER BY 3, 4;
ROLLBACK;

-- Neither a source nor states can get another access method.
ALTER TABLE raw SET ACCESS METHOD heap;
ALTER TABLE s2 SET ACCESS METHOD heap;
-- States that are dropped are an aggregate's no more; what was pending, or dirty, for it is gone.
SELECT fill('2024-05-01', 100);
DELETE FROM raw WHERE time = '2024-05-01 00:10';
BEGIN;
DROP TABLE s2;
SELECT aggregate::regclass FROM metricsdb.continuous_aggregate ORDER BY 1;
SELECT DISTINCT aggregate::regclass FROM pending;
SELECT DISTINCT aggregate::regclass FROM metricsdb.dirty;
SELECT fill('2024-05-01', 100);
SELECT DISTINCT aggregate FROM pending;
ROLLBACK;
SELECT aggregate::regclass FROM metricsdb.continuous_aggregate ORDER BY 1;
DROP TABLE s2, s1, s3;
SELECT count(*) FROM metricsdb.continuous_aggregate;
SELECT count(*) FROM metricsdb.pending;
SELECT count(*) FROM metricsdb.dirty;
SELECT fill('2024-05-01', 100);
DELETE FROM raw WHERE time = '2024-05-01 00:11';
SELECT count(*) FROM metricsdb.pending;
-- Rows without a time are pending for an aggregate that is made, and for one that comes back with a dump.
CREATE TABLE nt (time timestamptz, v float8) USING metricsdb;
INSERT INTO nt SELECT NULL, i FROM generate_series(1, 100) i;
INSERT INTO nt SELECT '2024-01-01'::timestamptz + i * interval '1 min', i FROM generate_series(0, 89) i;
CREATE MATERIALIZED VIEW nv WITH (metricsdb.continuous) AS
	SELECT metricsdb.time_bucket('1 hour', time) AS bucket, count(*) AS n FROM nt GROUP BY 1 WITH NO DATA;
SELECT * FROM nv ORDER BY 1;
SELECT part_id, p.time_from, p.backfill FROM pending p WHERE of = 'nt'::regclass ORDER BY 1;
SELECT count(*) FROM metricsdb.check('nt');
-- what a dump leaves out, and brings back: the trigger
DELETE FROM metricsdb.continuous_aggregate;
DELETE FROM metricsdb.pending;
SELECT tgname, pg_get_triggerdef(oid) AS def FROM pg_trigger WHERE tgrelid = 'nv'::regclass \gset
DROP TRIGGER :"tgname" ON nv;
:def;
SELECT part_id, p.time_from, p.backfill FROM pending p WHERE of = 'nt'::regclass ORDER BY 1;
SELECT count(*) FROM metricsdb.check('nt');
SELECT * FROM nv ORDER BY 1;
DROP SCHEMA pend CASCADE;

-- What continuous aggregates have not taken yet: metricsdb.pending, of parts.
-- There is an aggregate as soon as the catalog says so; what its states and its view are does not matter here.
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
		0, NULL, NULL, NULL, NULL, now());
	-- as CREATE does: sessions look anew
	EXECUTE format('ALTER TABLE %s ALTER COLUMN %s SET STATISTICS -1', source,
				   (SELECT attname FROM pg_attribute WHERE attrelid = source AND attnum = 1));
END $$;
-- part ids count from 1 in each table
CREATE VIEW pending AS SELECT st.relid::regclass AS of, part_id, p.aggregate::regclass,
	CASE WHEN time_from > -9223372036854775808 THEN to_timestamp(time_from / 1e6 + 946684800) END AS time_from,
	CASE WHEN time_to < 9223372036854775807 THEN to_timestamp(time_to / 1e6 + 946684800) END AS time_to, backfill
	FROM metricsdb.pending p LEFT JOIN metricsdb.storage st USING (storage_id)
	WHERE st.relid IN ('raw'::regclass, 's1'::regclass, 's2'::regclass) OR st.relid IS NULL;
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
	lateness, attached, floor, failures, NULL, NULL, NULL, NULL, now() FROM metricsdb.continuous_aggregate WHERE aggregate = 's1'::regclass;
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

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

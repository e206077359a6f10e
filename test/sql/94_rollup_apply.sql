-- What continuous aggregates take of their sources, and make again: metricsdb.refresh().  No worker is at them: metricsdb.rollup_interval = -1.
CREATE SCHEMA app;
SET search_path = app, public;
SET timezone = 'UTC';
SET intervalstyle = 'postgres';
SET metricsdb.direct_rows = 100;
SET metricsdb.rollup_routing = off;
\set VERBOSITY terse

-- Aggregates by hand: states, a view that unites them with what they have not taken, and their row in the catalog.
CREATE FUNCTION make_aggregate(name text, raw regclass, width text, finer text DEFAULT NULL, takes_history bool DEFAULT true) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	states text := name || '_states';
	finer_states regclass := finer || '_states';
	source regclass := coalesce(finer_states, raw);
	raw_branch text := $q$SELECT metricsdb.time_bucket('%s'::interval, "time"), host, count(v), sum(v), max(v) FROM %s
		WHERE metricsdb.is_pending('%s'::regclass, "time") GROUP BY metricsdb.time_bucket('%s'::interval, "time"), host$q$;
	finer_branch text := $q$SELECT metricsdb.time_bucket('%1$s'::interval, bucket), host, coalesce(sum(n), 0)::int8, sum(sum)::float8, max(max) FROM %2$s
		WHERE metricsdb.is_pending('%3$s'::regclass, bucket) AND metricsdb.is_clean('%2$s'::regclass, bucket)
		GROUP BY metricsdb.time_bucket('%1$s'::interval, bucket), host UNION ALL $q$;
BEGIN
	EXECUTE format($q$CREATE TABLE %s (bucket %s, host text, n int8, sum float8, max float8) USING metricsdb WITH (metricsdb.time = 'bucket', metricsdb.series = 'host')$q$,
		states, (SELECT format_type(atttypid, NULL) FROM pg_attribute WHERE attrelid = raw AND attname = 'time'));
	EXECUTE format('CREATE VIEW %s AS SELECT s.bucket, s.host, coalesce(sum(s.n), 0)::int8 AS n, sum(s.sum) AS sum, max(s.max) AS max FROM ('
		|| $q$SELECT bucket, host, n, sum, max FROM %s WHERE metricsdb.is_clean('%s'::regclass, bucket) UNION ALL %s%s) s GROUP BY s.bucket, s.host$q$,
		name, states, states, CASE WHEN finer IS NULL THEN '' ELSE format(finer_branch, width, finer_states, states) END,
		format(raw_branch, width, raw, coalesce(finer_states::text, states), width));
	INSERT INTO metricsdb.continuous_aggregate VALUES (states::regclass, name::regclass, source, raw, coalesce(finer_states, 0),
		CASE WHEN (SELECT atttypid = 'date'::regtype FROM pg_attribute WHERE attrelid = raw AND attname = 'time') THEN extract(epoch FROM width::interval) / 86400
			ELSE extract(epoch FROM width::interval) * 1000000 END,
		false, takes_history, '0', true, -9223372036854775808, 0, NULL, NULL, NULL, NULL, now());
	INSERT INTO metricsdb.pending SELECT storage_id, part_id, states::regclass, -9223372036854775808, 9223372036854775807, true
		FROM metricsdb.part JOIN metricsdb.storage s USING (storage_id) WHERE s.relid = source;
	-- as CREATE does: sessions look anew
	EXECUTE format('ALTER TABLE %s ALTER COLUMN %s SET STATISTICS -1', source, CASE WHEN finer IS NULL THEN 'time' ELSE 'bucket' END);
END $$;
-- A view against its definition on raw: rows that differ, and those of the states that lack; states that there are.
CREATE FUNCTION differ(name text, raw text, width text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	united int;
	states int;
	n int;
BEGIN
	EXECUTE format('CREATE TEMP VIEW d AS SELECT metricsdb.time_bucket(%L, "time") AS bucket, host, count(v) AS n, sum(v) AS sum, max(v) AS max FROM %s GROUP BY 1, 2', width, raw);
	EXECUTE format('CREATE TEMP VIEW s AS SELECT bucket, host, sum(n)::int8 AS n, sum(sum) AS sum, max(max) AS max FROM %s_states GROUP BY 1, 2', name);
	EXECUTE format('SELECT count(*) FROM ((TABLE d EXCEPT ALL TABLE %1$s) UNION ALL (TABLE %1$s EXCEPT ALL TABLE d)) x', name) INTO united;
	SELECT count(*) FROM ((TABLE d EXCEPT ALL TABLE s) UNION ALL (TABLE s EXCEPT ALL TABLE d)) x INTO states;
	EXECUTE format('SELECT count(*) FROM %s_states', name) INTO n;
	DROP VIEW d, s;
	RETURN format('united: %s, states alone: %s, of %s', united, states, n);
END $$;
CREATE TABLE raw (time timestamptz NOT NULL, host text, v float8) USING metricsdb;
CREATE FUNCTION fill(first timestamptz, seconds int, hosts int DEFAULT 5) RETURNS void LANGUAGE sql AS
	$$ INSERT INTO raw SELECT first + i * interval '1 s', 'h' || h, (i * h) % 100 FROM generate_series(0, seconds - 1) i, generate_series(1, hosts) h $$;
CREATE VIEW left_over AS SELECT c.view::regclass, (SELECT count(*) FROM metricsdb.pending p WHERE p.aggregate = c.aggregate) AS pending,
	(SELECT count(*) FROM metricsdb.dirty d WHERE d.aggregate = c.aggregate AND NOT flagged) AS dirty,
	(SELECT count(*) FROM metricsdb.dirty d WHERE d.aggregate = c.aggregate AND flagged) AS flagged
	FROM metricsdb.continuous_aggregate c JOIN pg_class ON c.view = pg_class.oid AND relnamespace = 'app'::regnamespace ORDER BY 1;

SELECT fill('2026-01-01', 600);
SELECT make_aggregate('m1', 'raw', '1 min');
SELECT differ('m1', 'raw', '1 min');

-- What there was, all at once.
SELECT view, phase, parts_total, parts_done, rows_total, rows_done FROM metricsdb.aggregate_progress WHERE view = 'm1'::regclass;
CALL metricsdb.refresh('m1');
SELECT differ('m1', 'raw', '1 min');
TABLE left_over;
SELECT count(*) FROM metricsdb.aggregate_progress WHERE view = 'm1'::regclass;
CALL metricsdb.refresh('m1');
SELECT differ('m1', 'raw', '1 min');

-- New rows; of few, which are in the delta, too; late ones. Twice a bucket has two states for each group, and the view one row.
SELECT fill('2026-01-01 00:10', 330);
SELECT fill('2026-01-01 00:15:30', 10);
SELECT fill('2026-01-01 00:00:30', 40);
SELECT differ('m1', 'raw', '1 min');
SELECT pending_parts, pending_rows FROM metricsdb.aggregate_status WHERE view = 'm1'::regclass;
CALL metricsdb.refresh('m1');
SELECT differ('m1', 'raw', '1 min');
TABLE left_over;

-- Rows that change, or go.
DELETE FROM raw WHERE time >= '2026-01-01 00:03:50' AND time < '2026-01-01 00:05:10' AND host = 'h1';
UPDATE raw SET v = v + 1 WHERE time BETWEEN '2026-01-01 00:12:10' AND '2026-01-01 00:12:20';
DELETE FROM raw WHERE time >= '2026-01-01 00:07' AND time < '2026-01-01 00:08';
SELECT differ('m1', 'raw', '1 min');
TABLE left_over;
-- A range: whole buckets that touch it
CALL metricsdb.refresh('m1', '2026-01-01 00:03:59', '2026-01-01 00:04:01');
TABLE left_over;
SELECT differ('m1', 'raw', '1 min');
CALL metricsdb.refresh('m1', timestamptz '2026-01-01 00:10', NULL);
TABLE left_over;
SELECT differ('m1', 'raw', '1 min');
CALL metricsdb.refresh('m1', "to" => '2026-01-02');
TABLE left_over;
SELECT differ('m1', 'raw', '1 min');

-- Changed before it is taken
SELECT fill('2026-01-01 01:00', 120);
DELETE FROM raw WHERE time >= '2026-01-01 01:00:30' AND host = 'h2';
SELECT differ('m1', 'raw', '1 min');
CALL metricsdb.refresh('m1');
SELECT differ('m1', 'raw', '1 min');
TABLE left_over;

-- Bounded batches: whole buckets, so that a group has one state in each.
SET metricsdb.rollup_batch_rows = 500;
SELECT fill('2026-01-01 02:00', 600);
SELECT fill('2026-01-01 02:10', 600);
SELECT count(*) FROM m1_states;
CALL metricsdb.refresh('m1');
SELECT differ('m1', 'raw', '1 min');
DELETE FROM raw WHERE host = 'h3';
CALL metricsdb.refresh('m1');
SELECT differ('m1', 'raw', '1 min');
RESET metricsdb.rollup_batch_rows;
TABLE left_over;

-- One of another: the finer one comes first.
SELECT make_aggregate('m5', 'raw', '5 min', 'm1');
SELECT differ('m5', 'raw', '5 min');
SELECT fill('2026-01-01 03:00', 600);
UPDATE raw SET v = v + 1 WHERE time BETWEEN '2026-01-01 02:00:10' AND '2026-01-01 02:00:20';
SELECT differ('m5', 'raw', '5 min');
CALL metricsdb.refresh('m5');
SELECT differ('m1', 'raw', '1 min'), differ('m5', 'raw', '5 min');
TABLE left_over;
DELETE FROM raw WHERE time >= '2026-01-01 03:02:30' AND time < '2026-01-01 03:02:40';
SELECT differ('m1', 'raw', '1 min'), differ('m5', 'raw', '5 min');
CALL metricsdb.refresh('m1');
SELECT differ('m1', 'raw', '1 min'), differ('m5', 'raw', '5 min');
CALL metricsdb.refresh('m5', '2026-01-01 03:01', '2026-01-01 03:02');
SELECT differ('m1', 'raw', '1 min'), differ('m5', 'raw', '5 min');
TABLE left_over;
-- A range of it
SELECT fill('2026-01-01 04:00', 300), fill('2026-01-02 04:00', 300);
CALL metricsdb.refresh('m5', '2026-01-02 04:02', '2026-01-02 04:02:01');
TABLE left_over;
SELECT differ('m1', 'raw', '1 min'), differ('m5', 'raw', '5 min');
CALL metricsdb.refresh('m5');
SELECT differ('m1', 'raw', '1 min'), differ('m5', 'raw', '5 min');

-- Merges go on, of what is taken and what is not.
SELECT fill('2026-01-01 05:00', 300);
CALL metricsdb.compact('raw');
CALL metricsdb.compact('m1_states');
SELECT differ('m1', 'raw', '1 min'), differ('m5', 'raw', '5 min');
CALL metricsdb.refresh('m5');
SELECT differ('m1', 'raw', '1 min'), differ('m5', 'raw', '5 min');
TABLE left_over;

-- Times without end, and none: rows without a time stay with the source.
CREATE TABLE odd (time timestamptz, host text, v float8) USING metricsdb;
INSERT INTO odd SELECT CASE i % 4 WHEN 0 THEN 'infinity' WHEN 1 THEN '-infinity' WHEN 2 THEN timestamptz '2026-01-01' + i * interval '1 s' END, 'h' || i % 3, i FROM generate_series(1, 400) i;
SELECT make_aggregate('o1', 'odd', '1 min');
INSERT INTO odd SELECT CASE i % 4 WHEN 0 THEN 'infinity' WHEN 1 THEN '-infinity' WHEN 2 THEN timestamptz '2026-01-01' + i * interval '1 s' END, 'h' || i % 3, i FROM generate_series(1, 400) i;
SELECT differ('o1', 'odd', '1 min');
CALL metricsdb.refresh('o1');
SELECT differ('o1', 'odd', '1 min');
DELETE FROM odd WHERE v::int % 7 = 0;
SELECT differ('o1', 'odd', '1 min');
CALL metricsdb.refresh('o1');
SELECT differ('o1', 'odd', '1 min');
TABLE left_over;

-- Times without a zone, and days
CREATE TABLE local (time timestamp, host text, v float8) USING metricsdb;
SELECT make_aggregate('l1', 'local', '1 hour');
INSERT INTO local SELECT timestamp '2026-03-29' + i * interval '1 min', 'h', i FROM generate_series(1, 600) i;
CALL metricsdb.refresh('l1', timestamp '2026-03-29 03:30', '2026-03-29 04:30');
SELECT differ('l1', 'local', '1 hour');
CALL metricsdb.refresh('l1');
DELETE FROM local WHERE v = 100;
SELECT differ('l1', 'local', '1 hour');
CALL metricsdb.refresh('l1');
SELECT differ('l1', 'local', '1 hour');
CREATE TABLE days (time date, host text, v float8) USING metricsdb;
SELECT make_aggregate('d1', 'days', '7 days');
INSERT INTO days SELECT date '2026-01-01' + i, 'h', i FROM generate_series(1, 600) i;
CALL metricsdb.refresh('d1', date '2026-03-01', date '2026-04-01');
SELECT differ('d1', 'days', '7 days');
CALL metricsdb.refresh('d1');
DELETE FROM days WHERE v = 100;
SELECT differ('d1', 'days', '7 days');
CALL metricsdb.refresh('d1');
SELECT differ('d1', 'days', '7 days');
TABLE left_over;

-- Rows that retention has removed: buckets that lack some cannot be made again, and stay.
CREATE TABLE old (time timestamptz NOT NULL, host text, v float8) USING metricsdb;
SELECT make_aggregate('w1', 'old', '1 day');
INSERT INTO old SELECT timestamptz '2001-01-01' + i * interval '1 h', 'h', i FROM generate_series(0, 239) i;
INSERT INTO old SELECT date_trunc('day', now()) - i * interval '1 h', 'h', i FROM generate_series(0, 239) i;
SELECT metricsdb.set_retention('old', '1 year');
CALL metricsdb.apply_retention('old');
SELECT needed_parts = due_parts AND due_parts > 0 FROM metricsdb.retention_policies WHERE "table" = 'old'::regclass;
CALL metricsdb.refresh('w1');
INSERT INTO metricsdb.dirty SELECT aggregate, (extract(epoch FROM timestamptz '2001-01-02 11:00') - 946684800) * 1000000, (extract(epoch FROM timestamptz '2001-01-03 11:00') - 946684800) * 1000000, false
	FROM metricsdb.continuous_aggregate WHERE view = 'w1'::regclass;
UPDATE metricsdb.continuous_aggregate SET floor = (extract(epoch FROM timestamptz '2001-01-02 13:00') - 946684800) * 1000000 WHERE view = 'w1'::regclass;
DELETE FROM old WHERE time < '2001-01-04';
SELECT count(*), sum(n) FROM w1 WHERE bucket < '2002-01-01';
CALL metricsdb.refresh('w1');
SELECT count(*), sum(n) FROM w1 WHERE bucket < '2002-01-01';
SELECT * FROM metricsdb.aggregate_inexact WHERE view = 'w1'::regclass ORDER BY 2;
SELECT inexact_buckets > 0 AS inexact, dirty_buckets FROM metricsdb.aggregate_status WHERE view = 'w1'::regclass;

-- What is refused
CALL metricsdb.refresh('raw');
CALL metricsdb.refresh(NULL);
CALL metricsdb.refresh('m1', '2026-01-02', '2026-01-02');
CALL metricsdb.refresh('m1', 'soon');
CALL metricsdb.refresh('m1', 1);
BEGIN;
CALL metricsdb.refresh('m1');
ROLLBACK;
SELECT metricsdb.attach_aggregate('raw');
CREATE ROLE app_reader;
GRANT USAGE ON SCHEMA app TO app_reader;
GRANT SELECT ON m1 TO app_reader;
GRANT SELECT ON left_over TO app_reader;
SET ROLE app_reader;
CALL metricsdb.refresh('m1');
SELECT metricsdb.detach_aggregate('m1');
SELECT metricsdb.attach_aggregate('m1');
SELECT metricsdb.set_retention('m1', '1 day');
SELECT view FROM metricsdb.aggregate_status;
SELECT view FROM metricsdb.aggregate_inexact;
RESET ROLE;

-- Detached: refresh() takes rows all the same.
SELECT metricsdb.detach_aggregate('m1');
SELECT attached FROM metricsdb.aggregate_status WHERE view = 'm1'::regclass;
SELECT fill('2026-01-01 06:00', 300);
CALL metricsdb.refresh('m1');
SELECT differ('m1', 'raw', '1 min');
SELECT metricsdb.attach_aggregate('m1');
SELECT attached FROM metricsdb.aggregate_status WHERE view = 'm1'::regclass;

-- Retention of the view is that of its buckets.
SELECT metricsdb.set_retention('m1', '100 years');
SELECT "table", keep FROM metricsdb.retention_policies WHERE "table" IN ('m1'::regclass, 'm1_states'::regclass);
SELECT metricsdb.set_retention('m1', NULL);

DELETE FROM metricsdb.continuous_aggregate c USING pg_class WHERE c.view = pg_class.oid AND relnamespace = 'app'::regnamespace;
SET client_min_messages = warning;
DROP SCHEMA app CASCADE;
DROP ROLE app_reader;

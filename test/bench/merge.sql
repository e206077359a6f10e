-- A fleet played faster than it lives: the flush of each second is a transaction of its own, and the
-- background merges beside it.  psql variables: series, flushes, per_second (0 = as fast as it goes).
SET client_min_messages = warning;
SET synchronous_commit = off;
SET metricsdb.direct_rows = 100;
SET metricsdb.write_buffer = '256MB';
CREATE TABLE fleet (metric_name text, tags jsonb, "time" timestamptz NOT NULL, value float8) USING metricsdb;
CREATE TEMP TABLE list AS SELECT id, 'metric_' || id % 50 AS name, jsonb_build_object('host', 'h' || id / 50, 'dc', 'dc' || id / 5000) AS tags
	FROM generate_series(0, :series - 1) id;
CREATE INDEX ON list ((id % 10));
ANALYZE list;
CREATE TEMP TABLE seen (flush int, parts int, pages int8, live int8);

-- step: of the samples' time from one flush to the next; keep: days, 0 = all.  A part's row that goes is
-- what retention will be: the bytes are then free like those that a merge leaves.
CREATE PROCEDURE play(flushes int, step interval, per_second int, keep int) LANGUAGE plpgsql AS $$
DECLARE
	storage int8 := (SELECT max(storage_id) FROM metricsdb.storage WHERE relid = 'fleet'::regclass);
	began timestamptz := clock_timestamp();
	today int;
BEGIN
	DELETE FROM seen;
	FOR s IN 0 .. flushes - 1 LOOP
		INSERT INTO fleet SELECT name, tags, timestamptz '2026-01-01 00:00:00Z' + s * step, round(50 + 30 * sin(s / 300.0 + id) + 3 * random())
			FROM list WHERE id % 10 = s % 10;
		today := (timestamp '2026-01-01' + s * step)::date - date '2000-01-01';
		IF keep > 0 THEN
			DELETE FROM metricsdb.part WHERE storage_id = storage AND day <= today - keep;
		END IF;
		IF s % 10 = 9 THEN
			INSERT INTO seen SELECT s, count(*) FILTER (WHERE day = today), pg_relation_size('fleet') / 8192, sum(npages) FROM metricsdb.part WHERE storage_id = storage;
		END IF;
		COMMIT;
		IF per_second > 0 THEN
			PERFORM pg_sleep(extract(epoch FROM began + (s + 1) * interval '1 s' / per_second - clock_timestamp()));
		END IF;
	END LOOP;
END $$;

-- Waits until nothing is left to merge, a minute at most.
CREATE PROCEDURE settle() LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. 60 LOOP
		PERFORM pg_sleep(1);
		COMMIT;
		EXIT WHEN i > 9 AND (SELECT bytes_waiting = 0 FROM metricsdb.compaction_status WHERE "table" = 'fleet'::regclass);
	END LOOP;
END $$;

SELECT pg_current_wal_lsn() AS wal_from, clock_timestamp() AS began \gset
CALL play(:flushes, '1 s', :per_second, 0);
SELECT format('%s series each 10 s, %s flushes of %s rows, played in %s s', :series, :flushes, :series / 10, round(extract(epoch FROM clock_timestamp() - :'began')));
CALL settle();
SELECT :flushes::int8 * :series / 10 AS samples, pg_wal_lsn_diff(pg_current_wal_lsn(), :'wal_from') AS wal \gset
SELECT c.level0_bytes + coalesce(sum(p.nbytes) FILTER (WHERE p.level = 0), 0) AS level0, c.merged_bytes AS merged, c.moved_bytes AS moved, c.merges, sum(p.nbytes) AS final
	FROM metricsdb.storage s JOIN metricsdb.compaction c USING (storage_id) JOIN metricsdb.part p USING (storage_id)
	WHERE s.relid = 'fleet'::regclass GROUP BY c.storage_id \gset
SELECT format('encoded bytes a sample: flushed %s, written by %s merges %s, moved for space %s; stored in the end %s', round(:level0::numeric / :samples, 2), :merges,
	round(:merged::numeric / :samples, 2), round(:moved::numeric / :samples, 2), round(:final::numeric / :samples, 2));
SELECT format('write amplification (flushed + merged + moved) / flushed: %s  (goal <= 4)', round((:level0 + :merged + :moved)::numeric / :level0, 2));
SELECT format('live parts of the day while it ran: at most %s, median %s  (goal <= 60); in the end %s', max(parts), percentile_disc(0.5) WITHIN GROUP (ORDER BY parts),
	(SELECT parts_by_level FROM metricsdb.compaction_status WHERE "table" = 'fleet'::regclass)) FROM seen;
SELECT format('WAL a sample, merges included: %s B', round(:wal::numeric / :samples, 2));

TRUNCATE fleet;
DELETE FROM list WHERE id >= 100000;
CALL play(4800, '6 min', 0, 7);
SELECT format('steady retention, 7 days of 240 flushes, 20 days played: file / live pages at most %s, median %s, last %s', round(max(pages / live::numeric), 2),
	round((percentile_disc(0.5) WITHIN GROUP (ORDER BY pages / live::numeric)), 2), round((array_agg(pages / live::numeric ORDER BY flush DESC))[1], 2)) FROM seen WHERE flush > 2400;
CALL settle();
SELECT format('and when all is merged: %s  (goal <= 1.3)', round(file_pages::numeric / (file_pages - free_pages), 2)) FROM metricsdb.compaction_status WHERE "table" = 'fleet'::regclass;

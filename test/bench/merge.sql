-- A fleet played faster than it lives: each second's flush is a transaction, the background merges
-- beside it.  psql variables: series, flushes.
\set QUIET on
SET client_min_messages = warning;
SET synchronous_commit = off;
SET metricsdb.direct_rows = 100;
SET metricsdb.write_buffer = '256MB';
SELECT metricsdb.create_metrics_table('fleet') \g /dev/null
CREATE TEMP TABLE list AS SELECT id, 'metric_' || id % 50 AS name, jsonb_build_object('host', 'h' || id / 50, 'dc', 'dc' || id / 5000) AS tags FROM generate_series(0, :series - 1) id;
CREATE INDEX ON list ((id % 10));
ANALYZE list;
CREATE TEMP TABLE seen (flush int, parts int, pages int8, live int8);
SELECT pg_current_wal_lsn() AS wal_from, now() AS began \gset
CREATE PROCEDURE play(flushes int) LANGUAGE plpgsql AS $$
DECLARE
	storage int8 := (SELECT max(storage_id) FROM metricsdb.storage WHERE relid = 'fleet'::regclass);
BEGIN
	FOR s IN 0 .. flushes - 1 LOOP
		INSERT INTO fleet (metric_name, tags, "time", value)
			SELECT name, tags, timestamptz '2026-01-01 00:00:00Z' + s * interval '1 s', round(50 + 30 * sin(s / 300.0 + id) + 3 * random())
			FROM list WHERE id % 10 = s % 10;
		IF s % 10 = 9 THEN
			INSERT INTO seen SELECT s, count(*), pg_relation_size('fleet') / 8192, sum(npages) FROM metricsdb.part WHERE storage_id = storage;
		END IF;
		COMMIT;
	END LOOP;
END $$;
CALL play(:flushes);
SELECT format('%s flushes of %s rows in %s s', :flushes, :series / 10, round(extract(epoch FROM clock_timestamp() - :'began')));
SELECT pg_sleep(20) \g /dev/null
SELECT :flushes::int8 * :series / 10 AS samples, pg_wal_lsn_diff(pg_current_wal_lsn(), :'wal_from') AS wal \gset
SELECT format('level 0: %s B/sample; merges wrote %s B/sample in %s merges; now %s B/sample', round(level0 / :samples, 2), round(merged_bytes / :samples::numeric, 2), merges, round(bytes / :samples::numeric, 2)),
	format('write amplification %s (encoded bytes of flushes and merges / bytes of flushes; goal <= 4), moved for space %s of it',
		round(((level0 + merged_bytes + moved_bytes) / level0)::numeric, 2), round((moved_bytes / level0)::numeric, 2))
FROM metricsdb.compaction_status, LATERAL (SELECT merged_bytes / nullif(write_amplification - 1, 0) AS l0) x, LATERAL (SELECT l0::numeric AS level0) y WHERE "table" = 'fleet'::regclass \gx
SELECT format('live parts while it ran: at most %s, median %s (goal <= 60); at the end %s', max(parts), percentile_disc(0.5) WITHIN GROUP (ORDER BY parts), (SELECT parts_by_level FROM metricsdb.compaction_status WHERE "table" = 'fleet'::regclass)) FROM seen;
SELECT format('WAL %s B/sample, merges included', round(:wal / :samples::numeric, 2));
SELECT format('file / live pages: while it ran at most %s, last %s; now %s of %s pages free', round(max(pages / live::numeric), 2), round((array_agg(pages / live::numeric ORDER BY flush DESC))[1], 2), (SELECT free_pages FROM metricsdb.compaction_status WHERE "table" = 'fleet'::regclass), (SELECT file_pages FROM metricsdb.compaction_status WHERE "table" = 'fleet'::regclass)) FROM seen WHERE flush > :flushes / 4;

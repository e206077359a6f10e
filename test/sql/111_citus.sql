-- Tables that Citus distributes: it plans what reads and writes their rows, which are in shards.  What would look at
-- the table's own storage is refused.  Citus itself is not here: its catalog says which tables are its.
\set VERBOSITY default
\set SHOW_CONTEXT never
\pset format unaligned
SET client_min_messages = warning;
SET metricsdb.rollup_routing = exact;
SELECT metricsdb.create_metrics_table('sharded');
INSERT INTO sharded SELECT 'cpu', '{"host": "a"}', timestamptz '2026-01-01 00:00:00Z' + i * interval '10 s', i FROM generate_series(1, 100) i;
-- An aggregate is left from before.
CREATE MATERIALIZED VIEW before WITH (metricsdb.continuous) AS
	SELECT metricsdb.time_bucket('1 min', time) AS bucket, metric_name, tags, max(value) AS max FROM sharded GROUP BY 1, 2, 3;
CALL metricsdb.refresh('before');
CREATE FUNCTION routed() RETURNS bool LANGUAGE plpgsql AS $$
DECLARE
	line text;
BEGIN
	FOR line IN EXPLAIN (COSTS OFF) SELECT metricsdb.time_bucket('1 min', time), metric_name, tags, max(value) FROM sharded GROUP BY 1, 2, 3 LOOP
		IF line LIKE '%before_states%' THEN
			RETURN true;
		END IF;
	END LOOP;
	RETURN false;
END $$;
SELECT routed();
SET allow_system_table_mods = on;
CREATE TABLE pg_catalog.pg_dist_partition (logicalrelid regclass, partmethod "char");
INSERT INTO pg_dist_partition VALUES ('sharded', 'h');
-- As Citus does when it distributes a table.
ALTER TABLE sharded SET (autovacuum_enabled = true);
SELECT routed();
CREATE MATERIALIZED VIEW after WITH (metricsdb.continuous) AS
	SELECT metricsdb.time_bucket('1 h', time) AS bucket, metric_name, max(value) AS max FROM sharded GROUP BY 1, 2;
SELECT metricsdb.metric_names('sharded');
SELECT metricsdb.approximate_row_count('sharded');
SELECT metricsdb.set_retention('sharded', '30 days');
SELECT metricsdb.set_cardinality_limit('sharded', NULL, 10);
CALL metricsdb.compact('sharded');
SELECT metricsdb.create_kafka_source('sharded', brokers => '127.0.0.1:1', topic => 'none', target => 'sharded', format => 'metric_batch');
SELECT metricsdb.create_alert('sharded', metric => 'cpu', source => 'sharded', aggregate => 'max', "window" => '1 min', op => '>', threshold => 5);
SELECT metricsdb.create_alert('sharded', query => $$SELECT tags->>'host' AS host, max(value) AS value FROM sharded WHERE time > metricsdb.eval_time() - interval '1 min' GROUP BY 1$$, every => '10 s') IS NOT NULL AS created;
SELECT metricsdb.drop_alert('sharded');
DROP TABLE pg_catalog.pg_dist_partition;
ALTER TABLE sharded RESET (autovacuum_enabled);
SELECT routed();
DROP FUNCTION routed();
DROP MATERIALIZED VIEW before;
DROP TABLE sharded;

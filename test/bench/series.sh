#!/bin/sh
# series.sh: read by bench.sh.  Many series: registration, bytes, memory, filters, and what is told of them.
#   BENCH_MANY=1000000   series, of a hundred metrics on hosts with five tags, in no order
# shellcheck shell=sh disable=SC2154 # what bench.sh sets
many=${BENCH_MANY:-1000000}

# first_ms SQL: milliseconds in a session of its own; median of the runs.
first_ms() {
	for _ in $(seq "$runs"); do
		"$lib/cluster.sh" psql "$pg" -qAt -o /dev/null -c '\timing on' -c "$1" | sed -n 's/^Time: \([0-9.]*\) ms.*/\1/p'
	done | median
}

# cpu_function: cpu(), the seconds of CPU that a session has taken.
cpu_function() {
	sql <<-'SQL'
		CREATE FUNCTION public.cpu() RETURNS float8 LANGUAGE sql AS $$ SELECT (f[12]::int + f[13]::int) / 100.0
			FROM string_to_array(regexp_replace(pg_read_file('/proc/self/stat'), '^.*\) ', ''), ' ') f $$;
	SQL
}

# cpu_ms SQL: CPU time of one of twenty executions in a session that knows it, in milliseconds.
cpu_ms() {
	{
		printf 'SET max_parallel_workers_per_gather = 0;\n%s;\nSELECT cpu() AS a \\gset\n' "$1"
		for _ in $(seq 20); do printf '%s;\n' "$1"; done
		printf "SELECT 'cpu ' || round(((cpu() - :a) * 50)::numeric, 1);\n"
	} >"$bench/cpu.sql"
	sql -f "$bench/cpu.sql" | sed -n 's/^cpu //p'
}

# show_ms GOAL WHAT SQL: the first execution in a session, as it is for who waits, and what the next cost.
show_ms() { echo "$2: first in a session $(first_ms "$3") ms, then $(cpu_ms "$3") ms of CPU${1:+  (goal $1)}"; }

series() {
	echo
	echo "== $many series of 100 metrics, with the tags host, region, dc, team and pod, which come in no order"
	start_cluster
	sql -c "ALTER SYSTEM SET metricsdb.workers = off" -c "SELECT pg_reload_conf()" >/dev/null
	cpu_function
	sql <<-SQL
		SELECT metricsdb.create_metrics_table('m');
		CREATE TABLE src AS SELECT 'metric_' || lpad((i % 100)::text, 3, '0') AS metric_name,
			jsonb_build_object('host', 'host_' || i / 100, 'region', 'eu-' || i / 100 % 8, 'dc', 'dc' || i / 100 % 40, 'team', 'team_' || i / 100 % 300,
				'pod', left(md5((i / 100)::text), 12)) AS tags, timestamptz '2026-01-01' + i % 600 * interval '1 s' AS time, i::float8 AS value
			FROM generate_series(0, $many - 1) i ORDER BY hashint4(i);
		VACUUM ANALYZE src;
	SQL
	# Twice: what the second time costs is not registration.
	sql <<-SQL >"$bench/registration"
		SELECT cpu() AS a \gset
		INSERT INTO m SELECT * FROM src;
		SELECT cpu() AS b \gset
		INSERT INTO m SELECT metric_name, tags, time + interval '1 h', value FROM src;
		SELECT :b - :a, cpu() - :b;
	SQL
	echo "registration, CPU of the session: $(awk -v n="$many" '{ printf "%d new series a second (%.2f s; the same rows again, of known series: %.2f s)", n / ($1 - $2), $1, $2 }' "$bench/registration")  (goal >= 300000)"
	sql -c "CALL metricsdb.compact('m')" -c "VACUUM metricsdb.series" -c "VACUUM metricsdb.posting" -c CHECKPOINT
	sql -c "SELECT 'bytes a series on disk: dictionary ' || round(pg_total_relation_size('metricsdb.series') / $many.0, 1) || ' (payload ' ||
			round((SELECT sum(length(payload)) FROM metricsdb.series) / $many.0, 1) || '), index ' || round((SELECT sum(pg_column_size(payload)) FROM metricsdb.posting) / $many.0, 1)
			|| ' of payload, as written ' || round(pg_total_relation_size('metricsdb.posting') / $many.0, 1)"
	sql -c "VACUUM FULL metricsdb.posting" -c "SELECT 'index after VACUUM FULL of its catalog: ' || round(pg_total_relation_size('metricsdb.posting') / $many.0, 1) || ' bytes a series'"
	"$lib/cluster.sh" stop "$pg"
	"$lib/cluster.sh" start "$pg" shared_preload_libraries=metricsdb shared_buffers=1GB max_wal_size=8GB metricsdb.workers=off
	one="SELECT count(*), sum(value) FROM m WHERE metric_name = 'metric_042' AND tags->>'host' = 'host_77'"
	echo "first query after a restart: $("$lib/cluster.sh" psql "$pg" -qAt -o /dev/null -c '\timing on' -c "$one" | sed -n 's/^Time: //p')  (goal <= 100 ms)"
	show_ms '' "one series" "$one"
	show_ms '<= 10 ms' "250 series here and there, by region, dc and metric" "SELECT count(*), sum(value) FROM m WHERE tags->>'region' = 'eu-3' AND tags->>'dc' = 'dc3' AND metric_name = 'metric_007'"
	show_ms '<= 10 ms' "the same, and their hosts" "SELECT tags->>'host', sum(value) FROM m WHERE tags->>'region' = 'eu-3' AND tags->>'dc' = 'dc3' AND metric_name = 'metric_007' GROUP BY 1"
	show_ms '' "@>" "SELECT count(*), sum(value) FROM m WHERE tags @> '{\"host\": \"host_78\", \"dc\": \"dc38\"}'"
	show_ms '' "prefix" "SELECT count(*), sum(value) FROM m WHERE tags->>'host' LIKE 'host_77%' AND metric_name = 'metric_001'"
	show_ms '' "regular expression without a prefix" "SELECT count(*), sum(value) FROM m WHERE tags->>'pod' ~ 'abc'"
	show_ms '' "all series" "SELECT count(*), sum(value) FROM m"
	show_ms '' "all series, by host" "SELECT count(*) FROM (SELECT tags->>'host', sum(value) FROM m GROUP BY 1) x"
	sql -c "SELECT count(*) FROM (SELECT tags->>'host', sum(value) FROM m GROUP BY 1) x" \
		-c "SELECT 'memory of a session that has read all series: ' || round(sum(total_bytes) / $many.0) || ' bytes a series' FROM pg_backend_memory_contexts WHERE name LIKE 'metricsdb dictionar%'" | tail -n 1
	sql -c "INSERT INTO m SELECT metric_name, tags, time + interval '2 h', value FROM src" \
		-c "SELECT 'and of one that writes: ' || round(sum(total_bytes) / $many.0) || ' bytes a series  (goal <= 300)' FROM pg_backend_memory_contexts WHERE name LIKE 'metricsdb dictionar%'"
	show_ms '< 10 ms' "metric_names" "SELECT count(*) FROM metricsdb.metric_names('m')"
	show_ms '< 10 ms' "tag_keys of a metric" "SELECT count(*) FROM metricsdb.tag_keys('m', 'metric_007')"
	show_ms '< 10 ms' "tag_values, region of a metric" "SELECT count(*) FROM metricsdb.tag_values('m', 'metric_007', 'region')"
	show_ms '< 10 ms' "tag_values, $((many / 100)) hosts of a metric" "SELECT count(*) FROM metricsdb.tag_values('m', 'metric_007', 'host')"
	show_ms '< 10 ms' "tag_values, region of all" "SELECT count(*) FROM metricsdb.tag_values('m', NULL, 'region')"
	show_ms '< 10 ms' "cardinality of a metric" "SELECT metricsdb.cardinality('m', 'metric_007')"
	show_ms '< 10 ms' "cardinality of all" "SELECT metricsdb.cardinality('m')"
	show_ms '< 10 ms' "series, of a metric in a dc of a region" "SELECT count(*) FROM metricsdb.series('m', 'metric_007', \$\$tags->>'region' = 'eu-3' AND tags->>'dc' = 'dc3'\$\$)"
	show_ms '' "metric_names of ten minutes" "SELECT count(*) FROM metricsdb.metric_names('m', '2026-01-01 00:00', '2026-01-01 00:10')"
	sql -c "DELETE FROM m WHERE tags->>'region' = 'eu-5'" -c "CALL metricsdb.compact('m')"
	echo "collection of an eighth of the series: $("$lib/cluster.sh" psql "$pg" -qAt -c '\timing on' -c "CALL metricsdb.collect_series('m', NULL)" | tr '\n' ' ')"
	echo "again: make bench BENCH=series BENCH_MANY=$many BENCH_RUNS=$runs"
}

#!/bin/sh
# rollups.sh: read by bench.sh.  What continuous aggregates cost, and what queries gain.
#   BENCH_PARTS="cost backfill late year"   which of it
#   BENCH_POINTS=20000000   points of an ingest run, over 100,000 series
#   BENCH_HOSTS=1000 BENCH_ROUNDS=4320      the table of the back-fill: hosts, and samples of each at 10 s, ten usages
#   BENCH_YEAR_SERIES=1000  series of the year of hours; the goal is stated for 10000
# shellcheck shell=sh disable=SC2154 # what bench.sh sets
rollup_parts=${BENCH_PARTS:-"cost backfill late year"}

# rollup LEVEL WIDTH TABLE KEYS VALUE: an aggregate as create_rollups() makes it, of one value.
rollup() {
	sql -c "CREATE MATERIALIZED VIEW $1 WITH (metricsdb.continuous) AS SELECT metricsdb.time_bucket('$2', time) AS bucket, $4,
		count($5) AS n, sum($5) AS sum, min($5) AS min, max($5) AS max, metricsdb.first($5, time) AS first, metricsdb.last($5, time) AS last
		FROM $3 GROUP BY $(seq -s, 1 $(($(echo "$4" | tr -cd , | wc -c) + 2)))" 2>&1 | grep -v NOTICE || true
}

# Seconds of CPU since FROM (ticks of cluster_ticks).
cpu_since() { per $(($(cluster_ticks) - $1)) "$(getconf CLK_TCK)" 2; }

# Until the worker has nothing to do.
rolled_up() {
	while [ "$(sql -c "SELECT count(*) FROM metricsdb.pending WHERE backfill" -c "SELECT count(*) FROM metricsdb.dirty WHERE NOT flagged" | tr '\n' ' ')" != "0 0 " ]; do
		sleep 0.2
	done
}

# ingest_with LEVELS: CPU of storing the points with these roll-ups beside, compaction of all included; and the longest lag.
ingest_with() {
	start_cluster
	brokers=$("$lib/kafka.sh" start "$kafka")
	"$lib/kafka.sh" topic "$kafka" create m 8
	"$("$lib/tool.sh" fleet)" "$brokers" m hosts=10000 interval=10 history=$((points / 10000)) precision=-1 seed=1 >/dev/null
	sql -c "SELECT metricsdb.create_metrics_table('metrics')" >/dev/null
	for width in $1; do rollup "r_$width" "$width" metrics metric_name,tags value; done
	from=$(cluster_ticks) lag=0 seen=0
	sql -c "SELECT metricsdb.create_kafka_source('m', brokers => '$brokers', topic => 'm', target => 'metrics', format => 'metric_batch')" >/dev/null
	while [ "$seen" -lt "$points" ]; do
		sleep 0.5
		seen=$(sql -c "SELECT coalesce(sum(consumed), 0) FROM metricsdb.kafka_status")
		now=$(sql -c "SELECT coalesce(max(extract(epoch FROM lag)), 0) FROM metricsdb.aggregate_status")
		lag=$(printf '%s\n%s\n' "$lag" "$now" | sort -n | tail -n 1)
	done
	for width in $1; do sql -c "CALL metricsdb.refresh('r_$width')"; done
	wait_idle
	sql -c "CALL metricsdb.compact('metrics')"
	wait_idle
	used=$(cpu_since "$from")
	[ "$(sql -c "SELECT count(*) FROM metrics")" = "$points" ] || die "points are missing"
	"$lib/kafka.sh" kill "$kafka"
	rm -rf "$kafka"
}

rollup_cost() {
	echo "-- CPU beside ingestion: $points points over 100,000 series at 10 s, merges of everything included"
	: >"$TOP/build/bench.ratio"
	: >"$TOP/build/bench.ratio10"
	for run in $(seq "$runs"); do
		ingest_with ''
		without=$used
		ingest_with '1min 1h 1day'
		with=$used lag3=$lag
		ingest_with '10s 1min 1h 1day'
		printf 'run %d: without %s s, with 1 min, 1 h and 1 day %s s (longest lag %s s), with 10 s, too %s s (%s s)\n' "$run" "$without" "$with" "$lag3" "$used" "$lag"
		per "$with" "$without" 3 >>"$TOP/build/bench.ratio"
		echo >>"$TOP/build/bench.ratio"
		per "$used" "$without" 3 >>"$TOP/build/bench.ratio10"
		echo >>"$TOP/build/bench.ratio10"
	done
	echo "with / without: median $(median <"$TOP/build/bench.ratio") (goal <= 1.25); with a state for each sample, 10 s: $(median <"$TOP/build/bench.ratio10")"
}

wide_table() {
	csv=$bench/wide.csv
	start_cluster
	"$("$lib/tool.sh" widecsv)" "${BENCH_HOSTS:-1000}" 10 "${BENCH_ROUNDS:-4320}" 1700000000 -1 2>/dev/null | as_user tee "$csv" >/dev/null
	sql -c "CREATE TABLE cpu ($wide_columns) USING metricsdb" -c "COPY cpu FROM '$csv' (FORMAT csv)"
	rm -f "$csv"
	sql -c "CALL metricsdb.compact('cpu')" -c "VACUUM ANALYZE cpu"
}

rollup_backfill() {
	echo "-- Back-fill of four levels from $((${BENCH_HOSTS:-1000} * ${BENCH_ROUNDS:-4320} * 10)) samples"
	for run in $(seq "$runs"); do
		wide_table
		wait_idle
		at=$(date +%s%N) from=$(cluster_ticks)
		sql -c "SELECT metricsdb.create_rollups('cpu')" >/dev/null
		rolled_up
		echo "run $run: $(per $(($(date +%s%N) - at)) 1000000000 1) s, CPU $(cpu_since "$from") s (goal < 10 s)"
		sql -c "SELECT '  ' || view || ': ' || rows || ' states, ' || round(bytes::numeric / nullif(rows, 0), 1) || ' B each' FROM metricsdb.aggregate_status"
	done
}

# late_cost AGE: ms of CPU of a point that is so old, of a thousand, each in a transaction of its own.
late_cost() {
	for i in $(seq 1000); do
		echo "INSERT INTO late VALUES (timestamptz '2026-06-01' - interval '$1' + interval '$((i * 37)) s', 'h$((i % 100))', $i);"
	done >"$bench/late.sql"
	wait_idle
	from=$(cluster_ticks)
	sql -f "$bench/late.sql"
	sql -c "CALL metricsdb.compact('late')"
	for width in 1min 1h 1day; do sql -c "CALL metricsdb.refresh('l_$width')"; done
	wait_idle
	cpu_since "$from"
}

rollup_late() {
	echo "-- A thousand points that are 60 days late, beside a thousand in order"
	start_cluster
	sql -c "CREATE TABLE late (time timestamptz NOT NULL, host text, x float8) USING metricsdb" \
		-c "INSERT INTO late SELECT timestamptz '2026-06-01' - i * interval '10 s', 'h' || h, (i + h) % 100 FROM generate_series(1, 10000) i, generate_series(0, 99) h" \
		-c "INSERT INTO late SELECT timestamptz '2026-06-01' - interval '60 days' - i * interval '10 s', 'h' || h, (i + h) % 100 FROM generate_series(-8640, 8640) i, generate_series(0, 99) h"
	for width in 1min 1h 1day; do rollup "l_$width" "$width" late host x; done
	rolled_up
	sql -c "CALL metricsdb.compact('late')"
	in_order=$(late_cost '-1 minute') late=$(late_cost '60 days')
	echo "CPU: in order $in_order s, late $late s: $(per "$late" "$in_order" 2) x (goal <= 20)"
}

# ask NAME GOAL SQL: its median time in a session that has asked once.
ask() {
	{
		printf '\\timing on\n'
		for _ in $(seq 12); do printf '%s;\n' "$3"; done
	} >"$bench/ask.sql"
	printf '  %-42s %9.1f ms  (goal < %s for 10,000 series)\n' "$1" "$(sql -o /dev/null -f "$bench/ask.sql" | sed -n 's/^Time: \([0-9.]*\) ms.*/\1/p' | sed 1,2d | median)" "$2"
}

rollup_year() {
	series=${BENCH_YEAR_SERIES:-1000}
	echo "-- A year of hours of $series integer-valued series: $((series * 8760)) states; the table itself has one day"
	start_cluster
	sql -c "ALTER DATABASE postgres SET search_path = public, metricsdb" -c "ALTER SYSTEM SET jit = off" -c "ALTER SYSTEM SET work_mem = '64MB'" -c "SELECT pg_reload_conf()" >/dev/null
	sql -c "CREATE TABLE year (time timestamptz NOT NULL, host text, x float8) USING metricsdb" \
		-c "INSERT INTO year SELECT timestamptz '2026-12-31' + i * interval '1 min', 'host_' || h, 50 + (hashint4(h) + i) % 40 FROM generate_series(0, 1439) i, generate_series(1, least($series, 1000)) h"
	rollup year_1h 1h year host x
	sql -c "CALL metricsdb.refresh('year_1h')"
	# States of a walk of whole numbers, as raw that is gone would have left them.
	for month in $(seq 0 11); do
		sql -c "INSERT INTO year_1h_states (bucket, host, count_x, sum_x, min_x, max_x, first_x_time, min_time, last_x_time, max_time)
			SELECT b, 'host_' || h, 360, 360 * m + k % 720 - 360, greatest(m - k / 7 % 15, 0), least(m + k / 11 % 15, 100), m + k / 13 % 9 - 4, b + h % 10 * interval '1 s',
				m + k / 17 % 9 - 4, b + interval '3590 s' + h % 10 * interval '1 s'
			FROM generate_series(1, $series) h, generate_series(timestamptz '2026-01-01' + $month * interval '1 month', least(timestamptz '2026-01-01' + ($month + 1) * interval '1 month', '2026-12-31') - interval '1 hour', '1 hour') b,
				LATERAL (SELECT abs(hashint8(h * 100000 + extract(epoch FROM b)::int8 / 3600)) AS k, 40 + abs(hashint4(h)) % 20 + (extract(epoch FROM b)::int8 / 3600 * (1 + h % 3) % 21)::int - 10 AS m OFFSET 0) r"
	done
	sql -c "CALL metricsdb.compact('year_1h_states')" -c "VACUUM ANALYZE year_1h_states" -c "ANALYZE year"
	sql -c "SELECT '  ' || count(*) || ' states, ' || round(metricsdb.relation_size('year_1h_states')::numeric / count(*), 2) || ' B each (goal <= 14)' FROM year_1h_states"
	day="SELECT time_bucket('1 day', time) AS day, avg(x) FROM year WHERE time >= '2026-01-01' AND time < '2027-01-01'"
	ask 'avg per day over everything' '150 ms' "$day GROUP BY 1"
	ask 'one series over the year' '10 ms' "$day AND host = 'host_7' GROUP BY 1"
	ask 'highest per week and series' '-' "SELECT time_bucket('1 week', time), host, max(x) FROM year WHERE time >= '2026-01-05' AND time < '2026-12-28' GROUP BY 1, 2"
	sql -c "EXPLAIN (COSTS OFF) $day GROUP BY 1" | sed 's/^/    /'
}

rollups() {
	echo
	echo "== Continuous aggregates"
	for part in $rollup_parts; do "rollup_$part"; done
	echo "again: make bench BENCH=rollups BENCH_PARTS=\"$rollup_parts\" BENCH_POINTS=$points BENCH_YEAR_SERIES=${BENCH_YEAR_SERIES:-1000} BENCH_RUNS=$runs"
}

#!/bin/sh
# dist.sh: read by bench.sh.  A table over several nodes, all on this machine: what the coordinator adds, and the shape of
# it; not how much faster more machines are.
#   BENCH_PARTS="queries ingest planning killed"   which of it
#   BENCH_HOSTS=1000 BENCH_ROUNDS=4320   the table of the queries: hosts, and samples of each at 10 s, ten usages
#   BENCH_REPEAT=15         executions of each query on each side; medians are shown
#   BENCH_POINTS=20000000   points of an ingest run, over 100,000 series
# shellcheck shell=sh disable=SC2154,SC2034 # what bench.sh sets
dist_parts=${BENCH_PARTS:-"queries ingest planning killed"}

on() {
	at=$1
	shift
	"$lib/cluster.sh" psql "$bench/$at" -qAt -F ' ' -v ON_ERROR_STOP=1 "$@"
}

address() { echo "host=$("$lib/cluster.sh" socket "$bench/$1") port=5432 dbname=${2:-postgres} user=postgres"; }

# clusters NAME...: fresh ones, c the coordinator of those called n*.
clusters() {
	no_clusters
	for name in "$@"; do
		"$lib/cluster.sh" start "$bench/$name" shared_preload_libraries=metricsdb shared_buffers=256MB max_wal_size=4GB max_worker_processes=16 \
			max_prepared_transactions=20 work_mem=64MB jit=off effective_cache_size=8GB "search_path=public, metricsdb"
		on "$name" -c "CREATE EXTENSION metricsdb"
	done
	on c -c "CREATE EXTENSION postgres_fdw"
	for name in "$@"; do
		case $name in n*) on c -c "SELECT metricsdb.add_node('$name', '$(address "$name")')" >/dev/null ;; esac
	done
}

no_clusters() {
	for name in c one n1 n2 n3 n4; do
		if [ -d "$bench/$name" ]; then "$lib/cluster.sh" drop "$bench/$name"; fi
	done
}

# CPU in ticks of all of them.
all_ticks() {
	for name in "$@"; do
		pg=$bench/$name
		cluster_ticks
	done | awk '{ t += $1 } END { print t }'
}

all_idle() {
	for name in "$@"; do
		pg=$bench/$name
		wait_idle
	done
}

# on_both NAME: a line "one MS" or "c MS" for each execution; the two sides take turns.
on_both() {
	for turn in 1 2 3; do
		for side in one c; do
			pg=$bench/$side
			run_query cpu "$1" $((query_repeat / 3 + 1)) | sed 1d | sed "s/^/$side /"
		done
	done
}

dist_queries() {
	echo "-- queries: $query_hosts hosts, $query_rounds samples of ten usages each at 10 s, on one node and over three; medians of $query_repeat, ms"
	bindir=$("$lib/cluster.sh" root)$("${PG_CONFIG:-pg_config}" --bindir)
	clusters c one n1 n2 n3
	on one -c "CREATE TABLE cpu ($wide_columns) USING metricsdb"
	on c -c "CREATE TABLE cpu ($wide_columns) USING metricsdb" -c "SELECT metricsdb.distribute('cpu')" >/dev/null
	"$("$lib/tool.sh" widecsv)" "$query_hosts" 10 "$query_rounds" 1700000000 -1 2>/dev/null | as_user tee "$bench/wide.csv" >/dev/null
	on one -c "COPY cpu FROM '$bench/wide.csv' (FORMAT csv)" -c "CALL metricsdb.compact('cpu')" -c "VACUUM ANALYZE cpu"
	for i in 0 1 2; do
		on "n$((i + 1))" -c "COPY cpu FROM PROGRAM 'awk \"(NR - 1) % $query_hosts % 3 == $i\" $bench/wide.csv' (FORMAT csv)" \
			-c "CALL metricsdb.compact('cpu')" -c "VACUUM ANALYZE cpu"
	done
	rm -f "$bench/wide.csv"
	all_idle one n1 n2 n3
	printf '%-26s %10s %10s %8s %8s\n' query "one node" three ratio "+ ms"
	for f in "$TOP"/test/bench/query/*.sql; do
		name=$(basename "$f" .sql)
		[ "$name" != 00_select_1 ] || continue
		on_both "$name" >"$TOP/build/bench.both"
		one=$(sed -n 's/^one //p' "$TOP/build/bench.both" | median)
		sed -n 's/^c //p' "$TOP/build/bench.both" | median | awk -v n="$name" -v one="$one" '{
			held = one >= 20 ? $1 <= 1.5 * one : $1 <= one + 2
			printf "%-26s %10.3f %10.3f %8.2f %8.2f  %s\n", n, one, $1, $1 / one, $1 - one, held ? "" : "missed" }'
	done
	echo "(goal: within 1.5 x of one node where that takes 20 ms or more, else + 2 ms)"
}

# dist_ingest_over NODES...: CPU seconds of consuming the points and compacting them, by everybody.
dist_ingest_over() {
	clusters c "$@"
	brokers=$("$lib/kafka.sh" start "$kafka")
	"$lib/kafka.sh" topic "$kafka" create m 8
	"$("$lib/tool.sh" fleet)" "$brokers" m hosts=10000 interval=10 history=$((points / 10000)) precision=-1 seed=1 >/dev/null
	kafka_bytes=$(find "$kafka/data" -path "*/m-*" -name "*.log" -printf "%s\\n" | awk "{ s += \$1 } END { print s }")
	on c -c "SELECT metricsdb.create_metrics_table('metrics')" -c "SELECT metricsdb.distribute('metrics')" >/dev/null
	wal=$(for n in "$@"; do on "$n" -c "SELECT -pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')"; done)
	from=$(all_ticks c "$@") began=$(date +%s)
	on c -c "SELECT metricsdb.create_distributed_source('m', '$brokers', 'm', 'metrics', 'metric_batch')" >/dev/null
	seen=0
	while [ "$seen" -lt "$points" ]; do
		sleep 1
		seen=$(for n in "$@"; do on "$n" -c "SELECT coalesce(sum(consumed), 0) FROM metricsdb.kafka_status"; done | awk '{ s += $1 } END { print s }')
		[ $(($(date +%s) - began)) -lt 600 ] || die "the points do not arrive"
	done
	all_idle "$@"
	for n in "$@"; do on "$n" -c "CALL metricsdb.compact('metrics')"; done
	all_idle "$@"
	used=$(per $(($(all_ticks c "$@") - from)) "$(getconf CLK_TCK)" 2)
	wal=$({ echo "$wal" && for n in "$@"; do on "$n" -c "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')"; done; } | awk '{ s += $1 } END { print s }')
	[ "$(on c -c "SELECT count(*) FROM metrics")" = "$points" ] || die "points are missing"
	"$lib/kafka.sh" kill "$kafka"
	rm -rf "$kafka"
}

dist_ingest() {
	echo "-- CPU of ingestion: $points points over 100,000 series, compaction included, by one node and by four"
	: >"$TOP/build/bench.ratio"
	for run in $(seq "$runs"); do
		if [ $((run % 2)) = 0 ]; then
			dist_ingest_over n1 n2 n3 n4
			four=$used
			dist_ingest_over n1
			one=$used
		else
			dist_ingest_over n1
			one=$used
			dist_ingest_over n1 n2 n3 n4
			four=$used
		fi
		echo "run $run: one $one s, four $four s of CPU; $(per "$points" "$one" 0) and $(per "$points" "$four" 0) points a second of a core; a point is $(per "$kafka_bytes" "$points" 1) B in Kafka, $(per "$wal" "$points" 2) B of WAL"
		per "$four" "$one" 3 >>"$TOP/build/bench.ratio"
		echo >>"$TOP/build/bench.ratio"
	done
	echo "four / one: median $(median <"$TOP/build/bench.ratio") of $(list "$TOP/build/bench.ratio")  (goal: equal)"
}

dist_planning() {
	echo "-- planning a query over 32 nodes"
	clusters c one
	for i in $(seq 32); do
		on one -c "CREATE DATABASE d$i"
		"$lib/cluster.sh" psql "$bench/one" -q -d "d$i" -c "CREATE EXTENSION metricsdb"
		on c -c "SELECT metricsdb.add_node('d$i', '$(address one "d$i")')" >/dev/null
	done
	on c -c "CREATE TABLE cpu ($wide_columns) USING metricsdb" -c "SELECT metricsdb.distribute('cpu')" >/dev/null
	for what in "avg(usage_user) FROM cpu WHERE hostname = 'host_7' AND time >= '2024-01-01' AND time < '2024-01-02'" \
		"avg(usage_user), time_bucket('1 minute', time), hostname FROM cpu WHERE time > now() - interval '1 h' GROUP BY 2, 3 ORDER BY 2, 3 LIMIT 10" \
		"avg(usage_user), time_bucket('1 hour', time) FROM cpu WHERE region IN (SELECT region FROM (VALUES ('a'), ('b')) v (region)) GROUP BY 2"; do
		for i in $(seq 25); do echo "EXPLAIN (SUMMARY) SELECT $what;"; done | on c -f - | sed -n 's/.*Planning Time: \([0-9.]*\) ms.*/\1/p' >"$TOP/build/bench.planning"
		echo "median $(sed 1d "$TOP/build/bench.planning" | median) ms, first of a session $(head -n 1 "$TOP/build/bench.planning") ms: SELECT $what"
	done
	echo "(goal: 5 ms)"
}

# A query each 20 ms; in the middle one of a shard's two nodes is killed: all its processes at once, as when a machine goes.
dist_killed() {
	echo "-- a node is killed, its replica answers: the longest of the queries that come one after the other"
	: >"$TOP/build/bench.killed"
	clusters c
	for name in n1 n2 n3; do
		"$lib/cluster.sh" start "$bench/$name" shared_preload_libraries=metricsdb "search_path=public, metricsdb" max_prepared_transactions=20 fsync=off
		on "$name" -c "CREATE EXTENSION metricsdb"
	done
	on c -c "SELECT metricsdb.add_node('n1', '$(address n1)', shard => 'a'), metricsdb.add_node('n2', '$(address n2)', shard => 'a'), metricsdb.add_node('n3', '$(address n3)', shard => 'b')" >/dev/null
	on c -c "CREATE TABLE cpu ($wide_columns) USING metricsdb" -c "SELECT metricsdb.distribute('cpu')" >/dev/null
	on c -c "INSERT INTO cpu (time, hostname, usage_user) SELECT timestamptz '2026-01-01' + i * interval '1 s', 'h' || i % 100, i FROM generate_series(1, 200000) i"
	for run in $(seq $((runs * 2))); do
		victim=n$((run % 2 + 1))
		for i in $(seq 200); do echo "SELECT count(*) FROM cpu; SELECT pg_sleep(0.02);"; done >"$TOP/build/bench.loop"
		{
			printf '%s\n' '\timing on'
			cat "$TOP/build/bench.loop"
		} | on c -f - >"$TOP/build/bench.answers" 2>&1 &
		asking=$!
		sleep "$(awk "BEGIN { srand($run); print 1 + rand() }")"
		pm=$("$lib/cluster.sh" pid "$bench/$victim")
		# shellcheck disable=SC2046 # a list
		kill -9 "$pm" $(cat /proc/[0-9]*/stat 2>/dev/null | sed 's/(.*)/x/' | awk -v pm="$pm" '$4 == pm { print $1 }') 2>/dev/null || true
		wait $asking || die "a query failed: $(grep -m 1 ERROR "$TOP/build/bench.answers")"
		[ "$(grep -c '^200000$' "$TOP/build/bench.answers")" = 200 ] || die "a query's answer was another"
		awk '/^200000$/ { mine = 1; next } /^Time:/ && mine { if ($2 > most) most = $2; mine = 0 } END { print most }' "$TOP/build/bench.answers" >>"$TOP/build/bench.killed"
		"$lib/cluster.sh" start "$bench/$victim" shared_preload_libraries=metricsdb "search_path=public, metricsdb" max_prepared_transactions=20 fsync=off
		sleep 12
	done
	echo "all of 200 answers right in each of $((runs * 2)) kills; the longest took, in ms: median $(median <"$TOP/build/bench.killed"), of $(list "$TOP/build/bench.killed")  (goal: 2000)"
}

dist() {
	echo
	echo "== A table over several nodes, on this one machine"
	for part in $dist_parts; do
		"dist_$part"
		no_clusters
	done
	pg=$bench/pg
	echo "again: make bench BENCH=dist BENCH_PARTS=\"$dist_parts\" BENCH_HOSTS=$query_hosts BENCH_ROUNDS=$query_rounds BENCH_REPEAT=$query_repeat BENCH_POINTS=$points BENCH_RUNS=$runs"
}

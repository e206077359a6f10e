#!/bin/sh
# bench.sh [ingest|latency|copy|size|cost|codec|merge|cancel|guard|query|functions|series|retention|rollups|dist|alerts]...: what `make bench` does.  Speed is shown here and
# tested nowhere: machines differ, so it prints ratios, medians and the runs they come from.
#   BENCH_RUNS=3        runs of each; medians are shown
#   BENCH_POINTS=20000000   points of an ingest run, over 100,000 series
#   BENCH_ROWS=500000   rows of a COPY
#   BENCH_KINDS="integers decimals doubles counters proc series" BENCH_HOURS=12 BENCH_FASTER=50 BENCH_PROC=600
#                       of the sizes: see size.sh
#   BENCH_SERIES=100000 BENCH_FLUSHES=3600 BENCH_PACE=30   the fleet of the merges, its seconds, and how many
#                       of these a second; an hour of a million series is 1000000 3600 0
set -eu
lib=$(cd "$(dirname "$0")/../lib" && pwd)
"$lib/deps.sh" demo
# shellcheck source=test/lib/env.sh
. "$lib/env.sh"
bench=$RUN/bench
pg=$bench/pg
kafka=$bench/kafka
runs=${BENCH_RUNS:-3} points=${BENCH_POINTS:-20000000} rows=${BENCH_ROWS:-500000}

mkdir -p "$TOP/build"
make -s -j2 -C "$TOP" private >"$TOP/build/bench-build.log" 2>&1 || die "the build failed, see build/bench-build.log"
as_user mkdir -p "$bench"

sql() { "$lib/cluster.sh" psql "$pg" -qAt -F ' ' -v ON_ERROR_STOP=1 "$@"; }
median() { sort -n | awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }
list() { tr '\n' ' ' <"$1" | sed 's/ $//; s/ /, /g'; }
per() { awk "BEGIN { printf \"%.*f\", $3, $1 / $2 }"; }

start_cluster() {
	"$lib/cluster.sh" drop "$pg"
	"$lib/cluster.sh" start "$pg" shared_preload_libraries=metricsdb shared_buffers=1GB max_wal_size=8GB \
		max_worker_processes=16
	sql -c "CREATE EXTENSION metricsdb"
}

finish() {
	trap - EXIT
	if [ -d "$pg" ]; then "$lib/cluster.sh" drop "$pg"; fi
	no_clusters
	if [ -d "$kafka" ]; then "$lib/kafka.sh" kill "$kafka"; fi
	rm -rf "$bench"
}
trap finish EXIT
trap 'exit 130' INT TERM

# CPU time in ticks of the whole cluster: the postmaster with the children it has buried, and the living.
cluster_ticks() {
	pm=$("$lib/cluster.sh" pid "$pg")
	cat /proc/[0-9]*/stat 2>/dev/null | sed 's/(.*)/x/' |
		awk -v pm="$pm" '$1 == pm || $4 == pm { t += $14 + $15 + $16 + $17 } END { print t }'
}

# Waits until the cluster does nothing for three seconds on end: compaction is over.
wait_idle() {
	quiet=0 was=$(cluster_ticks)
	while [ $quiet -lt 3 ]; do
		sleep 1
		is=$(cluster_ticks)
		if [ $((is - was)) -le 3 ]; then quiet=$((quiet + 1)); else quiet=0; fi
		was=$is
	done
}

# Bytes of a metricsdb table: file, delta heaps and dictionary, and its rows of the catalog of parts.
whole_size() {
	sql -c "SELECT metricsdb.relation_size('$1') + coalesce((SELECT sum(pg_column_size(p.*))
		FROM metricsdb.part p JOIN metricsdb.storage s USING (storage_id) WHERE s.relid = '$1'::regclass), 0)"
}

ingest() {
	echo
	echo "== Kafka to committed parts: $points points over 100,000 series, interleaved, 90 a message, lz4"
	fleet=$("$lib/tool.sh" fleet)
	hz=$(getconf CLK_TCK)
	for precision in -1 2; do
		: >"$TOP/build/bench.rate"
		for run in $(seq "$runs"); do
			start_cluster
			brokers=$("$lib/kafka.sh" start "$kafka")
			"$lib/kafka.sh" topic "$kafka" create m 8
			"$fleet" "$brokers" m hosts=10000 interval=10 history=$((points / 10000)) precision=$precision seed="$run" >/dev/null
			sql -c "SELECT metricsdb.create_metrics_table('metrics')" >/dev/null
			from=$(cluster_ticks) began=$(date +%s%N)
			sql -c "SELECT metricsdb.create_kafka_source('m', brokers => '$brokers', topic => 'm', target => 'metrics',
				format => 'metric_batch')" >/dev/null
			while [ "$(sql -c "SELECT coalesce(sum(consumed), 0) FROM metricsdb.kafka_status")" -lt "$points" ]; do
				sleep 0.5
				[ $(($(date +%s%N) - began)) -lt 600000000000 ] || die "the points do not arrive"
			done
			wall=$((($(date +%s%N) - began) / 1000000))
			stored=$(cluster_ticks)
			wait_idle
			sql -c "CALL metricsdb.compact('metrics')"
			wait_idle
			done=$(cluster_ticks)
			[ "$(sql -c "SELECT count(*) FROM metrics")" = "$points" ] || die "points are missing"
			per $((points * hz)) $((done - from)) 0 >>"$TOP/build/bench.rate"
			echo >>"$TOP/build/bench.rate"
			printf 'run %d, %s: %d points/s of wall time; CPU %s s to store, %s s to compact; %s B a point, whole table\n' \
				"$run" "$([ $precision = 2 ] && echo "two decimals" || echo integers)" $((points * 1000 / wall)) \
				"$(per $((stored - from)) "$hz" 2)" "$(per $((done - stored)) "$hz" 2)" "$(per "$(whole_size metrics)" "$points" 3)"
			"$lib/kafka.sh" kill "$kafka"
			rm -rf "$kafka"
		done
		echo "points/s per core of CPU, all processes, compaction included: median $(median <"$TOP/build/bench.rate") of $(list "$TOP/build/bench.rate")  (goal 1,000,000)"
	done
	echo "peers, on the same walk (1 M series): VictoriaMetrics 1.79 116,000 (8.65 CPU-s a million), Prometheus 2.42 45,000"
	echo "again: make bench BENCH=ingest BENCH_POINTS=$points BENCH_RUNS=$runs"
}

latency() {
	echo
	echo "== From production to visible in SQL: 10 probes a second beside 10,000 points/s, 30 s"
	probe=$("$lib/tool.sh" probe) fleet=$("$lib/tool.sh" fleet)
	start_cluster
	brokers=$("$lib/kafka.sh" start "$kafka")
	"$lib/kafka.sh" topic "$kafka" create m 4
	sql -c "SELECT metricsdb.create_metrics_table('metrics');
		SELECT metricsdb.create_kafka_source('m', brokers => '$brokers', topic => 'm', target => 'metrics',
			format => 'metric_batch')" >/dev/null
	"$fleet" "$brokers" m hosts=1000 interval=1 history=60 live=34 >/dev/null &
	fleet_pid=$!
	sleep 3
	"$probe" "$brokers" m 100 300 &
	sql -f "$TOP/test/bench/latency.sql"
	wait $! || true
	kill $fleet_pid 2>/dev/null || true
	wait $fleet_pid || true
	"$lib/kafka.sh" kill "$kafka"
	rm -rf "$kafka"
	echo "(goal: all under 2 s)   again: make bench BENCH=latency"
}

wide_columns="time timestamptz NOT NULL, arch text, datacenter text, hostname text, os text, rack text, region text,
	service text, service_environment text, service_version text, team text, usage_user float8, usage_system float8,
	usage_idle float8, usage_nice float8, usage_iowait float8, usage_irq float8, usage_softirq float8,
	usage_steal float8, usage_guest float8, usage_guest_nice float8"

# timed TABLE FILE: seconds of a COPY into the emptied table.
timed() {
	sql -c "TRUNCATE $1" -c "CHECKPOINT"
	at=$(date +%s%N)
	sql -c "COPY $1 FROM '$2' (FORMAT csv)"
	per $(($(date +%s%N) - at)) 1000000000 3
}

copy() {
	echo
	echo "== COPY of the wide CSV ($rows rows, 21 columns, 1,000 hosts) against a heap without index, same run"
	csv=$bench/wide.csv
	start_cluster
	"$("$lib/tool.sh" widecsv)" 1000 10 $((rows / 1000)) 1700000000 2 2>/dev/null | as_user tee "$csv" >/dev/null
	sql -c "CREATE TABLE wide_heap ($wide_columns) USING heap" -c "CREATE TABLE wide_mdb ($wide_columns) USING metricsdb"
	: >"$TOP/build/bench.ratio"
	for run in $(seq $((runs + 2))); do
		if [ $((run % 2)) = 0 ]; then
			h=$(timed wide_heap "$csv") m=$(timed wide_mdb "$csv")
		else
			m=$(timed wide_mdb "$csv") h=$(timed wide_heap "$csv")
		fi
		per "$h" "$m" 3 >>"$TOP/build/bench.ratio"
		echo >>"$TOP/build/bench.ratio"
		printf 'run %d: heap %s s (%s rows/s), metricsdb %s s (%s rows/s)\n' "$run" "$h" "$(per "$rows" "$h" 0)" "$m" "$(per "$rows" "$m" 0)"
	done
	echo "heap's time / ours: median $(median <"$TOP/build/bench.ratio") of $(list "$TOP/build/bench.ratio")  (goal >= 1.0)"
	echo "peers, heap's time / theirs, same walk: TimescaleDB hypertable 0.77, Citus columnar 0.61"
	echo "again: make bench BENCH=copy BENCH_ROWS=$rows BENCH_RUNS=$runs"
}

# shellcheck source=test/bench/size.sh
. "$TOP/test/bench/size.sh"

# shellcheck source=test/bench/cost.sh
. "$TOP/test/bench/cost.sh"
# shellcheck source=test/bench/guard.sh
. "$TOP/test/bench/guard.sh"
# shellcheck source=test/bench/query.sh
. "$TOP/test/bench/query.sh"
# shellcheck source=test/bench/functions.sh
. "$TOP/test/bench/functions.sh"
# shellcheck source=test/bench/retention.sh
. "$TOP/test/bench/retention.sh"
# shellcheck source=test/bench/rollups.sh
. "$TOP/test/bench/rollups.sh"
# shellcheck source=test/bench/series.sh
. "$TOP/test/bench/series.sh"
# shellcheck source=test/bench/dist.sh
. "$TOP/test/bench/dist.sh"

codec() {
	echo
	echo "== Codecs, alone"
	make -s -C "$TOP" bench-codec
}

merge() {
	echo
	echo "== Merges, beside flushes that come faster than they would"
	start_cluster
	sql -v series="${BENCH_SERIES:-100000}" -v flushes="${BENCH_FLUSHES:-3600}" -v per_second="${BENCH_PACE:-30}" -f "$TOP/test/bench/merge.sql"
	echo "again: make bench BENCH=merge BENCH_SERIES=${BENCH_SERIES:-100000} BENCH_FLUSHES=${BENCH_FLUSHES:-3600} BENCH_PACE=${BENCH_PACE:-30}"
}

# overrun NAME PREPARE STATEMENT: how long after its time-out a statement ends.
overrun() {
	: >"$TOP/build/bench.overrun"
	for run in $(seq 25); do
		ms=$((20 + (run * 7919) % 1100))
		sql -c "$2"
		sql -c "SET statement_timeout = $ms" -c "\\timing on" -c "$3" 2>&1 | awk -v ms=$ms '
			/statement timeout/ { hit = 1 } /^Time:/ { if (hit) print $2 - ms }' >>"$TOP/build/bench.overrun"
	done
	printf '%s: %s of 25 ran into it; median %s ms, longest %s ms\n' "$1" "$(wc -l <"$TOP/build/bench.overrun")" \
		"$(median <"$TOP/build/bench.overrun")" "$(sort -n "$TOP/build/bench.overrun" | tail -n 1)"
}

cancel() {
	echo
	echo "== How late statement_timeout takes effect, psql's own time included (goal: 100 ms)"
	start_cluster
	sql -c "ALTER SYSTEM SET metricsdb.workers = off" -c "SELECT pg_reload_conf()" >/dev/null
	sql -c "CREATE TABLE w (time timestamptz, host text, a float8, b float8, c float8) USING metricsdb" \
		-c "CREATE TABLE t (time timestamptz, host text, note text) USING metricsdb" \
		-c "SELECT metricsdb.set_options('t', series => '{host}')" >/dev/null
	wide="SELECT timestamptz '2026-01-01' + i * interval '10 ms', 'h' || i % 50000, random(), i, sin(i) FROM generate_series(1, 3000000) i"
	text="SELECT timestamptz '2026-01-01' + i * interval '10 ms', 'h' || i % 100, md5(i::text) || repeat('x', i % 400) FROM generate_series(1, 1000000) i"
	overrun "CALL compact(), numbers" "TRUNCATE w; INSERT INTO w $wide" "CALL metricsdb.compact('w')"
	overrun "CALL compact(), text" "TRUNCATE t; INSERT INTO t $text" "CALL metricsdb.compact('t')"
	overrun "scan of numbers" "SET jit = off" "SELECT sum(a), sum(b), count(c) FROM w, generate_series(1, 3)"
	overrun "scan of text" "SET jit = off" "SELECT sum(length(note)) FROM t, generate_series(1, 9)"
	overrun "MetricsAgg of numbers" "SET jit = off" "SELECT (SELECT sum(a * b + c * i) + stddev(a) FROM w) FROM generate_series(1, 1000) i"
	overrun "MetricsAgg, three million groups" "SET jit = off" "SELECT count(*) FROM (SELECT host, metricsdb.time_bucket('1 s', time), avg(a) FROM w GROUP BY 1, 2) x"
	overrun "INSERT of rows" "SET jit = off" "INSERT INTO w $wide"
	overrun "INSERT of new series" "SET jit = off" "INSERT INTO w SELECT now(), 'new' || i, 1, 2, 3 FROM generate_series(1, 3000000) i"
	overrun "INSERT of a value of 100 MB" "SET jit = off" "INSERT INTO t SELECT now(), 'h', string_agg(md5(i::text), '') FROM generate_series(1, 3000000) i"
	echo "again: make bench BENCH=cancel"
}

# shellcheck source=test/bench/alerts.sh
. "$TOP/test/bench/alerts.sh"

echo "on: $(sed -n 's/^model name.*: //p' /proc/cpuinfo | sort -u | head -n 1), $(nproc) cores, load $(cut -d' ' -f1 /proc/loadavg); commit $(git -C "$TOP" rev-parse --short HEAD 2>/dev/null || echo unknown)"
[ $# -gt 0 ] || set -- ingest latency copy size cost codec merge cancel guard query functions series retention rollups dist alerts
for part in "$@"; do "$part"; done

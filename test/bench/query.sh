#!/bin/sh
# query.sh: read by bench.sh.  TSBS's queries over the wide fleet: ours against a heap with an index and parallel
# query, DuckDB and ClickHouse's engine in process, VictoriaMetrics for what PromQL can say, and a loop over raw
# doubles.  Each execution has a host and a window of its own; results are not cached.  Then the first execution
# after a restart, the short queries while Kafka is read, and planning on a table of many parts.
#   BENCH_HOSTS=1000 BENCH_ROUNDS=4320   the table: hosts, and samples of each at 10 s, ten usages
#   BENCH_REPEAT=15                      executions of each query; medians are shown
#   BENCH_PEERS="heap duckdb chdb victoria"   who runs beside us: the second and third come from PyPI, the last
#                                        is Debian's package victoria-metrics
#   BENCH_DROP_CACHES=                   1: the system's, too, before the first execution (as root)
#   BENCH_INGEST=200000                  points a second from Kafka beside the short queries; 0: none
#   BENCH_PARTS=3600                     parts of the table that planning is measured on; 0: none
#   BENCH_COLD=                          1: compacted to cold parts
# shellcheck shell=sh disable=SC2154 # what bench.sh sets
query_hosts=${BENCH_HOSTS:-1000} query_rounds=${BENCH_ROUNDS:-4320} query_repeat=${BENCH_REPEAT:-15}
query_peers=${BENCH_PEERS-heap duckdb chdb victoria}
query_short="00_select_1 10_single_groupby_1_1_1 11_single_groupby_5_8_1 12_cpu_max_all_8 32_high_cpu_1"

# run_query TABLE NAME TIMES: milliseconds, a line for each execution in one session.
run_query() {
	rm -rf "$bench/log"
	as_user mkdir -p "$bench/log"
	(
		eval "$("$lib/cluster.sh" env "$pg")"
		as_user sh -c 'cd "$1" && shift && exec "$@" >/dev/null 2>errors' sh "$bench/log" "$bindir/pgbench" -n -c 1 -t "$3" \
			-l --log-prefix=q -D t="$1" -D hosts="$query_hosts" -D length=$((query_rounds * 10)) -f "$TOP/test/bench/query/$2.sql" postgres
	) || die "$2 failed: $(cat "$bench/log/errors")"
	awk '{ print $3 / 1000 }' "$bench"/log/q*
}

# pg_medians TABLE [NAME...]: a line "NAME MILLISECONDS" for each query.  The first execution does not count.
pg_medians() {
	table=$1
	shift
	[ $# -gt 0 ] || set -- "$TOP"/test/bench/query/*.sql
	for f in "$@"; do
		name=$(basename "$f" .sql)
		printf '%s %s\n' "$name" "$(run_query "$table" "$name" $((query_repeat + 1)) | sed 1d | median)"
	done
}

# pg_cold TABLE: the first execution of each query after a restart.
pg_cold() {
	for f in "$TOP"/test/bench/query/*.sql; do
		"$lib/cluster.sh" stop "$pg"
		if [ -n "${BENCH_DROP_CACHES:-}" ]; then sync && echo 3 >/proc/sys/vm/drop_caches; fi
		# With the settings that it had.
		as_user "$bindir/pg_ctl" -D "$pg/data" -l "$pg/log" -w start >/dev/null
		name=$(basename "$f" .sql)
		printf '%s %s\n' "$name" "$(run_query "$1" "$name" 1)"
	done
}

# peer ENGINE: the same in process; nothing where it cannot be had.
peer() {
	venv=$TOP/build/venv
	[ -d "$venv" ] || python3 -m venv "$venv" || return 0
	"$venv/bin/pip" -q install "$1" numpy >/dev/null 2>&1 || {
		echo "$1 cannot be had from PyPI here" >&2
		return 0
	}
	rm -rf "${bench:?}/$1"
	mkdir -p "$bench/$1"
	"$venv/bin/python3" "$TOP/test/bench/query_peers.py" "$1" "$csv" "$bench/$1" "$query_hosts" $((query_rounds * 10)) "$query_repeat" || true
	rm -rf "${bench:?}/$1"
}

# victoria: VictoriaMetrics, which is unpacked and not installed, so that no service is.
victoria() {
	binary=$(command -v victoria-metrics) || {
		mkdir -p "$TOP/build/victoria"
		(cd "$TOP/build/victoria" && apt-get -qq download victoria-metrics && dpkg -x victoria-metrics_*.deb .) >/dev/null 2>&1 || true
		binary=$TOP/build/victoria/usr/bin/victoria-metrics
	}
	[ -x "$binary" ] || {
		echo "victoria-metrics cannot be had here" >&2
		return 0
	}
	python3 "$TOP/test/bench/query_vm.py" "$binary" "$csv" "$bench/vm" "$query_hosts" $((query_rounds * 10)) "$query_repeat" || true
	rm -rf "${bench:?}/vm"
}

# beside_ingestion: the short queries while Kafka is read at a steady pace.
beside_ingestion() {
	fleet=$("$lib/tool.sh" fleet)
	brokers=$("$lib/kafka.sh" start "$kafka") || return 0
	"$lib/kafka.sh" topic "$kafka" create m 4
	sql -c "SELECT metricsdb.create_metrics_table('metrics');
		SELECT metricsdb.create_kafka_source('m', brokers => '$brokers', topic => 'm', target => 'metrics', format => 'metric_batch')" >/dev/null
	"$fleet" "$brokers" m hosts=$((BENCH_INGEST / 10)) interval=1 history=5 live=3600 >/dev/null &
	fleet_pid=$!
	sleep 10
	from=$(sql -c "SELECT coalesce(sum(consumed), 0) FROM metricsdb.kafka_status") began=$(date +%s)
	# shellcheck disable=SC2086 # a list
	pg_medians cpu $query_short >"$TOP/build/bench.ingest"
	rate=$((($(sql -c "SELECT sum(consumed) FROM metricsdb.kafka_status") - from) / ($(date +%s) - began + 1)))
	kill "$fleet_pid" 2>/dev/null || true
	wait "$fleet_pid" || true
	"$lib/kafka.sh" kill "$kafka"
	rm -rf "$kafka"
	echo "while $rate points/s come from Kafka and are compacted (goal: within 2x):"
	while read -r name ms; do
		awk -v n="$name" -v ms="$ms" '$1 == n { printf "  %-24s %10.3f %7.1f x\n", n, ms, ms / $2 }' "$TOP/build/bench.again"
	done <"$TOP/build/bench.ingest"
}

# planning: medians of what EXPLAIN (SUMMARY) says, on a table of many parts that is not compacted.
planning() {
	parts=${BENCH_PARTS:-3600}
	[ "$parts" -gt 0 ] || return 0
	sql -c "ALTER SYSTEM SET metricsdb.workers = off" -c "SELECT pg_reload_conf()" >/dev/null
	sql -c "CREATE TABLE parts (time timestamptz NOT NULL, hostname text, usage_user float8) USING metricsdb" -c "SET metricsdb.direct_rows = 1" -c "DO \$\$
		BEGIN
			FOR i IN 1 .. $parts LOOP
				INSERT INTO parts SELECT timestamptz '2024-01-01' + i * interval '1 s', 'host_' || h, h FROM generate_series(1, 100) h;
			END LOOP;
		END \$\$"
	echo "planning on a table of $(sql -c "SELECT count(*) FROM metricsdb.parts WHERE \"table\" = 'parts'::regclass") parts (goal: 1 ms), median and the first in a session:"
	for analyzed in never "once"; do
		[ "$analyzed" = never ] || sql -c "ANALYZE parts"
		q="EXPLAIN (SUMMARY) SELECT time_bucket('1 minute', time), max(usage_user) FROM parts WHERE hostname = 'host_7' AND time >= '2024-01-01' AND time < '2024-01-01 00:10' GROUP BY 1 ORDER BY 1;"
		for i in $(seq 16); do echo "$q"; done | sql -f - | sed -n 's/.*Planning Time: \([0-9.]*\) ms.*/\1/p' >"$TOP/build/bench.planning"
		echo "  analyzed $analyzed: $(sed 1d "$TOP/build/bench.planning" | median) ms, $(head -n 1 "$TOP/build/bench.planning") ms"
	done
}

query() {
	echo
	echo "== Queries: $query_hosts hosts, $query_rounds samples of ten usages each at 10 s; medians of $query_repeat, ms"
	csv=$bench/wide.csv
	bindir=$("$lib/cluster.sh" root)$("${PG_CONFIG:-pg_config}" --bindir)
	start_cluster
	"$("$lib/tool.sh" widecsv)" "$query_hosts" 10 "$query_rounds" 1700000000 -1 2>/dev/null | as_user tee "$csv" >/dev/null
	sql -c "ALTER DATABASE postgres SET search_path = public, metricsdb" -c "ALTER SYSTEM SET work_mem = '64MB'" \
		-c "ALTER SYSTEM SET jit = off" -c "ALTER SYSTEM SET effective_cache_size = '8GB'" -c "SELECT pg_reload_conf()" >/dev/null
	sql -c "CREATE TABLE cpu ($wide_columns) USING metricsdb" -c "COPY cpu FROM '$csv' (FORMAT csv)"
	sql -c "CALL metricsdb.compact('cpu'${BENCH_COLD:+, full => true})" -c "VACUUM ANALYZE cpu"
	pg_medians cpu >"$TOP/build/bench.ours"
	for p in $query_peers; do
		if [ "$p" = victoria ]; then
			victoria
		elif [ "$p" = heap ]; then
			sql -c "CREATE TABLE cpu_heap ($wide_columns) USING heap" -c "INSERT INTO cpu_heap SELECT * FROM cpu ORDER BY time, hostname" \
				-c "CREATE INDEX ON cpu_heap (hostname, time DESC)" -c "VACUUM ANALYZE cpu_heap" -c CHECKPOINT
			pg_medians cpu_heap
		else
			peer "$p"
		fi >"$TOP/build/bench.$p"
	done
	# Ours once more behind the peers, so that a machine that has become slower or faster shows.
	pg_medians cpu >"$TOP/build/bench.again"
	pg_cold cpu >"$TOP/build/bench.cold"
	printf '%-26s %10s %10s %10s' query ours again cold
	for p in $query_peers; do printf ' %10s %7s' "$p" "x ours"; done
	echo
	while read -r name ms; do
		printf '%-26s %10.3f' "$name" "$ms"
		for p in again cold; do printf ' %10.3f' "$(awk -v n="$name" '$1 == n { print $2 }' "$TOP/build/bench.$p")"; done
		for p in $query_peers; do
			awk -v n="$name" -v ours="$ms" '$1 == n { printf " %10.3f %7.1f", $2, $2 / ours; hit = 1 } END { if (!hit) printf " %10s %7s", "-", "-" }' "$TOP/build/bench.$p"
		done
		echo
	done <"$TOP/build/bench.ours"
	rawsum=$("$lib/tool.sh" rawsum)
	echo "a loop over raw doubles in memory, one core: one usage $("$rawsum" $((query_hosts * query_rounds))) ms, ten $("$rawsum" $((query_hosts * query_rounds * 10))) ms"
	echo "cold: the first execution after a restart, in a new session${BENCH_DROP_CACHES:+, caches of the system dropped}"
	BENCH_INGEST=${BENCH_INGEST:-200000}
	[ "$BENCH_INGEST" = 0 ] || beside_ingestion
	planning
	echo "again: make bench BENCH=query BENCH_HOSTS=$query_hosts BENCH_ROUNDS=$query_rounds BENCH_REPEAT=$query_repeat"
}

#!/bin/sh
# size.sh: read by bench.sh.  Bytes a sample on disk: the table's file and heaps, and all catalogs of the extension
# with their indexes, dead rows included.
#   BENCH_KINDS="integers decimals doubles counters proc series"
#   BENCH_HOURS=12      of 1,000 hosts with ten usages at 10 s, within one day
#   BENCH_FASTER=50     so many times faster than the clock: 1,000 points a second each, and so many flushes a second
#   BENCH_REST=3600     seconds that the server's clock goes on before what is hot is measured, ten minutes at a time: a
#                       partition to which nothing was added for so long rests, and is merged on
#   BENCH_PROC=600      seconds for which this machine's own metrics are read, once a second
#   BENCH_PROC_BROKERS= a broker that has them already, in the topic proc
# shellcheck shell=sh disable=SC2154 # what bench.sh sets
kinds=${BENCH_KINDS:-integers decimals doubles counters proc series} hours=${BENCH_HOURS:-12} faster=${BENCH_FASTER:-50}
proc_seconds=${BENCH_PROC:-600} rest=${BENCH_REST:-3600}

# All that is on disk but for PostgreSQL's own catalogs.
everything() {
	sql -c "SELECT sum(pg_table_size(c.oid) + pg_indexes_size(c.oid)) FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
		WHERE relkind IN ('r', 'm') AND nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')"
}

# set_clock SECONDS: the server's clock is so far ahead.  It has the file mapped, which must not be cut.
set_clock() {
	perl -e 'print pack("q", $ARGV[0] * 1000000)' "$1" | dd of="$bench/clock" conv=notrunc status=none
	chmod 644 "$bench/clock"
}

# settle: the clock goes on, and what is due then is done.
settle() {
	ahead=0
	wait_idle
	while [ $ahead -lt "$rest" ]; do
		ahead=$((ahead + 601))
		set_clock $ahead
		# The maintainer looks once a second.
		sleep 2
		wait_idle
	done
}

# The broker and the cluster, with the table and a source that flushes so often: kafka_into SOURCE_OPTIONS [BROKERS TOPIC].
kafka_into() {
	"$lib/cluster.sh" drop "$pg"
	# Vacuum keeps up with the catalogs as it would at the clock's pace.
	set_clock 0
	LD_ASAN=$("$lib/tool.sh" clock) METRICSDB_CLOCK=$bench/clock "$lib/cluster.sh" start "$pg" shared_preload_libraries=metricsdb \
		shared_buffers=1GB max_wal_size=8GB max_worker_processes=16 autovacuum_naptime=1s metricsdb.cold_after=-1
	sql -c "CREATE EXTENSION metricsdb" -c "SELECT metricsdb.create_metrics_table('metrics')" >/dev/null
	brokers=${2:-} topic=${3:-m}
	if [ -z "$brokers" ]; then
		brokers=$("$lib/kafka.sh" start "$kafka")
		# One partition: each flush updates its row, and merges, which are not played faster, keep dead ones.
		"$lib/kafka.sh" topic "$kafka" create m 1
	fi
	sql -c "SELECT metricsdb.create_kafka_source('m', brokers => '$brokers', topic => '$topic', target => 'metrics',
		format => 'metric_batch', options => '{\"start\": \"earliest\", \"max_age\": \"100 years\", $1}')" >/dev/null
}

# Waits until so many points are stored.
wait_stored() {
	while [ "$(sql -c "SELECT coalesce(sum(stored), 0) FROM metricsdb.kafka_status")" -lt "$1" ]; do
		kill -0 "${2:-$$}" 2>/dev/null || [ "${waited:=0}" -lt 1800 ] || die "the points do not arrive"
		waited=$((${waited:-0} + 1))
		sleep 1
	done
	unset waited
}

# where WHEN POINTS: what takes the bytes, into the log.
where() {
	{
		sql -c "SELECT '$1', coalesce(\"column\"::text, role) AS what, bytes, round(bytes::numeric / $2, 4) AS per_point, codecs
			FROM metricsdb.column_stats('metrics') WHERE bytes > 0"
		sql -c "SELECT '$1 part of level', level, format, rows, blocks, bytes FROM metricsdb.parts"
		sql -c "SELECT '$1 on disk', c.oid::regclass, pg_table_size(c.oid), pg_indexes_size(c.oid), round((pg_table_size(c.oid) + pg_indexes_size(c.oid)) / $2.0, 5)
			FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE relkind = 'r'
				AND nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast') AND pg_table_size(c.oid) > 8192 ORDER BY 3 DESC LIMIT 9"
	} >>"$TOP/build/bench.sizes"
}

# report KIND POINTS ENTROPY GOAL_COLD GOAL_HOT PEERS: sizes as the background has left it, and cold.
report() {
	wait_idle
	where "as left" "$2"
	left=$(everything)
	settle
	where hot "$2"
	offsets=$(sql -c "SELECT pg_table_size('metricsdb.kafka_offset')")
	hot=$(everything) hot_parts=$(sql -c "SELECT parts_by_level, merges, round(write_amplification::numeric, 2) FROM metricsdb.compaction_status")
	began=$(date +%s)
	sql -c "CALL metricsdb.compact('metrics', full => true)"
	took=$(($(date +%s) - began))
	# What the merges have left in the catalogs, VACUUM takes away in time.
	for catalog in part moved; do sql -c "VACUUM metricsdb.$catalog"; done
	sql -c "CALL metricsdb.compact('metrics', full => true)"
	cold=$(everything)
	printf '%-9s %8s %8s %6s %8s %6s   %s\n' "$1" "$3" "$(per "$cold" "$2" 3)" "$4" "$(per "$hot" "$2" 3)" "$5" "$6"
	where cold "$2"
	printf '%9s as the last merge has left it: %s; %s of the hot bytes are of rows of kafka_offset, most of them dead\n' '' "$(per "$left" "$2" 3)" \
		"$(per "$offsets" "$2" 3)"
	printf '%s: %s points; hot: parts by level, merges, write amplification %s; made cold in %s s\n\n' "$1" "$2" "$hot_parts" "$took" >>"$TOP/build/bench.sizes"
	if [ -d "$kafka" ]; then "$lib/kafka.sh" kill "$kafka"; fi
	rm -rf "$kafka"
}

# fleet_size KIND FLEET_OPTIONS GOAL_COLD GOAL_HOT PEERS
fleet_size() {
	points=$((hours * 3600 * 1000))
	kafka_into "\"flush_interval\": \"$((1000 / faster)) ms\""
	# shellcheck disable=SC2086 # a list of options
	"$fleet" "$brokers" m hosts=1000 interval=10 history=$((hours * 3600)) start=$((($(date +%s) / 86400 - 1) * 86400)) \
		rate=$((faster * 1000)) seed=7 entropy=1 $2 >"$TOP/build/bench.fleet" &
	wait_stored $points $!
	report "$1" $points "$(sed -n 's/.*entropy //p' "$TOP/build/bench.fleet")" "$3" "$4" "$5"
}

proc_size() {
	if [ -n "${BENCH_PROC_BROKERS:-}" ]; then
		kafka_into '"flush_interval": "1 s"' "$BENCH_PROC_BROKERS" proc
	else
		kafka_into '"flush_interval": "1 s"'
		"$("$lib/tool.sh" procmetrics)" "$brokers" m 1 &
		producer=$!
		sleep "$proc_seconds"
		kill $producer
		wait $producer || true
	fi
	while [ "$(sql -c "SELECT coalesce(sum(stored) > 0 AND sum(lag_messages) = 0, false) FROM metricsdb.kafka_status")" != t ]; do sleep 1; done
	sql -c "SELECT metricsdb.pause_kafka_source('m')" >/dev/null
	points=$(sql -c "SELECT count(*) FROM metrics")
	raw=$(sql -c "SET extra_float_digits = 3" -c "SELECT value FROM metrics ORDER BY metric_name, tags, time" | "$("$lib/tool.sh" zsize)" | cut -d' ' -f2)
	report "/proc" "$points" - "$(per "$raw" "$points" 3)" - \
		"that is zstd -3 of the raw doubles alone; values here: $(sql -c "SELECT round(bytes::numeric / $points, 3) FROM metricsdb.column_stats('metrics') WHERE \"column\" = 'value'")"
	series=$(sql -c "SELECT series FROM metricsdb.relation_stats('metrics')")
	values=$(sql -c "SELECT bytes FROM metricsdb.column_stats('metrics') WHERE \"column\" = 'value'")
	echo "          $points points of $series series; cold: zstd / values $(per "$raw" "$values" 2), zstd / everything $(per "$raw" "$cold" 2)  (goal 1.5)"
}

series_size() {
	points=10000000
	kafka_into '"flush_interval": "1 s"'
	"$fleet" "$brokers" m hosts=100000 interval=10 history=100 start=$((($(date +%s) / 86400 - 1) * 86400)) rate=100000 seed=7 \
		precision=2 entropy=1 >"$TOP/build/bench.fleet" &
	wait_stored $points $!
	memory=$(awk '/^RssAnon/ { print $2 * 1024 }' "/proc/$(sql -c "SELECT pid FROM metricsdb.kafka_live() WHERE pid IS NOT NULL")/status")
	report "1 M x 10" $points "$(sed -n 's/.*entropy //p' "$TOP/build/bench.fleet")" 8 - "ClickHouse 2.5 (no index), Prometheus 16, VictoriaMetrics 17; ours: $(sql -c "SELECT dictionary_bytes FROM metricsdb.relation_stats('metrics')") bytes of dictionary"
	echo "          memory of the Kafka worker itself, with what waits in it: $(per "$memory" 1000000 0) bytes a series  (goal <= 300)"
	series_queries
}

# series_queries: two queries over the million series, which are those of the last line of the table of BENCH=query.
series_queries() {
	sql -c "ALTER DATABASE postgres SET search_path = public, metricsdb" -c "VACUUM ANALYZE metrics"
	cpu_function
	at=$(sql -c "SELECT min(time) + interval '50 s' FROM metrics")
	show_ms '' "          SELECT 1" "SELECT 1"
	show_ms '<= 60 ms' "          sum at one instant" "SELECT sum(value), count(*) FROM metrics WHERE time = '$at'"
	show_ms 'SELECT 1 + 1 ms' "          one host's 10 series" "SELECT metric_name, avg(value) FROM metrics WHERE tags->>'hostname' = 'host_4711' GROUP BY 1"
}

size() {
	echo
	echo "== Bytes a sample: whole relation and all catalogs, through Kafka at a flush a second, $faster times as fast as the clock"
	echo "   1,000 hosts x 10 usages x 10 s x $hours h; hot: as merges in the background have left it, and $rest s of rest; cold: compact(full => true)"
	fleet=$("$lib/tool.sh" fleet)
	: >"$TOP/build/bench.sizes"
	printf '%-9s %8s %8s %6s %8s %6s   %s\n' values entropy cold goal hot goal peers
	for kind in $kinds; do
		case $kind in
			integers) fleet_size integers precision=-1 0.30 0.44 "VictoriaMetrics 0.355 + 0.055 index, ClickHouse 0.51-0.67, Prometheus 0.98 + 0.16, TimescaleDB 1.05, Citus columnar 2.57" ;;
			decimals) fleet_size decimals precision=2 1.12 1.22 "VictoriaMetrics 1.27, ClickHouse (ALP) 1.59, Prometheus 7.08, TimescaleDB 8.40" ;;
			doubles) fleet_size doubles precision=17 6.35 6.45 "Gorilla 7.09" ;;
			counters) fleet_size counters counters=1 1.02 1.06 "VictoriaMetrics' codec 1.11, on other rates" ;;
			proc) proc_size ;;
			series) series_size ;;
			*) die "no such kind: $kind" ;;
		esac
	done
	echo "where the bytes are: build/bench.sizes"
	echo "again: make bench BENCH=size BENCH_HOURS=$hours BENCH_FASTER=$faster"
}

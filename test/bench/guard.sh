#!/bin/sh
# guard.sh: read by bench.sh.  What a metric that explodes costs the others.
#   BENCH_GUARD_POINTS=20000000   points of the others, over 100,000 series
#   BENCH_FLOOD=10000000          points of the metric that explodes, each a new series
# shellcheck shell=sh disable=SC2154 # what bench.sh sets
guard_points=${BENCH_GUARD_POINTS:-20000000} flood_points=${BENCH_FLOOD:-10000000}

# worker SOURCE: the process id of its worker.
worker() { sql -c "SELECT pid FROM metricsdb.kafka_live() JOIN metricsdb.kafka_source USING (source_id) WHERE pid IS NOT NULL AND name = '$1'"; }

# consumed SOURCE POINTS: waits for them.
consumed() {
	began=$(date +%s)
	while [ "$(sql -c "SELECT coalesce(sum(consumed), 0) FROM metricsdb.kafka_status WHERE source = '$1'")" -lt "$2" ]; do
		sleep 0.2
		[ $(($(date +%s) - began)) -lt 900 ] || die "the points of $1 do not arrive"
	done
}

# others HOW: the others' points read alone, beside a flood that has a source of its own, or among it in one
# topic.  CPU seconds of their worker, all its threads; its own memory, and the flood's worker's, in MB.
others() {
	name="others_$1_$run" flood_memory=-
	sql -c "DROP TABLE IF EXISTS metrics" -c "SELECT metricsdb.create_metrics_table('metrics')" -c CHECKPOINT >/dev/null 2>&1
	if [ "$1" = beside ]; then
		sql -c "SELECT metricsdb.create_kafka_source('flood_$run', brokers => '$brokers', topic => 'flood', target => 'metrics',
			format => 'metric_batch')" >/dev/null
		# Past the limit, so that all of what is measured is.
		consumed "flood_$run" 200000
	fi
	topic=alone points=$guard_points
	if [ "$1" = among ]; then topic=both points=$((guard_points + flood_points)); fi
	sql -c "SELECT metricsdb.create_kafka_source('$name', brokers => '$brokers', topic => '$topic', target => 'metrics',
		format => 'metric_batch')" >/dev/null
	consumed "$name" "$points"
	pid=$(worker "$name")
	ticks=$(sed 's/(.*)/x/' "/proc/$pid/stat" | awk '{ print $14 + $15 }')
	memory=$(awk '/^RssAnon/ { printf "%d", $2 / 1024 }' "/proc/$pid/status")
	if [ "$1" = beside ]; then
		consumed "flood_$run" "$flood_points"
		flood_memory=$(awk '/^RssAnon/ { printf "%d", $2 / 1024 }' "/proc/$(worker "flood_$run")/status")
	fi
	if [ "$1" != alone ]; then
		sql -c "SELECT 'new series ' || new_series || ' of ' || \"limit\" || ', refused ' || refused || '; tag ' || tag || ' with about ' || tag_values || ' values'
			FROM metricsdb.cardinality_status WHERE metric = 'http_requests' ORDER BY hour DESC LIMIT 1" >"$bench/guard.status"
	fi
	[ "$(sql -c "SELECT count(*) FROM metrics WHERE metric_name <> 'http_requests'")" = "$guard_points" ] || die "points are missing"
	sql -c "SELECT metricsdb.drop_kafka_source(name) FROM metricsdb.kafka_source" >/dev/null
	echo "$(per "$ticks" "$(getconf CLK_TCK)" 2) $memory $flood_memory"
}

guard() {
	echo
	echo "== The cardinality guard: $guard_points points of 100,000 series, and $flood_points of a metric of which each is a new series"
	pairs=$bench/pairs
	: >"$pairs"
	start_cluster
	brokers=$("$lib/kafka.sh" start "$kafka")
	fleet=$("$lib/tool.sh" fleet) flood=$("$lib/tool.sh" flood) floor=$("$lib/tool.sh" floor)
	for topic in alone both flood; do "$lib/kafka.sh" topic "$kafka" create $topic 8; done
	set -- hosts=10000 interval=10 "history=$((guard_points / 10000))" precision=2
	"$fleet" "$brokers" alone "$@" >/dev/null
	"$flood" "$brokers" flood "$flood_points" 0 >/dev/null
	# At one pace, so that they lie between each other.
	"$fleet" "$brokers" both "$@" rate=400000 >/dev/null &
	fleet_pid=$!
	"$flood" "$brokers" both "$flood_points" $((400000 * (flood_points / 1000) / (guard_points / 1000))) >/dev/null
	wait $fleet_pid
	for run in $(seq "$runs"); do
		# Alone is first and last by turns.
		if [ $((run % 2)) = 0 ]; then
			a=$(others alone) b=$(others beside) c=$(others among)
		else
			c=$(others among) b=$(others beside) a=$(others alone)
		fi
		f=$("$floor" "$brokers" flood "$flood_points" 2>/dev/null) g=$("$floor" "$brokers" alone "$guard_points" 2>/dev/null)
		echo "$a $b $c $f $g" >>"$pairs"
		echo "run $run, CPU and memory of the others' worker: alone $(echo "$a" | cut -d' ' -f1,2 | sed 's/ / s, /') MB; beside the flood $(echo "$b" | cut -d' ' -f1,2 | sed 's/ / s, /') MB (the flood's worker ${b##* } MB); among it $(echo "$c" | cut -d' ' -f1,2 | sed 's/ / s, /') MB; the flood read and walked over by a program that does nothing else $f s, the others' points $g s"
	done
	sed 's/^/status: /' "$bench/guard.status"
	awk '{ print $1 / $4 }' "$pairs" >"$pairs.beside"
	awk '{ print $1 / $7 }' "$pairs" >"$pairs.among"
	awk -v p="$guard_points" -v f="$flood_points" '{ print ($7 - $1) / f / ($1 / p) }' "$pairs" >"$pairs.cost"
	awk '{ print ($7 - $1) / $10 }' "$pairs" >"$pairs.floor"
	awk '{ print $1 / ($1 + $10) }' "$pairs" >"$pairs.bound"
	echo "speed of the others, CPU alone / beside a flood with a source of its own: median $(median <"$pairs.beside") of $(list "$pairs.beside")  (goal >= 0.8)"
	echo "the same with the flood in their own topic, its reading included: median $(median <"$pairs.among") of $(list "$pairs.among"); if it were only read and walked over: $(median <"$pairs.bound")"
	echo "what a refused point costs, of reading it and walking over it: median $(median <"$pairs.floor") of $(list "$pairs.floor")"
	echo "so that a refused point costs, of what a stored one does: median $(median <"$pairs.cost") of $(list "$pairs.cost")"
	"$lib/kafka.sh" kill "$kafka"
	rm -rf "$kafka"
	echo "again: make bench BENCH=guard BENCH_GUARD_POINTS=$guard_points BENCH_FLOOD=$flood_points BENCH_RUNS=$runs"
}

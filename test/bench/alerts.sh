#!/bin/sh
# alerts.sh: read by bench.sh.  Alerts: how long after a point was produced somebody is notified, and what rules cost.
#   BENCH_PARTS="latency rules"      which of it
#   BENCH_ALERT_RULES=1000           rules of the first part, each of a metric in a cluster; of these, as queries:
#   BENCH_ALERT_QUERIES=20
#   BENCH_ALERT_SERIES=100000 BENCH_ALERT_RATE="100000 50000 25000"   points a second: the first rate that is kept up with counts
#   BENCH_ALERT_SECONDS=60 BENCH_ALERT_CROSSINGS=20                   how long points cross a threshold, and how many a second
#   BENCH_ALERT_SOURCE='{}'          options of the Kafka source (flush_interval, lateness)
#   BENCH_MANY_RULES=10000 BENCH_MANY_RATE=10000 BENCH_MANY_EVERY=15 BENCH_MANY_WINDOW=120 BENCH_MANY_SECONDS=60
#                                    the second part: rules, points a second over as many series, seconds
# shellcheck shell=sh disable=SC2154 # what bench.sh sets
alert_parts=${BENCH_PARTS:-"latency rules"}
alert_rules=${BENCH_ALERT_RULES:-1000} alert_queries=${BENCH_ALERT_QUERIES:-20} alert_series=${BENCH_ALERT_SERIES:-100000}
alert_seconds=${BENCH_ALERT_SECONDS:-60} alert_crossings=${BENCH_ALERT_CROSSINGS:-20} alert_source=${BENCH_ALERT_SOURCE:-"{}"}
many_rules=${BENCH_MANY_RULES:-10000} many_rate=${BENCH_MANY_RATE:-10000} many_every=${BENCH_MANY_EVERY:-15}
many_window=${BENCH_MANY_WINDOW:-120} many_seconds=${BENCH_MANY_SECONDS:-60}
alert_pids=''

# What was started in the background ends with us.
alerts_end() {
	# shellcheck disable=SC2086 # pids
	[ -z "$alert_pids" ] || kill $alert_pids 2>/dev/null || true
	# shellcheck disable=SC2086
	[ -z "$alert_pids" ] || wait $alert_pids 2>/dev/null || true
	alert_pids=''
	if [ -f "$kafka/pid" ]; then "$lib/kafka.sh" kill "$kafka"; fi
	rm -rf "$kafka" "$bench/am" "$bench/hook" "$bench/begin" "$bench/high"
}

# until SECONDS WHAT QUERY: it says t.
until_true() {
	end=$(($(date +%s) + $1))
	while [ "$(sql -c "$3")" != t ]; do
		[ "$(date +%s)" -lt $end ] || die "$2: not within $1 s"
		sleep 0.3
	done
}

# A process's CPU, in ticks.
ticks_of() { sed 's/(.*)/x/' "/proc/$1/stat" 2>/dev/null | awk '{ print $14 + $15 }'; }
backend() { sql -c "SELECT pid FROM pg_stat_activity WHERE backend_type = 'metricsdb $1' LIMIT 1"; }
machine_ticks() { awk '$1 == "cpu" { print $2 + $3 + $4 + $7 + $8 }' /proc/stat; }

# Who uses CPU: a name and ticks a line.
alert_cpu() {
	for kind in "kafka worker" "alert worker" "alert sender" maintainer; do
		pid=$(backend "$kind")
		[ -z "$pid" ] || echo "$(echo "$kind" | tr ' ' '_') $(ticks_of "$pid")"
	done
	echo "producer $(ticks_of "$producer_pid")"
	echo "broker $(ticks_of "$(cat "$kafka/pid")")"
	if [ -n "${am_pid:-}" ]; then echo "Alertmanager $(ticks_of "$am_pid")"; fi
	if [ -n "${hook_pid:-}" ]; then echo "receiver $(ticks_of "$hook_pid")"; fi
	echo "all_of_the_machine $(machine_ticks)"
}

# cpu_shares BEFORE AFTER SECONDS: as shares of a core.
cpu_shares() {
	join "$1" "$2" | awk -v s="$3" -v hz="$(getconf CLK_TCK)" '{ gsub("_", " ", $1); n = NF; printf("%s%s %.0f %%", (NR > 1 ? ", " : "CPU, of a core: "), $1, ($(n) - $(n - 1)) / hz / s * 100) } END { print "" }'
}

# start_source: cluster, broker, table and source.
start_source() {
	start_cluster
	brokers=$("$lib/kafka.sh" start "$kafka")
	"$lib/kafka.sh" topic "$kafka" create m 4
	sql -c "SELECT metricsdb.create_metrics_table('metrics'); SELECT metricsdb.create_kafka_source('m', '$brokers', 'm', 'metrics', 'metric_batch', options => '$alert_source')" >/dev/null
}

# start_points RATE [option]...: the producer.
start_points() {
	rm -f "$bench/begin"
	rate=$1
	shift
	"$("$lib/tool.sh" crossings)" "$brokers" m "$bench/high" "series=$alert_series" "rate=$rate" "begin=$bench/begin" "$@" >"$bench/producer" 2>&1 &
	producer_pid=$!
	alert_pids="$alert_pids $producer_pid"
}

# in_background NAME COMMAND...: as the servers' user; its pid is in $started.
in_background() {
	as_user mkdir -p "$bench/$1"
	rm -f "$bench/$1/pid"
	as_user sh -c 'echo $$ >"$1/pid.new" && mv "$1/pid.new" "$1/pid"; log=$1/log; shift 2; exec "$@" >"$log" 2>&1 </dev/null' sh "$bench/$1" "$@" &
	while [ ! -f "$bench/$1/pid" ]; do sleep 0.1; done
	started=$(cat "$bench/$1/pid")
	alert_pids="$alert_pids $started"
}

start_alertmanager() {
	am_bin=$("$lib/prometheus.sh" fetch alertmanager)
	in_background hook python3 "$WORK/test/lib/receiver.py" "$bench/hook"
	hook_pid=$started
	while [ ! -f "$bench/hook/port" ]; do sleep 0.1; done
	cat >"$bench/am.yml" <<-END
		route: {receiver: r, group_by: ['...'], group_wait: 0s, group_interval: 1s}
		receivers: [{name: r, webhook_configs: [{url: 'http://127.0.0.1:$(cat "$bench/hook/port")/', send_resolved: true}]}]
	END
	am_port=$("$("$lib/tool.sh" ktool)" port)
	in_background am "$am_bin/prometheus-alertmanager" --config.file="$bench/am.yml" --storage.path="$bench/am" \
		--web.listen-address="127.0.0.1:$am_port" --cluster.listen-address=
	am_pid=$started
}

# alert_latency_at RATE: true if the rate is kept up with.
alert_latency_at() {
	clusters=$((alert_rules / 10))
	start_source
	start_points "$1" metrics=10 clusters=$clusters "seconds=$alert_seconds" "crossings=$alert_crossings"
	start_alertmanager
	sql -f "$TOP/test/bench/alerts_watch.sql" -v "url=http://127.0.0.1:$am_port"
	until_true 120 "points come" "SELECT coalesce(sum(stored), 0) >= 2 * $alert_series FROM metricsdb.kafka_status"
	began=$(date +%s)
	sql -v rules="$alert_rules" -v queries="$alert_queries" -f "$TOP/test/bench/alerts_rules.sql"
	created=$(($(date +%s) - began))
	until_true 600 "all rules are evaluated" "SELECT count(*) = $alert_rules FROM metricsdb.alert_live() WHERE health = 'ok'"
	echo "rules created in $created s, all evaluated $(($(date +%s) - began)) s after the first"
	sql -c "CALL bench.watch()" &
	watch_pid=$!
	alert_pids="$alert_pids $watch_pid"
	sleep 5
	missed=$(sql -c "SELECT sum(missed) FROM metricsdb.alert_live()")
	alert_cpu | sort >"$bench/cpu.before"
	touch "$bench/begin"
	sleep "$alert_seconds"
	alert_cpu | sort >"$bench/cpu.after"
	behind=$(sql -c "SELECT round(extract(epoch FROM clock_timestamp() - metricsdb.watermark('metrics'))::numeric, 1)")
	wait $producer_pid || die "the producer failed: $(cat "$bench/producer")"
	until_true 120 "all is well in the end" "SELECT metricsdb.watermark('metrics') > now() - interval '10 s' AND NOT EXISTS (SELECT FROM metricsdb.alert_instance WHERE state <> 'resolved')"
	# For Alertmanager to tell the last of it.
	sleep 15
	sql -c "SELECT bench.stop()" >/dev/null
	wait $watch_pid
	sed 's/^/producer: /' "$bench/producer"
	echo "watermark $behind s behind the clock in the end of it; load of the machine $(cut -d' ' -f1-3 /proc/loadavg)"
	cpu_shares "$bench/cpu.before" "$bench/cpu.after" "$alert_seconds"
	sql -c "\\copy bench.high FROM '$bench/high'" -c "\\copy bench.request FROM '$bench/hook/requests' (FORMAT csv, QUOTE E'\\x01', DELIMITER E'\\x02')"
	"$lib/cluster.sh" psql "$pg" -q -v ON_ERROR_STOP=1 -P footer=off -v "missed=$missed" -f "$TOP/test/bench/alerts_told.sql"
	awk "BEGIN { exit !($behind < 10) }"
}

alert_latency() {
	echo "-- $alert_rules rules each second, $alert_queries of these queries each 5 s, over a window of 10 s, and $alert_series series; $alert_crossings cross a threshold each second; source: $alert_source"
	for rate in ${BENCH_ALERT_RATE:-100000 50000 25000}; do
		echo "-- $rate points/s"
		held=yes
		alert_latency_at "$rate" || held=
		alerts_end
		[ -z "$held" ] || break
		echo "this is not kept up with"
	done
	echo "(goal: received, p50 below 2 s and p99 below 5 s, none lost, none false)   again: make bench-alerts BENCH_PARTS=latency BENCH_ALERT_RATE=$rate"
}

# cpu_for SECONDS: CPU of the Kafka worker and the alert worker in that time, as shares of a core.
cpu_for() {
	k=$(backend "kafka worker") a=$(backend "alert worker")
	k0=$(ticks_of "$k") a0=$([ -z "$a" ] || ticks_of "$a") t0=$(date +%s%N)
	sleep "$1"
	k1=$(ticks_of "$k") a1=$([ -z "$a" ] || ticks_of "$a") t1=$(date +%s%N)
	awk -v k=$((k1 - k0)) -v a=$((${a1:-0} - ${a0:-0})) -v t=$((t1 - t0)) -v hz="$(getconf CLK_TCK)" \
		'BEGIN { s = t / 1e9 * hz / 100; printf "%.1f %.1f\n", k / s, a / s }'
}

# Ticks missed; evaluations, and blocks of parts that they have read.
many_counts() {
	sql -c "SELECT sum(missed) FROM metricsdb.alert_live()"
	sql -c "SELECT coalesce(sum(value) FILTER (WHERE counter = 'evaluations'), 0), coalesce(sum(value) FILTER (WHERE counter = 'blocks_read'), 0)
		FROM metricsdb.alert_counters WHERE kind = 'threshold'" 2>/dev/null || echo 0 0
}

alert_many() {
	echo "-- $many_rules threshold rules, each $many_every s over a window of $many_window s, $alert_series series, $many_rate points/s"
	start_source
	began=$(date +%s)
	# Before there is anything to be read: windows are full when one has passed.
	sql -c "SET client_min_messages = error" -c "SELECT count(metricsdb.create_alert(format('m%s_c%s', m, c), source => 'metrics', metric => 'm' || m, matchers => format('{cluster=\"c%s\"}', c),
		aggregate => (ARRAY['avg', 'max', 'min', 'sum'])[1 + m % 4], \"window\" => '$many_window s', every => '$many_every s', op => '>', threshold => 1e9))
		FROM generate_series(0, 9) m, generate_series(0, $many_rules / 10 - 1) c" >/dev/null
	created=$(($(date +%s) - began))
	until_true 600 "all rules are evaluated" "SELECT count(*) = $many_rules FROM metricsdb.alert_live() WHERE health = 'ok'"
	echo "created in $created s, all evaluated $(($(date +%s) - began)) s after the first"
	start_points "$many_rate" metrics=10 clusters=$((many_rules / 10)) "seconds=1000" "calm=0"
	until_true 120 "points come" "SELECT coalesce(sum(stored), 0) >= 1.5 * $alert_series FROM metricsdb.kafka_status"
	sleep "$many_window"
	before=$(many_counts)
	with=$(cpu_for "$many_seconds")
	after=$(many_counts)
	sql -c "DELETE FROM metricsdb.alert_rule" -c "SELECT pg_sleep(5)" >/dev/null
	without=$(cpu_for "$many_seconds")
	echo "alert worker: ${with#* } % of a core (goal below 20)"
	echo "Kafka worker: ${with% *} % of a core with the rules, ${without% *} % without"
	echo "$before $after" | tr '\n' ' ' | awk '{ printf("in these '"$many_seconds"' s: %d ticks missed of '$((many_rules * many_seconds / many_every))', %d evaluations, which read %d blocks of the table\n", $4 - $1, $5 - $2, $6 - $3) }'
	echo "load of the machine $(cut -d' ' -f1-3 /proc/loadavg)"
	alerts_end
	echo "again: make bench-alerts BENCH_PARTS=rules"
}

alerts() {
	echo
	echo "== Alerts: producer, Kafka, worker, rules, Alertmanager, webhook"
	trap 'alerts_end; finish' EXIT
	for part in $alert_parts; do
		case $part in
		latency) alert_latency ;;
		rules) alert_many ;;
		*) die "no such part: $part" ;;
		esac
	done
	trap finish EXIT
}

#!/bin/sh
# demo.sh: metrics travel from Kafka into compressed parts and out of psql.  `demo.sh stop` ends it.
#   DEMO_KEEP=0        ends by itself after the queries
#   DEMO_HOSTS=1000    machines of the played fleet, ten series each
#   DEMO_INTERVAL=2    seconds between their points
#   DEMO_HISTORY=3600  seconds of the past that come first
set -eu
lib=$(cd "$(dirname "$0")/../lib" && pwd)
step() { printf '\n== %s\n' "$*"; }
began=$(date +%s)
if [ "${1:-}" != stop ]; then
	step "What is missing is installed, metricsdb is built"
	"$lib/deps.sh" demo
fi
# shellcheck source=test/lib/env.sh
. "$lib/env.sh"
demo=$RUN/demo
pg=$demo/pg
kafka=$demo/kafka
topic=metric-ingestion
hosts=${DEMO_HOSTS:-1000} interval=${DEMO_INTERVAL:-2} history=${DEMO_HISTORY:-3600}
tty=0
[ ! -t 1 ] || tty=1

sql() { "$lib/cluster.sh" psql "$pg" -qAt -F ' ' -v ON_ERROR_STOP=1 "$@"; }

# background NAME COMMAND...: starts a process of the demo's, remembers its id and its program.
background() {
	name=$1
	shift
	as_user sh -c 'exec setsid "$@" </dev/null >>"$0" 2>&1 &
		echo $! >"${0%.log}.pid"' "$demo/$name.log" "$@"
}

# end NAME: ends it, if that process is still the one we started.
end() {
	pid=$(cat "$demo/$1.pid" 2>/dev/null) || return 0
	if grep -qa "$RUN/bin/" "/proc/$pid/cmdline" 2>/dev/null; then kill "$pid" 2>/dev/null || true; fi
	rm -f "$demo/$1.pid"
}

alive() { grep -qa "$RUN/bin/" "/proc/$(cat "$demo/$1.pid" 2>/dev/null)/cmdline" 2>/dev/null; }

stop() {
	end fleet
	end procmetrics
	if [ -d "$pg" ]; then "$lib/cluster.sh" drop "$pg"; fi
	if [ -d "$kafka" ]; then "$lib/kafka.sh" kill "$kafka"; fi
	end mock_broker
	rm -rf "$demo"
}

# At the end, whatever it is; the logs of a failure stay.
finish() {
	rc=$?
	if [ $rc != 0 ] && [ $rc -lt 128 ]; then
		mkdir -p "$TOP/build/demo-logs"
		cp "$pg/log" "$TOP/build/demo-logs/postgres.log" 2>/dev/null || true
		cp "$kafka/log" "$TOP/build/demo-logs/kafka.log" 2>/dev/null || true
		echo "the logs are in build/demo-logs"
	fi
	printf '\nstopping the demo\n'
	stop
}

if [ "${1:-}" = stop ]; then
	stop
	echo "the demo is stopped"
	exit
fi

stop
make -s -j2 -C "$TOP" private >"$TOP/build/demo-build.log" 2>&1 || {
	tail -n 20 "$TOP/build/demo-build.log" >&2
	die "the build failed, see build/demo-build.log"
}
fleet=$("$lib/tool.sh" fleet)
procmetrics=$("$lib/tool.sh" procmetrics)
"$lib/tool.sh" ktool >/dev/null
as_user mkdir -p "$demo"
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

step "A throw-away PostgreSQL and a Kafka broker start, on loopback"
window=
if "$lib/kafka.sh" fetch >/dev/null; then
	"$lib/cluster.sh" start "$pg" shared_preload_libraries=metricsdb shared_buffers=512MB max_wal_size=2GB \
		max_worker_processes=16
	brokers=$("$lib/kafka.sh" start "$kafka")
	"$lib/kafka.sh" topic "$kafka" create $topic 4
	echo "Apache Kafka at $brokers, topic $topic with 4 partitions"
else
	# The mock keeps 5 MiB a partition: more partitions, and a producer that waits for the consumer.
	"$lib/cluster.sh" start "$pg" shared_preload_libraries=metricsdb shared_buffers=512MB max_wal_size=2GB \
		max_worker_processes=16
	background mock_broker "$("$lib/tool.sh" mock_broker)" $topic 16
	while ! grep -q '^127' "$demo/mock_broker.log" 2>/dev/null; do sleep 0.1; done
	brokers=$(grep '^127' "$demo/mock_broker.log")
	window="follow=$demo/stored window=300000"
	interval=10
	echo "no Kafka jars to be had: librdkafka's mock broker at $brokers stands in"
fi
sql -c 'SELECT version()' | cut -d' ' -f1-2

step "The table and the source"
setup="CREATE EXTENSION metricsdb;
SELECT metricsdb.create_metrics_table('metrics');
SELECT metricsdb.create_kafka_source('fleet', brokers => '$brokers', topic => '$topic', target => 'metrics', format => 'metric_batch');
SELECT metricsdb.create_rollups('metrics', levels => '{1 min,1 h,1 day}');"
echo "$setup"
sql -c "$setup" >/dev/null

step "Two producers: this machine (from /proc, each second) and a fleet of $hosts hosts ($((history / 60)) min of history, then live)"
background procmetrics "$procmetrics" "$brokers" $topic
# shellcheck disable=SC2086 # window is two words or none
background fleet "$fleet" "$brokers" $topic hosts="$hosts" interval="$interval" history="$history" live=-1 $window

expected=$((hosts * 10 * (history / interval)))
counts="SELECT coalesce(sum(stored), 0), coalesce(sum(dead_letters), 0), coalesce(sum(lag_messages), 0),
	coalesce(max(lag_seconds), 0)::numeric(10, 1), coalesce(max(last_error), '') FROM metricsdb.kafka_status"
stored=0 before=0 tick=0 error=
from=$(date +%s%N)
while [ "$stored" -lt "$expected" ]; do
	sleep 1
	at=$(date +%s%N)
	# shellcheck disable=SC2046 # a row of numbers, then an error if there is one
	set -- $(sql -c "$counts")
	stored=$1 dead=$2 lag=$3
	shift 4
	echo "$stored" | as_user tee "$demo/stored" >/dev/null
	tick=$((tick + 1))
	line=$(printf '%12d points stored  %9d/s  %6d messages behind  %d dead letters' "$stored" $((stored - before)) "$lag" "$dead")
	before=$stored
	if [ $tty = 1 ]; then printf '\r%s ' "$line"; elif [ $((tick % 5)) = 1 ]; then echo "$line"; fi
	if [ "$*" != "$error" ]; then
		error=$*
		[ -z "$error" ] || printf '\n%s\n' "$error"
	fi
	alive fleet || die "the fleet's producer ended: $(cat "$demo/fleet.log")"
	[ $tick -lt 600 ] || die "this takes too long"
done
[ $tty = 0 ] || echo
ms=$(((at - from) / 1000000))
printf '%d points in %d.%d s: %d points/s, from Kafka into committed parts\n' "$stored" \
	$((ms / 1000)) $((ms % 1000 / 100)) $((stored * 1000 / ms))

step "Compacted"
echo "CALL metricsdb.compact('metrics');"
# Its own time-out: the demo says what hangs, it does not.
sql -c "SET statement_timeout = '120 s'" -c "CALL metricsdb.compact('metrics')"
stats="SELECT samples, series, parts, pg_size_pretty(total_bytes) AS size, round(bytes_per_sample::numeric, 3) AS bytes_per_sample,
	(SELECT round(sum(bytes) / sum(rows), 3) FROM metricsdb.parts WHERE \"table\" = 'metrics'::regclass) AS without_free_pages
FROM metricsdb.relation_stats('metrics');"
echo "$stats"
"$lib/cluster.sh" psql "$pg" -q -P footer=off -c "$stats"

step "Seven questions"
"$lib/cluster.sh" psql "$pg" -q -v ON_ERROR_STOP=1 -P pager=off -f "$TOP/test/demo/queries.sql"

step "Go on"
sql -c "$counts" | { read -r stored dead lag seconds _ && echo "live: $stored points stored, $dead dead letters, $lag messages ($seconds s) behind"; }
echo "up after $(($(date +%s) - began)) s; ask it yourself:"
echo
echo "    psql -h $("$lib/cluster.sh" socket "$pg") -U postgres postgres"
echo
if [ "${DEMO_KEEP:-1}" = 0 ]; then exit 0; fi
if [ -t 0 ]; then
	echo "Enter ends the demo."
	read -r _ || true
else
	echo "make demo-stop ends the demo."
	while "$lib/cluster.sh" pid "$pg" >/dev/null 2>&1; do sleep 1; done
fi

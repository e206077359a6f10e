#!/bin/sh
# kafka.sh: a real Apache Kafka broker (KRaft, one node; on loopback, or the address KAFKA_HOST) from its Maven jars.
#   fetch                    jars into the cache, once a user; prints their folder
#   start DIR [PORT]         prints host:port.  Started again it has DIR's data and port of before
#   stop DIR | kill DIR      SIGTERM and wait | kill -9
#   status DIR               prints host:port, fails if it is not running
#   topic DIR create|grow NAME PARTITIONS | delete|offsets NAME
# DIR is made if it is not there; the run folder is the place for it.  KAFKA_JARS, if set, is the
# folder of the jars: for tests that run as a user without a cache.
set -eu
# shellcheck source=test/lib/env.sh
. "$(dirname "$0")/env.sh"
here=$TOP/test/lib
version=$(sed -n '/kafka_2.13/,/version/s/.*<version>\(.*\)<.*/\1/p' "$here/kafka/pom.xml")

fetch() {
	if [ -n "${KAFKA_JARS:-}" ]; then
		echo "$KAFKA_JARS"
		return
	fi
	cache=${XDG_CACHE_HOME:-$HOME/.cache}/metricsdb/kafka-$version
	if [ ! -f "$cache/complete" ]; then
		echo "fetching Apache Kafka $version (43 MB, once)" >&2
		mkdir -p "$cache"
		mvn -q -B -f "$here/kafka/pom.xml" dependency:copy-dependencies -DoutputDirectory="$cache" >"$cache/log" 2>&1 || {
			tail -n 3 "$cache/log" >&2
			die "Maven could not fetch Kafka's jars"
		}
		touch "$cache/complete"
	fi
	# Where the servers' user may not look into our home it gets links to the jars, or copies.
	if ! as_user test -r "$cache/complete" 2>/dev/null; then
		theirs=$RUN/kafka-$version
		if [ ! -f "$theirs/complete" ]; then
			rm -rf "$theirs"
			cp -rl "$cache" "$theirs" 2>/dev/null || cp -r "$cache" "$theirs"
		fi
		cache=$theirs
	fi
	echo "$cache"
}

running() {
	pid=$(cat "$dir/pid" 2>/dev/null) && grep -qa kafka "/proc/$pid/cmdline" 2>/dev/null
}

start() {
	if running; then
		cat "$dir/address"
		return
	fi
	jars=$(fetch)
	ktool=$("$here/tool.sh" ktool)
	as_user mkdir -p "$dir"
	if [ ! -f "$dir/server.properties" ]; then
		host=${KAFKA_HOST:-127.0.0.1}
		port=${1:-$("$ktool" port)}
		sed "s|@DIR@|$dir|; s|@HOST@|$host|; s|@PORT@|$port|; s|@CONTROLLER@|$("$ktool" port)|" "$here/kafka/server.properties" |
			as_user tee "$dir/server.properties" >/dev/null
		as_user tee "$dir/log4j2.yaml" <"$here/kafka/log4j2.yaml" >/dev/null
		echo "$host:$port" | as_user tee "$dir/address" >/dev/null
	fi
	# Small heap, and no second compiler: it starts sooner.
	as_user sh -c '
		cd "$1"
		java="java -Xms64m -Xmx384m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:-UsePerfData"
		java="$java -Djava.io.tmpdir=$1 -Dlog4j2.configurationFile=log4j2.yaml"
		[ -f data/meta.properties ] ||
			$java -cp "$2/*" kafka.tools.StorageTool format -t metricsdb-test-cluster -c server.properties >>log 2>&1 ||
			exit 1
		setsid $java -cp "$2/*" kafka.Kafka server.properties >>log 2>&1 </dev/null &
		echo $! >pid' sh "$dir" "$jars" || die "storage format failed, see $dir/log"
	if ! "$ktool" wait "$(cat "$dir/address")" 60; then
		tail -n 20 "$dir/log" >&2
		die "the broker did not start, see $dir/log"
	fi
	cat "$dir/address"
}

# Ends the broker; the pid file says which process is ours.
end() {
	running || return 0
	kill "-$1" "$pid" 2>/dev/null || true
	i=0
	while running; do
		i=$((i + 1))
		[ $i -ne 100 ] || kill -9 "$pid" 2>/dev/null || true
		sleep 0.1
	done
	rm -f "$dir/pid"
}

verb=${1:-}
if [ "$verb" = fetch ]; then
	fetch
	exit
fi
[ $# -ge 2 ] || die "usage: fetch | start DIR [PORT] | stop|kill|status DIR | topic DIR VERB NAME [PARTITIONS]"
case $2 in
/*) dir=$2 ;;
*) dir=$PWD/$2 ;;
esac
shift 2
case $verb in
start) start "$@" ;;
stop) end TERM ;;
kill) end KILL ;;
status) running && cat "$dir/address" ;;
topic)
	op=$1
	shift
	"$("$here/tool.sh" ktool)" "$op" "$(cat "$dir/address")" "$@"
	;;
*) die "unknown verb $verb" ;;
esac

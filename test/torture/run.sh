#!/bin/sh
# run.sh [regress|isolation|slice]...: PostgreSQL's own tests on tables of metricsdb (see README.md).
#   regress, isolation   the whole suites; both if nothing is named
#   slice                a representative part of both, for `make check`
# METRICSDB_TORTURE_COLD=1   each INSERT goes straight to parts
# METRICSDB_PGSRC=DIR        PostgreSQL's source, unpacked
# Expects the extension in the private root (make private).  Results: build/run/torture/out/SUITE.
# Ends with the line "N passed, N failed".
set -eu
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=test/lib/env.sh
. "$here/../lib/env.sh"
config=${PG_CONFIG:-pg_config}
cold=${METRICSDB_TORTURE_COLD:-0}
# A statement that runs longer, and a suite that does, hangs.
statement_limit=${METRICSDB_TORTURE_STATEMENT:-60}
suite_limit=${METRICSDB_TORTURE_LIMIT:-1800}
PGISOLATIONTIMEOUT=60
export PGISOLATIONTIMEOUT

say() { printf '%s\n' "$*"; }

rc=0
source=$("$here/source.sh") || rc=$?
[ $rc = 0 ] || exit $rc

work=$RUN/torture
cluster=$work/cluster
root=$("$here/../lib/cluster.sh" root)
bin=$root$($config --bindir)
tools=$(dirname "$($config --pgxs)")/../test
as_user mkdir -p "$work"

# prepare: what the servers' user must be able to read, and the tests' C functions.
prepare() {
	rm -rf "${work:?}/input" "${work:?}/lib"
	mkdir -p "$work/lib"
	cp -R "$source/src/test" "$work/input"
	chmod -R a+rX "$work/input"
	for f in refint autoinc; do
		[ ! -f "$($config --pkglibdir)/$f.so" ] || ln -s "$($config --pkglibdir)/$f.so" "$work/lib/"
	done
	# shellcheck disable=SC2046 # flags
	${CC:-cc} $($config --cppflags) -I"$($config --includedir-server)" -O1 -fPIC -shared -w \
		-o "$work/lib/regress.so" "$work/input/regress/regress.c"
	printf 'version %s, tests of %s\n' "$($config --version)" "$(cat "$source/version" 2>/dev/null || echo "$source")" |
		tee "$work/lib/version"
}

psql_here() { as_user "$bin/psql" -X -q -v ON_ERROR_STOP=1 "$@"; }

# database NAME AM: made as pg_regress makes it.
database() {
	psql_here -c "CREATE DATABASE $1 TEMPLATE template0"
	for s in "lc_messages TO 'C'" "lc_monetary TO 'C'" "lc_numeric TO 'C'" "lc_time TO 'C'" "bytea_output TO 'hex'" \
		"timezone_abbreviations TO 'Default'"; do
		psql_here -c "ALTER DATABASE $1 SET $s"
	done
	psql_here -d "$1" -c "CREATE EXTENSION metricsdb" -c "ALTER DATABASE $1 SET default_table_access_method TO '$2'"
}

# watch PID OUT: waits for the suite; ends a statement that hangs, or, by stopping the server, the suite.
watch() {
	began=$(date +%s)
	while kill -0 "$1" 2>/dev/null; do
		sleep 1
		now=$(date +%s)
		if [ $((now - began)) -gt "$suite_limit" ]; then
			say "the suite did not end within $suite_limit s" >>"$2/hangs"
			psql_here -c "SELECT application_name, state, wait_event, query_start, query FROM pg_stat_activity" >>"$2/hangs" 2>&1 || true
			"$here/../lib/cluster.sh" stop "$cluster" immediate
			break
		fi
		[ $(((now - began) % 5)) = 0 ] || continue
		psql_here -At -c "SELECT application_name || ': ' || coalesce(wait_event, 'running') || ': ' || query
			FROM pg_stat_activity, pg_terminate_backend(pid)
			WHERE backend_type = 'client backend' AND state = 'active' AND query_start < now() - interval '$statement_limit s'" \
			>>"$2/hangs" 2>/dev/null || true
	done
	wait "$1" || true
}

# suite NAME AM OUT: a run in a fresh cluster.  NAME is regress, isolation or a slice of them.
suite() {
	tool=${1%-slice}
	case $tool in
	regress) db=regression program=$tools/regress/pg_regress ;;
	isolation) db=isolation_regression program=$tools/isolation/pg_isolation_regress ;;
	esac
	"$here/../lib/cluster.sh" drop "$cluster"
	rm -rf "$3"
	as_user mkdir -p "$3"
	set -- "$@" shared_preload_libraries=metricsdb metricsdb.workers=off
	if [ "$cold" = 0 ]; then
		# Both without the plans that only heaps have, and rows where they are inserted, as on heap.
		set -- "$@" enable_bitmapscan=off enable_indexonlyscan=off
		[ "$2" = heap ] || set -- "$@" metricsdb.direct_rows=1000000 metricsdb.write_buffer=1GB
	elif [ "$2" != heap ]; then
		set -- "$@" metricsdb.direct_rows=1
	fi
	name=$1 am=$2 out=$3
	shift 3
	"$here/../lib/cluster.sh" start "$cluster" fsync=off max_connections=100 max_prepared_transactions=10 max_wal_size=4GB \
		log_error_verbosity=verbose "log_line_prefix=%m [%p] %b %a " "$@"
	schedule "$name" | as_user tee "$out/schedule" >/dev/null
	(
		eval "$("$here/../lib/cluster.sh" env "$cluster")"
		database "$db" "$am"
		as_user "$program" --bindir="$bin" --inputdir="$work/input/$tool" --outputdir="$out" --dlpath="$work/lib" \
			--use-existing --dbname="$db" --schedule="$out/schedule" >"$out/log" 2>&1 &
		watch $! "$out"
	)
	cp "$cluster/log" "$out/server.log"
	"$here/../lib/cluster.sh" drop "$cluster"
	grep -q '^test ' "$out/log" || {
		cat "$out/log"
		die "$name did not run on $am"
	}
}

# schedule NAME: which tests, in which order.
schedule() {
	case $1 in
	regress) cat "$work/input/regress/parallel_schedule" ;;
	isolation)
		cat "$work/input/isolation/isolation_schedule"
		# Left out there only because they need max_prepared_transactions.
		for t in prepared-transactions prepared-transactions-cic; do
			[ ! -f "$work/input/isolation/specs/$t.spec" ] || say "test: $t"
		done
		;;
	*) cat "$here/$1" ;;
	esac
}

# torture NAME: the suite on heap, unless that was done, and on metricsdb; then what differs.
torture() {
	# The extension is in heap's database, too: what it has moves OIDs.
	key=$(cat "$work/lib/version" "$here/$1" "$here/run.sh" "$root$($config --sharedir)"/extension/metricsdb--*.sql 2>/dev/null | cksum | cut -d' ' -f1)-$cold
	base=$work/heap/$1-$key
	if [ ! -f "$base/complete" ]; then
		began=$(date +%s)
		suite "$1" heap "$base"
		"$here/judge.pl" --baseline --suite "${1%-slice}" --input "$work/input" --ours "$base" || die "heap itself fails: nothing to compare with"
		touch "$base/complete"
		say "$1 on heap: $(($(date +%s) - began)) s"
	fi
	began=$(date +%s)
	suite "$1" metricsdb "$work/out/$1"
	say "$1 on metricsdb: $(($(date +%s) - began)) s"
	set -- "$1" --suite "${1%-slice}" --input "$work/input" --heap "$base" --ours "$work/out/$1" --rules "$here/rules" \
		--ratchet "$here/ratchet"
	[ "$1" = "${1%-slice}" ] || set -- "$@" --slice
	[ "$cold" = 0 ] || set -- "$@" --cold
	shift
	"$here/judge.pl" "$@" | tee "$work/judged" || true
	passed=$((passed + $(sed -n 's/^\([0-9]*\) passed, .*/\1/p' "$work/judged")))
	failed=$((failed + $(sed -n 's/^[0-9]* passed, \([0-9]*\) failed/\1/p' "$work/judged")))
}

trap '"$here/../lib/cluster.sh" drop "$cluster" >/dev/null 2>&1 || true' EXIT
trap 'exit 130' INT TERM
passed=0 failed=0
prepare
[ $# -gt 0 ] || set -- regress isolation
for what in "$@"; do
	case $what in
	regress | isolation) torture "$what" ;;
	slice)
		torture regress-slice
		torture isolation-slice
		;;
	*) die "usage: [regress|isolation|slice]..." ;;
	esac
done
say "$passed passed, $failed failed"
[ "$failed" = 0 ]

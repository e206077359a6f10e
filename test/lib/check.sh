#!/bin/sh
# check.sh [step]...: what `make check` does.  Every step, or those named.
#   build  unit-*  sql  sql_plain  isolation  torture  tap  fuzz-*  lint
# CHECK_SQL, CHECK_SPECS, CHECK_TAP: files of which tests, instead of all.  CHECK_JOBS=3: TAP files at a time, as they mostly wait.
# Ends with the line "N passed, N failed".  A step's log lies in build/check/STEP.log.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
"$here/deps.sh" check
# shellcheck source=test/lib/env.sh
. "$here/env.sh"
cd "$TOP"
make=${MAKE:-make}
logs=$TOP/build/check
passed=0 failed=0 skipped='' failed_logs=''
mkdir -p "$logs"

pgxs=$(dirname "$("${PG_CONFIG:-pg_config}" --pgxs)")/../..
root=$("$here/cluster.sh" root)
bin_prefix=$("${PG_CONFIG:-pg_config}" --bindir)
bin=$root$bin_prefix
cluster=$RUN/check
# As PostgreSQL 18 does of itself.
export METRICSDB_INITDB=--data-checksums

say() { printf '%s\n' "$*"; }

# count PASSED FAILED STEP SECONDS: adds up, one line a step, and the end of the log where it failed.
count() {
	passed=$((passed + $1)) failed=$((failed + $2))
	if [ "$2" -gt 0 ]; then
		failed_logs="$failed_logs $3"
		tail -n "${CHECK_TAIL:-60}" "$logs/$3.log"
		say "$3: $1 passed, $2 FAILED (log: build/check/$3.log)"
	else
		say "$3: $1 passed, $4 s"
	fi
}

# lines PATTERN STEP: how many lines of the step's log match.
lines() { grep -cE "$1" "$logs/$2.log" || true; }

# run STEP COMMAND...: its output into the log; counts by what the log says: pg_regress's and prove's
# lines a test, a line "N passed, N failed", else the whole step is one test.
run() {
	step=$1
	shift
	began=$(date +%s) ok=0
	say "-- $step"
	if "$@" >"$logs/$step.log" 2>&1; then ok=1; fi
	good=$(lines '^(test .*|     .*)\.\.\. +ok|^ok [0-9]+ |^[^ ]+\.t.* ok$|\.pl \.+ (ok|skipped)' "$step")
	bad=$(lines '^(test .*|     .*)\.\.\. +FAILED|^not ok |\.pl \.+ (Failed|Dubious|No subtests)' "$step")
	summary=$(grep -E '^[0-9]+ passed, [0-9]+ failed$' "$logs/$step.log" | tail -n 1 || true)
	if [ -n "$summary" ]; then
		good=${summary%% passed*} bad=${summary#*, }
		bad=${bad%% *}
	fi
	if [ $((good + bad)) = 0 ]; then good=$ok bad=$((1 - ok)); fi
	if [ $ok = 0 ] && [ "$bad" = 0 ]; then bad=1; fi
	count "$good" "$bad" "$step" $(($(date +%s) - began))
	[ "$bad" = 0 ]
}

build() { "$make" -s -j2 private COPT="${COPT:--Werror}"; }

# The targets of test/make that begin so: each is a step.
targets() { sed -n "s/^\($1-[a-z0-9_]*\):.*/\1/p" test/make/*.mk; }

# Where the servers' user may not read the tree, it gets a copy of the tests.
copy_tests() {
	[ "$WORK" != "$TOP" ] || return 0
	rm -rf "$WORK"
	mkdir -p "$WORK"
	tar cf - metricsdb.control Makefile sql expected test | tar xf - -C "$WORK"
}

# regress OUTPUT SETTING TESTS...: pg_regress in a fresh throw-away cluster.  Queries on tables read the tables, so that
# continuous aggregates are compared with them.
regress() {
	out=$RUN/$1
	setting=$2
	shift 2
	"$here/cluster.sh" drop "$cluster"
	"$here/cluster.sh" start "$cluster" fsync=off max_prepared_transactions=10 metricsdb.retention_interval=-1 metricsdb.rollup_interval=-1 metricsdb.alert_interval=-1 metricsdb.rollup_routing=off "$setting"
	as_user mkdir -p "$out"
	# An access method that is the default from the start of a session must exist before it.
	[ -z "${options:-}" ] || "$here/cluster.sh" psql "$cluster" -qc "CREATE EXTENSION metricsdb"
	rc=0
	(
		eval "$("$here/cluster.sh" env "$cluster")"
		[ -z "${options:-}" ] || export PGOPTIONS="$options"
		as_user "$pgxs/src/test/$tool" --bindir="$bin" --inputdir="$WORK/test" --outputdir="$out" "$@"
	) || rc=$?
	[ $rc = 0 ] || cat "$out"/regression.diffs "$out"/output_iso/regression.diffs 2>/dev/null || true
	cp "$cluster/log" "$logs/$step.server.log"
	! grep -aE -A 12 'PANIC|TRAP|terminated by signal|AddressSanitizer|runtime error' "$cluster/log" || rc=1
	"$here/cluster.sh" drop "$cluster"
	return $rc
}

names() { for f in "$@"; do [ ! -f "$f" ] || basename "${f%.*}"; done; }

sql() {
	tool=regress/pg_regress
	# shellcheck disable=SC2046,SC2086 # lists of names
	regress sql shared_preload_libraries=metricsdb $(names ${CHECK_SQL:-test/sql/*.sql})
}

# The same without the library loaded at start; a test that needs it says so in its first line.
sql_plain() {
	tool=regress/pg_regress
	# shellcheck disable=SC2046
	regress sql_plain shared_preload_libraries= $(names $(grep -L -m 1 '^-- needs: preload' test/sql/*.sql))
}

# Each spec on heap tables, on metricsdb tables whose rows go to parts, and to the delta: one answer.
isolation() {
	tool=isolation/pg_isolation_regress all=0
	for kind in ${ISOLATION_KINDS:-heap parts delta}; do
		case $kind in
		heap) options="-c default_table_access_method=heap" ;;
		parts) options="-c default_table_access_method=metricsdb -c metricsdb.direct_rows=1" ;;
		delta) options="-c default_table_access_method=metricsdb -c metricsdb.direct_rows=1000000" ;;
		esac
		options="$options -c search_path=public,metricsdb"
		echo "-- $kind"
		# shellcheck disable=SC2046,SC2086 # lists of names
		regress "isolation_$kind" shared_preload_libraries=metricsdb --use-existing --dbname=postgres $(names ${CHECK_SPECS:-test/specs/*.spec}) || all=1
	done
	options=
	return $all
}

tap() {
	# What a run that failed has left for a look.
	rm -rf "$RUN/tap"
	as_user mkdir -p "$RUN/tap"
	KAFKA_JARS=$("$here/kafka.sh" fetch) || {
		KAFKA_JARS=
		say "no Kafka jars (Maven reaches no registry): the tests of the real broker are skipped"
	}
	PROMETHEUS=$("$here/prometheus.sh" fetch) || {
		PROMETHEUS=
		say "no Prometheus: the comparison with it is skipped"
	}
	ALERTMANAGER=$("$here/prometheus.sh" fetch alertmanager) || {
		ALERTMANAGER=
		say "no Alertmanager: the tests of it are skipped"
	}
	"$make" -s -j2 testing COPT="${COPT:--Werror}" || return 1
	for t in ktool kput mock_broker fleet forge clock; do "$here/tool.sh" $t >/dev/null; done
	rc=0
	# LD_ASAN: see asan.sh.
	# shellcheck disable=SC2016 # the inner shell's
	as_user env LD_PRELOAD="${LD_ASAN:-}" PATH="$bin:$PATH" METRICSDB_RUN="$RUN" METRICSDB_ROOT="$root" METRICSDB_TOP="$WORK" KAFKA_JARS="$KAFKA_JARS" \
		PROMETHEUS="$PROMETHEUS" ALERTMANAGER="$ALERTMANAGER" METRICSDB_TESTING="$root-testing${bin_prefix%/bin}" \
		TESTDIR="$RUN/tap" TESTDATADIR="$RUN/tap/data" TESTLOGDIR="$RUN/tap/log" PG_REGRESS="$pgxs/src/test/regress/pg_regress" \
		sh -c 'cd "$1" && PERL5LIB=$1/test/lib:$2 exec prove -j "$4" --exec test/lib/tap.sh --timer $3' sh "$WORK" "$pgxs/src/test/perl" "${CHECK_TAP:-test/t/*.pl}" "${CHECK_JOBS:-3}" || rc=$?
	# Also where the test takes it for a crash that it has made.
	! grep -raE -A 12 'AddressSanitizer|runtime error: ' "$RUN/tap" || rc=1
	return $rc
}

# A slice of PostgreSQL's own tests, if their source can be had.
torture() { "$TOP/test/torture/run.sh" slice; }

lint() { "$here/lint.sh"; }

have() { ls "$@" >/dev/null 2>&1; }

trap '"$here/cluster.sh" drop "$cluster" >/dev/null 2>&1 || true' EXIT
trap 'exit 130' INT TERM
copy_tests

if [ $# = 0 ]; then
	# shellcheck disable=SC2046 # lists of names
	set -- build $(targets unit) sql sql_plain isolation torture tap $(targets fuzz) lint
fi
for step in "$@"; do
	case $step in
	sql | sql_plain) have test/sql/*.sql || continue ;;
	isolation) have test/specs/*.spec || continue ;;
	tap) have test/t/*.pl || continue ;;
	torture)
		rc=0
		"$TOP/test/torture/source.sh" >/dev/null || rc=$?
		# Any other failure is one.
		if [ $rc = 3 ]; then
			say "!! torture SKIPPED: PostgreSQL's source cannot be had here, so none of its own tests was run !!"
			skipped=torture
			continue
		fi
		;;
	unit-* | fuzz-*)
		run "$step" "$make" -s "$step" FUZZ_SECONDS="${FUZZ_SECONDS:-5}" || true
		continue
		;;
	esac
	run "$step" "$step" || { [ "$step" != build ] || break; }
done
[ -z "$skipped" ] || say "SKIPPED for want of PostgreSQL's source: $skipped"
# Once more, where it is found: at the end.
for log in $failed_logs; do
	say "-- $log"
	grep -a '^# HANG' "$logs/$log.log" | head -n 200 || true
	grep -aE -A 8 '^ *# +Failed test|^not ok |^test .* FAILED|\.pl \.+ (Failed|Dubious)' "$logs/$log.log" | head -n 40 || true
done
say "$passed passed, $failed failed"
[ "$failed" = 0 ]

#!/bin/sh
# query.sh: read by bench.sh.  TSBS's queries over the wide fleet: ours against a heap with an index and parallel
# query, DuckDB and ClickHouse's engine in process, and a loop over raw doubles.  Each execution has a host and
# a window of its own; nothing is cached but pages.
#   BENCH_HOSTS=1000 BENCH_ROUNDS=4320   the table: hosts, and samples of each at 10 s, ten usages
#   BENCH_REPEAT=15                      executions of each query; medians are shown
#   BENCH_PEERS="heap duckdb chdb"       who runs beside us; the last two come from PyPI
#   BENCH_COLD=                          1: compacted to cold parts
# shellcheck shell=sh disable=SC2154 # what bench.sh sets
query_hosts=${BENCH_HOSTS:-1000} query_rounds=${BENCH_ROUNDS:-4320} query_repeat=${BENCH_REPEAT:-15}

# pg_medians TABLE: a line "NAME MILLISECONDS" for each query.
pg_medians() {
	for f in "$TOP"/test/bench/query/*.sql; do
		name=$(basename "$f" .sql)
		rm -rf "$bench/log"
		as_user mkdir -p "$bench/log"
		(
			eval "$("$lib/cluster.sh" env "$pg")"
			as_user sh -c 'cd "$1" && shift && exec "$@" >/dev/null 2>errors' sh "$bench/log" "$bindir/pgbench" -n -c 1 -t $((query_repeat + 1)) \
				-l --log-prefix=q -D t="$1" -D hosts="$query_hosts" -D length=$((query_rounds * 10)) -f "$f" postgres
		) || die "$name failed: $(cat "$bench/log/errors")"
		# The first one does not count.
		printf '%s %s\n' "$name" "$(sed 1d "$bench"/log/q* | awk '{ print $3 / 1000 }' | median)"
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
	for p in ${BENCH_PEERS-heap duckdb chdb}; do
		if [ "$p" = heap ]; then
			sql -c "CREATE TABLE cpu_heap ($wide_columns) USING heap" -c "INSERT INTO cpu_heap SELECT * FROM cpu ORDER BY time, hostname" \
				-c "CREATE INDEX ON cpu_heap (hostname, time DESC)" -c "VACUUM ANALYZE cpu_heap" -c CHECKPOINT
			pg_medians cpu_heap
		else
			peer "$p"
		fi >"$TOP/build/bench.$p"
	done
	# Ours once more behind the peers, so that a machine that has become slower or faster shows.
	pg_medians cpu >"$TOP/build/bench.again"
	printf '%-26s %10s %10s' query ours again
	for p in ${BENCH_PEERS-heap duckdb chdb}; do printf ' %10s %7s' "$p" "x ours"; done
	echo
	while read -r name ms; do
		printf '%-26s %10.3f %10.3f' "$name" "$ms" "$(awk -v n="$name" '$1 == n { print $2 }' "$TOP/build/bench.again")"
		for p in ${BENCH_PEERS-heap duckdb chdb}; do
			awk -v n="$name" -v ours="$ms" '$1 == n { printf " %10.3f %7.1f", $2, $2 / ours; hit = 1 } END { if (!hit) printf " %10s %7s", "-", "-" }' "$TOP/build/bench.$p"
		done
		echo
	done <"$TOP/build/bench.ours"
	rawsum=$("$lib/tool.sh" rawsum)
	echo "a loop over raw doubles in memory, one core: one usage $("$rawsum" $((query_hosts * query_rounds))) ms, ten $("$rawsum" $((query_hosts * query_rounds * 10))) ms"
	echo "again: make bench BENCH=query BENCH_HOSTS=$query_hosts BENCH_ROUNDS=$query_rounds BENCH_REPEAT=$query_repeat"
}

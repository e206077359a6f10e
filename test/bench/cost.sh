#!/bin/sh
# cost.sh: read by bench.sh.  What changing rows one by one, and in bulk, costs beside a heap in the same run.
#   BENCH_COST_ROWS=1000000   rows of an UPDATE, a DELETE, an index
#   BENCH_SECONDS=8   of a run of pgbench
# shellcheck shell=sh disable=SC2154 # what bench.sh sets
cost_rows=${BENCH_COST_ROWS:-1000000} seconds=${BENCH_SECONDS:-8}
cost_columns="time timestamptz NOT NULL, host text, cpu int, usage float8, load float8"
cost_row="now(), 'host-' || (random() * 1000)::int, (random() * 8)::int, random(), random() * 10"

# ratio GOAL TITLE ours|speed: of the pairs "heap ours" in $pairs the median of ours / heap; of times that
# stand for speeds, of heap / ours.
ratio() {
	awk -v how="$3" '{ print how == "speed" ? $1 / $2 : $2 / $1 }' "$pairs" >"$pairs.ratio"
	printf '%s: %s x of heap (%s)  goal %s\n' "$2" "$(printf '%.2f' "$(median <"$pairs.ratio")")" \
		"$(awk '{ printf "%s%.2f", (NR > 1 ? ", " : ""), $1 }' "$pairs.ratio")" "$1"
	printf '    heap / metricsdb: %s\n' "$(awk '{ printf "%s%s / %s", (NR > 1 ? ", " : ""), $1, $2 }' "$pairs")"
}

# pair RUN COMMAND...: its output with the kinds as an argument more, into $pairs; who goes first takes turns.
pair() {
	n=$1
	shift
	if [ $((n % 2)) = 0 ]; then
		h=$("$@" heap) m=$("$@" metricsdb)
	else
		m=$("$@" metricsdb) h=$("$@" heap)
	fi
	echo "$h $m" >>"$pairs"
}

# commits CLIENTS KIND: single-row INSERTs a second.
commits() {
	sql -c "DROP TABLE one" -c "CREATE TABLE one ($cost_columns) USING $2" -c CHECKPOINT
	"$lib/cluster.sh" sh "$pg" pgbench -n -c "$1" -j "$(($1 < 2 ? 1 : 2))" -T "$seconds" -f "$bench/insert.sql" 2>/dev/null |
		awk '/^tps/ { printf "%d", $3 }'
}

# wal KIND: bytes of WAL a row, of 20,000 single-row INSERTs.
wal() {
	sql -c "DROP TABLE one" -c "CREATE TABLE one ($cost_columns) USING $1" -c CHECKPOINT
	at=$(sql -c "SELECT pg_current_wal_insert_lsn()")
	"$lib/cluster.sh" sh "$pg" pgbench -n -c 1 -t 20000 -f "$bench/insert.sql" >/dev/null 2>&1
	sql -c "SELECT ((pg_current_wal_insert_lsn() - '$at') / 20000)::numeric(10, 1)"
}

# filled PLACE KIND: a table whose rows lie in parts, or in the delta; heap knows no difference.
filled() {
	sql -c "DROP TABLE many" -c "CREATE TABLE many ($cost_columns) USING $2"
	for from in 1 2; do
		sql -c "SET metricsdb.direct_rows = $([ "$1" = parts ] && echo 500 || echo 1000000)" \
			-c "INSERT INTO many SELECT timestamptz '2026-01-01' + i / 1000 * interval '10 s', 'host-' || i % 1000, i % 8, random(), random() * 10
				FROM generate_series($from, $cost_rows, 2) i"
	done
	sql -c "VACUUM ANALYZE many" -c CHECKPOINT
}

# statement PLACE SQL KIND: its seconds.
statement() {
	filled "$1" "$3"
	at=$(date +%s%N)
	sql -c "$2"
	per $(($(date +%s%N) - at)) 1000000000 3
}

cost() {
	echo
	echo "== Rows that are inserted one by one, changed, deleted, indexed: beside heap"
	echo "   (commands: test/bench/cost.sh; each pair of runs on fresh tables)"
	pairs=$bench/pairs
	start_cluster
	sql -c "CREATE TABLE one ()" -c "CREATE TABLE many ()"
	echo "INSERT INTO one SELECT $cost_row" | as_user tee "$bench/insert.sql" >/dev/null
	for sync in on off; do
		sql -c "ALTER SYSTEM SET synchronous_commit = $sync" -c "SELECT pg_reload_conf()" >/dev/null
		for clients in 1 8; do
			: >"$pairs"
			for run in $(seq "$runs"); do pair "$run" commits "$clients"; done
			ratio ">= 0.8" "single-row INSERT commits/s, $clients clients, synchronous_commit $sync" ours
		done
	done
	# From here on nothing runs beside.
	sql -c 'ALTER SYSTEM SET "metricsdb.workers" = off' -c "ALTER SYSTEM SET autovacuum = off" -c "SELECT pg_reload_conf()" >/dev/null
	sleep 2
	: >"$pairs"
	for run in $(seq "$runs"); do pair "$run" wal; done
	ratio "<= 1.3" "WAL bytes a row, single-row INSERTs" ours
	for place in parts delta; do
		for change in "UPDATE many SET usage = usage + 1" "DELETE FROM many"; do
			: >"$pairs"
			for run in $(seq "$runs"); do pair "$run" statement $place "$change"; done
			ratio ">= 0.5" "rows/s of $change, $cost_rows rows in $place" speed
		done
		: >"$pairs"
		for run in $(seq "$runs"); do pair "$run" statement $place "CREATE INDEX ON many (host, time)"; done
		ratio "<= 1.5" "time of CREATE INDEX ON many (host, time), $cost_rows rows in $place" ours
	done
	echo "again: make bench BENCH=cost BENCH_RUNS=$runs BENCH_COST_ROWS=$cost_rows BENCH_SECONDS=$seconds"
}

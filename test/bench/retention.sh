#!/bin/sh
# retention.sh: read by bench.sh.  One day of thirty goes, beside a DELETE of it.
#   BENCH_SAMPLES=10000000   samples in the thirty days, of 1,000 hosts with ten values
# shellcheck shell=sh disable=SC2154 # what bench.sh sets
samples=${BENCH_SAMPLES:-10000000}

# call_ms SQL: milliseconds of a statement in a session of its own.
call_ms() { "$lib/cluster.sh" psql "$pg" -qAt -o /dev/null -c '\timing on' -c "$1" | sed -n 's/^Time: \([0-9.]*\) ms.*/\1/p'; }

# fill TABLE DAYS: a day so many days ago.
fill() {
	sql -c "INSERT INTO $1 SELECT now() - interval '$2 days' + i / 1000 * interval '1 ms' + interval '1 h', 'host_' || i % 1000,
		50 + hashint4(i) % 1000 / 100.0, 40 + hashint4(-i) % 1000 / 100.0, 30 + i % 13, hashint4(i / 7) % 100, i % 3, 0, i % 5, 0, i % 2, i / 1000 FROM generate_series(1, $((samples / 300))) i"
}

retention() {
	echo
	echo "== Retention: one day of thirty, $samples samples in all, rows of ten values"
	start_cluster
	sql -c "ALTER SYSTEM SET metricsdb.workers = off" -c "SELECT pg_reload_conf()" >/dev/null
	for t in r d; do
		sql -c "CREATE TABLE $t (time timestamptz NOT NULL, host text, a float8, b float8, c float8, d float8, e float8, f float8, g float8, h float8, i float8, j float8) USING metricsdb"
		for day in $(seq 0 29); do fill $t "$day"; done
		sql -c "CALL metricsdb.compact('$t')"
	done
	sql -c "SELECT 'table of ' || pg_size_pretty(pg_relation_size('r')) || ' in ' || count(*) || ' parts' FROM metricsdb.parts WHERE \"table\" = 'r'::regclass"
	for run in $(seq "$runs"); do
		keep=$((29 - run))
		sql -c "SELECT metricsdb.set_retention('r', '$keep days')" -c "SELECT pg_stat_reset()" -c CHECKPOINT >/dev/null
		ms=$(call_ms "CALL metricsdb.apply_retention('r')")
		echo "run $run: apply_retention() $ms ms, $(sql -c "SELECT pg_stat_get_blocks_fetched('r'::regclass)") pages of the table touched, DELETE of the same day $(
			call_ms "DELETE FROM d WHERE time < now() - interval '$keep days'"
		) ms"
	done
	[ "$(sql -c "SELECT (SELECT count(*) FROM r) = (SELECT count(*) FROM d)")" = t ] || die "not the same rows are gone"
	echo "(goal: under 1,000 ms for 100 M samples)   again: make bench BENCH=retention BENCH_SAMPLES=$samples BENCH_RUNS=$runs"
}

#!/bin/sh
# functions.sh: read by bench.sh.  The extension's own aggregates beside avg: per five minutes and host over the wide
# fleet, from vectors, in one process.  Executions alternate, so that a machine that becomes slower does so for both.
#   BENCH_HOSTS=1000 BENCH_ROUNDS=4320   the table: hosts, and samples of each at 10 s, ten usages
#   BENCH_REPEAT=15                      executions of each; medians are shown
# shellcheck shell=sh disable=SC2154 # what bench.sh sets
functions_hosts=${BENCH_HOSTS:-1000} functions_rounds=${BENCH_ROUNDS:-4320} functions_repeat=${BENCH_REPEAT:-15}

# beside GOAL AGGREGATE: its time, and what it is to that of avg.
beside() {
	ask="SELECT count(x) FROM (SELECT hostname, time_bucket('5 min', time), %s AS x FROM cpu GROUP BY 1, 2) s;\n"
	{
		printf '\\timing on\n'
		for _ in $(seq $((functions_repeat + 1))); do
			# shellcheck disable=SC2059 # a format
			printf "$ask" 'avg(usage_user)'
			# shellcheck disable=SC2059 # a format
			printf "$ask" "$2"
		done
	} >"$bench/pairs.sql"
	# The first of each does not count.
	sql -f "$bench/pairs.sql" | sed -n 's/^Time: \([0-9.]*\) ms.*/\1/p' | sed 1,2d >"$bench/pairs"
	one=$(sed -n '1~2p' "$bench/pairs" | median) other=$(sed -n '2~2p' "$bench/pairs" | median)
	awk -v n="$2" -v a="$one" -v b="$other" -v goal="$1" \
		'BEGIN { printf "  %-34s %9.1f ms %9.1f ms %6.2f x%s\n", n, a, b, b / a, goal == "" ? "" : "  (goal <= " goal " x)" }'
}

functions() {
	echo
	echo "== Functions per five minutes and host, beside avg: $functions_hosts hosts, $functions_rounds samples of ten usages each at 10 s"
	csv=$bench/wide.csv
	start_cluster
	"$("$lib/tool.sh" widecsv)" "$functions_hosts" 10 "$functions_rounds" 1700000000 -1 2>/dev/null | as_user tee "$csv" >/dev/null
	sql -c "ALTER DATABASE postgres SET search_path = public, metricsdb" -c "ALTER SYSTEM SET work_mem = '64MB'" \
		-c "ALTER SYSTEM SET jit = off" -c "ALTER SYSTEM SET max_parallel_workers_per_gather = 0" -c "SELECT pg_reload_conf()" >/dev/null
	sql -c "CREATE TABLE cpu ($wide_columns) USING metricsdb" -c "COPY cpu FROM '$csv' (FORMAT csv)"
	rm -f "$csv"
	sql -c "CALL metricsdb.compact('cpu')" -c "VACUUM ANALYZE cpu"
	echo "  medians of $functions_repeat: avg, the other, ratio"
	beside 3 "rate(time, usage_user)"
	beside 3 "rate(time, usage_user, '5 min')"
	beside 3 "increase(time, usage_user)"
	beside '' "deriv(time, usage_user)"
	beside '' "counter_agg(time, usage_user)"
	beside '' "avg_over_time(usage_user)"
	beside 6 "sketch_agg(usage_user)"
	beside '' "approx_percentile(0.95, sketch_agg(usage_user))"
	echo "again: make bench BENCH=functions BENCH_HOSTS=$functions_hosts BENCH_ROUNDS=$functions_rounds BENCH_REPEAT=$functions_repeat"
}

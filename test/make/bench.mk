# Benchmarks: ratios to look at, never a test.
.PHONY: bench bench-alerts

#: make bench            prints the figures of the goals; BENCH="ingest latency copy size cost codec merge cancel query guard functions series retention rollups dist alerts"
bench:
	@test/bench/bench.sh $(BENCH)

#: make bench-alerts     how soon somebody is notified of what was produced, and what 10,000 rules cost; BENCH_PARTS="latency rules"
bench-alerts:
	@test/bench/bench.sh alerts

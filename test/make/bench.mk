# Benchmarks: ratios to look at, never a test.
.PHONY: bench

#: make bench            prints the figures of the goals; BENCH="ingest latency copy size cost codec merge cancel query guard functions series retention rollups"
bench:
	@test/bench/bench.sh $(BENCH)

# Tests and fuzzing of what the functions for queries are made of, without a server.
FUNC_SAN    = -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
FUNC_CFLAGS = -std=gnu11 -g -Wall -Wextra -Werror -Isrc -fno-strict-aliasing -ffp-contract=off
SKETCH_SRC  = src/func/sketch.c src/func/sketch_bucket.c src/func/sketch_bytes.c

build/unit/sketch_test: test/unit/sketch_test.c $(SKETCH_SRC) src/func/sketch.h
	@mkdir -p $(@D)
	$(CC) $(FUNC_CFLAGS) -O2 $(FUNC_SAN) -o $@ $(filter %.c,$^) -lm

build/fuzz_sketch: test/fuzz/fuzz_sketch.c $(SKETCH_SRC) src/func/sketch.h
	@mkdir -p $(@D)
	$(FUZZ_CC) $(FUNC_CFLAGS) -O1 -fsanitize=fuzzer $(FUNC_SAN) -o $@ $(filter %.c,$^) -lm

.PHONY: unit-sketch fuzz-sketch
unit-sketch: build/unit/sketch_test
	ASAN_OPTIONS=detect_leaks=0 build/unit/sketch_test

fuzz-sketch: build/fuzz_sketch
	@mkdir -p build/corpus/sketch
	@build/fuzz_sketch -max_total_time=$(FUZZ_SECONDS) -max_len=4096 -timeout=10 -print_final_stats=1 \
		-artifact_prefix=build/corpus/ build/corpus/sketch 2>build/fuzz_sketch.log || \
		{ tail -40 build/fuzz_sketch.log; exit 1; }
	@echo "sketch: $$(sed -n 's/stat::number_of_executed_units: *//p' build/fuzz_sketch.log) runs, no finding"

build/unit/hll_test: test/unit/hll_test.c src/func/hll.c src/func/hll.h
	@mkdir -p $(@D)
	$(CC) $(FUNC_CFLAGS) -O2 $(FUNC_SAN) -o $@ $(filter %.c,$^) -lm

build/fuzz_hll: test/fuzz/fuzz_hll.c src/func/hll.c src/func/hll.h
	@mkdir -p $(@D)
	$(FUZZ_CC) $(FUNC_CFLAGS) -O1 -fsanitize=fuzzer $(FUNC_SAN) -o $@ $(filter %.c,$^) -lm

.PHONY: unit-hll fuzz-hll
unit-hll: build/unit/hll_test
	ASAN_OPTIONS=detect_leaks=0 build/unit/hll_test

fuzz-hll: build/fuzz_hll
	@mkdir -p build/corpus/hll
	@build/fuzz_hll -max_total_time=$(FUZZ_SECONDS) -max_len=4096 -timeout=10 -print_final_stats=1 \
		-artifact_prefix=build/corpus/ build/corpus/hll 2>build/fuzz_hll.log || \
		{ tail -40 build/fuzz_hll.log; exit 1; }
	@echo "hll: $$(sed -n 's/stat::number_of_executed_units: *//p' build/fuzz_hll.log) runs, no finding"

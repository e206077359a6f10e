# Tests of the cardinality guard's arithmetic, which need no server.
build/unit/cardinality_test: test/unit/cardinality_test.c src/series/cardinality.c src/series/cardinality.h
	@mkdir -p $(@D)
	$(CC) -std=c99 -O1 -g -Wall -Wextra -Werror -Wno-unused-parameter $(INGEST_SAN) -Isrc -o $@ test/unit/cardinality_test.c src/series/cardinality.c -lm

.PHONY: unit-cardinality
unit-cardinality: build/unit/cardinality_test
	ASAN_OPTIONS=detect_leaks=0 build/unit/cardinality_test

# Tests and fuzzing of the postings' bytes, likewise.
POSTINGS_SAN = -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer

build/unit/postings_test: test/unit/postings_test.c src/series/postings.c src/series/postings.h
	@mkdir -p $(@D)
	$(CC) -std=c99 -O1 -g -Wall -Wextra -Werror $(POSTINGS_SAN) -Isrc -o $@ test/unit/postings_test.c src/series/postings.c

build/fuzz_postings: test/fuzz/fuzz_postings.c src/series/postings.c src/series/postings.h
	@mkdir -p $(@D)
	$(FUZZ_CC) -std=c99 -O1 -g -Wall -Wextra -fsanitize=fuzzer $(POSTINGS_SAN) -Isrc -o $@ test/fuzz/fuzz_postings.c src/series/postings.c

.PHONY: unit-postings fuzz-postings
unit-postings: build/unit/postings_test
	ASAN_OPTIONS=detect_leaks=0 build/unit/postings_test

fuzz-postings: build/fuzz_postings
	@mkdir -p build/corpus/postings
	@build/fuzz_postings -max_total_time=$(FUZZ_SECONDS) -max_len=4096 -timeout=10 -print_final_stats=1 \
		-artifact_prefix=build/corpus/ build/corpus/postings 2>build/fuzz_postings.log || \
		{ tail -40 build/fuzz_postings.log; exit 1; }
	@echo "postings: $$(sed -n 's/stat::number_of_executed_units: *//p' build/fuzz_postings.log) runs, no finding"

build/fuzz_cardinality: test/fuzz/fuzz_cardinality.c src/series/cardinality.c src/series/cardinality.h
	@mkdir -p $(@D)
	$(FUZZ_CC) -std=c99 -O1 -g -Wall -Wextra -fsanitize=fuzzer $(POSTINGS_SAN) -Isrc -o $@ $(filter %.c,$^) -lm

.PHONY: fuzz-cardinality
fuzz-cardinality: build/fuzz_cardinality
	@mkdir -p build/corpus/cardinality
	@build/fuzz_cardinality -max_total_time=$(FUZZ_SECONDS) -max_len=4096 -timeout=10 -print_final_stats=1 \
		-artifact_prefix=build/corpus/ build/corpus/cardinality 2>build/fuzz_cardinality.log || \
		{ tail -40 build/fuzz_cardinality.log; exit 1; }
	@echo "cardinality: $$(sed -n 's/stat::number_of_executed_units: *//p' build/fuzz_cardinality.log) runs, no finding"

# Rows of the dictionary: the server's sources, with what they call of it in the target.  What else they name is not there.
SERIES_FUZZ_C = src/series/segment.c src/series/key.c src/codec/zstd.c

build/fuzz_series: test/fuzz/fuzz_series.c $(SERIES_FUZZ_C) src/series/series.h
	@mkdir -p $(@D)
	$(FUZZ_CC) -std=gnu11 -O1 -g -Wall -Wextra -Wno-unused-parameter -Wno-sign-compare -Wno-ignored-attributes -fsanitize=fuzzer $(POSTINGS_SAN) \
		-Isrc -I$(shell $(PG_CONFIG) --includedir-server) \
		-fno-pie -no-pie -Wl,--unresolved-symbols=ignore-all -o $@ $(filter %.c,$^) -lzstd

.PHONY: fuzz-series
fuzz-series: build/fuzz_series
	@mkdir -p build/corpus/series
	@build/fuzz_series -max_total_time=$(FUZZ_SECONDS) -max_len=4096 -timeout=10 -print_final_stats=1 \
		-artifact_prefix=build/corpus/ build/corpus/series 2>build/fuzz_series.log || \
		{ tail -40 build/fuzz_series.log; exit 1; }
	@echo "series: $$(sed -n 's/stat::number_of_executed_units: *//p' build/fuzz_series.log) runs, no finding"

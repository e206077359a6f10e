# Tests and fuzzing of selectors, which need no server.
MATCH_SAN = -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
MATCH_C   = src/func/match_regex.c src/func/match_regex_parse.c src/func/match_selector.c
MATCH_H   = src/func/match.h src/func/match_regex.h

build/unit/match_test: test/unit/match_test.c $(MATCH_C) $(MATCH_H)
	@mkdir -p $(@D)
	$(CC) -std=c11 -O1 -g -Wall -Wextra -Werror $(MATCH_SAN) -Isrc -o $@ test/unit/match_test.c $(MATCH_C)

build/fuzz_match: test/fuzz/fuzz_match.c $(MATCH_C) $(MATCH_H)
	@mkdir -p $(@D)
	$(FUZZ_CC) -std=c11 -O1 -g -Wall -Wextra -fsanitize=fuzzer $(MATCH_SAN) -Isrc -o $@ test/fuzz/fuzz_match.c $(MATCH_C)

.PHONY: unit-match fuzz-match
unit-match: build/unit/match_test
	ASAN_OPTIONS=detect_leaks=0 build/unit/match_test

fuzz-match: build/fuzz_match
	@mkdir -p build/corpus/match
	@build/fuzz_match -max_total_time=$(FUZZ_SECONDS) -max_len=512 -timeout=10 -print_final_stats=1 \
		-artifact_prefix=build/corpus/ build/corpus/match 2>build/fuzz_match.log || \
		{ tail -40 build/fuzz_match.log; exit 1; }
	@echo "match: $$(sed -n 's/stat::number_of_executed_units: *//p' build/fuzz_match.log) runs, no finding"

# Tests and fuzzing of expressions of Prometheus, the values of its unit tests, and YAML, which need no server.
PROMQL_SAN = -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
PROMQL_C   = src/alert/promql_lex.c src/alert/promql_parse.c src/alert/promql_check.c src/alert/promql_series.c \
             src/alert/yaml_tree.c $(MATCH_C)
PROMQL_H   = src/alert/promql.h src/alert/yaml_tree.h $(MATCH_H)

build/unit/promql_test: test/unit/promql_test.c $(PROMQL_C) $(PROMQL_H)
	@mkdir -p $(@D)
	$(CC) -std=gnu11 -O1 -g -Wall -Wextra -Werror $(PROMQL_SAN) -Isrc -o $@ test/unit/promql_test.c $(PROMQL_C) -lyaml -lm

build/fuzz_promql: test/fuzz/fuzz_promql.c $(PROMQL_C) $(PROMQL_H)
	@mkdir -p $(@D)
	$(FUZZ_CC) -std=gnu11 -O1 -g -Wall -Wextra -fsanitize=fuzzer $(PROMQL_SAN) -Isrc -o $@ test/fuzz/fuzz_promql.c $(PROMQL_C) -lyaml -lm

.PHONY: unit-promql fuzz-promql
unit-promql: build/unit/promql_test
	ASAN_OPTIONS=detect_leaks=0 build/unit/promql_test

fuzz-promql: build/fuzz_promql
	@mkdir -p build/corpus/promql
	@build/fuzz_promql -max_total_time=$(FUZZ_SECONDS) -max_len=512 -timeout=10 -print_final_stats=1 \
		-artifact_prefix=build/corpus/ build/corpus/promql 2>build/fuzz_promql.log || \
		{ tail -40 build/fuzz_promql.log; exit 1; }
	@echo "promql: $$(sed -n 's/stat::number_of_executed_units: *//p' build/fuzz_promql.log) runs, no finding"

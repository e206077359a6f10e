# Tests of the cardinality guard's arithmetic, which need no server.
build/unit/cardinality_test: test/unit/cardinality_test.c src/series/cardinality.c src/series/cardinality.h
	@mkdir -p $(@D)
	$(CC) -std=c99 -O1 -g -Wall -Wextra -Werror -Wno-unused-parameter $(INGEST_SAN) -Isrc -o $@ test/unit/cardinality_test.c src/series/cardinality.c -lm

.PHONY: unit-cardinality
unit-cardinality: build/unit/cardinality_test
	ASAN_OPTIONS=detect_leaks=0 build/unit/cardinality_test

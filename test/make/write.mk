# Which parts may be merged while continuous aggregates have not taken all of them: needs no server.
build/unit/fit_test: test/unit/fit_test.c src/write/fit.c src/write/fit.h
	@mkdir -p $(@D)
	$(CC) -std=c99 -O1 -g -Wall -Wextra -Werror $(INGEST_SAN) -Isrc -o $@ test/unit/fit_test.c src/write/fit.c

.PHONY: unit-fit
unit-fit: build/unit/fit_test
	ASAN_OPTIONS=detect_leaks=0 build/unit/fit_test

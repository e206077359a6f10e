# Codec layer: unit tests, fuzzing and the micro-benchmark.  Needs no server.
#
#	make unit-codec						tests, optimised and under sanitizers
#	make fuzz-codec FUZZ_SECONDS=600	each decoder in turn
#	make bench-codec					bytes and ns a value
#
# MDB_CODEC_STRICT: a chunk that does not verify stops the program instead of falling back to raw.
# -fno-strict-aliasing and -ffp-contract=off are what the extension itself is built with.

CODEC_SRC     = $(sort $(wildcard src/codec/*.c))
CODEC_HDR     = $(wildcard src/codec/*.h)
CODEC_CFLAGS  = -std=gnu11 -g -Wall -Wextra -Isrc -fno-strict-aliasing -ffp-contract=off -DMDB_CODEC_STRICT
CODEC_LIBS    = -lzstd -lm
CODEC_SAN     = -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
FUZZ_CC      ?= $(firstword $(shell command -v clang-14 clang) clang)
FUZZ_SECONDS ?= 60
FUZZERS       = $(patsubst test/fuzz/fuzz_%.c,%,$(wildcard test/fuzz/fuzz_codec_*.c))

.PHONY: unit-codec fuzz-codec bench-codec

build/codec_test: test/unit/codec_test.c $(CODEC_SRC) $(CODEC_HDR)
	@mkdir -p build
	$(CC) $(CODEC_CFLAGS) -O3 -o $@ $(filter %.c,$^) $(CODEC_LIBS)

# The same tests without the AVX2 clones and the fused division: results must be equal.
build/codec_test_san: test/unit/codec_test.c $(CODEC_SRC) $(CODEC_HDR)
	@mkdir -p build
	$(CC) $(CODEC_CFLAGS) -O1 $(CODEC_SAN) -DMDB_NO_CLONES -o $@ $(filter %.c,$^) $(CODEC_LIBS)

build/codec_bench: test/unit/codec_bench.c $(CODEC_SRC) $(CODEC_HDR)
	@mkdir -p build
	$(CC) $(CODEC_CFLAGS) -O3 -o $@ $(filter %.c,$^) $(CODEC_LIBS)

build/fuzz_codec_%: test/fuzz/fuzz_codec_%.c test/fuzz/codec_fuzz.h $(CODEC_SRC) $(CODEC_HDR)
	@mkdir -p build
	$(FUZZ_CC) $(CODEC_CFLAGS) -O1 -fsanitize=fuzzer $(CODEC_SAN) -Itest/fuzz -o $@ $(filter %.c,$^) $(CODEC_LIBS)

unit-codec: build/codec_test build/codec_test_san
	build/codec_test $(CODEC_SEED) | tee build/codec_test.out; tail -1 build/codec_test.out | grep -q ' 0 failed'
	build/codec_test_san $(CODEC_SEED) > build/codec_test_san.out || { cat build/codec_test_san.out; exit 1; }
	diff build/codec_test.out build/codec_test_san.out
	@echo "unit-codec: plain and vector builds agree on every byte"

fuzz-codec: $(addprefix build/fuzz_,$(FUZZERS)) build/codec_test
	@mkdir -p $(addprefix build/corpus/,$(FUZZERS))
	@CODEC_CORPUS=build/corpus build/codec_test 1 10 >/dev/null
	@for f in $(FUZZERS); do \
		build/fuzz_$$f -max_total_time=$(FUZZ_SECONDS) -max_len=4096 -timeout=10 -print_final_stats=1 \
			-artifact_prefix=build/corpus/ build/corpus/$$f 2>build/fuzz_$$f.log || \
			{ tail -40 build/fuzz_$$f.log; exit 1; }; \
		echo "$$f: $$(sed -n 's/stat::number_of_executed_units: *//p' build/fuzz_$$f.log) runs, no finding"; \
	done

bench-codec: build/codec_bench
	build/codec_bench

# Tests of the protobuf decoder that need no server.
INGEST_SAN   = -fsanitize=address,undefined -fno-sanitize-recover=all
FUZZ_SECONDS ?= 60

build/unit/proto_test: test/unit/proto_test.c src/ingest/proto.c src/ingest/proto.h
	@mkdir -p $(@D)
	$(CC) -std=c99 -O1 -g -Wall -Wextra -Werror $(INGEST_SAN) -Isrc/ingest -o $@ test/unit/proto_test.c src/ingest/proto.c

.PHONY: unit-proto fuzz-proto
unit-proto: build/unit/proto_test
	build/unit/proto_test

build/fuzz/fuzz_proto: test/fuzz/fuzz_proto.c src/ingest/proto.c src/ingest/proto.h
	@mkdir -p $(@D)
	clang -O1 -g -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all -Isrc/ingest -o $@ test/fuzz/fuzz_proto.c src/ingest/proto.c

fuzz-proto: build/fuzz/fuzz_proto
	@mkdir -p build/fuzz/proto-corpus
	build/fuzz/fuzz_proto -max_total_time=$(FUZZ_SECONDS) -max_len=4096 -print_final_stats=1 build/fuzz/proto-corpus

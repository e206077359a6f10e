# Tests of the protobuf decoder that need no server.
INGEST_SAN   = -fsanitize=address,undefined -fno-sanitize-recover=all
FUZZ_SECONDS ?= 60

PROTO_SRC    = src/ingest/proto.c src/ingest/fingerprint.c
PROTO_HDR    = src/ingest/proto.h src/ingest/fingerprint.h

build/unit/proto_test: test/unit/proto_test.c $(PROTO_SRC) $(PROTO_HDR)
	@mkdir -p $(@D)
	$(CC) -std=c99 -O1 -g -Wall -Wextra -Werror $(INGEST_SAN) -Isrc -o $@ $(filter %.c,$^)

.PHONY: unit-proto fuzz-proto
unit-proto: build/unit/proto_test
	build/unit/proto_test

build/fuzz/fuzz_proto: test/fuzz/fuzz_proto.c $(PROTO_SRC) $(PROTO_HDR)
	@mkdir -p $(@D)
	clang -O1 -g -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all -Isrc -o $@ $(filter %.c,$^)

fuzz-proto: build/fuzz/fuzz_proto
	@mkdir -p build/fuzz/proto-corpus
	build/fuzz/fuzz_proto -max_total_time=$(FUZZ_SECONDS) -max_len=4096 -print_final_stats=1 build/fuzz/proto-corpus

# The library with the stop points of src/stop.c, beside the one that is shipped: build/testing.
TESTING_OBJS = $(addprefix build/testing/,$(OBJS))

build/testing/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(CPPFLAGS) -DMDB_TESTING -c -o $@ $<

build/testing/src/codec/%.o: CFLAGS += -O3 -ffp-contract=off
build/testing/src/exec/kernels.o build/testing/src/exec/vector_eval.o: CFLAGS += -O3 -ffp-contract=off
build/testing/src/func/sketch.o build/testing/src/func/sketch_bucket.o build/testing/src/func/sketch_bytes.o: CFLAGS += -O3 -ffp-contract=off

build/testing/metricsdb.so: $(TESTING_OBJS)
	$(CC) $(CFLAGS) -o $@ $(TESTING_OBJS) $(LDFLAGS) $(LDFLAGS_SL) -shared $(SHLIB_LINK)

-include $(TESTING_OBJS:.o=.d)

# A private root of its own; prints nothing.  test/lib/check.sh tells its folder to the tests.
.PHONY: testing
testing: build/testing/metricsdb.so
	@root=$$(test/lib/cluster.sh root)-testing && test/lib/pgroot.sh "$$root" >/dev/null && \
	$(MAKE) -s with_llvm=no all && $(MAKE) -s with_llvm=no install DESTDIR="$$root" && \
	cp build/testing/metricsdb.so "$$root$$($(PG_CONFIG) --pkglibdir)/metricsdb.so"

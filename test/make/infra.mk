# Everything around the code: the private build, the tests, the demo.  The work is in test/lib.
.PHONY: help private fuzz soak check lint check-asan check-versions check-valgrind demo demo-stop indent

help:
	@sed -n "s|^#: ||p" test/make/*.mk | sort

#: make, make install    build; install into the PostgreSQL of PG_CONFIG
#: make installcheck     the SQL tests against a running server
#: make check            installs what is missing, runs every test
ifneq ($(filter check,$(MAKECMDGOALS)),)
check:
	@test/lib/check.sh
endif

#: make check-asan       the SQL tests under the address and undefined-behaviour sanitizers (ASAN_STEPS="tap" CHECK_TAP="test/t/010_crash.pl")
check-asan:
	@test/lib/asan.sh $(ASAN_STEPS)

#: make check-versions   the tests on PostgreSQL 17 and 18 (VERSIONS="18"), each in a root of the Debian that has it; as root
check-versions:
	@test/lib/versions.sh $(VERSIONS)

#: make check-valgrind   some SQL tests with the server under valgrind (VALGRIND_TESTS="10_basic ...")
check-valgrind:
	@test/lib/valgrind.sh $(VALGRIND_TESTS)

#: make fuzz             the fuzzers, FUZZ_SECONDS=60 each
fuzz: $(filter fuzz-%,$(shell sed -n 's/^\(fuzz-[a-z0-9_]*\):.*/\1/p' test/make/*.mk))

#: make soak             1,000 random kill -9 (KILLS=...), 200 of Kafka workers (KAFKA_KILLS=...), all stop points, a million rows of continuous aggregates (SOAK_ROWS=...), then the fuzzers for ten minutes each
soak:
	@METRICSDB_RANDOM_KILLS=$(or $(KILLS),1000) METRICSDB_KILLS=$(or $(KAFKA_KILLS),200) METRICSDB_SOAK_ROWS=$(or $(SOAK_ROWS),1000000) METRICSDB_STOPS=all TAP_SECONDS=100000 test/lib/check.sh build tap
	@$(MAKE) -s fuzz FUZZ_SECONDS=$(or $(FUZZ_SECONDS),600)

#: make lint             formatting, scripts, house rules
lint:
	@test/lib/lint.sh

#: make indent           format the C code
indent:
	clang-format -i $$(test/lib/lint.sh files)

#: make demo             a fleet's metrics from Kafka to psql, in about two minutes
demo:
	@test/demo/demo.sh

#: make demo-stop        ends a demo that was left running
demo-stop:
	@test/demo/demo.sh stop

# What demo, check and bench run: the extension in a private copy of PostgreSQL.  It needs no bitcode.
private:
	@root=$$(test/lib/cluster.sh root) && test/lib/pgroot.sh "$$root" >/dev/null && \
	$(MAKE) -s with_llvm=no all && $(MAKE) -s with_llvm=no install DESTDIR="$$root"

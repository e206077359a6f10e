# PostgreSQL's own tests on our tables; see test/torture/README.md.
.PHONY: torture torture-cold

#: make torture          PostgreSQL's regression and isolation suites with every table a metricsdb table
torture: private
	@test/torture/run.sh

#: make torture-cold     the same with each INSERT going straight to parts: crashes, internal errors, isolation
torture-cold: private
	@METRICSDB_TORTURE_COLD=1 test/torture/run.sh

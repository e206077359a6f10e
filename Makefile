# metricsdb: a metrics store for PostgreSQL.  See README.md; `make help` lists the targets.
EXTENSION    = metricsdb
EXTVERSION   = 0.1.0
MODULE_big   = metricsdb
SRC_C        = $(sort $(wildcard src/*.c src/*/*.c bgworkers/*.c))
OBJS         = $(SRC_C:.c=.o)
SQL_PARTS    = $(sort $(wildcard sql/[0-9]*.sql))
DATA_built   = sql/$(EXTENSION)--$(EXTVERSION).sql
PG_CPPFLAGS  = -Isrc -I$(libpq_srcdir) -DMDB_VERSION='"$(EXTVERSION)"'
PG_CFLAGS    = -Wextra -Wno-unused-parameter -Wno-sign-compare -Wno-missing-field-initializers -MMD -MP
SHLIB_LINK   = -lzstd -lrdkafka -lcurl -lyaml -lm
SHLIB_LINK_INTERNAL = $(libpq)
EXTRA_CLEAN  = $(DATA_built) $(OBJS:.o=.d) build/testing build/run/root build/run/root-testing results

# `make installcheck` against the server that PGHOST and PGPORT name, like any extension's.
REGRESS      = $(patsubst test/sql/%.sql,%,$(sort $(wildcard test/sql/*.sql)))
REGRESS_OPTS = --inputdir=test

# `make check` is ours: PGXS's own only says that there is none, and neither may be on the machine yet.
PG_CONFIG   ?= pg_config
ifneq ($(shell command -v $(PG_CONFIG)),)
ifeq ($(filter check,$(MAKECMDGOALS)),)
PGXS        := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)
endif
endif

# The decoders must round identically in every build, so no contraction of a*b+c.
src/codec/%.o: CFLAGS += -O3 -ffp-contract=off
# Loops over vectors, likewise.
src/exec/kernels.o src/exec/vector_eval.o: CFLAGS += -O3 -ffp-contract=off
# Buckets of sketches must be the same everywhere.
src/func/sketch.o src/func/sketch_bucket.o src/func/sketch_bytes.o: CFLAGS += -O3 -ffp-contract=off

$(DATA_built): $(SQL_PARTS)
	cat $(SQL_PARTS) > $@

# What each object was made of, so that a changed header rebuilds its users.
-include $(OBJS:.o=.d)
include $(sort $(wildcard test/make/*.mk))

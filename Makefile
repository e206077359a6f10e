# metricsdb: a metrics store for PostgreSQL.  See README.md.
EXTENSION    = metricsdb
EXTVERSION   = 0.1.0
MODULE_big   = metricsdb
SRC_C        = $(sort $(wildcard src/*.c src/*/*.c bgworkers/*.c))
OBJS         = $(SRC_C:.c=.o)
SQL_PARTS    = $(sort $(wildcard sql/[0-9]*.sql))
DATA_built   = sql/$(EXTENSION)--$(EXTVERSION).sql
PG_CPPFLAGS  = -Isrc
PG_CFLAGS    = -Wextra -Wno-unused-parameter -Wno-sign-compare -Wno-missing-field-initializers
SHLIB_LINK   = -lzstd -lrdkafka -lm
EXTRA_CLEAN  = build $(DATA_built)

PG_CONFIG   ?= pg_config
PGXS        := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

# The decoders must round identically in every build, so no contraction of a*b+c.
src/codec/%.o: CFLAGS += -O3 -ffp-contract=off

$(DATA_built): $(SQL_PARTS)
	cat $(SQL_PARTS) > $@

-include test/make/*.mk

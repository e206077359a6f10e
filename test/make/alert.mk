# The state machine of alerts, which needs no server.
build/unit/machine_test: test/unit/machine_test.c src/alert/machine.c src/alert/machine.h
	@mkdir -p $(@D)
	$(CC) -std=gnu11 -O1 -g -Wall -Wextra -Werror -Wno-unused-parameter -Wno-sign-compare -Wno-missing-field-initializers \
		-fsanitize=address,undefined -fno-sanitize-recover=undefined -Isrc \
		-I$(shell $(PG_CONFIG) --includedir-server) -o $@ $(filter %.c,$^)

.PHONY: unit-machine
unit-machine: build/unit/machine_test
	ASAN_OPTIONS=detect_leaks=0 build/unit/machine_test

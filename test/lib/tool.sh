#!/bin/sh
# tool.sh NAME: builds the C program NAME of test/lib, test/demo or test/bench if need be, prints its path.
set -eu
# shellcheck source=test/lib/env.sh
. "$(dirname "$0")/env.sh"
src=$(ls "$TOP"/test/*/"$1".c)
bin=$RUN/bin/$1
stale=$(find "${src%/*}" -maxdepth 1 \( -name "$1.c" -o -name '*.h' \) -newer "$bin" 2>/dev/null || true)
if [ ! -x "$bin" ] || [ -n "$stale" ]; then
	mkdir -p "$RUN/bin"
	# What it links beside that, from the top of the tree, stands in its head.
	links=$(sed -n 's/^ \* links: //p' "$src")
	# shellcheck disable=SC2086 # names of files, and options
	(cd "$TOP" && ${CC:-cc} -O2 -g -Wall -Wextra -Wno-unused-parameter -fno-strict-aliasing -ffp-contract=off \
		-Isrc -Itest/demo -o "$bin.$$" "$src" $links -lrdkafka -lm -lpthread)
	mv "$bin.$$" "$bin"
fi
echo "$bin"

#!/bin/sh
# asan.sh [step]...: the SQL and isolation tests, or other steps of check.sh (tap; CHECK_TAP says which files), with
# the extension built under the address and undefined-behaviour sanitizers.  In a copy of the tree, so that the usual
# build stays as it is.
set -eu
"$(dirname "$0")/deps.sh" check
# shellcheck source=test/lib/env.sh
. "$(dirname "$0")/env.sh"
copy=$RUN/asan
rm -rf "$copy"
mkdir -p "$copy"
(cd "$TOP" && tar cf - --exclude=./build --exclude=./.git --exclude='*.o' --exclude='*.d' --exclude='*.so' \
	--exclude='*.bc' .) | tar xf - -C "$copy"
mkdir -p "$copy/build/run"
if [ "$(id -u)" = 0 ]; then chown "$RUN_USER" "$copy/build/run"; fi

# The server itself is not instrumented, so the runtime must be loaded ahead of it; it leaks by design.
cc -shared -fPIC -Wl,-z,initfirst -o "$copy/asan_first.so" "$TOP/test/lib/asan_first.c"
LD_ASAN="$(cc -print-file-name=libasan.so) $(cc -print-file-name=libubsan.so) $copy/asan_first.so"
ASAN_OPTIONS=detect_leaks=0:abort_on_error=1:detect_odr_violation=0
UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
METRICSDB_RUN=$copy/build/run
export LD_ASAN ASAN_OPTIONS UBSAN_OPTIONS METRICSDB_RUN
cd "$copy"
[ $# -gt 0 ] || set -- sql isolation
exec env TAP_SECONDS=7200 COPT="-O1 -fsanitize=address,undefined -fno-sanitize-recover=undefined" CHECK_TAIL=200 \
	test/lib/check.sh build "$@"

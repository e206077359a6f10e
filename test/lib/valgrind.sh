#!/bin/sh
# valgrind.sh [test]...: SQL tests (names in test/sql, or those below) with the server under valgrind.
# Fails if a test does, or valgrind reports an error with a function of ours in its stack.
set -eu
"$(dirname "$0")/deps.sh" check
# shellcheck source=test/lib/env.sh
. "$(dirname "$0")/env.sh"
if ! command -v valgrind >/dev/null; then
	command -v apt-get >/dev/null || die "install valgrind"
	sudo=
	if [ "$(id -u)" != 0 ]; then sudo=sudo; fi
	$sudo env DEBIAN_FRONTEND=noninteractive apt-get -q -y install --no-install-recommends valgrind
fi

# In a copy of the tree, so that the usual build stays as it is.
copy=$RUN/valgrind
rm -rf "$copy"
mkdir -p "$copy"
(cd "$TOP" && tar cf - --exclude=./build --exclude=./.git --exclude='*.o' --exclude='*.d' --exclude='*.so' \
	--exclude='*.bc' .) | tar xf - -C "$copy"
mkdir -p "$copy/build/run" "$copy/valgrind.log"
if [ "$(id -u)" = 0 ]; then chown "$RUN_USER" "$copy/build/run" "$copy/valgrind.log"; fi
METRICSDB_RUN=$copy/build/run
export METRICSDB_RUN
cd "$copy"

# What pg_ctl is told to start instead of the server.
root=$(test/lib/cluster.sh root)
cat >"$copy/postgres.sh" <<END
#!/bin/sh
exec valgrind --quiet --leak-check=no --track-origins=${VALGRIND_ORIGINS:-yes} --fullpath-after= --num-callers=30 \\
	--read-var-info=no --error-limit=no --suppressions=$copy/test/lib/valgrind.supp --log-file=$copy/valgrind.log/%p \\
	$root$("${PG_CONFIG:-pg_config}" --bindir)/postgres "\$@"
END
chmod 755 "$copy/postgres.sh"

[ $# -gt 0 ] || set -- 10_basic 14_partitions 42_statistics 50_compact
tests=test/sql/00_setup.sql
for t in "$@"; do tests="$tests test/sql/$t.sql"; done
rc=0
COPT="-O1" CHECK_TAIL=200 METRICSDB_POSTGRES=$copy/postgres.sh CHECK_SQL=$tests test/lib/check.sh build sql || rc=1

# Errors are paragraphs; frames of ours say where the source lies.
found=$(find "$copy/valgrind.log" -type f -exec sed 's/^==[0-9]*== \{0,1\}//' {} + |
	awk -v top="$copy/" 'BEGIN { RS = ""; ORS = "\n\n" } index($0, top "src/") || index($0, top "bgworkers/")')
if [ -n "$found" ]; then
	printf '%s\n' "$found" | head -n 200
	echo "valgrind found errors"
	rc=1
else
	echo "valgrind: $(find "$copy/valgrind.log" -type f | wc -l) processes, no error of ours"
fi
exit $rc

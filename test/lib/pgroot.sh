#!/bin/sh
# pgroot.sh ROOT: a private copy of the installed PostgreSQL under ROOT, into which
# `make install DESTDIR=ROOT` puts the extension: nothing of the machine's own is touched.
# The server finds its folders relative to its binary, so binaries are copied, the rest linked.
# Prints the private bin folder.
set -eu
root=$1
config=${PG_CONFIG:-pg_config}
bin=$($config --bindir) lib=$($config --pkglibdir) share=$($config --sharedir)
if [ ! -x "$root$bin/postgres" ] || [ "$bin/postgres" -nt "$root$bin/postgres" ]; then
	rm -rf "$root$bin" "$root$lib" "$root$share"
	mkdir -p "$root$bin" "$root$lib" "$root$share/extension"
	cp -p "$bin"/* "$root$bin/"
	for f in "$share"/*; do [ "$(basename "$f")" = extension ] || ln -s "$f" "$root$share/"; done
fi
# Also what was installed since: other extensions.
for f in "$lib"/* "$share"/extension/*; do
	case ${f##*/} in
	metricsdb*) ;;
	*) [ -e "$root$f" ] || ln -s "$f" "$root$f" ;;
	esac
done
echo "$root$bin"

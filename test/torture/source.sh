#!/bin/sh
# source.sh: prints the folder of the source of the server's version: of PostgreSQL's own tests, that is.
# METRICSDB_PGSRC names an unpacked source tree; else Debian's source package of the server is downloaded,
# once, into the user's cache, by apt but without touching apt's own configuration or lists.  Where the
# server's very version cannot be had, the newest of the same major version serves.
# Exit status 3: the sources cannot be had here, and standard error says why.
set -eu
config=${PG_CONFIG:-pg_config}
full=$($config --version | sed 's/^PostgreSQL *\([0-9.]*\).*/\1/')
major=${full%%.*}

lacking() {
	echo "source.sh: no source of PostgreSQL $full: $*" >&2
	echo "source.sh: METRICSDB_PGSRC=/path/to/postgresql-$full names an unpacked one" >&2
	exit 3
}

whole() { [ -f "$1/src/test/regress/parallel_schedule" ] && [ -f "$1/src/test/isolation/isolation_schedule" ]; }

if [ -n "${METRICSDB_PGSRC:-}" ]; then
	whole "$METRICSDB_PGSRC" || lacking "METRICSDB_PGSRC=$METRICSDB_PGSRC has no src/test/regress"
	(cd "$METRICSDB_PGSRC" && pwd -P)
	exit
fi

cache=${XDG_CACHE_HOME:-$HOME/.cache}/metricsdb/postgresql-$full
if whole "$cache/source"; then
	echo "$cache/source"
	exit
fi
command -v apt-get >/dev/null || lacking "this is not Debian"

# Where the installed packages come from, as sources of sources.
rm -rf "$cache"
mkdir -p "$cache/lists/partial" "$cache/parts" "$cache/archives/partial"
uris=$(apt-cache policy "postgresql-$major" | sed -n 's|^ *[0-9]* \(https*://[^ ]*\) .*|\1|p' | sort -u)
[ -n "$uris" ] || lacking "apt knows no archive that has postgresql-$major"
n=0
for f in /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources; do
	if ! [ -f "$f" ] || ! grep -qF "$uris" "$f"; then continue; fi
	n=$((n + 1))
	case $f in
	*.sources) sed 's/^Types:.*/Types: deb-src/' "$f" >"$cache/parts/$n.sources" ;;
	*) sed -n 's/^deb /deb-src /p' "$f" | grep -F "$uris" >"$cache/parts/$n.list" || true ;;
	esac
done

apt() {
	program=$1
	shift
	"$program" -q -o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts="$cache/parts" \
		-o Dir::State::lists="$cache/lists" -o Dir::Cache="$cache" -o APT::Sandbox::User="$(id -un)" "$@"
}

echo "fetching the source package of PostgreSQL $full (25 MB, once)" >&2
log=$cache/log
apt apt-get update >"$log" 2>&1 || echo "apt-get update failed, going on with what it got" >&2
# The server's own version first, then from the newest on.
package=postgresql-$major
installed=$(dpkg-query -W -f '${source:Version}' "$package" 2>/dev/null || true)
known=$(apt apt-cache showsrc "$package" 2>>"$log" | sed -n 's/^Version: *//p' | sort -urV)
[ -n "$known" ] || {
	tail -n 3 "$log" >&2
	lacking "no archive offers the source package $package"
}
for version in $installed $known; do
	printf '%s\n' "$known" | grep -qxF "$version" || continue
	if (cd "$cache" && apt apt-get source --download-only "$package=$version") >>"$log" 2>&1; then
		tar=$(find "$cache" -maxdepth 1 -name '*.orig.tar.*' ! -name '*.asc' | head -n 1)
		mkdir "$cache/unpacked"
		tar xf "$tar" -C "$cache/unpacked" --strip-components=1 --wildcards '*/src/test/regress' '*/src/test/isolation'
		whole "$cache/unpacked" && mv "$cache/unpacked" "$cache/source"
		break
	fi
done
whole "$cache/source" || {
	tail -n 3 "$log" >&2
	lacking "the download failed"
}
rm -rf "$cache/lists" "$cache/parts" "$cache/archives" "$cache"/*.tar.* "$cache"/*.dsc "$cache"/*.bin
printf '%s\n' "$version" >"$cache/source/version"
echo "$cache/source"

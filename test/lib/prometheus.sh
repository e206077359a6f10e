#!/bin/sh
# prometheus.sh fetch [alertmanager]: Prometheus and promtool, or Alertmanager and amtool: 2.42 and 0.25 of Debian 12 or
# what there is; prints their folder.  The package is unpacked, not installed, so that no service is.
set -eu
# shellcheck source=test/lib/env.sh
. "$(dirname "$0")/env.sh"

[ "${1:-}" = fetch ] || die "usage: fetch [alertmanager]"
case ${2:-} in
'') package=prometheus names="prometheus promtool" size="19 MB" ;;
alertmanager) package=prometheus-alertmanager names="prometheus-alertmanager amtool" size="10 MB" ;;
*) die "usage: fetch [alertmanager]" ;;
esac
main=${names%% *}

found=yes
for name in $names; do command -v "$name" >/dev/null || found=; done
if [ -n "$found" ]; then
	dirname "$(command -v "$main")"
	exit 0
fi
dir=$RUN/$package
if ! [ -x "$dir/usr/bin/$main" ]; then
	command -v apt-get >/dev/null || die "not Debian: put $names into the path"
	echo "fetching $package ($size, once)" >&2
	rm -rf "$dir"
	mkdir -p "$dir"
	# Lists of packages may be missing or old.
	(cd "$dir" && { apt-get -qq download "$package" || { apt-get -qq update && apt-get -qq download "$package"; }; } >/dev/null 2>&1 &&
		dpkg -x "$package"_*.deb .) || die "Debian's package $package cannot be had"
	rm -f "$dir/$package"_*.deb
	chmod -R a+rX "$dir"
fi
# Debian's Alertmanager wants its templates below /usr/share: it sees the package's there, and nobody else does.
if [ "$package" = prometheus-alertmanager ] && [ ! -f "$dir/$main" ] && [ ! -d /usr/share/prometheus/alertmanager ]; then
	mv "$dir/usr/bin/$main" "$dir/$main"
	cat >"$dir/usr/bin/$main" <<-'END'
		#!/bin/sh
		dir=$(cd "$(dirname "$0")/../.." && pwd)
		exec unshare --map-root-user --mount sh -c 'mount --bind "$0/usr/share" /usr/share && exec "$0/prometheus-alertmanager" "$@"' "$dir" "$@"
	END
	chmod 755 "$dir/usr/bin/$main"
fi
as_user "$dir/usr/bin/$main" --version >/dev/null 2>&1 || die "$main of Debian's package does not run here"
echo "$dir/usr/bin"

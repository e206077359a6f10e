#!/bin/sh
# prometheus.sh fetch: Prometheus and promtool, 2.42 of Debian 12 or what there is; prints their folder.
# The package is unpacked, not installed, so that no service is.
set -eu
# shellcheck source=test/lib/env.sh
. "$(dirname "$0")/env.sh"

[ "${1:-}" = fetch ] || die "usage: fetch"
if command -v prometheus >/dev/null && command -v promtool >/dev/null; then
	dirname "$(command -v prometheus)"
	exit 0
fi
dir=$RUN/prometheus
if ! [ -x "$dir/usr/bin/prometheus" ]; then
	command -v apt-get >/dev/null || die "not Debian: put prometheus and promtool, 2.42, into the path"
	echo "fetching Prometheus (19 MB, once)" >&2
	rm -rf "$dir"
	mkdir -p "$dir"
	# Lists of packages may be missing or old.
	(cd "$dir" && { apt-get -qq download prometheus || { apt-get -qq update && apt-get -qq download prometheus; }; } >/dev/null 2>&1 &&
		dpkg -x prometheus_*.deb .) || die "Debian's package prometheus cannot be had"
	rm -f "$dir"/prometheus_*.deb
	chmod -R a+rX "$dir"
fi
echo "$dir/usr/bin"

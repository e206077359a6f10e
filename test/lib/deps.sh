#!/bin/sh
# deps.sh demo|check: installs the Debian packages that are missing, as root or by sudo.
# Looks first and touches nothing if all is there; never starts, stops or makes a cluster.
set -eu
# Not env.sh: who runs the servers is known only when PostgreSQL's package has made its user.
TOP=$(cd "$(dirname "$0")/../.." && pwd)
what=${1:-check}

die() {
	echo "deps.sh: $*" >&2
	exit 1
}

installed() { dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null | grep -qx installed; }

# PostgreSQL: whatever PG_CONFIG has server and headers of, else Debian's own version.
config=${PG_CONFIG:-pg_config}
server_missing() { ! [ -x "$($config --bindir 2>/dev/null)/postgres" ]; }
# Not --pgxs: Debian has some of it in packages without headers.
headers_missing() { ! [ -f "$($config --includedir-server 2>/dev/null)/postgres.h" ]; }

wanted="gcc make libc6-dev libzstd-dev librdkafka-dev libcurl4-openssl-dev libyaml-dev libxxhash-dev default-jre-headless maven"
if [ "$what" = check ]; then
	wanted="$wanted perl libipc-run-perl openssl python3 gdb clang clang-format shellcheck"
	# The fuzzers' runtime goes by clang's version.
	clang=$(clang -dumpversion 2>/dev/null || apt-cache depends clang 2>/dev/null | sed -n 's/.*Depends: clang-//p')
	clang=${clang%%.*}
	[ -z "$clang" ] || wanted="$wanted libclang-rt-$clang-dev"
fi

if ! command -v apt-get >/dev/null; then
	echo "not Debian: taking for granted PostgreSQL 15-18 with headers, $wanted" >&2
	exit 0
fi

missing=
for p in $wanted; do
	# A JRE or compiler of another origin will do.
	case $p in
	default-jre-headless) ! command -v java >/dev/null || continue ;;
	maven) ! command -v mvn >/dev/null || continue ;;
	esac
	installed "$p" || missing="$missing $p"
done
if server_missing || headers_missing; then
	v=$($config --version 2>/dev/null | sed -n 's/^PostgreSQL \([0-9]*\).*/\1/p')
	# A server that is there is left as it is, lest a newer one restarts what runs on it.
	if server_missing; then
		v=$(apt-cache depends postgresql 2>/dev/null | sed -n 's/.*Depends: postgresql-\([0-9]*\)$/\1/p')
		missing="$missing postgresql-${v:-15}"
	fi
	missing="$missing postgresql-server-dev-${v:-15}"
fi
# pg_cron, for the test that it calls what it is to call; where the archive has none that test is skipped.
if [ "$what" = check ]; then
	v=${v:-$($config --version 2>/dev/null | sed -n 's/^PostgreSQL \([0-9]*\).*/\1/p')}
	installed "postgresql-${v:-15}-cron" || [ -z "$(apt-cache search --names-only "^postgresql-${v:-15}-cron\$" 2>/dev/null)" ] ||
		missing="$missing postgresql-${v:-15}-cron"
fi
[ -n "$missing" ] || exit 0

sudo=
if [ "$(id -u)" != 0 ]; then
	command -v sudo >/dev/null || die "as root: apt-get install$missing"
	sudo=sudo
fi

# Debian makes and starts a cluster when it installs a server.  Say no, for this once.
no_cluster=
if ! installed "postgresql-${v:-15}" && [ ! -e /etc/postgresql-common/createcluster.d/metricsdb-check.conf ]; then
	no_cluster=/etc/postgresql-common/createcluster.d/metricsdb-check.conf
	trap '$sudo rm -f "$no_cluster"' EXIT
	$sudo mkdir -p "${no_cluster%/*}"
	echo "create_main_cluster = false" | $sudo tee "$no_cluster" >/dev/null
fi

echo "installing:$missing" >&2
log=$TOP/build/deps.log
mkdir -p "$TOP/build"
quiet_apt() {
	$sudo env DEBIAN_FRONTEND=noninteractive apt-get -q -y "$@" >>"$log" 2>&1
}
: >"$log"
quiet_apt update || echo "apt-get update failed, going on with the lists there are" >&2
# shellcheck disable=SC2086 # a list
quiet_apt install --no-install-recommends $missing || {
	tail -n 20 "$log" >&2
	die "could not install:$missing"
}

# Which clang it is shows only now, on a machine that had no package lists.
if [ "$what" = check ] && [ -z "$clang" ]; then
	clang=$(clang -dumpversion)
	quiet_apt install --no-install-recommends "libclang-rt-${clang%%.*}-dev" || true
fi

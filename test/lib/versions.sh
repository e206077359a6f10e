#!/bin/sh
# versions.sh [VERSION]...: the tests with other versions of PostgreSQL than the machine's; 17 and 18 if none is
# named.  Each in the release of Debian that has it, in a root of its own: made once, in the user's cache, from the
# machine's mirror (2 GB each; to begin anew, remove it).  Needs root, nothing of the machine is changed.
#   VERSIONS_STEPS="build sql"   steps of check.sh, else those below; VERSIONS_STEPS=sh gives a shell instead
# What is tested is a copy of the tree, build/versions/VERSION, with logs as ever in its build/check.
# Ends with the line "N passed, N failed".
set -eu
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=test/lib/env.sh
. "$here/env.sh"
cache=${XDG_CACHE_HOME:-$HOME/.cache}/metricsdb
steps=${VERSIONS_STEPS:-build sql sql_plain isolation torture tap}
tree=/srv/metricsdb

# The release of Debian whose PostgreSQL is that.
suite_of() {
	case $1 in
	15) echo bookworm ;;
	17) echo trixie ;;
	18) echo sid ;;
	*) die "no release of Debian has PostgreSQL $1: 15, 17 and 18 can be tested" ;;
	esac
}

# make_root SUITE ROOT: a minimal Debian that updates itself from where the machine does.
make_root() {
	command -v debootstrap >/dev/null || DEBIAN_FRONTEND=noninteractive apt-get -q -y install debootstrap >&2
	sites=$(apt-get indextargets --format '$(LABEL) $(SITE)' 'Created-By: Packages' 'Origin: Debian' | sort -u)
	main=$(printf '%s\n' "$sites" | sed -n 's/^Debian //p' | head -n 1)
	security=$(printf '%s\n' "$sites" | sed -n 's/^Debian-Security //p' | head -n 1)
	[ -n "$main" ] || die "apt knows no mirror of Debian"
	echo "making a root of Debian $1 from $main (once)" >&2
	rm -rf "$2.new"
	mkdir -p "${2%/*}"
	debootstrap --variant=minbase "$1" "$2.new" "$main" >"$2.log" 2>&1 || {
		tail -n 5 "$2.log" >&2
		die "debootstrap failed, see $2.log"
	}
	# Also for sources: a mirror of the archive may lack those of a security update.
	if [ "$1" != sid ] && [ -n "$security" ]; then
		echo "deb $security $1-security main" >>"$2.new/etc/apt/sources.list"
	fi
	mv "$2.new" "$2"
}

# inside ROOT COMMAND...: runs it there, in the tree.  Mounts, processes and shared memory go when it ends.
inside() {
	cp -L /etc/resolv.conf "$1/etc/resolv.conf"
	mkdir -p "$1$tree" "$1/srv/kafka"
	# shellcheck disable=SC2016 # a script for another shell
	unshare --mount --pid --ipc --fork --kill-child sh -eu -c '
		copy=$1 tree=$2 jars=$3 root=$4
		shift 4
		mount -t proc proc "$root/proc"
		mount --rbind /dev "$root/dev"
		mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
		mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
		mount --bind "$copy" "$root$tree"
		[ -z "$jars" ] || mount --bind "$jars" "$root/srv/kafka"
		# Not exec: somebody must bury the orphans.
		chroot "$root" /usr/bin/env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 TERM="${TERM:-dumb}" \
			sh -c "cd \"\$1\" && shift && \"\$@\"" sh "$tree" "$@"' sh "$copy" "$tree" "$jars" "$@"
}

# copy_tree TO: the tree as it is, without what was built from it.  What was built there stays, unless it is stale.
copy_tree() {
	mkdir -p "$1"
	find "$1" -path "$1/build" -prune -o -type f ! -name '*.[od]' -exec rm {} +
	(cd "$TOP" && tar cf - --exclude='*.[od]' --exclude='*.so' --exclude='*.bc' --exclude='metricsdb--*.sql' \
		Makefile metricsdb.control src bgworkers sql expected test) | tar xf - -C "$1"
}

# test_version VERSION
test_version() {
	suite=$(suite_of "$1")
	root=$cache/root-$suite
	copy=$TOP/build/versions/$1
	config=/usr/lib/postgresql/$1/bin/pg_config
	[ -d "$root" ] || make_root "$suite" "$root"
	copy_tree "$copy"
	set -- env PG_CONFIG="$config" CHECK_SQL="${CHECK_SQL:-}" ${jars:+KAFKA_JARS=/srv/kafka}
	if [ "$steps" = sh ]; then
		inside "$root" "$@" sh
	else
		# shellcheck disable=SC2086 # a list
		inside "$root" "$@" test/lib/check.sh $steps
	fi
}

[ "$(id -u)" = 0 ] || die "only root can make and enter a root"
jars=$("$here/kafka.sh" fetch) || jars=
passed=0 failed=0
[ $# -gt 0 ] || set -- 17 18
mkdir -p "$TOP/build/versions"
for version in "$@"; do
	echo "== PostgreSQL $version"
	log=$TOP/build/versions/$version.log
	test_version "$version" 2>&1 | tee "$log"
	counts=$(sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed$/\1 \2/p' "$log" | tail -n 1)
	# Without them it did not get so far.
	: "${counts:=0 1}"
	passed=$((passed + ${counts% *})) failed=$((failed + ${counts#* }))
done
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]

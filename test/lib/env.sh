# env.sh: sourced by the other scripts.  Says where things are and who runs the servers.
#   TOP       the source tree
#   RUN       the folder of everything that runs (clusters, brokers), owned by RUN_USER
#   RUN_USER  who runs the servers: ourselves, or, when we are root, postgres or nobody
#   WORK      TOP, or a copy of its tests that RUN_USER can read
#   as_user COMMAND...   runs it as RUN_USER
# shellcheck shell=sh

TOP=$(cd "$(dirname "$0")" && while [ ! -f metricsdb.control ] && [ "$PWD" != / ]; do cd .. || exit 1; done && pwd -P)
RUN_USER=$(id -un)
if [ "$(id -u)" = 0 ]; then
	RUN_USER=nobody
	if id postgres >/dev/null 2>&1; then RUN_USER=postgres; fi
fi

RUN=/

as_user() {
	if [ "$(id -un)" = "$RUN_USER" ]; then
		"$@"
	else
		# Not from a folder it may not enter.
		(cd "$RUN" 2>/dev/null || cd / &&
			exec setpriv --reuid="$RUN_USER" --regid="$(id -g "$RUN_USER")" --clear-groups \
				env HOME="$RUN" USER="$RUN_USER" LOGNAME="$RUN_USER" "$@")
	fi
}

# Everything runs under build/.  If that is where RUN_USER may not go (a clone in /root), it runs
# under /var/tmp instead, and build/run points there.
RUN=${METRICSDB_RUN:-$TOP/build/run}
WORK=$TOP
[ -n "${METRICSDB_RUN:-}" ] || mkdir -p "$TOP/build"
if [ -z "${METRICSDB_RUN:-}" ] && ! as_user test -r "$TOP/metricsdb.control" 2>/dev/null; then
	RUN=/var/tmp/metricsdb-$(id -u)-$(printf %s "$TOP" | cksum | cut -d' ' -f1)
	WORK=$RUN/tree
	ln -sfn "$RUN" "$TOP/build/run"
fi
if [ ! -d "$RUN" ]; then
	mkdir -m 755 "$RUN"
	if [ "$(id -u)" = 0 ]; then chown "$RUN_USER" "$RUN"; fi
fi

die() {
	echo "$(basename "$0"): $*" >&2
	exit 1
}

# Someone else's folder of that name in /var/tmp would be a trap.
[ "$(stat -c %U "$RUN")" = "$RUN_USER" ] || die "$RUN belongs to $(stat -c %U "$RUN"), not to $RUN_USER: remove it"

#!/bin/sh
# cluster.sh: throw-away clusters of the private PostgreSQL root (see pgroot.sh).
#   root                           prints the private root's folder
#   start DIR [setting=value]...   makes the cluster if it is not there, starts it
#   stop DIR [fast|immediate]      stops it
#   drop DIR                       and removes it
#   psql DIR ARGS...               psql as the superuser
#   sh DIR COMMAND...              any client program, its PG* environment set
#   env DIR                        that environment, to eval
#   socket DIR                     the folder of its socket
#   pid DIR                        the postmaster's process id, fails if it is not running
# No TCP: the socket lies in the cluster's folder, which only its owner (and root) may enter.
set -eu
# shellcheck source=test/lib/env.sh
. "$(dirname "$0")/env.sh"
root=${METRICSDB_ROOT:-$RUN/root}
bin=$root$("${PG_CONFIG:-pg_config}" --bindir)

running() { pid=$(as_user head -n 1 "$dir/data/postmaster.pid" 2>/dev/null) && [ -d "/proc/$pid" ]; }

socket_dir() {
	# A socket's path has room for 107 bytes.
	if [ ${#dir} -lt 80 ]; then
		echo "$dir/socket"
	else
		echo "/tmp/metricsdb-$(id -u "$RUN_USER")-$(printf %s "$dir" | cksum | cut -d' ' -f1)"
	fi
}

export_env() {
	PGHOST=$(socket_dir) PGPORT=5432 PGUSER=postgres PGDATABASE=postgres
	export PGHOST PGPORT PGUSER PGDATABASE
}

make_cluster() {
	as_user mkdir -p "$dir"
	as_user chmod 700 "$dir"
	# shellcheck disable=SC2086 # options
	as_user "$bin/initdb" -D "$dir/data" -U postgres -A trust -E UTF8 --no-locale --no-sync ${METRICSDB_INITDB:-} >"$RUN/initdb.log" 2>&1 || {
		cat "$RUN/initdb.log" >&2
		die "initdb failed"
	}
	echo "include_if_exists '../settings.conf'" | as_user tee -a "$dir/data/postgresql.conf" >/dev/null
}

start() {
	if running; then return; fi
	[ -f "$dir/data/postgresql.conf" ] || make_cluster
	as_user mkdir -m 700 -p "$(socket_dir)"
	{
		echo "listen_addresses = ''"
		echo "unix_socket_directories = '$(socket_dir)'"
		echo "log_line_prefix = '%m [%p] %b '"
		for s in "$@"; do echo "${s%%=*} = '${s#*=}'"; done
	} | as_user tee "$dir/settings.conf" >/dev/null
	# LD_ASAN: what is loaded first: the sanitizers' runtime, see asan.sh, or another clock.  METRICSDB_POSTGRES: what is started, see valgrind.sh.
	as_user env LD_PRELOAD="${LD_ASAN:-}" "$bin/pg_ctl" -D "$dir/data" -l "$dir/log" -p "${METRICSDB_POSTGRES:-$bin/postgres}" -w -t 60 start >/dev/null || {
		as_user tail -n 20 "$dir/log" >&2
		die "the cluster did not start, see $dir/log"
	}
}

stop() {
	if running; then as_user "$bin/pg_ctl" -D "$dir/data" -m "${1:-fast}" -w -t 120 stop >/dev/null; fi
}

verb=${1:-}
if [ "$verb" = root ]; then
	echo "$root"
	exit
fi
[ $# -ge 2 ] || die "usage: root | start|stop|drop|psql|sh|env|pid DIR [...]"
case $2 in
/*) dir=$2 ;;
*) dir=$PWD/$2 ;;
esac
shift 2
case $verb in
start) start "$@" ;;
stop) stop "$@" ;;
drop)
	stop immediate
	rm -rf "$dir" "$(socket_dir)"
	;;
psql)
	export_env
	exec "$bin/psql" -X "$@"
	;;
sh)
	export_env
	PATH=$bin:$PATH
	export PATH
	exec "$@"
	;;
env)
	export_env
	echo "PGHOST='$PGHOST' PGPORT=5432 PGUSER=postgres PGDATABASE=postgres PATH='$bin':\$PATH"
	echo "export PGHOST PGPORT PGUSER PGDATABASE PATH"
	;;
socket) socket_dir ;;
pid) running && echo "$pid" ;;
*) die "unknown verb $verb" ;;
esac

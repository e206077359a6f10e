#!/bin/sh
# tap.sh FILE.pl: one TAP test, for at most TAP_SECONDS.  One that takes longer hangs: it fails, says on stderr what each
# of its processes is at, and they are ended.  So is what it leaves behind that has its output, for whose end prove waits.
set -u
name=$(basename "$1" .pl)
limit=${TAP_SECONDS:-1500}

# Its servers' processes: data folders are named after the test.
servers() {
	for pid in $(pgrep -f "/t_${name}_"); do
		echo "$pid"
		pgrep -P "$pid"
	done
}

report() {
	echo "$name hangs, it is there since $limit s"
	ps -eo pid,ppid,etimes,stat,wchan:24,args --forest --ppid 2 -p 2 --deselect | cut -c 1-200
	for pid in $(servers); do
		[ "$(cat "/proc/$pid/comm" 2>/dev/null)" = postgres ] || continue
		tr '\0' ' ' <"/proc/$pid/cmdline"
		echo
		timeout 20 gdb -p "$pid" -batch -ex 'bt 25' 2>/dev/null | grep '^#'
	done
}

perl "$@" &
test=$!
(
	sleep "$limit" &
	trap 'kill $! 2>/dev/null; exit' TERM
	wait $!
	echo "not ok 1000000 - $name ends within $limit s"
	report 2>&1 | sed 's/^/# HANG /' >&2
	# shellcheck disable=SC2046 # pids
	kill -9 $(servers) "$test" 2>/dev/null
) &
watch=$!
trap 'kill -TERM "$test" "$watch" 2>/dev/null' INT TERM
wait "$test"
rc=$?
if kill "$watch" 2>/dev/null; then wait "$watch"; fi
out=$(readlink "/proc/$$/fd/1")
for left in /proc/[0-9]*; do
	pid=${left#/proc/}
	case $out in pipe:*) ;; *) break ;; esac
	if [ "$pid" != $$ ] && [ "$(readlink "$left/fd/1" 2>/dev/null)" = "$out" ] && [ "$(cut -d' ' -f4 "$left/stat" 2>/dev/null)" != $$ ]; then
		echo "# HANG $name has left behind $pid: $(tr '\0' ' ' <"$left/cmdline")" >&2
		kill -9 "$pid"
		[ $rc != 0 ] || rc=1
	fi
done
exit $rc

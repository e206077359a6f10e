#!/bin/sh
# lint.sh: formatting, scripts and house rules.  `lint.sh files` lists our C files.
set -eu
# shellcheck source=test/lib/env.sh
. "$(dirname "$0")/env.sh"
cd "$TOP"
passed=0 failed=0

c_files() { find src bgworkers test -name '*.[ch]' 2>/dev/null | sort; }

if [ "${1:-}" = files ]; then
	c_files
	exit
fi

# check WHAT COMMAND...: one rule; says which it was if it is broken.
check() {
	what=$1
	shift
	if "$@"; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		echo "broken: $what"
	fi
}

# none COMMAND...: true if the command prints nothing.
none() {
	out=$("$@") || true
	[ -z "$out" ] || {
		printf '%s\n' "$out"
		return 1
	}
}

formatted() {
	# shellcheck disable=SC2046 # our file names have no blanks
	clang-format --dry-run -Werror $(c_files) 2>&1 | grep 'error: code' | cut -d: -f1 | sort | uniq -c | sort -rn
}

long_files() {
	find . \( -path ./build -o -path ./.git -o -path ./expected -o -path ./results \) -prune -o \
		-type f \( -name '*.[ch]' -o -name '*.sql' -o -name '*.sh' -o -name '*.pl' -o -name '*.md' \) -print |
		grep -v '^./sql/metricsdb--' | xargs wc -l | awk '$2 != "total" && $1 > 1000 { print $2 ": " $1 " lines" }'
}

without_readme() {
	for d in src src/*/ bgworkers; do
		[ ! -d "$d" ] || [ -f "$d/README.md" ] || echo "$d has no README.md"
	done
}

# Every function, view, procedure and table of sql/ has its COMMENT.
without_comment() {
	cat sql/[0-9]*.sql | tr -s '[:space:]' ' ' | tr ';' '\n' | awk '
		BEGIN { IGNORECASE = 1 }
		{ sub(/^ *(--[^\n]*)? */, "") }
		match($0, /CREATE (OR REPLACE )?(FUNCTION|PROCEDURE|AGGREGATE|VIEW|TABLE|SEQUENCE) +(IF NOT EXISTS +)?[a-z_0-9.]+/) {
			s = substr($0, RSTART, RLENGTH); n = split(s, w, " "); name = w[n]; sub(/^metricsdb\./, "", name); made[name] = 1 }
		match($0, /COMMENT ON (FUNCTION|PROCEDURE|AGGREGATE|VIEW|TABLE|SEQUENCE|MATERIALIZED VIEW) +[a-z_0-9.]+/) {
			s = substr($0, RSTART, RLENGTH); n = split(s, w, " "); name = w[n]; sub(/^metricsdb\./, "", name); said[name] = 1 }
		END { for (n in made) if (!(n in said)) print n " has no COMMENT" }'
}

# The points in the code are those of the list in src/stop.c.
stop_points() {
	listed=$(sed -n 's/^\t"\([a-z._]*\):[swkaevd]*",$/\1/p' src/stop.c | sort)
	passed_by=$(grep -rhoE --include='*.c' 'MDB_STOP\("[^"]*"\)' src bgworkers | cut -d'"' -f2 | sort -u)
	[ "$listed" = "$passed_by" ] || printf 'listed:\n%s\npassed:\n%s\n' "$listed" "$passed_by"
}

# PostgreSQL has ten places for these in a backend: see inval.c.
relcache_callbacks() { grep -rn --include='*.c' CacheRegisterRelcacheCallback src bgworkers | grep -v '^src/inval.c'; }

scripts() { find test .ci -name '*.sh' -o -path .ci/run; }

# Other versions of clang-format lay some lines out otherwise.
if clang-format --version 2>/dev/null | grep -q 'version 14\.'; then
	check "C formatting (make indent mends it)" none formatted
else
	echo "no clang-format 14 here: formatting not checked"
fi
if command -v shellcheck >/dev/null; then
	# Allowed: test -nt (dash has it), variables that a sourcing script uses, quoted inner scripts.
	# shellcheck disable=SC2046
	check "shellcheck" shellcheck -x -e SC3013,SC2034,SC2016 $(scripts)
else
	echo "no shellcheck here: scripts not checked"
fi
check "no file above 1,000 lines" none long_files
check "each folder of src has its README.md" none without_readme
check "each SQL object has its COMMENT" none without_comment
check "one relation cache callback for all of us" none relcache_callbacks
check "stop points are listed once, and listed ones are in the code" none stop_points
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]

-- The sections of the tests that run one script on several kinds of tables are the same.
\! cd "${PG_ABS_BUILDDIR:-.}/results" && for f in [12]*.out; do awk '/^=== /{n++; next} n > 0 && n < 4 {s[n] = s[n] $0 "\n"} END {if (n == 4) print FILENAME ": " (s[1] == s[2] && s[1] == s[3] && length(s[1]) > 200 ? "equal" : "DIFFERENT")}' "$f"; done

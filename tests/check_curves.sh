#!/bin/sh
# data/curves.sh: two lines a log, at places worked out by hand; what is wrong is one line.
cd "$(dirname "$0")/.." || exit 1
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
bad=0
fail() { echo "not so: $*"; bad=1; }
mkdir "$dir/a" "$dir/b"
printf 'iteration,d,r\n1,0,5\n2,2,5\n' >"$dir/a/log.csv"          # means of d: 0, 1; so the axis is -0.6 .. 1.6
printf 'iteration,d,r\n1,0,7\n4,0,7\n' >"$dir/b/log.csv"
sh data/curves.sh d "$dir/a/log.csv" "$dir/b/log.csv" >"$dir/svg" || fail "two logs are drawn"
[ "$(grep -c '<polyline' "$dir/svg")" -eq 4 ] || fail "each has its values and their means"
# x = 60 + 720 i/4, y = 20 + 240 (1.6 - v)/2.2
grep -q 'points="240.0,194.5 420.0,20.0 "' "$dir/svg" || fail "a's values: 0, and 2 at the upper edge"
grep -q 'points="240.0,194.5 420.0,85.5 "' "$dir/svg" || fail "a's means: 0 and 1"
grep -q 'points="240.0,194.5 780.0,194.5 "' "$dir/svg" || fail "b is 0"
grep -q '>d: a<' "$dir/svg" && grep -q '>d: b<' "$dir/svg" || fail "the lines are named by their folders"
said=$(sh data/curves.sh d "$dir/c/log.csv" 2>&1 >/dev/null) && fail "a missing log is a failure"
case $said in curves.sh:*cannot\ be\ read) ;; *) fail "it is told: $said" ;; esac
said=$(sh data/curves.sh x "$dir/a/log.csv" 2>&1 >/dev/null) && fail "a missing column is a failure"
case $said in curves.sh:*no\ column\ x) ;; *) fail "it is told: $said" ;; esac
exit $bad

#!/bin/sh
# mutants.sh [WORD]: does every one-line fault of mutants.txt and mutants_fast.txt (those that hold WORD) turn a check red?
#
# A check is a program of build/tests/, or ENGINE/PART for `icd verify --engine ENGINE --only PART`. Two copies of the tree in a
# temporary folder take turns: break one line, make, run the checks named, mend. Exit 0 if every mutant was caught; a mutant
# that survives, does not compile, or whose expression does not change exactly one line is told.
set -u
cd "$(dirname "$0")/.." || exit 1
work=$(mktemp -d "${TMPDIR:-/tmp}/icd-mutants.XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM

cat tests/mutants.txt tests/mutants_fast.txt | grep -v '^#' | grep '|' | grep -e "${1:-}" >"$work/list"
checks=$(cut -d '|' -f 2 "$work/list" | tr ' ' '\n' | sed '/^$/d' | sort -u)

build() { make -s B=build EXE=build/icd OPT="${OPT:--O1}" "$@" >"$work/make.$slot" 2>&1; }
limited() { if command -v timeout >/dev/null; then timeout 300 "$@"; else "$@"; fi >/dev/null 2>&1; }
program() { case $1 in */*) echo build/icd ;; *) echo "build/tests/$1" ;; esac; }
run() { case $1 in */*) limited build/icd verify --engine "${1%/*}" --only "${1#*/}" ;; *) limited "build/tests/$1" ;; esac; }

# The tree as it is must be green, or red would mean nothing.
mkdir "$work/0" && cp -Rp Makefile common ref fast verify cli tests icd.c "$work/0" && cd "$work/0" || exit 1
slot=0
# shellcheck disable=SC2046
MAKEFLAGS=-j2 build $(for c in $checks; do program "$c"; done | sort -u) || { cat "$work/make.0"; echo "the tree does not build"; exit 1; }
for c in $checks; do
    run "$c" || { echo "$c is red before anything is broken"; exit 1; }
done
cp -Rp "$work/0" "$work/1"

# try N FILE CHECKS EXPRESSION: one line `caught` or `SURVIVED` with what was done.
try() {
    cp "$2" "$work/whole.$slot"
    sed "$4" "$work/whole.$slot" >"$2"
    verdict=SURVIVED why=
    if [ "$(diff "$work/whole.$slot" "$2" | grep -c '^[<>]')" -ne 2 ]; then
        why=' (does not change exactly one line)'
    else
        for c in $3; do
            build "$(program "$c")" || { why=' (does not compile)'; break; }
            run "$c"
            rc=$?
            [ $rc -ne 0 ] && [ $rc -ne 77 ] && { verdict=caught; break; }
        done
    fi
    echo "$verdict $1 $2: $4$why"
    cp "$work/whole.$slot" "$2"
}

# Mutants slot, slot + 2, slot + 4 ...
all_of() {
    cd "$work/$slot" || exit 1
    n=0
    while IFS='|' read -r file checks expression; do
        n=$((n + 1))
        expression=${expression# }
        [ $((n % 2)) -eq "$slot" ] && try $n ${file} "$checks" "$expression"
    done <"$work/list"
}
(slot=1; all_of >"$work/result.1") &
slot=0
all_of >"$work/result.0"
wait

cat "$work/result.0" "$work/result.1" | grep '^SURVIVED' | sort -n -k 2
caught=$(cat "$work/result.0" "$work/result.1" | grep -c '^caught')
survived=$(cat "$work/result.0" "$work/result.1" | grep -c '^SURVIVED')
echo "mutants $caught caught, $survived survived"
[ "$survived" -eq 0 ] && [ "$caught" -gt 0 ]

#!/bin/sh
# mutants.sh [LIST.txt ...] [WORD]: does every one-line fault of the lists (those that hold WORD) turn a check red? If none
# is named: of mutants.txt and mutants_fast.txt. EVERY=2: every second one.
#
# A check is a program of build/tests/, or ENGINE/PART for `icd verify --engine ENGINE --only PART`, which is red as soon as one
# row is, or the emulator tells a fault; checked:ENGINE/PART is the same by the build EMULATE=checked. Two copies of the tree in
# a temporary folder take turns: break one line, make, run the checks named, mend. Exit 0 if every mutant was caught; a mutant
# that survives, does not compile, or whose expression does not change exactly one line is told.
set -u
cd "$(dirname "$0")/.." || exit 1
work=$(mktemp -d "${TMPDIR:-/tmp}/icd-mutants.XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM

lists=
while case ${1:-} in *.txt) ;; *) false ;; esac; do
    lists="$lists $1"
    shift
done
# shellcheck disable=SC2086
cat ${lists:-tests/mutants.txt tests/mutants_fast.txt} | grep -v '^#' | grep '|' | grep -e "${1:-}" |
    awk -v n="${EVERY:-1}" 'NR % n == 0' >"$work/list"
checks=$(cut -d '|' -f 2 "$work/list" | tr ' ' '\n' | sed '/^$/d' | sort -u)
case $checks in *cuda-emulated*) emulate=1 ;; *) emulate=0 ;; esac

program() {
    case $1 in
    checked:*) echo build/icd-checked ;;
    */*) echo build/icd ;;
    *) echo "build/tests/$1" ;;
    esac
}
# build PROGRAM...: those of the checked build by themselves
build() {
    case $1 in *-checked) with="EMULATE=checked EXE=$1" ;; *) with="EMULATE=$emulate EXE=build/icd" ;; esac
    # shellcheck disable=SC2086
    make -s B=build $with OPT="${OPT:--O1}" "$@" >"$work/make.$slot" 2>&1
}
# limited SECONDS COMMAND...: its exit status after `exit`, unless it is stopped after SECONDS of the processor's, or of 600
limited() {
    (ulimit -S -t "$1"; shift; if command -v timeout >/dev/null; then exec timeout 600 "$@"; else exec "$@"; fi) 2>&1
    case $? in 0 | 77 | 152) ;; *) echo "exit not 0" ;; esac
}
# red CHECK SECONDS
red() {
    part=${1#checked:}
    case $1 in
    */*) limited "$2" "$(program "$1")" verify --engine "${part%/*}" --only "${part#*/}" 2>/dev/null ;;
    *) limited "$2" "$(program "$1")" 2>/dev/null | grep '^exit not 0' ;;
    esac | grep -q -e 'NOT <=' -e '^cuda-emulated: ' -e '^exit not 0'
}

# The tree as it is must be green, or red would mean nothing: all of it, or of what is emulated the first ten seconds.
mkdir "$work/0" && cp -Rp Makefile common ref fast verify cli tests icd.c "$work/0" && cd "$work/0" || exit 1
slot=0
# shellcheck disable=SC2046
programs=$(for c in $checks; do program "$c"; done | sort -u)
for p in $(echo "$programs" | grep -v checked | tr '\n' ',') $(echo "$programs" | grep checked); do
    # shellcheck disable=SC2046
    MAKEFLAGS=-j2 build $(echo "$p" | tr ',' ' ') || { cat "$work/make.0"; echo "the tree does not build"; exit 1; }
done
green=300
[ $emulate -eq 0 ] || green=10
greens() {
    n=0
    for c in $checks; do
        n=$((n + 1))
        [ $((n % 2)) -eq "$1" ] && red "$c" $green && echo "$c is red before anything is broken"
    done
}
greens 1 >"$work/red.1" &
greens 0 >"$work/red.0"
wait
cat "$work/red.0" "$work/red.1"
[ ! -s "$work/red.0" ] && [ ! -s "$work/red.1" ] || exit 1
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
            red "$c" 300 && { verdict=caught; break; }
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

#!/bin/sh
# run.sh [SECONDS]: every tests/fuzz/fuzz_*.c for SECONDS (60) each, two at a time, with address and undefined-behaviour
# sanitizers. A line each; exit 0, 1 after a crash, a leak or an input that takes 10 seconds (the input is printed), or 77
# where clang has no fuzzer. Debian: clang, libclang-rt-14-dev.
seconds=${1:-60}
top=$(cd "$(dirname "$0")/../.." && pwd) && cd "$top" || exit 1
clang=${CLANG:-clang}
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM
flags="-std=c99 -O1 -g -ffp-contract=off -D_POSIX_C_SOURCE=200809L -D_FILE_OFFSET_BITS=64 -I. -fno-sanitize-recover=all"

printf '#include <stddef.h>\nint LLVMFuzzerTestOneInput(const unsigned char *p, size_t n) { return p && n > 9999; }\n' >"$work/try.c"
"$clang" -fsanitize=fuzzer "$work/try.c" -o "$work/try" 2>/dev/null || { echo "$clang cannot link -fsanitize=fuzzer"; exit 77; }

mkdir "$work/common"
for f in common/*.c; do
    "$clang" $flags -fsanitize=fuzzer-no-link,address,undefined -c "$f" -o "$work/$f.o" || exit 1
done

# one NAME: build and run a harness; its line goes to NAME.line, which begins with ok or FAILED.
one() {
    name=$1
    "$clang" $flags -fsanitize=fuzzer,address,undefined "tests/fuzz/fuzz_$name.c" "$work"/common/*.o -o "$work/$name" -lm -lpthread ||
        { echo "FAILED fuzz_$name: does not build" >"$work/$name.line"; return; }
    sh tests/fuzz/seeds.sh "$name" "$work/$name.seeds" || { echo "FAILED fuzz_$name: no seeds" >"$work/$name.line"; return; }
    mkdir "$work/$name.found"
    if "$work/$name" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=8192 -print_final_stats=1 \
            -artifact_prefix="$work/$name.bad-" "$work/$name.found" "$work/$name.seeds" >"$work/$name.log" 2>&1; then
        runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$work/$name.log")
        cover=$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$work/$name.log" | tail -n 1)
        echo "ok     fuzz_$name: $runs inputs, $cover edges" >"$work/$name.line"
    else
        {
            echo "FAILED fuzz_$name"
            tail -n 60 "$work/$name.log"
            for bad in "$work/$name".bad-*; do
                [ -f "$bad" ] && { echo "the input, base64:"; base64 "$bad"; }
            done
        } >"$work/$name.line"
    fi
}

first=
for f in tests/fuzz/fuzz_*.c; do
    name=${f#tests/fuzz/fuzz_}; name=${name%.c}
    one "$name" &
    if [ -n "$first" ]; then
        wait "$first" "$!"
        first=
    else
        first=$!
    fi
done
wait

rc=0 ran=0
for f in tests/fuzz/fuzz_*.c; do
    name=${f#tests/fuzz/fuzz_}; name=${name%.c}
    cat "$work/$name.line" || rc=1
    case $(head -n 1 "$work/$name.line") in ok*) ran=$((ran + 1)) ;; *) rc=1 ;; esac
done
echo "$ran harnesses ran $seconds seconds each without a fault"
exit $rc

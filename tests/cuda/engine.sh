#!/bin/sh
# engine.sh: the engine cuda-emulated by `icd verify` in other orders of threads, blocks and work, under the checker of every
# access, and under the address and undefined-behaviour sanitizers. B has the three builds: make cuda-emulate-engine.
# JOBS (2) at a time. A line a run: build, order, engine, what was compared; ends in one line of totals.
if [ "$1" = --one ]; then        # BUILD ORDER ENGINE ONLY
    log=$(mktemp "$counted.XXXXXX")
    run="$2, $3: $4 $5"
    start=$(date +%s)
    ICD_EMULATE=$3 "$B/icd-$2" verify --engine "$4" --only "$5" >"$log" 2>&1
    rc=$?
    rows=$(sed -n 's/^verify  *\([0-9]* passed\), 0 failed$/\1/p' "$log")
    if [ $rc -eq 0 ] && [ -n "$rows" ] && ! grep -q '^cuda-emulated: ' "$log"; then
        echo "passed   $run: $rows, $(($(date +%s) - start)) s"
        echo passed >>"$counted"
    else
        grep -e 'NOT <=' -e '^cuda-emulated: ' -e '^icd: ' -e 'ERROR: ' -e 'runtime error' "$log" | head -n 20
        echo "FAILED   $run (exit $rc)"
        echo FAILED >>"$counted"
    fi
    rm -f "$log"
    exit 0
fi

export B="${B:-build/engine}" counted="${B:-build/engine}/counts"
# Three iterations of a multi-scale net with attention, chains, KL term and update, in each precision. Of the slots: all in
# fp32, where nothing hides an error; convolutions, which alone differ, in the others.
runs() {
    e=cuda-emulated
    echo "checked random:4 $e slots"
    for engine in $e $e:tf32 $e:bf16; do
        for build in checked sanitized; do echo "$build forward $engine training:3"; done
        for order in reverse random:1 random:2 random:3; do echo "plain $order $engine training:3"; done
    done
    echo "sanitized forward $e slots"
    echo "checked random:5 $e:bf16 conv_"
    echo "plain random:6 $e:tf32 conv_"
    echo "checked reverse $e derivatives:code-cifar10"
}
: >"$counted"
runs | xargs -n 4 -P "${JOBS:-2}" sh "$0" --one
awk -v runs="$(runs | wc -l)" '{ n[$1]++ } END {
    printf "%d passed, %d failed\n", n["passed"], runs - n["passed"]
    exit n["passed"] < runs
}' "$counted"

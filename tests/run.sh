#!/bin/sh
# run.sh TEST...: run each test program or check_*.sh; exit 0 passed, 1 failed, 77 skipped (and skipped is not passed).
# RUN=qemu-s390x-static (say) runs the programs under an emulator.
# Programs print "suite N passed, M failed"; a script counts as one. Ends in one line of totals.
passed=0 failed=0 skipped=0
log=${B:-build}/tests/last.log
if [ -n "$RUN" ]; then
    wrapper=${B:-build}/emulated-icd
    printf '#!/bin/sh\nexec %s "%s" "$@"\n' "$RUN" "$EXE" >"$wrapper"
    chmod +x "$wrapper"
    EXE=$wrapper
fi
for t in "$@"; do
    case $t in *.sh) sh "$t" >"$log" 2>&1 ;; *) $RUN "$t" >"$log" 2>&1 ;; esac
    rc=$?
    counts=$(sed -n 's/.* \([0-9][0-9]*\) passed, \([0-9][0-9]*\) failed$/\1 \2/p' "$log" | tail -n 1)
    case $t in *.sh) counts= ;; esac
    if [ $rc -eq 77 ]; then
        skipped=$((skipped + 1)); echo "skipped  $t: $(tail -n 1 "$log")"
    elif [ $rc -eq 0 ]; then
        set -- ${counts:-1 0}
        passed=$((passed + $1)); echo "passed   $t: $1"
    else
        cat "$log"
        [ -n "$counts" ] && [ "${counts#* }" -gt 0 ] || counts="0 1"
        set -- $counts
        passed=$((passed + $1)); failed=$((failed + $2)); echo "FAILED   $t (exit $rc)"
    fi
done
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed -eq 0 ]

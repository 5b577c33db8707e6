#!/bin/sh
# run.sh TEST...: run each test program or check_*.sh, JOBS (2) at a time; exit 0 passed, 1 failed, 77 skipped (not passed).
# RUN=qemu-s390x-static (say) runs the programs under an emulator.
# Programs print "suite N passed, M failed"; a script counts as one. Ends in one line of totals.
if [ "$1" = --one ]; then        # TEST: one line for people; its counts go to $counted, "passed failed skipped"
    log=$(mktemp "$counted.XXXXXX")
    case $2 in *.sh) sh "$2" ;; *) $RUN "$2" ;; esac >"$log" 2>&1
    rc=$?
    counts=$(sed -n 's/.* \([0-9][0-9]*\) passed, \([0-9][0-9]*\) failed$/\1 \2/p' "$log" | tail -n 1)
    case $2 in *.sh) counts= ;; esac
    if [ $rc -eq 77 ]; then
        said="skipped  $2: $(tail -n 1 "$log")"
        counts="0 0 1"
    elif [ $rc -eq 0 ]; then
        counts=${counts:-1 0}
        said="passed   $2: ${counts% *}"
    else
        [ -n "$counts" ] && [ "${counts#* }" -gt 0 ] || counts="0 1"
        said="$(cat "$log")
FAILED   $2 (exit $rc)"
    fi
    echo "$said"
    echo "$counts" >>"$counted"
    exit 0
fi

export RUN counted="${B:-build}/tests/counts"
mkdir -p "${B:-build}/tests"
: >"$counted"
if [ -n "$RUN" ]; then
    wrapper=${B:-build}/emulated-icd
    printf '#!/bin/sh\nexec %s "%s" "$@"\n' "$RUN" "$EXE" >"$wrapper"
    chmod +x "$wrapper"
    EXE=$wrapper
fi
printf '%s\n' "$@" | xargs -n 1 -P "${JOBS:-2}" sh "$0" --one
rm -f "$counted".*
awk -v tests=$# '{ p += $1; f += $2; s += $3 } END {
    f += tests - NR                     # what told no counts has failed
    print p + 0 " passed, " f + 0 " failed, " s + 0 " skipped"
    exit (f > 0)
}' "$counted"

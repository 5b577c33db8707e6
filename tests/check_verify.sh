#!/bin/sh
# `icd verify` as a command: exit status, parts, JSON, engines that this machine cannot run.
. "$(dirname "$0")/lib.sh"
trap 'rm -rf "$dir"' EXIT

# status WANTED WORD ARGUMENTS: exit status, and a word of what is said
status()
{
    wanted=$1 word=$2
    shift 2
    $EXE verify "$@" >"$dir/out" 2>&1
    rc=$?
    [ $rc -eq "$wanted" ] || fail "verify $* exits with $wanted (it was $rc)"
    grep -q -e "$word" "$dir/out" || fail "verify $* says $word"
}
status 0 'slots of portable: [0-9]* passed, 0 failed' --engine cpu:portable --only langevin
status 0 'verify  *[0-9]* passed, 0 failed'           --engine cpu --only adam
status 0 'training: 3 iterations.*with attention'     --engine cpu:portable --only 'training:3 iter'
status 1 'nothing of that name'                       --engine cpu:portable --only 'engine:no such model'
status 1 'nothing of that name'                       --engine cpu:portable --only 'no such slot'
status 1 'ref and ref64'                              --engine toaster
status 1 'no engine .cuda:toaster'                    --engine cuda:toaster
status 1 "no engine 'cpu:'"                           --engine cpu:
status 1 'has none'                                   --engine ref --only conv
status 1 'set is not wanted'                          --engine cpu --set filters=3
status 1 'no engine .cpu:toaster'                     --engine cpu:toaster

# one of these is for another processor
foreign=0
for engine in cpu:avx2 cpu:neon; do
    $EXE verify --engine $engine --only dot >/dev/null 2>&1
    case $? in 0) ;; 77) foreign=$((foreign + 1)) ;; *) fail "$engine is verified or could not run" ;; esac
done
[ $foreign -gt 0 ] || fail "a table for another processor exits with 77"

$EXE verify --engine cpu:portable --only dot --json >"$dir/out.json" || fail "--json exits with 0"
rows=$(grep -c '"reason": ".*"passed": true}' "$dir/out.json")
grep -q "\"passed\": $rows, \"failed\": 0}" "$dir/out.json" || fail "--json counts its rows"
if python3 -c '' 2>/dev/null; then
    python3 -c 'import json, sys; d = json.load(sys.stdin); sys.exit(not (d["engine"] == "cpu:portable" and d["failed"] == 0
        and len(d["comparisons"]) == d["passed"] > 4 and all(c["error"] <= c["bound"] for c in d["comparisons"])))' \
        <"$dir/out.json" || fail "--json is JSON"
fi
[ $bad -eq 0 ]

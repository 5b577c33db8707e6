#!/bin/sh
# Every expression of the mutants' lists still changes exactly one line of its file; `make mutants` runs them.
cd "$(dirname "$0")/.." || exit 1
bad=0 good=0
while IFS='|' read -r file checks expression; do
    case $file in \#* | "") continue ;; esac
    file=${file% }
    if [ "$(sed "${expression# }" "$file" | diff "$file" - | grep -c '^[<>]')" -eq 2 ]; then
        good=$((good + 1))
    else
        echo "not so: one line of $file is changed by ${expression# }"
        bad=$((bad + 1))
    fi
done <<END
$(cat tests/mutants*.txt)
END
[ $bad -eq 0 ] && [ $good -gt 0 ]

#!/bin/sh
# curves.sh COLUMN LOG...: a column of runs' log.csv against the iteration, as an SVG on standard output. Faint: every iteration;
# bold: the mean of the last 50.
#     data/curves.sh d runs/mnist/log.csv runs/mnist-no-kl/log.csv >curves.svg
[ $# -ge 2 ] || { sed -n 's/^# \{0,1\}//p' "$0" | head -n 3; exit 1; }
column=$1
shift
for log in "$@"; do
    [ -r "$log" ] || { echo "curves.sh: $log cannot be read" >&2; exit 1; }
    head -n 1 "$log" | tr ',' '\n' | grep -qx "$column" || { echo "curves.sh: $log has no column $column" >&2; exit 1; }
done
exec awk -F, -v column="$column" '
function least(a, b) { return a < b ? a : b }
function most(a, b) { return a > b ? a : b }
function line(r, values, style,   i, every) {
    every = most(1, int(n[r] / 600))
    printf "<polyline fill=\"none\" stroke=\"%s\" %s points=\"", color[r], style
    for (i = 1; i <= n[r]; i += every)
        printf "%.1f,%.1f ", 60 + 720 * x[r, i] / right, 20 + 240 * (top - most(bottom, least(top, values[r, i]))) / (top - bottom)
    print "\"/>"
}
FNR == 1 {
    run++
    name[run] = FILENAME
    sub(/\/log.csv$/, "", name[run])
    sub(/.*\//, "", name[run])
    for (i = 1; i <= NF; i++)
        if ($i == column)
            at = i
    next
}
{
    i = ++n[run]
    x[run, i] = $1
    y[run, i] = $at
    sum += $at - (i > 50 ? y[run, i - 50] : 0)
    if (i == 1)
        sum = $at
    mean[run, i] = sum / least(i, 50)
    right = most(right, $1)
}
END {
    split("#1f5fa8 #c8500a #2a8a3c #7a3fa0", color, " ")
    for (r = 1; r <= run; r++)                  # the range: 0 and the means, but for how a run begins
        for (i = 1 + int(n[r] / 50); i <= n[r]; i++) {
            low = least(low, mean[r, i])
            high = most(high, mean[r, i])
        }
    span = most(high - low, 1e-9)
    top = high + 0.6 * span
    bottom = low - 0.6 * span
    print "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"800\" height=\"300\" font-family=\"sans-serif\" font-size=\"12\">"
    print "<rect width=\"800\" height=\"300\" fill=\"white\"/>"
    for (i = 0; i <= 4; i++) {
        v = bottom + (top - bottom) * i / 4
        printf "<line x1=\"60\" x2=\"780\" y1=\"%d\" y2=\"%d\" stroke=\"#ddd\"/>", 260 - 60 * i, 260 - 60 * i
        printf "<text x=\"54\" y=\"%d\" text-anchor=\"end\">%.2g</text>", 264 - 60 * i, v
        printf "<text x=\"%d\" y=\"278\" text-anchor=\"middle\">%d</text>\n", 60 + 180 * i, right * i / 4
    }
    for (r = 1; r <= run; r++) {
        line(r, y, "stroke-width=\"0.5\" stroke-opacity=\"0.35\"")
        line(r, mean, "stroke-width=\"1.8\"")
        printf "<text x=\"%d\" y=\"296\" fill=\"%s\">%s: %s</text>\n", 60 + 180 * (r - 1), color[r], column, name[r]
    }
    print "</svg>"
}' "$@"

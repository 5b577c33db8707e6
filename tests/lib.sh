# lib.sh: what the check_*.sh that drive the program share. Sourced from the repository's root; EXE is the program, RUN what
# runs it where this machine cannot (qemu).
EXE=${EXE:-./icd}
[ -x "$EXE" ] || { echo "$EXE is missing: make builds it"; exit 1; }
case $EXE in /*) ;; *) EXE=$PWD/$EXE ;; esac
EXE="${RUN:+$RUN }$EXE"
LC_ALL=C
export LC_ALL
dir=$(mktemp -d) || exit 1
bad=0
fail() { echo "not so: $*"; bad=$((bad + 1)); }

# The tensors of a safetensors file: what comes after the 8 bytes of length and the header.
tensors()
{
    set -- "$1" $(od -An -t u1 -N 4 "$1")
    tail -c +$((9 + $2 + 256 * ($3 + 256 * ($4 + 256 * $5)))) "$1"
}
same() { cmp "$1" "$2" || fail "$1 and $2 are the same"; }

#!/bin/sh
# Files in both directions between C and Python: PNG, safetensors, npy (tests/oracle/formats.py), and a disk that is really full.
# RUN (an emulator) runs the C side. 77 (skipped) where python3 or numpy is missing and what could run without them is right.
python=${PYTHON:-python3}
if [ -z "${PYTHON:-}" ] && ! python3 -c 'import numpy' 2>/dev/null && /usr/bin/python3 -c 'import numpy' 2>/dev/null; then
    python=/usr/bin/python3
fi
here=$(dirname "$0")
tests=${B:-build}/tests
for t in file formats safetensors; do
    [ -x "$tests/test_$t" ] || { echo "$tests/test_$t is missing: make check builds it"; exit 1; }
done
dir=$(mktemp -d) || exit 1
trap 'umount "$dir/disk" 2>/dev/null; rm -rf "$dir"' EXIT
trap 'exit 1' INT TERM

# 256 KiB of memory as a disk, where this user may mount one.
mkdir "$dir/disk"
if mount -t tmpfs -o size=256k none "$dir/disk" 2>/dev/null; then
    ICD_SMALL_DISK=$dir/disk $RUN "$tests/test_file" || exit 1
    umount "$dir/disk"
else
    echo "no small disk could be mounted: a full disk is tested by a limit on the size of files only"
fi

"$python" -c '' 2>/dev/null || { echo "python3 is not installed"; exit 77; }
"$python" -B "$here/oracle/formats.py" make "$dir"
made=$?
case $made in 0) numpy=numpy ;; 77) numpy= ;; *) exit 1 ;; esac
ICD_ORACLE=$numpy ICD_ORACLE_DIR=$dir $RUN "$tests/test_formats" || exit 1
ICD_ORACLE=$numpy ICD_ORACLE_DIR=$dir $RUN "$tests/test_safetensors" || exit 1
"$python" -B "$here/oracle/formats.py" check "$dir"
rc=$?
[ $rc -ne 77 ] || echo "numpy is not installed: npy was not compared with it"
exit $rc

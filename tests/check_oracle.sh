#!/bin/sh
# The reference engines against PyTorch, and PyTorch's side against answers worked out by hand. `make oracle` runs every case.
# 77 (skipped) where Debian's python3-torch is not installed.
python=${PYTHON:-/usr/bin/python3}
"$python" -c 'import numpy, torch' 2>/dev/null || { echo "python3-torch is not installed"; exit 77; }
here=$(dirname "$0")/oracle
"$python" -B "$here/selftest.py" || exit $?
"$python" -B "$here/run.py" ${ORACLE---quick}

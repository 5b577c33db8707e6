#!/bin/sh
# check_kernel_comments.sh: every CUDA kernel is explained where it stands; exit 77 where there is no Python.
cd "$(dirname "$0")/.." || exit 1
python=${PYTHON:-python3}
command -v "$python" >/dev/null || { echo "$python is not installed"; exit 77; }
exec "$python" -B tests/cuda/comments.py

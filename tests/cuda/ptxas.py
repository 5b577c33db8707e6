#!/usr/bin/env python3
"""What ptxas makes of every kernel, for every architecture: no spill, no stack frame, and no more registers than
tests/cuda/registers.txt allows. Exit 77 where there is no nvcc.

    tests/cuda/ptxas.py [--arch 80,90] [--table]        --table: print the limits file that the kernels would need
"""
import argparse
import concurrent.futures
import functools
import glob
import os
import re
import shutil
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
LIMITS = os.path.join(ROOT, "tests", "cuda", "registers.txt")
ARCHS = "75,80,86,89,90,100,120"
ENTRY = re.compile(r"Compiling entry function '(\w+)' for 'sm_(\d+)'")
FRAME = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
USED = re.compile(r"Used (\d+) registers(?:.*?(\d+) bytes smem)?")


def nvcc():
    home = os.environ.get("CUDA_HOME", "/usr/local/cuda")
    return os.environ.get("NVCC") or shutil.which(os.path.join(home, "bin", "nvcc")) or shutil.which("nvcc")


@functools.lru_cache(None)
def readable(mangled):
    """icd_cuda::conv_gemm<8, 8>(...) as conv_gemm<8,8>."""
    r = subprocess.run(["c++filt", "-p", mangled], stdout=subprocess.PIPE, text=True)
    return re.sub(r"\((?:int|unsigned int|bool|fast_act|[\w:]+)\)", "", r.stdout.strip()).replace("icd_cuda::", "").replace(" ", "")


def report(path, arch):
    """[(kernel, registers, stack, spills, static shared bytes)] of one file."""
    r = subprocess.run([nvcc(), "-std=c++17", "-O3", "--fmad=false", "-I.", f"-arch=sm_{arch}", "-Xptxas", "-v", "-cubin", "-o",
                        os.devnull, path], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if r.returncode:
        sys.exit(f"{path}, sm_{arch}:\n{r.stdout}")
    found, name, frame = [], None, None
    for line in r.stdout.splitlines():
        if m := ENTRY.search(line):
            name = m.group(1)
        elif m := FRAME.search(line):
            frame = [int(v) for v in m.groups()]
        elif (m := USED.search(line)) and name:
            found.append((name, int(m.group(1)), frame[0], frame[1] + frame[2], int(m.group(2) or 0)))
            name = None
    return found


def all_kernels(archs):
    """(kernel, arch, registers, stack, spills, static shared bytes) of every file for every architecture."""
    jobs = [(f, a) for f in sorted(glob.glob(os.path.join(ROOT, "fast/cuda/*.cu"))) for a in archs]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for (_, arch), rows in zip(jobs, pool.map(lambda j: report(*j), jobs)):
            for row in rows:
                yield row[0], arch, *row[1:]


def limits():
    rows = (line.split() for line in open(LIMITS) if line.strip() and not line.startswith("#"))
    return {name: int(registers) for registers, name in rows}


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--arch", default=ARCHS)
    p.add_argument("--table", action="store_true")
    o = p.parse_args()
    if not nvcc():
        print("nvcc is not installed")
        return 77
    most, passed, failed = {}, 0, 0
    allowed = {} if o.table else limits()
    for mangled, arch, registers, stack, spills, _ in all_kernels(o.arch.split(",")):
        name = readable(mangled)
        most[name] = max(most.get(name, 0), registers)
        limit = allowed.get(name)
        wrong = (["a spill"] if spills else []) + (["a stack frame"] if stack else [])
        if not o.table and limit is None:
            wrong.append("no limit in registers.txt")
        elif not o.table and registers > limit:
            wrong.append(f"{registers} registers, {limit} allowed")
        passed, failed = passed + (not wrong), failed + bool(wrong)
        for what in wrong:
            print(f"not so: {name}, sm_{arch}: {what}")
    for name in sorted(set(allowed) - set(most)):
        failed += 1
        print(f"not so: registers.txt has {name}, which no file has")
    if o.table:
        print("# Registers that a kernel may use on any architecture: made by tests/cuda/ptxas.py --table, then read.")
        for name in sorted(most):
            print(f"{most[name]:3} {name}")
        return 0
    print(f"ptxas {passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())

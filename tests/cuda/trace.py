#!/usr/bin/env python3
"""What ICD_CUDA_TRACE writes of `icd step --engine cuda-emulated` suffices to launch the same PTX: every kernel's name, the
bytes of every parameter, and behind every pointer that the PTX takes from a parameter the buffer before and after. Exit 77
without PTX.

    tests/cuda/trace.py --exe ./icd --ptx build/cuda/ptx        (make cuda-ptx CUDA_ARCH=80 leaves it there)
"""
import argparse
import glob
import os
import re
import struct
import subprocess
import sys
import tempfile

ARCH = "full: conv F 3 1 1 | swish | res F | attn | maxpool | mean | dense 1 ; half: conv F 4 2 1 | mean | dense 1"
SETTINGS = ["filters=16", "image=1x8x8", "multiscale=on", "steps=1", "kl_batch=2", "nn_set=3", "weight_std=on"]
SIZES = {"8": 1, "16": 2, "32": 4, "64": 8}
ENTRY = re.compile(r"\.entry (\w+)\((.*?)\)(.*?)(?=\.entry|\Z)", re.S)
PARAM = re.compile(r"\.param (?:\.align (\d+) )?\.[a-z](\d+) \w+?_param_(\d+)(?:\[(\d+)\])?")
LOAD = re.compile(r"ld\.param\.u64\s+(%rd\d+), \[\w+_param_(\d+)(?:\+(\d+))?\]")
GLOBAL = re.compile(r"cvta\.to\.global\.u64\s+%rd\d+, (%rd\d+)")


def kernels(folder):
    """{name: (bytes of each parameter, [(parameter, offset) of every pointer], most threads)}"""
    found = {}
    for path in glob.glob(os.path.join(folder, "*.ptx")):
        with open(path) as f:
            for name, params, body in ENTRY.findall(f.read()):
                sizes = [int(count) if count else SIZES[bits] for _, bits, _, count in PARAM.findall(params)]
                of = {r: (int(p), int(at or 0)) for r, p, at in LOAD.findall(body)}
                most = re.search(r"\.maxntid (\d+), 1, 1", body)
                found[name] = (sizes, sorted({of[r] for r in GLOBAL.findall(body) if r in of}), int(most[1]) if most else 1024)
    return found


def write_npy(path, shape, value):
    count = 1
    for n in shape:
        count *= n
    head = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {tuple(shape)}, }}".ljust(117) + "\n"
    with open(path, "wb") as f:
        f.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head.encode())
        f.write(struct.pack(f"<{count}f", *(value(i) for i in range(count))))


def read_launch(path):
    launch = {"argument": [], "buffer": []}
    with open(path) as f:
        for line in f:
            word, *rest = line.split()
            if word == "argument":
                launch[word].append(bytes.fromhex(rest[2]))
                assert len(launch[word][-1]) == int(rest[1]), line
            elif word == "buffer":
                launch[word].append((int(rest[1], 16), int(rest[2])))
            else:
                launch[word] = rest
    return launch


def check(path, launch, known):
    """What is wrong with one launch."""
    name, = launch["kernel"]
    if name not in known:
        return [f"{name} is not in the PTX"]
    sizes, pointers, most = known[name]
    wrong = []
    if [len(a) for a in launch["argument"]] != sizes:
        wrong.append(f"{name}: arguments of {[len(a) for a in launch['argument']]} bytes, in the PTX {sizes}")
    x, y, z = map(int, launch["block"])
    if x * y * z > most:
        wrong.append(f"{name}: {x * y * z} threads, in the PTX at most {most}")
    for p, at in pointers if not wrong else []:
        value, = struct.unpack_from("<Q", launch["argument"][p], at)
        if value and not any(begin <= value < begin + n for begin, n in launch["buffer"]):
            wrong.append(f"{name}: no buffer behind argument {p}, byte {at}")
    for k, (_, n) in enumerate(launch["buffer"]):
        for when in ("before", "after"):
            if os.path.getsize(f"{path[:-4]}.{k}.{when}.npy") != 128 + n:
                wrong.append(f"{path}: buffer {k} {when} is not {n} bytes")
    return wrong


def trace(exe, engine, dir, known):
    """(launches, names, what is wrong)"""
    def image(n, seed):
        path = os.path.join(dir, f"{seed}.npy")
        write_npy(path, (n, 1, 8, 8), lambda i: (i * seed % 97) / 97)
        return path
    noise, model, out = (os.path.join(dir, f) for f in ("n.npy", "m.safetensors", "out.safetensors"))
    write_npy(noise, (1, 2, 1, 8, 8), lambda i: (i * 41 % 89) / 44 - 1)
    subprocess.run([exe, "init", "--preset", "code-cifar10", "--out", model, "--set", "arch=" + ARCH, *SETTINGS], check=True,
                   stdout=subprocess.DEVNULL)
    there = os.path.join(dir, engine)
    subprocess.run([exe, "step", "--model", model, "--positives", image(2, 13), "--start", image(2, 17), "--neighbours",
                    image(3, 29), "--noise", noise, "--out", out, "--engine", engine], check=True, stdout=subprocess.DEVNULL,
                   env=dict(os.environ, ICD_CUDA_TRACE=there))
    launches, names, wrong = 0, set(), set()
    for path in sorted(glob.glob(os.path.join(there, "*.txt"))):
        launch = read_launch(path)
        launches += 1
        names.update(launch["kernel"])
        wrong.update(check(path, launch, known))
    return launches, names, wrong


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--exe", default="./icd")
    p.add_argument("--ptx", default="build/cuda/ptx")
    a = p.parse_args()
    known = kernels(a.ptx)
    if not known:
        print(f"no PTX in {a.ptx}: make cuda-ptx CUDA_ARCH=80 makes it, with nvcc")
        return 77
    failed = 0
    for engine in ("cuda-emulated", "cuda-emulated:tf32", "cuda-emulated:bf16"):
        with tempfile.TemporaryDirectory() as dir:
            launches, names, wrong = trace(a.exe, engine, dir, known)
        for line in sorted(wrong):
            print(line)
        print(f"{engine}: {launches} launches of {len(names)} kernels, {len(wrong)} things wrong")
        failed += bool(wrong) or launches == 0
    print(f"{3 - failed} passed, {failed} failed")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Every kernel of fast/cuda is explained where it stands: a comment right before it, of at most 20 lines, as is the one at the
head of its file; and each array that it has in shared memory is named there, or at the head of a header that the file includes.
(Whether they say the truth, a reader decides.)"""
import glob
import os
import re
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
MOST = 20
KERNEL = re.compile(r"^(?:template\s*<[^;{]*?>\s*)?(?:static\s+)?__global__\s+void\s+"
                    r"(?:__launch_bounds__\((?:[^()]|\([^()]*\))*\)\s+)?(\w+)\s*\([^;{]*\)\s*\{", re.M)
SHARED = re.compile(r"\b(?:DYN_)?SHARED\(\s*[\w ]+,\s*(\w+)")


def comment_before(text, at):
    """The comment whose last line is the one before offset `at`."""
    lines, found = text[:at].split("\n")[:-1], []
    if lines and lines[-1].lstrip().startswith("//"):
        while lines and lines[-1].lstrip().startswith("//"):
            found.insert(0, lines.pop())
    elif lines and lines[-1].rstrip().endswith("*/"):
        while lines:
            found.insert(0, lines.pop())
            if found[0].lstrip().startswith("/*"):
                break
    return found


def head(path):
    """The comment that a file begins with."""
    text = open(path).read()
    m = re.match(r"/\*.*?\*/|(?://[^\n]*\n)+", text, re.S)
    return m.group(0).rstrip("\n").split("\n") if m else []


def body(text, at):
    """From `at` to the brace that closes the function there."""
    return text[at:text.find("\n}", at)]


def wrong(path):
    """(kernels, what is not so) of one file."""
    text, name, faults, kernels = open(path).read(), os.path.relpath(path, ROOT), [], 0
    known = [head(path)] + [head(os.path.join(ROOT, h)) for h in re.findall(r'#include "(fast/cuda/[\w/]+\.h)"', text)]
    for m in KERNEL.finditer(text):
        kernels += 1
        own = comment_before(text, m.start())
        words = set(re.findall(r"\w+", "\n".join(own + sum(known, []))))
        where = f"{name}: {m.group(1)}"
        if not own:
            faults.append(f"{where}: no comment right before it")
        if len(own) > MOST:
            faults.append(f"{where}: a comment of {len(own)} lines")
        faults += [f"{where}: `{s}`, in shared memory, is not explained" for s in SHARED.findall(body(text, m.end()))
                   if s not in words]
    if kernels != len(re.findall(r"__global__", text)):
        faults.append(f"{name}: a kernel that this test does not see")
    if kernels and any(len(h) > MOST for h in known):
        faults.append(f"{name}: a comment of over {MOST} lines at the head of it, or of what it includes")
    return kernels, faults


def main():
    kernels, faults = 0, []
    for path in sorted(glob.glob(os.path.join(ROOT, "fast/cuda/*.cu")) + glob.glob(os.path.join(ROOT, "fast/cuda/*.h"))):
        k, f = wrong(path)
        kernels, faults = kernels + k, faults + f
    for f in faults:
        print(f"not so: {f}")
    print(f"comments of {kernels} kernels, {len(faults)} wrong")
    return 1 if faults or not kernels else 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Evidence without a device: fast/cuda/EVIDENCE.md, made from what ptxas says of every kernel and from what the emulator
counts of every launch of an iteration (tests/cuda/evidence.c), by the rules that the document states.

    evidence.py PROGRAM [--check] [--counts FILE]      PROGRAM: the built evidence.c; FILE: its output, if it has run

--check: make it again and compare; every number within 2 % or one of its last digit (compilers differ), all else to the
letter; and the claims. Exit 77 without nvcc.

For programs: in "## Calls" one row a slot and shape of code-cifar10, as tests/cuda/check_shape.h writes shapes:
  | slot | shape | calls | A100 fp32 | A100 tf32 | A100 bf16 | H100 fp32 | H100 tf32 | H100 bf16 | bound by |
with the calls of an iteration and the estimated microseconds of one call, all its launches together, without what lies between
launches. In "## Iteration" one row a device and precision: | device | precision | total ms | Langevin step us | ..."""
import argparse
import collections
import math
import os
import re
import subprocess
import sys

import ptxas
from evidence_model import (ARCHS, CLASSES, CONVOLUTIONS, DEVICES, HOST_MS, LITTLE, NET, NODE, OTHER, PHASES, PRECISIONS, STEPS,
                            iteration, makespan, moved, occupancy, parse, roofs, seconds, times, useful, useful_flops)
from evidence_text import SCATTERED, TEXT, WHY

FILE = os.path.join(ptxas.ROOT, "fast", "cuda", "EVIDENCE.md")

# ---- the document ----


def table(head, rows):
    return ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)] + ["| " + " | ".join(row) + " |" for row in rows]


def number(v, digits=3):
    return f"{v:.{max(0, digits - 1 - math.floor(math.log10(abs(v))))}f}" if v else "0"


def percent(a, b):
    return f"{100 * a / b:.1f}"


def ratio(ideal, units):
    return f"{100 * ideal / units:.1f}" if units else "-"


def conflicts(r):
    return (r["sl"][2] + r["ss"][2]) / (r["sl"][3] + r["ss"][3]) if r["sl"][3] + r["ss"][3] else None


def of_tensor(kernel):
    return kernel.startswith("conv_tensor_map") or kernel.startswith("conv_tensor_weights")


# Kernels whose loops are a convolution's; packing and sums of partial results apart.
MAIN = ("conv_tensor_map", "conv_tensor_weights<", "conv_gemm", "conv_weights", "conv_first_")


class Document:
    def __init__(self, launches, calls, forks, registers):
        self.launches, self.calls, self.registers = launches, calls, registers
        self.estimates = {(d, p): iteration(launches, forks, DEVICES[d], p) for d in DEVICES for p in PRECISIONS}
        self.cached = {(d, p): iteration(launches, forks, DEVICES[d], p, True) for d in DEVICES for p in PRECISIONS}
        self.kernels = collections.defaultdict(list)
        for r in launches:
            self.kernels[r["kernel"]].append(r)

    # -- numbers that the claims are about --

    def convolutions(self, d, p, estimates=None):
        return (estimates or self.estimates)[d, p]["classes"]["convolutions"]

    def share(self, d, p, estimates=None):
        e = (estimates or self.estimates)[d, p]
        return 100 * e["classes"]["convolutions"] / e["total"]

    def of_peak(self, d, p):
        return 100 * useful_flops(self.calls, p) / self.convolutions(d, p) / DEVICES[d][p]

    def kl(self, d, p):
        e = self.estimates[d, p]
        return 100 * e["phases"]["kl"] / e["total"]

    def worst_conflict(self):
        return max(conflicts(r) or 1 for r in self.launches if r["kernel"].startswith(MAIN))

    def coalescing(self, kernel, net):
        """[loads, stores] of all its launches of an iteration of the net in all precisions: ideal over touched sectors."""
        sums = [[0, 0], [0, 0]]
        for r in self.kernels[kernel]:
            n = sum(times(r, f"{net}:{p}") for p in PRECISIONS)
            for s, name in zip(sums, ("gl", "gs")):
                s[0] += n * r[name][3]
                s[1] += n * r[name][2]
        return sums

    def scattered(self):
        """Kernels under 95 %, either way."""
        found = []
        for kernel in self.kernels:
            for net in (NET, OTHER):
                if any(touched and ideal < 0.95 * touched for ideal, touched in self.coalescing(kernel, net)):
                    found.append(kernel)
        return sorted(set(found))

    def whole_coalescing(self, net):
        ideal = touched = 0
        for kernel in self.kernels:
            for a, b in self.coalescing(kernel, net):
                ideal, touched = ideal + a, touched + b
        return 100 * ideal / touched

    def claims(self):
        """(what, wanted, what it is, kept, must it be); what need not be: BF16's shares, see `why`."""
        spills = sum(row[2] for archs in self.registers.values() for row in archs.values())
        stack = sum(row[1] for archs in self.registers.values() for row in archs.values())
        rows = [("bytes of spills, all kernels and architectures", "0", spills, spills == 0, True),
                ("bytes of stack frames, likewise", "0", stack, stack == 0, True),
                ("convolutions: passes over the banks for each ideal one, worst launch", "1.000",
                 f"{self.worst_conflict():.3f}", self.worst_conflict() < 1.0005, True)]
        for net in (NET, OTHER):
            whole = self.whole_coalescing(net)
            rows.append((f"coalescing of an iteration of {net}, %", "> 95", f"{whole:.1f}", whole > 95, True))
        unexplained = [k for k in self.scattered() if k not in SCATTERED]
        rows.append(("kernels under 95 % that \"Coalescing\" does not explain", "none", ", ".join(unexplained) or "none",
                     not unexplained, True))
        for d in DEVICES:
            for p in ("tf32", "bf16"):
                rows.append((f"{d} {p}: convolutions' share of the iteration, %", "> 60", f"{self.share(d, p):.1f}",
                             self.share(d, p) > 60, p == "tf32"))
                rows.append((f"{d} {p}: convolutions, % of the tensor cores' datasheet peak", "> 50",
                             f"{self.of_peak(d, p):.1f}", self.of_peak(d, p) > 50, p == "tf32"))
                rows.append((f"{d} {p}: the KL term's share, %", "< 6", f"{self.kl(d, p):.1f}", self.kl(d, p) < 6, True))
        return rows

    # -- sections --

    def summary(self):
        rows = []
        for (d, p), e in self.estimates.items():
            t = e["total"]
            rows.append([d, p, number(1e3 * t), number(1e6 * (e["phases"]["chain"]) / STEPS), f"{self.share(d, p):.1f}",
                         f"{self.of_peak(d, p):.1f}", f"{self.of_peak(d, p) / (DEVICES[d]['mma'] if p != 'fp32' else 1):.1f}",
                         percent(e["classes"]["norm + swish"], t), percent(e["classes"]["between launches"], t),
                         f"{self.kl(d, p):.1f}", f"{self.share(d, p, self.cached):.1f}"])
        return table(["device", "precision", "total ms", "Langevin step us", "convolutions %", "of peak %", "of mma.sync's %",
                      "norm + swish %", "between launches %", "KL %", "convolutions % with L2"], rows)

    def host(self):
        rows = []
        for (d, p), e in self.estimates.items():
            hidden = e["phases"]["cd"] + e["phases"]["kl"] + e["phases"]["update"]
            rows.append([d, p, number(1e3 * hidden), f"{HOST_MS:.1f}", str(math.ceil(1e-3 * HOST_MS / hidden))])
        return table(["device", "precision", "gradients and update, ms", "host, one core, ms", "cores that hide it"], rows)

    def verdicts(self):
        return table(["claim", "wanted", "is", ""], [[what, wanted, str(value), "kept" if kept else "**missed**"]
                                                     for what, wanted, value, kept, _ in self.claims()])

    def classes(self):
        names = [name for name, _ in CLASSES] + ["other", "between launches"]
        return table(["ms of an iteration"] + [f"{d} {p}" for d, p in self.estimates],
                     [[name] + [number(1e3 * e["classes"][name]) for e in self.estimates.values()] for name in names]
                     + [[f"phase: {phase}"] + [number(1e3 * e["phases"][phase]) for e in self.estimates.values()]
                        for phase in PHASES])

    def kernel_rows(self):
        rows = []
        for kernel in sorted(self.kernels):
            r = max(self.kernels[kernel], key=lambda v: (v["read"] + v["written"], v["blocks"]))
            flops, bytes_ = r["flops"] + r["tensor"], r["read"] + r["written"]
            n = [max(times(v, f"{net}:{p}") for p in PRECISIONS) for net in (NET, OTHER) for v in self.kernels[kernel]]
            worst = max((conflicts(v) or 0) for v in self.kernels[kernel])
            c = [self.coalescing(kernel, net) for net in (NET, OTHER)]
            both = [[c[0][i][k] + c[1][i][k] for k in range(2)] for i in range(2)]
            rows.append([f"`{kernel}`", r["shape"].replace("|", "/"), str(r["blocks"]), str(r["block"]), number(bytes_ / 1e6),
                         number(moved(r) / 1e6), number(flops / 1e6), number(flops / bytes_) if flops else "0",
                         ratio(*both[0]), ratio(*both[1]), f"{worst:.3f}" if worst else "-"])
        return table(["kernel", "largest launch", "blocks", "threads", "MB", "MB by warps", "Mflop", "flop/B", "loads %",
                      "stores %", "banks"], rows)

    def call_rows(self):
        """Of one call: the launches that carry its label, over the calls that made them. Calls of little time are left out."""
        keys = dict.fromkeys(k for p in PRECISIONS for k in self.calls[f"{NET}:{p}"])
        rows, self.rest = [], 0
        for key in keys:
            cells, bound, most, share = [], "", 0, 0
            for d in DEVICES:
                for p in PRECISIONS:
                    run, t = f"{NET}:{p}", 0
                    calls = self.calls[run].get(key, 0)
                    for r in self.launches:
                        n = times(r, run) if r["key"] == key else 0
                        t += n * seconds(r, DEVICES[d], p)
                        if n and n * seconds(r, DEVICES[d], p) > most:
                            of = roofs(r, DEVICES[d], p)
                            most, bound = n * seconds(r, DEVICES[d], p), max(of, key=of.get)
                    share = max(share, t / self.estimates[d, p]["total"])
                    cells.append(number(1e6 * t / calls) if calls else "-")
            if share < LITTLE:
                self.rest += share
                continue
            rows.append([key[0], key[1], str(max(self.calls[f"{NET}:{p}"].get(key, 0) for p in PRECISIONS))] + cells + [bound])
        return table(["slot", "shape", "calls"] + [f"{d} {p}" for d in DEVICES for p in PRECISIONS] + ["bound by"], rows)

    def scattered_rows(self):
        cells = {k: [ratio(*c) for net in (NET, OTHER) for c in self.coalescing(k, net)] for k in self.scattered()}
        return table(["kernel", f"{NET}: loads %", "stores %", f"{OTHER}: loads %", "stores %", "because"],
                     [[f"`{k}`", *v, SCATTERED.get(k, "?")] for k, v in cells.items()])

    def register_rows(self):
        rows = []
        for kernel in sorted(self.registers):
            archs = self.registers[kernel]
            launched = self.kernels.get(kernel, [])
            static = max(row[3] for row in archs.values())
            dynamic = max((r["dynamic"] for r in launched), default=0)
            threads = max((r["block"] for r in launched), default=0)
            cells = []
            for a in ARCHS:
                registers = archs[a][0]
                if of_tensor(kernel) and a < 80:
                    cells.append("-")
                elif threads:
                    cells.append(f"{registers} / {100 * occupancy(a, registers, threads, static + dynamic):.0f}")
                else:
                    cells.append(str(registers))
            rows.append([f"`{kernel}`", str(threads or "-"), f"{static} + {dynamic}"] + cells)
        return table(["kernel", "threads", "shared bytes"] + [f"sm_{a}" for a in ARCHS], rows)

    def text(self):
        calls = self.call_rows()
        missed = [c for c in self.claims() if not c[3]]
        return "\n".join(TEXT.format(
            summary="\n".join(self.summary()), claims="\n".join(self.verdicts()), host="\n".join(self.host()),
            classes="\n".join(self.classes()), kernels="\n".join(self.kernel_rows()), calls="\n".join(calls),
            registers="\n".join(self.register_rows()), devices="\n".join(devices()),
            why=why(self).strip() if missed else "Nothing is missed.",
            scattered="\n".join(self.scattered_rows()), rest=f"{100 * self.rest:.2g}",
            nodes=self.estimates["H100", "bf16"]["nodes"]).splitlines()) + "\n"


def devices():
    return table(["", "A100 80GB SXM", "H100 SXM", "from"], [
        ["fp32, TFLOP/s", "19.5", "67", "datasheets"],
        ["TF32 tensor cores, dense, TFLOP/s", "156", "494.7", "datasheets"],
        ["BF16 tensor cores, dense, TFLOP/s", "312", "989.4", "datasheets"],
        ["memory, GB/s", "2039", "3350", "datasheets"],
        ["L2, MB", "40", "50", "datasheets"],
        ["multiprocessors, GHz", "108, 1.41", "132, 1.83", "datasheets' peaks over 128 (256, 512 ...) a clock"],
        ["L2, bytes a clock", "5120", "5120", "A100 whitepaper; for H100 assumed"],
        ["shared memory, bytes a clock and multiprocessor", "128", "128", "CUDA programming guide: 32 banks of 4 bytes"],
        ["mma.sync, share of the tensor peak", "1", "0.62", "Hopper reaches its peak by wgmma alone, which these "
         "kernels do not use: assumed, after Luo et al. (arXiv 2402.13499, 2501.12084), who measured it"],
        ["from a launch's end to what follows it in the graph, us", "1", "1", "assumed"]])


def why(doc):
    e = doc.estimates["H100", "bf16"]
    by = [(t, name) for name, t in e["classes"].items() if name != "convolutions"]
    top = ", ".join(f"{name} {1e3 * t:.1f} ms" for t, name in sorted(by, reverse=True)[:5])
    bound = collections.Counter()
    for r in doc.launches:
        if r["slot"] in CONVOLUTIONS:
            of = roofs(r, DEVICES["H100"], "bf16")
            bound[max(of, key=of.get)] += times(r, f"{NET}:bf16") * max(of.values())
    bounds = ", ".join(f"{name} {1e3 * t:.1f} ms" for name, t in bound.most_common(4))
    return WHY.format(total=number(1e3 * e["total"]), top=top, bounds=bounds,
                      conv=number(1e3 * doc.convolutions("H100", "bf16")),
                      mma_tf32=f"{doc.of_peak('H100', 'tf32') / DEVICES['H100']['mma']:.0f}",
                      mma_bf16=f"{doc.of_peak('H100', 'bf16') / DEVICES['H100']['mma']:.0f}")


# ---- make and check ----


def number_pattern(text):
    return re.split(r"(\d+(?:\.\d+)?)", text)


def alike(a, b):
    """Lines with the same text, and numbers within 2 % or one of the last digit."""
    a, b = number_pattern(a), number_pattern(b)
    if len(a) != len(b):
        return False
    for i, (u, v) in enumerate(zip(a, b)):
        if i % 2 == 0 and u != v:
            return False
        if i % 2:
            digit = 10.0 ** -max(len(u.partition(".")[2]), 0)
            if abs(float(u) - float(v)) > max(0.02 * abs(float(u)), 1.01 * digit):
                return False
    return True


def registers_of():
    """{kernel: {arch: (registers, stack, spills, static shared bytes)}}"""
    found = collections.defaultdict(dict)
    for mangled, arch, *row in ptxas.all_kernels([str(a) for a in ARCHS]):
        found[ptxas.readable(mangled)][int(arch)] = row
    return found


def check(doc):
    passed = failed = 0

    def judge(good, what):
        nonlocal passed, failed
        passed, failed = passed + bool(good), failed + (not good)
        if not good:
            print(f"not so: {what}")
    for what, wanted, value, kept, must in doc.claims():
        if must:
            judge(kept, f"{what}: {value}, wanted {wanted}")
    for r in doc.launches:
        if r["slot"] in CONVOLUTIONS and r["kernel"].startswith(MAIN):
            mine = [v for v in doc.launches if v["key"] == r["key"] and v["kernel"] == r["kernel"]]
            declared = sum(v["flops"] + v["tensor"] for v in mine) / len(mine)
            judge(declared >= 0.97 * useful(r["key"]) / (4 if r["slot"].endswith("bwd_x") else 1),
                  f"{r['kernel']}, {r['shape']}: {declared:.4g} operations, the formula has {useful(r['key']):.4g}")
    unknown = [k for k in doc.kernels if k not in doc.registers]
    judge(not unknown, f"launched, and not among ptxas' kernels: {unknown}")
    # By hand: 1 us, 3 of the first branch, 5 of the second meanwhile, 1 of the first; a branch alone waits each time.
    judge(abs(makespan([[3e-6, 1e-6], [5e-6]]) - 10e-6) < 1e-12 and abs(makespan([[2e-6, 2e-6]]) - 6e-6) < 1e-12,
          "branches beside one another, worked out by hand")
    made, known = doc.text().splitlines(), open(FILE).read().splitlines() if os.path.exists(FILE) else []
    judge(len(made) == len(known), f"EVIDENCE.md has {len(known)} lines, and would have {len(made)}: make cuda-evidence")
    for i, (a, b) in enumerate(zip(known, made)):
        judge(alike(a, b), f"EVIDENCE.md:{i + 1}: {a}\n  would be: {b}")
    print(f"cuda evidence {passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


def main():
    p = argparse.ArgumentParser()
    p.add_argument("program")
    p.add_argument("--check", action="store_true")
    p.add_argument("--counts")
    o = p.parse_args()
    if not ptxas.nvcc():
        print("nvcc is not installed")
        return 77
    counting = None if o.counts else subprocess.Popen([o.program], stdout=subprocess.PIPE, text=True)
    registers = registers_of()                                       # at the same time
    lines = (open(o.counts) if o.counts else counting.stdout).read().splitlines()
    if counting and counting.wait():
        sys.exit(f"{o.program}: exit {counting.returncode}")
    doc = Document(*parse(lines), registers)
    if o.check:
        return check(doc)
    with open(FILE, "w") as f:
        f.write(doc.text())
    print(f"{FILE}: {len(doc.text().splitlines())} lines")
    return 0


if __name__ == "__main__":
    sys.exit(main())

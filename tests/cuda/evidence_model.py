"""What the emulator counted, and what datasheets make of it: roofs, an iteration, occupancy. For evidence.py."""
import collections
import math
import re

NET, OTHER = "code-cifar10", "code-mnist"
PRECISIONS = ("fp32", "tf32", "bf16")
PHASES = ("prepare", "chain", "cd", "kl", "update")
STEPS, NODE, IN_L2, LITTLE = 40, 1e-6, 0.5, 2e-4

# Datasheets of NVIDIA A100 80GB SXM and H100 SXM; dense. l2: bytes a clock of the A100 whitepaper, assumed for H100.
DEVICES = {
    "A100": dict(fp32=19.5e12, tf32=156e12, bf16=312e12, dram=2039e9, sms=108, clock=1.41e9, l2=5120 * 1.41e9, cache=40e6,
                 mma=1.0),
    "H100": dict(fp32=67e12, tf32=494.7e12, bf16=989.4e12, dram=3350e9, sms=132, clock=1.83e9, l2=5120 * 1.83e9, cache=50e6,
                 mma=0.62),
}
# CUDA programming guide, technical specifications per compute capability: of a multiprocessor, warps, blocks, KiB shared.
ARCHS = {75: (32, 16, 64), 80: (64, 32, 164), 86: (48, 16, 100), 89: (48, 24, 100), 90: (64, 32, 228), 100: (64, 32, 228),
         120: (48, 24, 100)}
CONVOLUTIONS = ("conv_fwd", "conv_bwd_x", "conv_bwd_w", "conv_swish_fwd", "conv_swish_bwd_x")
CLASSES = (("convolutions", CONVOLUTIONS),
           ("norm + swish", ("norm_swish_fwd", "norm_swish_bwd", "norm_swish_tan", "norm_swish_bwd2")),
           ("swish alone", ("act_fwd", "act_bwd", "act_bwd2")),
           ("pools", ("avgpool_fwd", "avgpool_bwd", "avgpool_swish_fwd", "avgpool_swish_bwd", "maxpool_fwd", "maxpool_bwd",
                      "maxpool_tan", "mean_fwd", "mean_bwd")),
           ("attention", ("attn_fwd", "attn_bwd", "attn_tan", "attn_bwd2")), ("Langevin move", ("langevin",)),
           ("nearest neighbour", ("nearest",)), ("weights", ("weight_std_fwd", "weight_std_bwd", "conv_pack")),
           ("Adam, norms", ("adam", "sum_squares")))
# Milliseconds of one core for a batch's transitions, positives and neighbours at the preset's settings: see "Assumptions".
HOST_MS = 15.4

# ---- what was counted ----


def times_of(r):
    return {k: int(v) for k, v in r.items() if k.startswith("code-")}


def parse(lines):
    """(launches, calls, forks): a dictionary for each kind of launch; calls[run][slot, shape]; one for each kind of fork, with
    the launches of each branch, up to the join, as indices of `launches`."""
    launches, calls, forks = [], collections.defaultdict(dict), []
    for line in lines:
        r = dict(f.split("=", 1) for f in line.rstrip("\n").split("\t"))
        if "branches" in r:
            forks.append(dict(on=[[int(i) for i in b.partition(":")[2].split(",")] for b in r["branches"].split()],
                              times=times_of(r)))
            continue
        key = r["slot"], r["shape"]
        if "calls" in r:
            calls[r["run"]][key] = int(r["calls"])
            continue
        for name in ("block", "dynamic", "shared", "blocks", "ran", "read", "written", "flops", "tensor", "atomics"):
            r[name] = int(r[name])
        for name in ("gl", "gs", "sl", "ss"):
            r[name] = [int(v) for v in r[name].split(",")]
        r["times"] = times_of(r)
        r["key"] = key
        launches.append(r)
    return launches, calls, forks


def times(r, run, phases=PHASES):
    return sum(r["times"].get(f"{run}:{p}", 0) for p in phases)


def moved(r):
    return 32 * (r["gl"][2] + r["gs"][2])


SHAPE = re.compile(r"(\d+) (\d+)x(\d+)x(\d+)>(\d+)x(\d+)x(\d+) k(\d+)")


def useful(key):
    """2 for each multiply-add of a convolution as its formula has them."""
    m = SHAPE.fullmatch(key[1])
    n, ci, _, _, co, ho, wo, k = (int(v) for v in m.groups())
    return 2 * n * co * ho * wo * ci * k * k


# ---- the estimate ----


def roofs(r, d, precision):
    """Seconds by each roof. Blocks go to the processors in whole waves."""
    waves = math.ceil(r["blocks"] / d["sms"]) * d["sms"] / r["blocks"]
    tensor = d["bf16"] if precision == "bf16" else d["tf32"]
    return {"memory": (r["read"] + r["written"]) / d["dram"], "L2": moved(r) / d["l2"],
            "shared memory": waves * (r["sl"][2] + r["ss"][2]) / (d["sms"] * d["clock"]),
            "fp32": waves * r["flops"] / d["fp32"], "tensor cores": waves * r["tensor"] / (tensor * d["mma"])}


def seconds(r, d, precision, cached=False):
    t = roofs(r, d, precision)
    if cached and r["read"] + r["written"] <= IN_L2 * d["cache"]:
        t["memory"] = 0
    return max(t.values())


def class_of(slot):
    return next((name for name, slots in CLASSES if slot in slots), "other")


def makespan(branches):
    """From the end of what comes before a fork to the end of its last launch, each branch's seconds given in order. One launch
    runs at a time: of the branches the one that has been ready for longest, NODE after its last launch has ended."""
    now, ready, left = 0, [NODE] * len(branches), [list(b) for b in branches]
    while any(left):
        b = min((b for b in range(len(left)) if left[b]), key=lambda b: ready[b])
        now = max(now, ready[b]) + left[b].pop(0)
        ready[b] = now + NODE
    return now


def iteration(launches, forks, d, precision, cached=False):
    run = f"{NET}:{precision}"
    e = dict(classes=collections.Counter(), phases=collections.Counter(), nodes=0, flops=0, step=0)
    for r in launches:
        for phase in PHASES:
            n = times(r, run, (phase,))
            t = n * seconds(r, d, precision, cached)
            e["classes"][class_of(r["slot"])] += t
            e["phases"][phase] += t + n * NODE
            e["nodes"] += n
    hidden = collections.Counter()                                   # of NODE a launch, by other branches' launches
    for f in forks:
        took = [[seconds(launches[i], d, precision, cached) for i in b] for b in f["on"]]
        spared = sum(sum(b) + NODE * len(b) for b in took) - makespan(took)
        for phase in PHASES:
            hidden[phase] += times(f, run, (phase,)) * spared
    e["phases"].subtract(hidden)
    e["classes"]["between launches"] = e["nodes"] * NODE - sum(hidden.values())
    e["total"] = sum(e["classes"].values())
    return e


def useful_flops(calls, precision):
    return sum(n * useful(key) for key, n in calls[f"{NET}:{precision}"].items() if key[0] in CONVOLUTIONS)


# ---- occupancy ----


def occupancy(arch, registers, threads, shared):
    """Resident warps over those that a multiprocessor can hold."""
    warps, blocks, kib = ARCHS[arch]
    mine = math.ceil(threads / 32)
    registers = math.ceil(registers * 32 / 256) * 256                # of a warp
    of_block = math.ceil(shared / 128) * 128 + (1024 if arch >= 80 else 0)
    most = min(warps // mine, blocks, 65536 // registers // 4 * 4 // mine, kib * 1024 // of_block if of_block else blocks)
    return most * mine / warps

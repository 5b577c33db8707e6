"""`icd step` against the witness, number by number.

    run.py [--case TEXT] [--engine ref64|ref|cpu|cpu:TABLE|cuda|cuda-emulated] [--seed N] [--quick] [--list] [--rounding]

--rounding compares the witness in float32 with itself in float64 instead: what rounding alone does to each case.
Prints a row per case and engine, then `oracle N passed, M failed`; exit 1 on a failure, 77 without torch or ./icd."""
import argparse
import os
import subprocess
import sys
import tempfile
import time

try:
    import numpy as np
    import torch
except ImportError as e:
    print(f"skipped: {e}")
    sys.exit(77)

import cases
import st
from model import Model
from step import FLOOR, step

EXE = os.environ.get("EXE", os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "icd"))
# Relative error allowed; a tensor is measured against its own largest value or `floor` times the largest of its kind,
# whichever is more: a bias ahead of an instance norm has gradient zero, and rounding there has no scale of its own.
BOUND = {"ref64": (1e-8, 1e-5), "ref": (1e-3, 1e-2), "cpu": (1e-3, 1e-2)}
# Where a float engine exceeds its bound, it may err as much as PyTorch's own float32 does there times this: Winograd's
# convolutions round about four times as much as direct ones, and an ill-conditioned gradient magnifies both alike.
LIKE_PYTORCH = 10

MNIST, CIFAR, TOY = (1, 28, 28), (3, 32, 32), (2, 1, 1)


def case(name, preset, shape, model="", steps=2, n=2, reach=0.3, order="after", clamp=True, backprop="1", kl_batch=0,
         scale_mean=False, noise=0.03, also="", engines=("ref64", "ref", "cpu"), quick=False, neighbours="random", filters=8, line="",
         wide=False):
    if preset in ("anatomy-vanilla", "anatomy-nonlocal", "toy"):      # built-in architectures without a preset of their name
        model = f"arch={preset} {model}"
        preset = "paper-cifar10"
    model = f"filters={filters} {model}"
    return dict(locals())


CASES = [
    # every built-in architecture
    case("paper-mnist", "paper-mnist", MNIST, quick=True),
    case("code-mnist", "code-mnist", MNIST, order="before", steps=3, quick=True),
    case("paper-cifar10", "paper-cifar10", CIFAR),
    case("code-cifar10", "code-cifar10", CIFAR, order="before", quick=True),
    case("paper-celeba", "paper-celeba", (3, 128, 128), steps=1, n=1, engines=("ref64", "cpu")),
    case("code-celeba", "code-celeba", (3, 128, 128), steps=1, n=1, order="before", engines=("ref64", "cpu")),
    case("gl-mnist", "gl-mnist", MNIST, steps=3, quick=True),
    case("anatomy-vanilla", "anatomy-vanilla", CIFAR, clamp=False, steps=3),
    case("anatomy-nonlocal", "anatomy-nonlocal", CIFAR, quick=True),
    case("toy", "toy", TOY, n=5, steps=5, backprop="all", reach=0.1, quick=True),
    # scales
    case("cifar10, one scale", "code-cifar10", CIFAR, "multiscale=off", steps=3),
    case("paper-cifar10, one scale", "paper-cifar10", CIFAR, "multiscale=off", backprop="all"),
    case("scale_mean", "code-cifar10", CIFAR, scale_mean=True, quick=True),
    case("scale_mean, all steps", "paper-cifar10", CIFAR, scale_mean=True, backprop="all", order="before", clamp=False),
    # norms, weight standardisation, spectral norm
    case("group norm of 4", "code-mnist", MNIST, "norm=group groups=4"),
    case("one group", "code-mnist", MNIST, "norm=group groups=1"),
    case("instance norm", "code-mnist", MNIST, "norm=instance"),
    case("auto norm", "code-mnist", MNIST, "norm=auto"),
    case("auto norm of 64, 128, 256", "code-mnist", MNIST, "norm=auto", filters=64, n=1, steps=1, quick=True),
    case("no norm", "code-mnist", MNIST, "norm=none weight_std=off", quick=True),
    case("weight_std", "code-mnist", MNIST, "weight_std=on norm=group"),
    case("weight_std, cifar10", "code-cifar10", CIFAR, "weight_std=on norm=group groups=4"),
    case("no weight_std", "code-mnist", MNIST, "weight_std=off", order="before"),
    case("no weight_std, cifar10", "code-cifar10", CIFAR, "weight_std=off"),
    case("spectral norm", "paper-mnist", MNIST, "spectral_norm=on weight_std=off norm=group", quick=True),
    case("spectral norm, no norm", "code-mnist", MNIST, "spectral_norm=on weight_std=off norm=none", backprop="all"),
    case("spectral norm after weight_std", "code-mnist", MNIST, "spectral_norm=on weight_std=on", quick=True),
    case("spectral norm with attention", "code-cifar10", CIFAR, "spectral_norm=on weight_std=on"),
    case("spectral norm, gl-mnist", "gl-mnist", MNIST, "spectral_norm=on"),
    case("spectral norm, nonlocal", "anatomy-nonlocal", CIFAR, "spectral_norm=on"),
    # classes
    case("classes", "code-mnist", MNIST, "classes=3", n=3, quick=True),
    case("classes, cifar10", "code-cifar10", CIFAR, "classes=10", n=3, kl_batch=2, backprop="all"),
    # lines of one's own: odd sizes, kernels, strides and paddings, channels that change in a res, three scales
    case("odd sizes", "paper-cifar10", (3, 9, 7), "image=3x9x7 norm=group groups=5", quick=True,
         line="conv 6 5 2 1 | lrelu 0.2 | res 10 | down 7 | swish | flatten | dense 5 | swish | dense 1"),
    case("strides and paddings", "paper-cifar10", (2, 13, 10), "image=2x13x10 norm=instance weight_std=on", backprop="all",
         line="conv 5 4 3 2 | swish | conv 8 2 1 1 | attn | maxpool | res 8 | conv 3 1 | swish | conv 4 3 2 1 | mean | dense 1"),
    case("three scales of odd sizes", "paper-cifar10", (1, 15, 11), "image=1x15x11 norm=auto classes=2 spectral_norm=on",
         backprop="all", line="full: conv F | nonlocal | down 3F | attn | mean | dense 1 ; half: conv 4 | res 6 | down 5 | "
                              "mean | dense 3 | lrelu 0.1 | dense 1 ; quarter: res 3 | swish | flatten | dense 1"),
    # chain: both orders, clamp on and off, K from 1 to 5, how far back
    case("K=1, after, clamp", "code-mnist", MNIST, steps=1),
    case("K=1, before, no clamp", "code-mnist", MNIST, steps=1, order="before", clamp=False),
    case("K=3, after, no clamp", "code-mnist", MNIST, steps=3, clamp=False),
    case("K=4, before, clamp, 2 back", "code-mnist", MNIST, steps=4, order="before", backprop="2", reach=0.2),
    case("K=4, after, no clamp, 2 back", "code-mnist", MNIST, steps=4, clamp=False, backprop="2", reach=0.2),
    case("K=5, after, clamp, all back", "code-mnist", MNIST, steps=5, backprop="all", reach=0.2, quick=True),
    case("K=5, before, no clamp, all back", "code-mnist", MNIST, steps=5, order="before", clamp=False, backprop="all", reach=0.2),
    case("K=5, cifar10, all back", "code-cifar10", CIFAR, "multiscale=off norm=group groups=2", steps=5, backprop="all",
         reach=0.2),
    case("K=5, cifar10, 2 back", "paper-cifar10", CIFAR, "norm=group groups=2", steps=5, backprop="2", order="before", reach=0.2),
    case("K=3, gl-mnist, all back", "gl-mnist", MNIST, steps=3, backprop="all", order="before"),
    case("K=3, nonlocal, all back", "anatomy-nonlocal", CIFAR, steps=3, backprop="all"),
    # losses
    case("kl_batch", "code-mnist", MNIST, n=4, kl_batch=2, backprop="2", quick=True),
    case("in parts, on 3 threads", "code-mnist", MNIST, n=5, kl_batch=4, backprop="all", also="memory=100 threads=3", quick=True),
    case("kl_batch of one, multiscale", "code-cifar10", CIFAR, n=3, kl_batch=1, scale_mean=True),
    case("a model in doubles", "code-mnist", MNIST, engines=("ref64",), wide=True, quick=True),
    case("weights are not applied", "code-mnist", MNIST, also="w_opt=0.5 w_ent=0.3 kl_sign=-1 energy_l2=1"),
    case("ties go to the lowest index", "code-mnist", MNIST, n=3, neighbours="ties", quick=True),
    case("distance under the floor", "code-mnist", MNIST, n=3, reach=1e-12, noise=0, neighbours="start", quick=True),
    case("all under the floor", "toy", TOY, n=2, reach=1e-12, noise=0, neighbours="start"),
]


def switch(word):
    return word in ("on", "true", "yes", "1")


def command(*arguments):
    r = subprocess.run([EXE, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if r.returncode != 0:
        raise RuntimeError(f"{' '.join([EXE, *map(str, arguments)])}\n    exit {r.returncode}: {r.stdout.strip()}")


def sets(text):
    return [word for assignment in text.split() for word in ("--set", assignment)]


class Prepared:
    """A case's model, images and noise, as files and as tensors."""

    def __init__(self, c, folder, seed=0):
        self.c, self.folder = c, folder
        rng = np.random.default_rng([seed, *c["name"].encode()])
        command("init", "--preset", c["preset"], "--out", self.path("init.safetensors"), *sets(f"{c['model']} seed={seed + 3}"),
                *(["--set", f"arch={c['line']}"] if c["line"] else []), *(["--engine", "ref64"] if c["wide"] else []))
        tensors, metadata = st.read(self.path("init.safetensors"))
        config = dict(line.split(" = ", 1) for line in metadata["icd.config"].splitlines() if " = " in line)
        self.model = Model(metadata["icd.arch"], c["shape"], {
            "norm": config["norm"], "groups": int(config["groups"]), "classes": int(config["classes"]),
            "weight_std": switch(config["weight_std"]), "spectral_norm": switch(config["spectral_norm"])})
        self.check_parameters(tensors)
        if {str(v.dtype) for n, v in tensors.items() if n in self.model.shapes} != {"float64" if c["wide"] else "float32"}:
            raise RuntimeError("the model file is not in the precision asked for")
        changed = {}
        for name, value in tensors.items():           # the EMA too, but differently: it must not be used
            changed[name] = cases.perturb(name, value, rng).astype(value.dtype) if value.dtype.kind == "f" else value
        st.write(self.path("model.safetensors"), changed, metadata)
        self.theta = {name: torch.from_numpy(changed[name].astype(np.float64)) for name in self.model.shapes}

        n, k = c["n"], c["steps"]
        self.positives, self.start = cases.images(rng, n, c["shape"]), cases.images(rng, n, c["shape"])
        self.neighbours = cases.images(rng, 5, c["shape"])
        if c["neighbours"] == "ties":                 # rows 1, 3 and 4 are nearest to everything, and equal
            self.neighbours[[1, 3, 4]] = 0.5
        if c["neighbours"] == "start":                # a distance of zero, as near as a float can tell
            self.neighbours[2] = self.start[0]
            if c["n"] == 2:
                self.neighbours[3] = self.start[1]
        self.noise = torch.from_numpy(rng.standard_normal((k, n, *c["shape"])).astype(np.float32).astype(np.float64))
        self.labels = self.positive_labels = None
        if self.model.classes:
            self.labels, self.positive_labels = (torch.from_numpy(rng.integers(0, self.model.classes, n)) for _ in "ab")
        self.settings = {
            "step_size": cases.moving_step_size(self.model, self.theta, self.start, self.labels, c["reach"]),
            "noise": c["noise"], "noise_before": c["order"] == "before", "clamp": c["clamp"],
            "backprop_steps": 0 if c["backprop"] == "all" else int(c["backprop"]), "kl_batch": c["kl_batch"],
            "scale_mean": c["scale_mean"]}

    def path(self, name):
        return os.path.join(self.folder, name)

    def check_parameters(self, tensors):
        own = {name: value.shape for name, value in tensors.items() if name.split(".")[0] in ("full", "half", "quarter")}
        want = {name: tuple(shape) for name, shape in self.model.shapes.items()}
        for name in sorted(set(own) | set(want)):
            if own.get(name) != want.get(name):
                raise RuntimeError(f"parameter {name}: icd has {own.get(name)}, the witness {want.get(name)}")

    def witness(self, dtype):
        to = lambda t: None if t is None else t.to(dtype)
        return step(self.model, {k: to(v) for k, v in self.theta.items()}, to(self.positives), to(self.start),
                    to(self.neighbours), to(self.noise), self.settings, self.labels, self.positive_labels)

    def icd(self, engine):
        for name in "positives", "start", "neighbours", "noise":
            np.save(self.path(name + ".npy"), getattr(self, name).numpy().astype(np.float32))
        files = [w for name in ("positives", "start", "neighbours", "noise") for w in (f"--{name}", self.path(name + ".npy"))]
        if self.labels is not None:
            np.save(self.path("labels.npy"), self.labels.numpy())
            np.save(self.path("positive_labels.npy"), self.positive_labels.numpy())
            files += ["--labels", self.path("labels.npy"), "--positive-labels", self.path("positive_labels.npy")]
        s, onoff = self.settings, ("off", "on")
        command("step", "--model", self.path("model.safetensors"), *files, "--out", self.path("step.safetensors"), "--engine",
                engine, *sets(f"step_size={s['step_size']!r} noise={s['noise']!r} noise_order={self.c['order']} "
                              f"clamp={onoff[s['clamp']]} backprop_steps={self.c['backprop']} kl_batch={s['kl_batch']} "
                              f"scale_mean={onoff[s['scale_mean']]} {self.c['also']}"))
        return st.read(self.path("step.safetensors"))[0]


def kind(name):
    part = name.split(".")
    return ".".join(part[:2]) if part[0] == "grad" else part[0] if part[0] == "x" else name


def compare(got, want, floor):
    """-> (kind -> worst relative error and whose it is, complaints)"""
    want = dict(want)
    cut = want.pop("cut")
    complaints = [f"{name} is missing" for name in want if name not in got]
    complaints += [f"{name} is not asked for" for name in got if name not in want]
    largest = {}
    for name, b in want.items():
        largest[kind(name)] = max(largest.get(kind(name), 0.0), float(np.abs(b).max()))
    energy = max(largest["energy.positive"], largest["energy.negative"])
    worst = {}
    for name, b in want.items():
        if name not in got:
            continue
        a = got[name]
        if a.size != b.size or (b.ndim and a.shape != b.shape):
            complaints.append(f"{name} has shape {a.shape}, not {b.shape}")
            continue
        if name == "nn.index":
            if not np.array_equal(a, b):
                complaints.append(f"nn.index is {a.tolist()}, not {b.tolist()}")
            continue
        if name == "x.0" and not np.array_equal(a, b):
            complaints.append("x.0 is not the start")
        scale = {"loss.cd": energy, "loss.opt": energy, "loss.ent": max(1.0, largest["loss.ent"]),
                 "nn.distance": max(FLOOR, largest["nn.distance"])}.get(name)
        scale = scale or max(float(np.abs(b).max()), floor * largest[kind(name)])
        difference = float(np.abs(a.astype(np.float64).reshape(b.shape) - b).max())
        error = difference / scale if scale else (0.0 if difference == 0 else float("inf"))
        if np.isnan(error):                           # as a number it would hide behind the next comparison
            error = float("inf")
        if error > worst.get(kind(name), (-1.0, ""))[0]:
            worst[kind(name)] = (error, name)
    return worst, complaints, float(cut)


def vacuous(c, want):
    """What a case must exercise to mean anything."""
    out = []
    k = c["steps"]
    if c["reach"] > 1e-6:
        moved = float(np.abs(want[f"x.{k}"] - want["x.0"]).max())
        if not moved > 0.05:
            out.append(f"the chain moves by {moved:.1e} only")
        if c["clamp"] and not 0 < want["cut"] < 0.6:
            out.append(f"the clamp cuts {float(want['cut']):.1%}")
        for name in "cd", "opt", "ent":
            if not any(np.abs(v).max() > 0 for key, v in want.items() if key.startswith(f"grad.{name}.")):
                out.append(f"grad.{name} is zero")
    return out


COLUMNS = ("x", "energy.positive", "energy.negative", "nn.distance", "loss.cd", "loss.opt", "loss.ent", "grad.cd", "grad.opt",
           "grad.ent")
SHORT = ("x", "E+", "E-", "nn", "L_cd", "L_opt", "L_ent", "g_cd", "g_opt", "g_ent")


def family(engine):
    """What an engine is judged as."""
    return "cpu" if engine in ("cuda", "cuda-emulated") else engine.split(":")[0]


def main():
    a = argparse.ArgumentParser()
    a.add_argument("--case", default="", help="run the cases whose name contains this")
    a.add_argument("--engine", default="", help="one engine instead of ref64, ref and cpu; or one table, as cpu:portable")
    a.add_argument("--seed", type=int, default=0, help="other parameters, images and noise")
    a.add_argument("--quick", action="store_true")
    a.add_argument("--list", action="store_true")
    a.add_argument("--rounding", action="store_true")
    options = a.parse_args()
    torch.set_num_threads(1 if options.quick else 2)      # make check runs two tests at a time
    if not os.access(EXE, os.X_OK):
        print(f"skipped: no program {EXE}: run make first")
        return 77
    chosen = [c for c in CASES if options.case in c["name"] and (c["quick"] or not options.quick)]
    if options.list:
        print("\n".join(c["name"] for c in chosen))
        return 0
    passed, failed, began = 0, 0, time.time()
    print(f"{'case':34} {'engine':12} cut%  " + " ".join(f"{s:>7}" for s in SHORT))
    for c in chosen:
        engines = [options.engine or e for e in c["engines"] if family(options.engine) in (e, "")]
        if not engines:
            continue
        with tempfile.TemporaryDirectory() as folder:
            try:
                p = Prepared(c, folder, options.seed)
                want = p.witness(torch.float64)
            except (RuntimeError, ValueError, KeyError, OSError) as e:
                failed += len(engines)
                print(f"FAILED {c['name']}: {e}")
                continue
            for engine in engines:
                bound, floor = BOUND[family(engine)]
                try:
                    got = p.icd(engine) if not options.rounding else \
                        {k: v for k, v in p.witness(torch.float64 if engine == "ref64" else torch.float32).items() if k != "cut"}
                    worst, complaints, cut = compare(got, want, floor)
                except (RuntimeError, ValueError, KeyError, OSError) as e:
                    failed += 1
                    print(f"FAILED {c['name']}, {engine}: {e}")
                    continue
                complaints += vacuous(c, want)
                wrong = {k: v for k, v in worst.items() if not v[0] <= bound}
                if wrong and engine != "ref64":       # an ill-conditioned number: what does PyTorch lose in float32?
                    lost, _, _ = compare({k: v for k, v in p.witness(torch.float32).items() if k != "cut"}, want, floor)
                    for k in [k for k in wrong if wrong[k][0] <= LIKE_PYTORCH * lost[k][0]]:
                        print(f"    {wrong[k][1]}: relative error {wrong[k][0]:.2e}, where PyTorch in float32 has {lost[k][0]:.2e}")
                        del wrong[k]
                complaints += [f"{name}: relative error {error:.2e}, bound {bound:.0e}" for error, name in wrong.values()]
                print(f"{c['name']:34} {engine:12} {100 * cut:4.1f}  " +
                      " ".join(f"{worst.get(k, (float('nan'),))[0]:7.0e}" for k in COLUMNS) + ("  FAILED" if complaints else ""))
                for line in complaints:
                    print(f"    {line}")
                passed, failed = passed + (not complaints), failed + bool(complaints)
                sys.stdout.flush()
    print(f"{time.time() - began:.0f} s")
    if passed + failed == 0:
        print("no case of that name")
        return 1
    print(f"oracle {passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

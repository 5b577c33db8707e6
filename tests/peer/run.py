#!/usr/bin/env python3
"""icd and its peers in turn on the same work: `make bench-peer`. Ratios are the peer's over icd's: above 1, icd is quicker.

    tests/peer/run.py [--quick] [--rounds N] [--only iteration,convolutions,kl,backprop,threads] [--engine cpu] [--threads 2]

Peers: torch_step.py (PyTorch; PYTHON=path picks the interpreter, else Debian's python3-torch) and onednn_conv.cpp (oneDNN:
libdnnl-dev and a C++ compiler; CXX). One that is absent is named in a line and its columns stay empty. Each row is the median
of rounds in which both ran, one after the other; [smallest, largest] are of the rounds' ratios. Another process that wants the
cores ruins a round, and most of all a peer whose threads wait for each other (tenfold): so a round waits for a quiet machine and
is repeated if others took more than 0.1 cores during it; after --patience seconds of that a table has no ratios at all."""
import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
PASSES = ("fwd", "bwd_x", "bwd_w")
QUIET = 0.1                              # cores that others may take


def options():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--quick", action="store_true", help="small nets, few rounds: some three minutes, not half an hour")
    p.add_argument("--rounds", type=int)
    p.add_argument("--patience", type=float, default=120, help="seconds to wait for a quiet machine, for each table")
    p.add_argument("--only", default="iteration,convolutions,kl,backprop,threads")
    p.add_argument("--engine", default="cpu")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--exe", default=os.environ.get("EXE", "./icd"))
    p.add_argument("--compile", action="store_true", help="torch.compile in the peer (PyTorch 2)")
    p.add_argument("--json", metavar="FILE", help="write everything that was measured there")
    o = p.parse_args()
    o.rounds = o.rounds or (3 if o.quick else 5)
    return o


# ---- the two programs ----

def environment(threads):
    e = dict(os.environ, OMP_NUM_THREADS=str(threads))
    e.pop("OPENBLAS_CORETYPE", None)
    return e


def icd(o, only, preset="code-mnist", threads=None, **settings):
    settings = dict(settings, threads=threads or o.threads)
    command = [o.exe, "bench", "--json", "--repeats", "1", "--only", only, "--engine", o.engine, "--preset", preset, "--set"]
    r = subprocess.run(command + [f"{k}={v}" for k, v in settings.items()], stdout=subprocess.PIPE, env=environment(o.threads))
    if r.returncode:
        sys.exit(f"bench-peer: `{' '.join(command)} ...` failed")
    return json.loads(r.stdout)


class Peer:
    """A program that answers each line with a line of JSON."""
    def __init__(self, command, threads):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        env=environment(threads))

    def ask(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.answer()

    def answer(self):
        answer = self.process.stdout.readline()
        if not answer:
            sys.exit("bench-peer: " + " ".join(self.process.args) + " stopped")
        return json.loads(answer)

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def torch_python():
    for python in [os.environ["PYTHON"]] if "PYTHON" in os.environ else ["/usr/bin/python3", "python3"]:
        try:
            r = subprocess.run([python, "-c", "import torch; print(torch.__version__)"], stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL, text=True, env=environment(1))
        except OSError:
            continue
        if r.returncode == 0:
            print(f"PyTorch {r.stdout.strip()} of {python}")
            return python
    print("no PyTorch here: apt-get install python3-torch, or PYTHON=path of one that has it")
    return None


def onednn_program(folder):
    out, compiler = os.path.join(folder, "onednn_conv"), os.environ.get("CXX") or "c++"
    if shutil.which(compiler.split()[0]):
        r = subprocess.run(compiler.split() + ["-O2", "-o", out, os.path.join(HERE, "onednn_conv.cpp"), "-ldnnl"],
                           stderr=subprocess.DEVNULL)
        if r.returncode == 0:
            return out
    print("no oneDNN here: apt-get install libdnnl-dev g++")
    return None


# ---- rounds ----

def used(process=None):
    """Seconds taken since boot by all but this process, its ended children and `process`, on all cores; None: unknown."""
    try:
        tick = os.sysconf("SC_CLK_TCK")
        v = [int(x) for x in open("/proc/stat").readline().split()[1:9]]
        t = os.times()
        own = t.user + t.system + t.children_user + t.children_system
        if process:
            f = open(f"/proc/{process.pid}/stat").read().rsplit(")", 1)[1].split()
            own += (int(f[11]) + int(f[12])) / tick
        return (v[0] + v[1] + v[2] + v[5] + v[6] + v[7]) / tick - own
    except (OSError, ValueError, IndexError):
        return None


def foreign(run, process):
    """How many cores others took while run() ran; 0 where that is not known."""
    before, begin = used(process), time.monotonic()
    run()
    after = used(process)
    return 0 if before is None or after is None else max(0, (after - before) / (time.monotonic() - begin))


class Rounds:
    """Runs ours() and theirs() in turn; keeps the rounds in which the machine was theirs."""
    def __init__(self, o, ours, theirs=None, process=None, rounds=None):
        self.ours, self.theirs, self.foreign = [], [], []
        patience = o.patience
        while len(self.ours) < (rounds or o.rounds):
            while patience > 0 and foreign(lambda: time.sleep(0.5), process) > QUIET:
                patience -= 0.5
            both, begin = [], time.monotonic()
            taken = foreign(lambda: both.extend((ours(), theirs() if theirs else None)), process)
            if taken > QUIET and patience > 0:
                patience -= time.monotonic() - begin
                continue
            self.ours.append(both[0])
            self.theirs.append(both[1])
            self.foreign.append(taken)
        self.quiet = max(self.foreign) <= QUIET

    def busy(self):
        return "" if self.quiet else f"  others took {max(self.foreign):.1f} cores: no ratios"

    def median(self, which, of):
        return statistics.median(of(v) for v in which)

    def ratio(self, ours, theirs):
        """Median and range over the rounds of theirs/ours, as text."""
        r = [theirs(b) / ours(a) for a, b in zip(self.ours, self.theirs)]
        return f"{statistics.median(r):7.2f}  [{min(r):.2f}, {max(r):.2f}]" if self.quiet else ""


def part(what):
    return lambda answer: next(r["ms"] for r in answer["rows"] if r["what"] == what)


def torch_part(name):
    return lambda answer: answer["ms"][name]


iteration = part("iteration")
PARTS = (("Langevin step", "langevin"), ("L_CD and gradient", "cd"), ("L_KL and gradient", "kl"), ("update", "update"),
         ("iteration", "iteration"))


# ---- tables ----

class Bench:
    def __init__(self, o, python, onednn):
        self.o, self.python, self.onednn, self.found = o, python, onednn, {}

    def torch(self, net, filters, batch, steps, threads=None):
        if not self.python:
            return None
        threads = threads or self.o.threads
        command = [self.python, os.path.join(HERE, "torch_step.py"), "--serve", "--net", net]
        for name, value in (("filters", filters), ("batch", batch), ("steps", steps), ("threads", threads)):
            command += ["--" + name, str(value)]
        peer = Peer(command + ["--compile"] * self.o.compile, threads)
        peer.answer()                              # its first line: it has warmed up, and leaves the cores to icd
        return peer

    def pair(self, net, filters, batch, steps, kl=True, backprop_all=False, peer=None, threads=None, rounds=None):
        """Rounds of an iteration of icd and, with a peer, of PyTorch."""
        settings = dict(filters=filters, batch=batch, steps=steps, kl_batch=0)
        if not kl:
            settings.update(w_opt=0, w_ent=0)
        if backprop_all:
            settings.update(backprop_steps="all")
        ask = json.dumps({"steps": steps, "kl": kl, "backprop_all": backprop_all})
        return Rounds(self.o, lambda: icd(self.o, "iteration", net, threads, **settings),
                      (lambda: peer.ask(ask)) if peer else None, peer and peer.process, rounds)

    def iterations(self):
        nets = [("code-mnist", 16, 64, 20)]
        nets += [("code-cifar10", 16, 16, 10)] if self.o.quick else [("code-mnist", 64, 64, 20), ("code-cifar10", 64, 16, 40)]
        for net, filters, batch, steps in nets:
            peer = self.torch(net, filters, batch, steps)
            r = self.pair(net, filters, batch, steps, peer=peer)
            print(f"\n{net}, {filters} filters, batch {batch}, K = {steps}, {self.o.threads} threads{r.busy()}")
            print(f"{'':20} {'icd ms':>10} {'PyTorch ms':>11} {'ratio':>7}")
            for ours, theirs in PARTS:
                line = f"{ours:20} {r.median(r.ours, part(ours)):10.2f}"
                if peer:
                    line += f" {r.median(r.theirs, torch_part(theirs)):11.2f} {r.ratio(part(ours), torch_part(theirs))}"
                print(line.rstrip())
            mib = [r.median(v, lambda a: a["peak_rss_mib"]) for v in ((r.ours, r.theirs) if peer else (r.ours,))]
            line = f"{'peak memory, MiB':20} {mib[0]:10.1f}"
            if peer:
                line += f" {mib[1]:11.1f} {mib[1] / mib[0]:7.2f}"
                counts = [v[0]["parameters"] for v in (r.ours, r.theirs)]
                if counts[0] != counts[1]:
                    sys.exit(f"bench-peer: {counts[0]} parameters against {counts[1]}: not the same work")
                peer.close()
            print(line)
            self.found[f"{net} {filters}"] = {"icd": r.ours, "torch": r.theirs, "foreign": r.foreign}

    def comparison(self, name, over, under, peers):
        """One line: time of `over` by that of `under`, for icd and PyTorch; both are Rounds."""
        line = f"{name:58}"
        if over.quiet and under.quiet:
            line += f" {over.median(over.ours, iteration) / under.median(under.ours, iteration):7.3f}"
            if peers:
                t = torch_part("iteration")
                line += f" {over.median(over.theirs, t) / under.median(under.theirs, t):9.3f}"
        print(line + (over.busy() or under.busy()))
        self.found[name] = {"over": {"icd": over.ours, "torch": over.theirs, "foreign": over.foreign},
                            "under": {"icd": under.ours, "torch": under.theirs, "foreign": under.foreign}}

    def kl(self):
        filters = 16 if self.o.quick else 64
        peer = self.torch("code-mnist", filters, 64, 40)
        print(f"\n{'time with the KL term over time without it':58} {'icd':>7} {'PyTorch':>9}")
        for steps in (40, 60):
            on, off = (self.pair("code-mnist", filters, 64, steps, kl=kl, peer=peer, rounds=3) for kl in (True, False))
            self.comparison(f"code-mnist, {filters} filters, K = {steps}", on, off, peer)
        if peer:
            peer.close()

    def backprop(self):
        """PyTorch keeps the graphs of all K steps: 16 filters fit in a few GB."""
        filters, batch = 16, 16 if self.o.quick else 64
        print(f"\n{'backprop through all K = 20 steps over the last alone':58} {'icd':>7} {'PyTorch':>9}")
        peer = self.torch("code-mnist", filters, batch, 20)
        every, last = (self.pair("code-mnist", filters, batch, 20, backprop_all=b, peer=peer, rounds=3) for b in (True, False))
        self.comparison(f"code-mnist, {filters} filters, batch {batch}", every, last, peer)
        if peer:
            mib = [every.median(v, lambda a: a["peak_rss_mib"]) for v in (every.ours, every.theirs)]
            print(f"{'  peak memory, MiB':58} {mib[0]:7.0f} {mib[1]:9.0f}")
            peer.close()
        if not self.o.quick:
            every, last = (self.pair("code-mnist", 64, batch, 20, backprop_all=b, rounds=3) for b in (True, False))
            self.comparison(f"code-mnist, 64 filters, batch {batch}", every, last, None)

    def threads(self):
        print(f"\n{'one thread over two':58} {'icd':>7} {'PyTorch':>9}")
        for filters in (16,) if self.o.quick else (16, 64):
            steps, r = 20 if filters == 16 else 5, []
            for n in (1, 2):
                peer = self.torch("code-mnist", filters, 64, steps, threads=n)
                r.append(self.pair("code-mnist", filters, 64, steps, peer=peer, threads=n, rounds=3))
                if peer:
                    peer.close()
            self.comparison(f"code-mnist, {filters} filters, K = {steps}", r[0], r[1], self.python)

    def convolutions(self):
        peer = self.onednn and Peer([self.onednn], self.o.threads)
        nets = ("code-mnist", 64, 64), ("code-mnist", 16, 64), ("code-cifar10", 64, 16)
        print(f"\n3x3 convolutions, GFLOP/s as direct, {self.o.threads} threads; oneDNN's best of direct and Winograd")
        print(f"{'':26}" + "".join(f"  {p:>7} {'oneDNN':>7} {'ratio':>5}" for p in PASSES))
        ratios, seen = {p: [] for p in PASSES}, set()
        for net, filters, batch in nets[1:2] if self.o.quick else nets:
            def theirs(rows):
                return [peer.ask(" ".join(str(c[k]) for k in ("n", "ci", "co", "h", "w", "k"))) for c in rows]

            shapes = icd(self.o, "convolutions", net, filters=filters, batch=batch)["convolutions"]
            r = Rounds(self.o, lambda: icd(self.o, "convolutions", net, filters=filters, batch=batch)["convolutions"],
                       (lambda: theirs(shapes)) if peer else None, peer and peer.process, 1 if self.o.quick else 3)
            for i, c in enumerate(shapes):
                shape = tuple(c[k] for k in ("n", "ci", "co", "h", "w", "k"))
                if shape in seen:
                    continue
                seen.add(shape)
                line = f"{c['n']:3} x {c['ci']:3} -> {c['co']:3} at {c['h']:2}x{c['w']:<2}   "
                for p in PASSES:
                    ours = r.median(r.ours, lambda a: a[i][p]["gflops"])
                    line += f"  {ours:7.1f}"
                    if peer:
                        best = r.median(r.theirs, lambda b: max(b[i][a][p] for a in ("direct", "winograd") if a in b[i]))
                        line += f" {best:7.1f} " + (f"{ours / best:5.2f}" if r.quiet else " " * 5)
                        ratios[p] += [ours / best] * r.quiet
                    else:
                        line += " " * 14
                print(line + r.busy())
            self.found[f"convolutions {net} {filters}"] = {"icd": r.ours, "onednn": r.theirs, "foreign": r.foreign}
        for p in PASSES if ratios["fwd"] else ():
            print(f"{p}: ahead at {sum(q >= 1 for q in ratios[p])} of {len(ratios[p])} shapes, at least "
                  f"{min(ratios[p]):.2f} of oneDNN's best")
        if peer:
            peer.close()


def main():
    o = options()
    with tempfile.TemporaryDirectory() as folder:
        wanted = o.only.split(",")
        python = torch_python() if set(wanted) - {"convolutions"} else None
        bench = Bench(o, python, onednn_program(folder) if "convolutions" in wanted else None)
        tables = {"iteration": bench.iterations, "convolutions": bench.convolutions, "kl": bench.kl, "backprop": bench.backprop,
                  "threads": bench.threads}
        for name in wanted:
            if name not in tables:
                sys.exit(f"bench-peer: --only {name}: wanted some of {','.join(tables)}")
        for name in wanted:
            tables[name]()
            sys.stdout.flush()
    if o.json:
        with open(o.json, "w") as f:
            json.dump(bench.found, f)


if __name__ == "__main__":
    main()

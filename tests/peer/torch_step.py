"""One training iteration of ICD Algorithm 1 in PyTorch, timed part by part: the peer that `make bench-peer` times icd against.

    torch_step.py --net code-mnist --filters 64 --batch 64 --steps 20 --threads 2 --iterations 5      one line of JSON
    torch_step.py --net code-mnist --serve        a line of JSON when warm, then one for each line of stdin: what differs
                                                  from the options: {"steps": 40, "kl": false, "backprop_all": true}
    torch_step.py --check                         the quick arrangement against the plain one: gradients agree, or exit 1

The quick arrangement: channels last; weights standardised once a phase; a convolution whose derivative's derivative is again
three convolutions; a norm in few passes; the last Langevin step's graph kept instead of computed again; positives and negatives
in one batch; parameter gradients only where they are wanted; memory kept between iterations. --plain: as one writes it first.
--compile: torch.compile of what is differentiated once (PyTorch 2). Images are random, nothing is loaded, Adam's step tiny."""
import argparse
import json
import os
import resource
import statistics
import sys
import time

NETS = {
    "code-mnist": ((1, 28, 28), ["conv F | swish | down 2F | down 4F | down 8F | swish | mean | dense 1"]),
    "code-cifar10": ((3, 32, 32), [
        "conv F | swish | res F | down F | res F | down 2F | attn | res 2F | down 4F | res 4F | down 8F | swish | mean | "
        "dense 1",
        "conv F | swish | res F | down F | res F | down 2F | res 2F | down 4F | swish | mean | dense 1",
        "conv F | swish | res F | down F | res F | down 2F | swish | mean | dense 1"]),
}
STEP_SIZE, NOISE, W_ENT, NEIGHBOURS, CLIP, DECAY = 100.0, 0.005, 0.3, 100, 0.5, 0.99


def options():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--net", choices=NETS, default="code-mnist")
    p.add_argument("--filters", type=int, default=64)
    p.add_argument("--batch", type=int, default=64)
    p.add_argument("--steps", type=int, default=20, help="K")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--kl-n", type=int, default=0, help="images in L_KL, the first of the batch; 0: all")
    p.add_argument("--no-kl", dest="kl", action="store_false")
    p.add_argument("--backprop-all", action="store_true", help="L_KL through all K steps: autograd keeps every step's graph")
    p.add_argument("--iterations", type=int, default=5, help="timed; medians")
    p.add_argument("--warmup", type=int, default=1)
    p.add_argument("--plain", action="store_true")
    p.add_argument("--device", default="cpu", help="cuda: on the GPU (PyTorch 2); peak memory is then the GPU's")
    p.add_argument("--tf32", action="store_true", help="on the GPU: convolutions and products in TF32")
    p.add_argument("--compile", action="store_true")
    p.add_argument("--serve", action="store_true")
    p.add_argument("--check", action="store_true")
    return p.parse_args()


def environment(o):
    """What must be set before the process starts: start it again with that. Freed memory is kept, in large pages."""
    if "ICD_PEER" in os.environ:
        return
    e = dict(os.environ, ICD_PEER="1", OMP_NUM_THREADS=str(o.threads))
    e.pop("OPENBLAS_CORETYPE", None)
    if not o.plain:
        e.setdefault("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=8589934592:"
                                       "glibc.malloc.trim_threshold=17179869184")
        try:
            flags = open("/proc/cpuinfo").read().split()
        except OSError:
            flags = []
        if all(f in flags for f in ("avx512f", "avx512bw", "avx512dq", "avx512vl")):
            e.setdefault("ATEN_CPU_CAPABILITY", "avx512")     # Debian's build stays at avx2 unless asked
    os.execve(sys.executable, [sys.executable] + sys.argv, e)


O = options()
environment(O)

import torch                                                          # noqa: E402
import torch.nn.functional as F                                       # noqa: E402

torch.set_num_threads(O.threads)
if O.device != "cpu":
    torch.set_default_device(O.device)
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = O.tf32
torch.set_flush_denormal(True)
quick = not O.plain


# ---- a 3x3 or 1x1 convolution, stride 1; bilinear in (x, w), so no pass needs a rule beyond these three convolutions ----

def conv_grad(gy, x, w, which):
    pad = w.shape[2] // 2
    return torch.ops.aten.convolution_backward(gy, x, w, [w.shape[0]], [1, 1], [pad, pad], [1, 1], False, [0, 0], 1, which)


class ConvBackX(torch.autograd.Function):
    """gx = wT gy."""
    @staticmethod
    def forward(ctx, gy, w, x):
        ctx.save_for_backward(gy, w)
        return conv_grad(gy, x, w, [True, False, False])[0]

    @staticmethod
    def backward(ctx, hx):
        gy, w = ctx.saved_tensors
        hy = F.conv2d(hx, w, None, 1, w.shape[2] // 2) if ctx.needs_input_grad[0] else None
        gw = conv_grad(gy, hx, w, [False, True, False])[1] if ctx.needs_input_grad[1] else None
        return hy, gw, None


class ConvQuick(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, w, b):
        ctx.save_for_backward(x, w)
        ctx.bias = b is not None
        return F.conv2d(x, w, b, 1, w.shape[2] // 2)

    @staticmethod
    def backward(ctx, gy):
        x, w = ctx.saved_tensors
        need = ctx.needs_input_grad
        if torch.is_grad_enabled():      # a derivative that will be differentiated: only the one by the input is ever wanted
            return (ConvBackX.apply(gy, w, x) if need[0] else None), None, None
        gx, gw, gb = conv_grad(gy, x, w, [need[0], need[1], need[2] and ctx.bias])
        return (gx if need[0] else None), (gw if need[1] else None), (gb if need[2] and ctx.bias else None)


def conv(x, w, b):
    return ConvQuick.apply(x, w, b) if quick and not compiling[0] else F.conv2d(x, w, b, 1, w.shape[2] // 2)


# ---- norm: instance up to 128 channels, 32 groups above ----

def group_mean(v, groups):
    """(n,c) -> each group's mean, at each of its channels."""
    n, c = v.shape
    return v if groups == c else v.view(n, groups, -1).mean(2, True).expand(n, groups, c // groups).reshape(n, c)


def moments(x, groups):
    """x (n,hw,c) -> mean and 1/sqrt(variance + 1e-5), (n,c)."""
    mean = group_mean(x.mean(1), groups)
    square = group_mean((x * x).mean(1), groups)
    return mean, torch.rsqrt(square - mean * mean + 1e-5)


def pixels(x):
    return x.permute(0, 2, 3, 1).flatten(1, 2)


def image(v, like):
    n, c, h, w = like.shape
    return v.view(n, h, w, c).permute(0, 3, 1, 2)


class NormQuick(torch.autograd.Function):
    """y = gain xhat + bias as one multiply and add; the backward pass likewise, from sums over the pixels. Under create_graph
    the backward pass is ordinary differentiable code."""
    @staticmethod
    def forward(ctx, x, gain, bias, groups):
        v = pixels(x)
        mean, inv = moments(v, groups)
        ctx.save_for_backward(x, gain, mean, inv)
        ctx.groups = groups
        a = inv * gain
        return image(torch.addcmul((bias - mean * a)[:, None], v, a[:, None]), x)

    @staticmethod
    def backward(ctx, gy):
        x, gain, mean, inv = ctx.saved_tensors
        v, g = pixels(x), pixels(gy)
        if torch.is_grad_enabled():
            mean, inv = moments(v, ctx.groups)
        hw = v.shape[1]
        sum_g = g.sum(1)
        sum_gx = inv * ((g * v).sum(1) - mean * sum_g)               # of gy xhat
        ggain = gbias = None
        if not torch.is_grad_enabled():
            ggain = sum_gx.sum(0) if ctx.needs_input_grad[1] else None
            gbias = sum_g.sum(0) if ctx.needs_input_grad[2] else None
        u = -inv * inv * group_mean(gain * sum_gx, ctx.groups) / hw
        t = -inv * group_mean(gain * sum_g, ctx.groups) / hw - u * mean
        gx = torch.addcmul(torch.addcmul(t[:, None], v, u[:, None]), g, (inv * gain)[:, None])
        return image(gx, x), ggain, gbias, None


def norm(x, gain, bias):
    c = x.shape[1]
    groups = c if c <= 128 else 32
    if not quick:
        return F.group_norm(x, groups, gain, bias, 1e-5)
    if not compiling[0]:
        return NormQuick.apply(x, gain, bias, groups)
    v = pixels(x)                        # what torch.compile fuses; it makes slow code of group_norm
    mean, inv = moments(v, groups)
    a = inv * gain
    return image((bias - mean * a)[:, None] + v * a[:, None], x)


def swish(x):
    return F.silu(x) if quick else x * torch.sigmoid(x)


# ---- the net ----

def laid(v):
    """v in the arrangement's layout, in its strides too where there is one channel and either layout would do."""
    return torch.empty_like(v, memory_format=torch.channels_last).copy_(v) if quick and v.dim() == 4 else v


class Net:
    """parameters: a list; standardised: which of them go through weight standardisation."""
    def __init__(self, lines, image_channels, filters):
        self.parameters, self.standardised, self.scales = [], [], []
        for pools, line in enumerate(lines):
            layers, c = [], image_channels
            for text in line.split(" | "):
                kind, *rest = text.split()
                out = c
                if rest:
                    out = int(rest[0].rstrip("F") or 1) * (filters if rest[0].endswith("F") else 1)
                layers.append((kind, self.make(kind, c, out)))
                c = out
            self.scales.append((pools, layers))
        self.ready = None                                             # standardised weights kept for a phase

    def add(self, value, standardised=False):
        self.parameters.append(laid(value))
        self.standardised.append(standardised)
        return len(self.parameters) - 1

    def weight(self, out, c, k, bias=True, standardised=False):
        bound = (c * k * k) ** -0.5
        w = self.add(torch.empty(out, c, k, k).uniform_(-bound, bound), standardised)
        return (w, self.add(torch.empty(out).uniform_(-bound, bound)) if bias else None)

    def half_block(self, c):
        return self.weight(c, c, 3, standardised=True) + (self.add(torch.ones(c)), self.add(torch.zeros(c)))

    def make(self, kind, c, out):
        if kind == "conv":
            return self.weight(out, c, 3)
        if kind == "dense":
            return self.weight(out, c, 1)
        if kind == "res":
            return self.half_block(c) + self.half_block(c)
        if kind == "down":
            return self.half_block(c) + self.half_block(c) + self.weight(out, c, 3)
        if kind == "attn":
            query, key, value = self.weight(c // 8, c, 1), self.weight(c // 8, c, 1), self.weight(c, c, 1)
            return query + key + value + (self.add(torch.full((1,), 0.1)),)
        return ()

    def standardise(self):
        """The parameters as the layers use them: each standardised row minus its mean, over its standard deviation."""
        out = []
        for p, s in zip(self.parameters, self.standardised):
            if s:
                p = p - p.mean((1, 2, 3), keepdim=True)
                p = p / (p.flatten(1).std(1)[:, None, None, None] + 1e-5)
                p = p.contiguous(memory_format=torch.channels_last) if quick else p
            out.append(p)
        return out

    def phase(self, on):
        """Between phase(True) and phase(False) no parameter asks for a gradient, and weights are standardised once."""
        with torch.no_grad():
            self.ready = self.standardise() if on and quick else None
        for p in self.parameters:
            p.requires_grad_(not on)

    def energy(self, x):
        """(n,c,h,w) -> (n, scales)."""
        return self.run(x, self.ready or self.standardise())

    def run(self, x, p):
        energies = []
        for pools, layers in self.scales:
            y = x
            for _ in range(pools):
                y = F.avg_pool2d(y, 3, 2, 1)
            for kind, at in layers:
                y = self.layer(kind, [None if i is None else p[i] for i in at], y)
            energies.append(y.flatten(1))
        return torch.cat(energies, 1)

    @staticmethod
    def layer(kind, p, x):
        if kind == "conv":
            return conv(x, *p)
        if kind == "swish":
            return swish(x)
        if kind == "mean":
            return x.mean((2, 3), keepdim=True)
        if kind == "dense":
            return F.linear(x.flatten(1), p[0].flatten(1), p[1])
        if kind == "attn":
            q, k, v = conv(x, *p[0:2]).flatten(2), conv(x, *p[2:4]).flatten(2), conv(x, *p[4:6]).flatten(2)
            a = torch.softmax(torch.bmm(q.transpose(1, 2), k), 2)
            return p[6] * torch.bmm(v, a.transpose(1, 2)).view_as(x) + x
        y = swish(norm(conv(x, *p[0:2]), *p[2:4]))
        y = swish(norm(conv(y, *p[4:6]), *p[6:8])) + x
        return y if kind == "res" else swish(F.avg_pool2d(conv(y, *p[8:10]), 3, 2, 1))


# ---- Algorithm 1, lines 8 to 17 ----

compiling = [False]


def seconds():
    """When everything asked for so far is done."""
    if O.device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter()


class Timer:
    """Seconds of each part, by name; a part entered several times is added up."""
    def __init__(self):
        self.parts, self.last = {}, seconds()

    def stop(self, name):
        now = seconds()
        self.parts[name] = self.parts.get(name, 0) + now - self.last
        self.last = now


class Work:
    def __init__(self, o):
        torch.manual_seed(1)
        shape, lines = NETS[o.net]
        self.o, self.net = o, Net(lines, shape[0], o.filters)
        self.data, self.start = laid(torch.rand(o.batch, *shape)), laid(torch.rand(o.batch, *shape))
        self.neighbours = torch.rand(NEIGHBOURS, self.data[0].numel())
        self.ema = [p.clone() for p in self.net.parameters]
        self.step_size, self.noise = STEP_SIZE, NOISE
        for p in self.net.parameters:
            p.requires_grad_(True)
        self.optimiser = torch.optim.Adam(self.net.parameters, lr=1e-6, betas=(0.0, 0.9), foreach=True)
        self.once = self.net.energy                                   # for what is differentiated once
        if o.compile:
            run = torch.compile(self.net.run, dynamic=False)
            self.once = lambda x: run(x, self.net.ready or self.net.standardise())

    def differentiated_once(self, x):
        compiling[0] = self.o.compile
        e = self.once(x)
        compiling[0] = False
        return e

    def noisy(self, x):
        return torch.add(x, torch.randn_like(x), alpha=self.noise)

    def moved(self, x, g):
        return torch.clamp(x - self.step_size * g, 0, 1)

    def plain_step(self, x):
        x = self.noisy(x).requires_grad_(True)
        g, = torch.autograd.grad(self.differentiated_once(x).sum(), x)
        return self.moved(x.detach(), g)

    def graph_step(self, x):
        """A step that can be differentiated by the parameters."""
        if not x.requires_grad:
            x = x.requires_grad_(True)
        g, = torch.autograd.grad(self.net.energy(x).sum(), x, create_graph=True)
        return self.moved(x, g)

    def last_step(self, x, n):
        """x_K of all, and x_K of the first n as a function of the parameters."""
        x = self.noisy(x)
        rest = x[n:].detach()
        if len(rest):
            self.net.phase(True)
            rest.requires_grad_(True)
            g, = torch.autograd.grad(self.differentiated_once(rest).sum(), rest)
            rest = self.moved(rest.detach(), g)
            self.net.phase(False)
        graph = self.graph_step(x[:n].detach())
        return torch.cat([graph.detach(), rest]) if len(rest) else graph.detach(), graph

    def chain(self, steps, kl, backprop_all, n, timer):
        """x_K, and with kl x_K of n images as a function of the parameters."""
        x = self.start
        if kl and backprop_all:
            for _ in range(steps):
                x = self.graph_step(self.noisy(x))
            timer.stop("kl")
            return x.detach(), x[:n]
        keep = kl and quick                                           # the last step is the one that is differentiated
        self.net.phase(True)
        for k in range(steps - keep):
            before, x = x, self.plain_step(x)
        self.net.phase(False)
        timer.stop("chain")
        if not kl:
            return x, None
        result = self.last_step(x, n) if keep else (x, self.graph_step(self.noisy(before[:n])))
        timer.stop("kl")
        return result

    def contrastive(self, negatives):
        """L_CD and alpha <E^2>; E+ and E- in one batch."""
        if quick:
            e = self.differentiated_once(torch.cat([self.data, negatives]))
            e = e[:len(self.data)], e[len(self.data):]
        else:
            e = self.net.energy(self.data), self.net.energy(negatives)
        (e[0].mean() - e[1].mean() + e[0].pow(2).mean() + e[1].pow(2).mean()).backward()

    def kl(self, x):
        """w_opt <E_frozen(x)> - w_ent <log of the distance to the nearest neighbour>."""
        self.net.phase(True)
        e = self.differentiated_once(x).mean()
        self.net.phase(False)
        flat = x.flatten(1)
        with torch.no_grad():
            nearest = torch.cdist(flat, self.neighbours).argmin(1)
        loss = e - W_ENT * torch.log((flat - self.neighbours[nearest]).norm(dim=1)).mean()
        loss.backward(inputs=self.net.parameters) if quick else loss.backward()

    def update(self):
        p = self.net.parameters
        torch.nn.utils.clip_grad_norm_(p, CLIP)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        with torch.no_grad():
            torch._foreach_mul_(self.ema, DECAY)
            torch._foreach_add_(self.ema, [v.detach() for v in p], alpha=1 - DECAY)

    def iteration(self, steps, kl, backprop_all):
        """Seconds: chain (K - 1 steps where the K-th is counted in kl), cd, kl, update, iteration."""
        n = min(self.o.kl_n or self.o.batch, self.o.batch)
        begin, timer = seconds(), Timer()
        negatives, graph = self.chain(steps, kl, backprop_all, n, timer)
        self.contrastive(negatives)
        timer.stop("cd")
        if kl:
            self.kl(graph)
            timer.stop("kl")
        del graph
        self.update()
        timer.stop("update")
        timer.parts["iteration"] = seconds() - begin
        return timer.parts


def milliseconds(o, parts, steps, kl, backprop_all):
    """Parts as icd names them: the last step is taken out of `kl` and counted as a Langevin step like the others."""
    ms = {k: 1e3 * v for k, v in parts.items()}
    plain = steps - (kl and quick)
    if backprop_all and kl:
        ms["langevin"] = None
    elif plain:
        ms["langevin"] = ms["chain"] / plain
        if kl and quick:
            ms["kl"] -= ms["langevin"]
    ms.pop("chain", None)
    return ms


def about(o, work):
    return {"torch": torch.__version__, "device": o.device, "tf32": o.tf32, "net": o.net, "filters": o.filters,
            "batch": o.batch, "kl_n": o.kl_n or o.batch,
            "threads": torch.get_num_threads(), "arrangement": "plain" if o.plain else "compile" if o.compile else "quick",
            "parameters": sum(p.numel() for p in work.net.parameters)}


def answer(o, work, steps, kl, backprop_all, iterations):
    rows = [milliseconds(o, work.iteration(steps, kl, backprop_all), steps, kl, backprop_all) for _ in range(iterations)]
    ms = {k: rows[0][k] and round(statistics.median(r[k] for r in rows), 3) for k in rows[0]}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if o.device != "cpu":
        peak = torch.cuda.max_memory_allocated() / 2 ** 20
    return dict(about(o, work), steps=steps, kl=kl, backprop_all=backprop_all, ms=ms, peak_rss_mib=round(peak, 1))


def serve(o, work):
    print(json.dumps(about(o, work)), flush=True)                         # warm, and from here on idle until asked
    for line in sys.stdin:
        ask = dict({"steps": o.steps, "kl": o.kl, "backprop_all": o.backprop_all, "iterations": 1}, **json.loads(line))
        print(json.dumps(answer(o, work, ask["steps"], ask["kl"], ask["backprop_all"], ask["iterations"])), flush=True)


def check(o):
    """Gradients of L_CD and L_KL by both arrangements in double, noise off: plain autograd knows none of the rules above."""
    global quick
    torch.set_default_dtype(torch.float64)
    o.filters, o.batch, steps, bad = 16, 5, 3, 0
    for net in NETS:
        for kl_n, backprop_all in ((0, False), (3, False), (0, True)):
            o.net, o.kl_n, found = net, kl_n, []
            for quick in (True, False):
                work = Work(o)
                work.step_size, work.noise = 0.5, 0.0
                x, graph = work.chain(steps, True, backprop_all, o.kl_n or o.batch, Timer())
                parts = []
                for part in (lambda: work.contrastive(x), lambda: work.kl(graph)):
                    part()
                    parts.append([torch.zeros(1) if p.grad is None else p.grad for p in work.net.parameters])
                    work.optimiser.zero_grad(set_to_none=True)
                found.append(parts)
            for name, a, b in zip(("L_CD", "L_KL"), *found):
                size = sum(float(v.norm()) ** 2 for v in b) ** 0.5
                worst = max(float((u - v).norm()) / size for u, v in zip(a, b))
                wrong = not worst <= 1e-9
                bad += wrong
                print(f"{net:12} kl_n {kl_n} all {backprop_all!s:5} {name}: off by {worst:.1e}{' WRONG' if wrong else ''}")
    return 1 if bad else 0


if __name__ == "__main__":
    if O.check:
        sys.exit(check(O))
    job = Work(O)
    for _ in range(O.warmup):
        job.iteration(O.steps, O.kl, O.backprop_all)
    if O.serve:
        serve(O, job)
    else:
        print(json.dumps(answer(O, job, O.steps, O.kl, O.backprop_all, O.iterations)))

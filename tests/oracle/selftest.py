"""The witness's own proof: layers against answers worked out by hand, parameter counts, and the KL gradients against
routes that never differentiate twice. Prints `selftest N passed, M failed`; exit 1 on a failure, 77 without torch."""
import sys

try:
    import numpy as np
    import torch
except ImportError as e:
    print(f"skipped: {e}")
    sys.exit(77)

import cases
import model as oracle
import step as algorithm
from model import Model

torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)
passed = failed = 0


def check(what, error, bound):
    global passed, failed
    good = error <= bound                             # NaN is not good
    passed, failed = passed + good, failed + (not good)
    print(f"{'ok    ' if good else 'FAILED'} {what}: {error:.2e} (bound {bound:.0e})")


def error(a, b):
    a, b = torch.as_tensor(a), torch.as_tensor(b)
    return float((a - b).abs().max() / max(float(b.abs().max()), 1e-300))


# ---- layers, by hand

def by_hand():
    def run(layer, x, theta):
        m = Model(f"{layer} | mean | dense 1", tuple(x.shape[1:]))
        return m.layer(theta, *m.scales[0][1][0], x, None)

    ones = torch.ones(1, 1, 5, 5)
    box = {"full.00.conv.weight": torch.ones(1, 1, 3, 3), "full.00.conv.bias": torch.zeros(1)}
    line = [4., 6, 6, 6, 4]
    mid = [6., 9, 9, 9, 6]
    check("conv: a box reaches every edge", error(run("conv 1", ones, box)[0, 0],
                                                  torch.tensor([line, mid, mid, mid, line])), 0)
    check("average pool: padding counted", error(oracle.halve(ones)[0, 0],
                                                 torch.tensor([[4., 6, 4], [6, 9, 6], [4, 6, 4]]) / 9), 1e-15)
    check("average pool: 4 rows", error(oracle.halve(torch.ones(1, 1, 4, 4))[0, 0],
                                        torch.tensor([[4., 6], [6, 9]]) / 9), 1e-15)
    check("swish", error(oracle.swish(torch.tensor([-1., 0, 1])), [-0.2689414213699951, 0, 0.7310585786300049]), 1e-15)
    x = torch.tensor([-2., 0, 3]).reshape(1, 3, 1, 1)
    check("lrelu", error(run("lrelu 0.1", x, {}).reshape(-1), [-0.2, 0, 3]), 1e-15)
    x = torch.arange(1., 26).reshape(1, 1, 5, 5)
    check("maxpool: the odd edge is dropped", error(run("maxpool", x, {})[0, 0], [[7., 9], [17, 19]]), 0)
    x = torch.tensor([1., 3, 10, 30]).reshape(1, 4, 1, 1)
    gain, bias = torch.tensor([1., 2, 3, 4]), torch.tensor([0., 0, 1, 1])
    a, b = 1 / np.sqrt(1 + 1e-5), 10 / np.sqrt(100 + 1e-5)
    check("group norm of 2 groups", error(oracle.normalise(x, 2, gain, bias).reshape(-1),
                                          [-a, 2 * a, 1 - 3 * b, 1 + 4 * b]), 1e-15)
    w = torch.tensor([[1., 2, 3], [0, 0, 6]]).reshape(2, 3, 1, 1)
    s = np.sqrt(12)
    check("weight standardisation", error(oracle.standardise(w).reshape(2, 3),
          [[-1 / (1 + 1e-5), 0, 1 / (1 + 1e-5)], [-2 / (s + 1e-5), -2 / (s + 1e-5), 4 / (s + 1e-5)]]), 1e-15)
    w = torch.tensor([[3., 0], [0, 1]]) @ torch.tensor([[0.8, 0.6], [-0.6, 0.8]])
    check("spectral norm of known singular values", error(oracle.spectral(w), w / 3), 1e-9)
    w = torch.tensor([[3., 4.]])
    check("spectral norm of one row", error(oracle.spectral(w), w / 5), 1e-12)

    # queries 0: every key weighs the same, so attention adds gamma times the mean of the values.
    x = torch.arange(16.).reshape(1, 8, 2, 1)
    theta = {"full.00.attn.query.weight": torch.zeros(1, 8, 1, 1), "full.00.attn.query.bias": torch.zeros(1),
             "full.00.attn.key.weight": torch.ones(1, 8, 1, 1), "full.00.attn.key.bias": torch.zeros(1),
             "full.00.attn.value.weight": torch.eye(8).reshape(8, 8, 1, 1), "full.00.attn.value.bias": torch.ones(8),
             "full.00.attn.gamma": torch.tensor([0.5])}
    check("attention with equal weights", error(run("attn", x, theta), x + 0.5 * (x.mean(2, keepdim=True) + 1)), 1e-15)
    # one feature, query = key = 0 at the first pixel and ln 3 at the second: the first query weighs both keys alike, the
    # second weighs them 1 : exp(ln 3 ln 3). The value is 1 at the first pixel only, and x is added.
    x = torch.zeros(1, 8, 2, 1)
    x[0, 0, 1, 0] = np.log(3)
    x[0, 1, 0, 0] = 1
    one = torch.zeros(1, 8, 1, 1)
    one[0, 0] = 1
    theta.update({"full.00.attn.query.weight": one, "full.00.attn.key.weight": one, "full.00.attn.gamma": torch.ones(1),
                  "full.00.attn.value.bias": torch.zeros(8)})
    p = 1 / (1 + 3 ** np.log(3))
    check("attention: softmax over the keys", error(run("attn", x, theta)[0, 1, :, 0], [1 + 0.5, p]), 1e-15)
    x = torch.zeros(1, 2, 2, 4)
    x[0, 1] = torch.tensor([[1., 2, 3, 4], [5, 6, 7, 8]])
    w = torch.tensor([0., 1]).reshape(1, 2, 1, 1)
    theta = {"full.00.nonlocal.theta.weight": 0 * w, "full.00.nonlocal.theta.bias": torch.ones(1),
             "full.00.nonlocal.phi.weight": w, "full.00.nonlocal.phi.bias": torch.zeros(1),
             "full.00.nonlocal.g.weight": 10 * w, "full.00.nonlocal.g.bias": torch.zeros(1),
             "full.00.nonlocal.out.weight": torch.tensor([2., 0]).reshape(2, 1, 1, 1),
             "full.00.nonlocal.out.bias": torch.tensor([0., 1])}
    e = np.exp(-2)                                    # keys 6 and 8, values 60 and 80
    want = 2 * (60 * e + 80) / (1 + e)
    y = run("nonlocal", x, theta)
    check("nonlocal: pooled keys and values", max(error(y[0, 0], torch.full((2, 4), want)), error(y[0, 1], x[0, 1] + 1)), 1e-14)


def counts():
    stem = "conv 64 | swish | res 64 | down 64 | res 64 | down 128 | "
    cifar = f"full: {stem} attn | res 128 | down 256 | res 256 | down 512 | swish | mean | dense 1 ; " \
            f"half: {stem} res 128 | down 256 | swish | mean | dense 1 ; quarter: {stem} swish | mean | dense 1"
    m = Model(cifar, (3, 32, 32), {"norm": "auto"})
    for scale, n in ("full", 4859234), ("half", 1295809), ("quarter", 409153), (None, 6564196):
        check(f"parameters of code-cifar10 {scale or 'together'} {n}", abs(m.count(scale) - n), 0)
    vanilla = "conv 32 3 1 1 | lrelu 0.05 | conv 64 4 2 1 | lrelu 0.05 | conv 128 4 2 1 | lrelu 0.05 | conv 256 4 2 1 | " \
              "lrelu 0.05 | conv 1 4 1 0"
    non = "conv 32 | lrelu 0.2 | maxpool | nonlocal | conv 64 | lrelu 0.2 | maxpool | nonlocal | conv 128 | lrelu 0.2 | " \
          "maxpool | flatten | dense 256 | lrelu 0.2 | dense 1"
    toy = "conv 32 1 1 0 | lrelu 0.05 | conv 64 1 | lrelu 0.05 | conv 64 1 | lrelu 0.05 | conv 64 1 | lrelu 0.05 | conv 1 1"
    mnist = "conv 64 | swish | down 128 | down 256 | down 512 | mean | dense 1"
    for name, line, shape, n in (("anatomy-vanilla", vanilla, (3, 32, 32), 693569), ("toy", toy, (2, 1, 1), 10593),
                                 ("anatomy-nonlocal", non, (3, 32, 32), 628529), ("code-mnist", mnist, (1, 28, 28), 3101313)):
        check(f"parameters of {name} {n}", abs(Model(line, shape, {"norm": "auto"}).count() - n), 0)


# ---- the gradients of L_opt and L_ent, by routes that differentiate once

NETS = {
    "attention, group norm, weight std": ("conv 8 | swish | res 8 | down 8 | attn | swish | mean | dense 1", (1, 8, 8),
                                          {"norm": "group", "groups": 4, "weight_std": True}),
    "two scales, instance norm, classes": ("full: conv 8 | res 16 | swish | mean | dense 1; half: conv 4 | swish | down 8 | "
                                           "mean | dense 1", (2, 8, 8), {"norm": "instance", "classes": 3}),
    "spectral norm with weight std": ("conv 4 | swish | res 8 | mean | dense 1", (1, 6, 6),
                                      {"norm": "none", "weight_std": True, "spectral_norm": True}),
    "nonlocal, lrelu, maxpool": ("conv 8 | lrelu 0.2 | maxpool | nonlocal | conv 8 4 2 1 | lrelu 0.2 | flatten | dense 4 | "
                                 "lrelu 0.2 | dense 1", (1, 12, 12), {"norm": "none"}),
}
BOUND = 1e-6          # a difference of width h errs by h^2 or h^4 and by 1e-16/h
SETTINGS = {"noise": 0.05, "noise_before": False, "clamp": True, "backprop_steps": 1, "kl_batch": 0, "scale_mean": False}


class Problem:
    def __init__(self, name, steps, **changes):
        line, shape, settings = NETS[name]
        self.model = Model(line, shape, settings)
        self.theta = cases.random_theta(self.model, 5)
        rng = np.random.default_rng(6)
        n = 3
        self.positives, self.start = cases.images(rng, n, shape), cases.images(rng, n, shape)
        self.neighbours = cases.images(rng, 4, shape)
        self.noise = torch.from_numpy(rng.standard_normal((steps, n, *shape)))
        draw = lambda: torch.from_numpy(rng.integers(0, 3, n)) if settings.get("classes") else None
        self.labels, self.positive_labels = draw(), draw()
        self.s = dict(SETTINGS, **changes)
        self.s["step_size"] = cases.moving_step_size(self.model, self.theta, self.start, self.labels, 0.25)
        self.m = self.s["backprop_steps"] or steps
        self.n = self.s["kl_batch"] or n

    def step(self):
        return algorithm.step(self.model, self.theta, self.positives, self.start, self.neighbours, self.noise, self.s,
                              self.labels, self.positive_labels)

    def images_energy(self, theta, x):                # as the losses see it
        e = self.model.energy(theta, x, None if self.labels is None else self.labels[:len(x)])
        return e.mean(1) if self.s["scale_mean"] else e.sum(1)

    def slope(self, theta, x):                        # grad_x of the summed energy: what the sampler follows
        x = x.detach().clone().requires_grad_(True)
        labels = None if self.labels is None else self.labels[:len(x)]
        return torch.autograd.grad(self.model.energy(theta, x, labels).sum(), x)[0]

    def roll(self, theta, x, first):                  # the chain from x_first on, under theta
        for k in range(first, len(self.noise)):
            kick = self.s["noise"] * self.noise[k][:len(x)]
            y = x + kick if self.s["noise_before"] else x
            x = y - self.s["step_size"] * self.slope(theta, y) + (0 if self.s["noise_before"] else kick)
            x = x.clamp(0, 1) if self.s["clamp"] else x
        return x

    def losses(self, x):
        """L_opt under the theta of now, and L_ent, of the first n images: numbers."""
        d = ((x[:, None] - self.neighbours[None]) ** 2).flatten(2).sum(2).sqrt().min(1)[0]
        return torch.stack([self.images_energy(self.theta, x).mean(), -torch.log(d).mean()]).detach()


def best(route):
    """The least error over several widths: a kink (clamp, lrelu, maxpool) inside the stencil spoils the wide ones, rounding
    the narrow ones, and a wrong gradient agrees with none. NaN never wins."""
    errors = [route(h) for h in (1e-5, 1e-6, 1e-7, 1e-8)]
    return min((e for e in errors if e == e), default=float("nan"))


def differences(p, out):
    """Central differences of the losses along a random direction of theta, the frozen theta left alone."""
    return best(lambda h: differences_at(p, out, h))


def recursion(p, out):
    """mathematics: a_K = dL/dx_K; per step  gradient -= lambda grad_theta E.(x; C a),  a <- (I - lambda Hessian) C a.
    E. and Hessian times a are central differences of E and grad_x E: nothing is differentiated twice."""
    return best(lambda t: recursion_at(p, out, t))


def differences_at(p, out, h):
    rng = np.random.default_rng(7)
    direction = {k: torch.from_numpy(rng.standard_normal(v.shape)) for k, v in p.theta.items()}
    first = len(p.noise) - p.m
    x = torch.from_numpy(out[f"x.{first}"])[:p.n]
    at = lambda t: p.losses(p.roll({k: v + t * direction[k] for k, v in p.theta.items()}, x, first))
    want = (8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h)
    got = [sum(float((torch.from_numpy(out[f"grad.{name}.{k}"]) * v).sum()) for k, v in direction.items())
           for name in ("opt", "ent")]
    return max(abs(got[i] - float(want[i])) / abs(float(want[i])) for i in (0, 1))


def recursion_at(p, out, t):
    worst, steps = 0.0, len(p.noise)
    lam = p.s["step_size"]
    labels = None if p.labels is None else p.labels[:p.n]
    for name in "opt", "ent":
        x = torch.from_numpy(out[f"x.{steps}"])[:p.n].requires_grad_(True)
        if name == "opt":
            a, = torch.autograd.grad(p.images_energy(p.theta, x).mean(), x)
        else:
            nn = p.neighbours[out["nn.index"]]
            a = -(x - nn).detach() / ((x - nn).detach() ** 2).flatten(1).sum(1).view(-1, 1, 1, 1) / p.n
        total = {k: torch.zeros_like(v) for k, v in p.theta.items()}
        for k in range(steps, steps - p.m, -1):
            y = torch.from_numpy(out[f"x.{k - 1}"])[:p.n]
            kick = p.s["noise"] * p.noise[k - 1][:p.n]
            y = y + kick if p.s["noise_before"] else y
            before_clamp = y - lam * p.slope(p.theta, y) + (0 if p.s["noise_before"] else kick)
            if p.s["clamp"]:
                a = a * ((before_clamp >= 0) & (before_clamp <= 1))
            theta = {key: v.clone().requires_grad_(True) for key, v in p.theta.items()}
            size = float(a.abs().max())
            v = a / size                              # the difference quotient wants a direction of size one
            e = lambda c: p.model.energy(theta, y + c * t * v, labels).sum()
            dot = (8 * (e(1) - e(-1)) - (e(2) - e(-2))) / (12 * t)
            grads = torch.autograd.grad(dot, list(theta.values()), allow_unused=True)
            for key, g in zip(theta, grads):
                if g is not None:
                    total[key] -= lam * size * g
            s = lambda c: p.slope(p.theta, y + c * t * v)
            a = a - lam * size * (8 * (s(1) - s(-1)) - (s(2) - s(-2))) / (12 * t)
        largest = max(float(v.abs().max()) for v in total.values())
        worst = max([worst] + [float((torch.from_numpy(out[f"grad.{name}.{key}"]) - v).abs().max()) / largest
                               for key, v in total.items()])
    return worst


def contrastive(p, out, h=1e-6):
    """L_CD by central differences, x_K left alone."""
    rng = np.random.default_rng(8)
    direction = {k: torch.from_numpy(rng.standard_normal(v.shape)) for k, v in p.theta.items()}
    x = torch.from_numpy(out[f"x.{len(p.noise)}"])

    def at(t):
        theta = {k: v + t * direction[k] for k, v in p.theta.items()}
        plus = p.model.energy(theta, p.positives, p.positive_labels)
        plus = plus.mean(1) if p.s["scale_mean"] else plus.sum(1)
        return float(plus.mean() - p.images_energy(theta, x).mean())
    want = (at(h) - at(-h)) / (2 * h)
    got = sum(float((torch.from_numpy(out[f"grad.cd.{k}"]) * v).sum()) for k, v in direction.items())
    return abs(got - want) / abs(want)


def gradients():
    variants = [dict(steps=2), dict(steps=3, backprop_steps=0, noise_before=True),
                dict(steps=3, backprop_steps=2, clamp=False, kl_batch=2), dict(steps=1, scale_mean=True, kl_batch=1)]
    for net in NETS:
        for v in variants:
            p = Problem(net, **v)
            out = p.step()
            title = f"{net}; {' '.join(f'{k}={w}' for k, w in v.items())}"
            if p.s["clamp"]:
                check(f"{title}: the clamp cuts", 0 if 0 < out["cut"] < 0.5 else 1, 0)
            check(f"{title}: L_CD, central differences", contrastive(p, out), BOUND)
            check(f"{title}: L_opt and L_ent, central differences", differences(p, out), BOUND)
            check(f"{title}: L_opt and L_ent, frozen a and D.2's recursion", recursion(p, out), BOUND)


def stop_gradients_matter():
    """Without any one stop-gradient some check above must fail."""
    keep = algorithm.stop
    for what, test, bound in ("theta", differences, BOUND), ("theta", recursion, BOUND), ("chain", differences, BOUND), \
            ("chain", recursion, BOUND), ("negatives", contrastive, BOUND):
        p = Problem("attention, group norm, weight std", 3)
        algorithm.stop = lambda value, which: value if which == what else keep(value, which)
        if what == "chain":                           # keep the graph of the whole chain, then ask for one step of it
            p.s["backprop_steps"] = 0
        out = p.step()
        algorithm.stop = keep
        err = test(p, out)
        check(f"without the stop-gradient on {what}, {test.__name__} sees it ({err:.1e})", 0 if err > 1e3 * bound else 1, 0)


def ties_and_floor():
    x = np.array([[0., 0], [1, 1]]).reshape(2, 2, 1, 1)
    neighbours = np.array([[3., 4], [0, 1], [1, 0], [1, 1]]).reshape(4, 2, 1, 1)
    index, distance = algorithm.nearest(x, neighbours)
    check("nearest neighbour: ties go to the lowest index", error(index, [1, 3]), 0)
    check("nearest neighbour: L2", error(distance, [1., 0]), 1e-15)
    t = torch.from_numpy(x).requires_grad_(True)
    loss, _, _ = algorithm.entropy_loss(t, torch.from_numpy(neighbours))
    g, = torch.autograd.grad(loss, t)
    check("log NN at distance zero is floored", abs(float(loss) + (0 + np.log(1e-6)) / 2), 1e-14)
    check("its gradient is zero there, -1/(N d) elsewhere", error(g.reshape(2, 2), [[0, 0.5], [0, 0]]), 1e-15)


def comparison():
    """What run.py calls equal: a NaN or an infinity anywhere, a value off, a tensor missing or of another shape is seen."""
    from run import compare
    want = {"cut": np.array(0.1), "x.0": np.ones(3), "energy.positive": np.ones(2), "energy.negative": np.ones(2),
            "nn.distance": np.ones(2), "nn.index": np.array([1]), "loss.ent": np.array(1.0), "grad.cd.a": np.ones(2),
            "grad.cd.b": np.ones(2)}
    right = {k: v.copy() for k, v in want.items() if k != "cut"}
    sees = lambda got: bool(compare(got, want, 1e-5)[1]) or \
        not all(e <= 1e-8 for e, _ in compare(got, want, 1e-5)[0].values())
    check("run.py passes what is equal", int(sees(right)), 0)
    for name, value in (("grad.cd.a", np.nan), ("grad.cd.b", np.nan), ("grad.cd.a", np.inf), ("x.0", np.nan), ("x.0", 1.1),
                        ("energy.positive", -1), ("loss.ent", np.nan), ("nn.distance", np.nan), ("nn.index", 0)):
        wrong = dict(right, **{name: np.full_like(right[name], value)})
        check(f"run.py sees {name} = {value}", int(not sees(wrong)), 0)
    check("run.py sees a tensor missing", int(not sees({k: v for k, v in right.items() if k != "grad.cd.b"})), 0)
    check("run.py sees a tensor too many", int(not sees(dict(right, more=np.ones(1)))), 0)
    check("run.py sees another shape", int(not sees(dict(right, **{"grad.cd.b": np.ones((1, 2))}))), 0)


if __name__ == "__main__":
    for part in by_hand, counts, comparison, ties_and_floor, gradients, stop_gradients_matter:
        part()
    print(f"selftest {passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)

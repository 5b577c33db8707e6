"""The energy of an architecture line, in PyTorch: a witness written from the mathematics, not from the C code.

    m = Model("full: conv 8 | swish | res 8 | mean | dense 1", (1, 28, 28), {"norm": "group", "groups": 32})
    m.shapes                            parameter name -> shape, in the order of the layers
    m.energy(theta, x, labels)          (N, scales)
"""
import math
from collections import OrderedDict

import torch
import torch.nn.functional as F

POOLS = {"full": 0, "half": 1, "quarter": 2}
EPS_NORM = 1e-5
EPS_STD = 1e-5
POWER_ITERATIONS = 12


def halve(x):
    """3x3 average pool, stride 2, padding 1, the padding counted as zeros."""
    return F.avg_pool2d(x, 3, stride=2, padding=1, count_include_pad=True)


def swish(x):
    return x * torch.sigmoid(x)


def normalise(x, groups, gain, bias):
    """Group norm of x (N,C,h,w): mean and biased variance over (C/groups,h,w), then gain and bias (C)."""
    n, c, h, w = x.shape
    g = x.reshape(n, groups, -1)
    g = g - g.mean(2, keepdim=True)
    g = g / torch.sqrt((g * g).mean(2, keepdim=True) + EPS_NORM)
    return g.reshape(n, c, h, w) * gain.view(1, c, 1, 1) + bias.view(1, c, 1, 1)


def standardise(w):
    """w (O,I,h,w): minus its mean over (I,h,w), over the unbiased standard deviation + 1e-5."""
    rows = w.reshape(w.shape[0], -1)
    rows = rows - rows.mean(1, keepdim=True)
    std = torch.sqrt((rows * rows).sum(1, keepdim=True) / (rows.shape[1] - 1))
    return (rows / (std + EPS_STD)).reshape(w.shape)


def unit(v):
    return v / torch.sqrt((v * v).sum() + 1e-12)


def spectral(w):
    """w (O,...) over its largest singular value, by power iteration from u = 1/sqrt(O); all of it differentiable."""
    m = w.reshape(w.shape[0], -1)
    u = torch.full((m.shape[0],), 1 / math.sqrt(m.shape[0]), dtype=w.dtype)
    for _ in range(POWER_ITERATIONS):
        v = unit(m.t() @ u)
        u = unit(m @ v)
    return w / (u @ (m @ v))


class Model:
    def __init__(self, line, shape, settings=None):
        s = {"norm": "auto", "groups": 32, "weight_std": False, "spectral_norm": False, "classes": 0}
        s.update(settings or {})
        self.norm, self.groups, self.classes = s["norm"], int(s["groups"]), int(s["classes"])
        self.weight_std, self.spectral_norm = bool(s["weight_std"]), bool(s["spectral_norm"])
        self.shapes = OrderedDict()
        self.scales = []                              # (name, [(prefix, word, numbers), ...])
        for text in line.split(";"):
            name, colon, layers = text.partition(":")
            if not colon:
                name, layers = "full", text
            name = name.strip()
            layers = [(f"{name}.{i:02d}.{words[0]}", words[0], [float(v) for v in words[1:]])
                      for i, words in enumerate(layer.split() for layer in layers.split("|"))]
            self.scales.append((name, layers))
            c, h, w = shape
            for _ in range(POOLS[name]):
                h, w = (h - 1) // 2 + 1, (w - 1) // 2 + 1
            for prefix, word, numbers in layers:
                c, h, w = self.declare(prefix, word, numbers, c, h, w)
            if (c, h, w) != (1, 1, 1):
                raise ValueError(f"{name} ends in {(c, h, w)}, not in one number")

    # ---- what parameters a layer has, and its shape out

    def add(self, name, *shape):
        self.shapes[name] = shape

    def conv_shape(self, name, o, i, k, bias=True):
        self.add(f"{name}.weight", o, i, k, k)
        if bias:
            self.add(f"{name}.bias", o)

    def res_shape(self, p, i, o):
        for j, ci in (1, i), (2, o):
            self.conv_shape(f"{p}.conv{j}", o, ci, 3)
            if self.norm != "none":
                self.add(f"{p}.norm{j}.weight", o)
                self.add(f"{p}.norm{j}.bias", o)
            if j == 1 and self.classes:
                self.add(f"{p}.class.gain", self.classes, o)
                self.add(f"{p}.class.bias", self.classes, o)
        if i != o:
            self.conv_shape(f"{p}.skip", o, i, 1, bias=False)

    def declare(self, p, word, numbers, c, h, w):
        o = int(numbers[0]) if numbers else c
        if word == "conv":
            k, s, pad = self.conv_numbers(numbers)
            self.conv_shape(p, o, c, k)
            return o, (h + 2 * pad - k) // s + 1, (w + 2 * pad - k) // s + 1
        if word == "res":
            self.res_shape(p, c, o)
            return o, h, w
        if word == "down":
            self.res_shape(p, c, c)
            self.conv_shape(f"{p}.conv", o, c, 3)
            return o, (h - 1) // 2 + 1, (w - 1) // 2 + 1
        if word == "attn":
            self.conv_shape(f"{p}.query", c // 8, c, 1)
            self.conv_shape(f"{p}.key", c // 8, c, 1)
            self.conv_shape(f"{p}.value", c, c, 1)
            self.add(f"{p}.gamma", 1)
        elif word == "nonlocal":
            for name in "theta", "phi", "g":
                self.conv_shape(f"{p}.{name}", c // 2, c, 1)
            self.conv_shape(f"{p}.out", c, c // 2, 1)
        elif word == "maxpool":
            return c, h // 2, w // 2
        elif word == "mean":
            return c, 1, 1
        elif word == "flatten":
            return c * h * w, 1, 1
        elif word == "dense":
            if (h, w) != (1, 1):
                raise ValueError(f"{p}: dense after an image of {h}x{w}")
            self.add(f"{p}.weight", o, c)
            self.add(f"{p}.bias", o)
            return o, 1, 1
        elif word not in ("swish", "lrelu"):
            raise ValueError(f"{p}: unknown layer")
        return c, h, w

    @staticmethod
    def conv_numbers(numbers):
        k = int(numbers[1]) if len(numbers) > 1 else 3
        s = int(numbers[2]) if len(numbers) > 2 else 1
        p = int(numbers[3]) if len(numbers) > 3 else k // 2
        return k, s, p

    def count(self, scale=None):
        return sum(math.prod(s) for n, s in self.shapes.items() if scale is None or n.startswith(scale + "."))

    # ---- the function

    def weight(self, theta, name, standardised=False):
        w = theta[name]
        if standardised and self.weight_std:
            w = standardise(w)
        return spectral(w) if self.spectral_norm else w

    def conv(self, theta, name, x, stride=1, padding=0, standardised=False):
        return F.conv2d(x, self.weight(theta, f"{name}.weight", standardised), theta.get(f"{name}.bias"),
                        stride=stride, padding=padding)

    def normed(self, theta, name, x):
        c = x.shape[1]
        if self.norm == "none":
            return x
        if self.norm == "instance" or (self.norm == "auto" and c <= 128):
            groups = c
        else:
            groups = min(self.groups, c)
        return normalise(x, groups, theta[f"{name}.weight"], theta[f"{name}.bias"])

    def res(self, theta, p, x, labels):
        y = self.normed(theta, f"{p}.norm1", self.conv(theta, f"{p}.conv1", x, padding=1, standardised=True))
        if self.classes:
            y = y * theta[f"{p}.class.gain"][labels][:, :, None, None] + theta[f"{p}.class.bias"][labels][:, :, None, None]
        y = swish(y)
        y = swish(self.normed(theta, f"{p}.norm2", self.conv(theta, f"{p}.conv2", y, padding=1, standardised=True)))
        return y + (self.conv(theta, f"{p}.skip", x) if f"{p}.skip.weight" in theta else x)

    def attend(self, queries, keys, values):
        """(N,d,Q), (N,d,K), (N,C,K) -> (N,C,Q): softmax over the keys of <query, key>, unscaled."""
        return values @ torch.softmax(queries.transpose(1, 2) @ keys, 2).transpose(1, 2)

    def attn(self, theta, p, x):
        q, k, v = (self.conv(theta, f"{p}.{name}", x).flatten(2) for name in ("query", "key", "value"))
        return theta[f"{p}.gamma"] * self.attend(q, k, v).reshape(x.shape) + x

    def nonlocal_(self, theta, p, x):
        q = self.conv(theta, f"{p}.theta", x)
        k, v = (F.max_pool2d(self.conv(theta, f"{p}.{name}", x), 2) for name in ("phi", "g"))
        y = self.attend(q.flatten(2), k.flatten(2), v.flatten(2)).reshape(q.shape)
        return self.conv(theta, f"{p}.out", y) + x

    def layer(self, theta, p, word, numbers, x, labels):
        if word == "conv":
            _, s, pad = self.conv_numbers(numbers)
            return self.conv(theta, p, x, stride=s, padding=pad)
        if word == "swish":
            return swish(x)
        if word == "lrelu":
            return torch.where(x > 0, x, numbers[0] * x)
        if word == "res":
            return self.res(theta, p, x, labels)
        if word == "down":
            return swish(halve(self.conv(theta, f"{p}.conv", self.res(theta, p, x, labels), padding=1)))
        if word == "attn":
            return self.attn(theta, p, x)
        if word == "nonlocal":
            return self.nonlocal_(theta, p, x)
        if word == "maxpool":
            return F.max_pool2d(x, 2)
        if word == "mean":
            return x.mean((2, 3), keepdim=True)
        if word == "flatten":
            return x.reshape(x.shape[0], -1, 1, 1)
        w = self.weight(theta, f"{p}.weight")                                   # dense
        return (x[:, :, 0, 0] @ w.t() + theta[f"{p}.bias"])[:, :, None, None]

    def energy(self, theta, x, labels=None):
        """(N,C,H,W) -> (N, scales). E(x) is the sum over the scales."""
        out = []
        for name, layers in self.scales:
            y = x
            for _ in range(POOLS[name]):
                y = halve(y)
            for prefix, word, numbers in layers:
                y = self.layer(theta, prefix, word, numbers, y, labels)
            out.append(y.reshape(-1))
        return torch.stack(out, 1)

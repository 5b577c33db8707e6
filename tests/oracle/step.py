"""The body of Algorithm 1's loop with every draw given, in float64, by automatic differentiation (reverse over reverse).

Each loss is a mean over its images, unweighted, and so is its gradient:
    L_CD  = <E(x+)> - <E(stop(x_K))>
    L_opt = <E_stop(theta)(x_K)>              x_K a function of theta through the last `backprop_steps` steps
    L_ent = -<log max(NN(x_K, X), 1e-6)>      no gradient at or below the floor
"""
import numpy as np
import torch

FLOOR = 1e-6


def stop(value, what):
    """Stop-gradient of a tensor or of a dict of them. `what` (theta, negatives, chain) is there for the self-test."""
    return {k: v.detach() for k, v in value.items()} if isinstance(value, dict) else value.detach()


def total(model, theta, x, labels):
    return model.energy(theta, x, labels).sum(1)


def langevin(model, theta, x, noise, labels, s, graph):
    """One transition; clamp(x) has derivative 1 where 0 <= x <= 1, else 0. -> (the state, before the clamp)"""
    y = x + s["noise"] * noise if s["noise_before"] else x
    if not y.requires_grad:
        y = y.clone().requires_grad_(True)
    gradient, = torch.autograd.grad(total(model, theta, y, labels).sum(), y, create_graph=graph)
    z = y - s["step_size"] * gradient
    if not s["noise_before"]:
        z = z + s["noise"] * noise
    return (z.clamp(0, 1) if s["clamp"] else z), z


def nearest(x, neighbours):
    """Index of the nearest neighbour of each x in L2, ties to the lowest, and the distance. numpy in, numpy out."""
    d = ((x[:, None] - neighbours[None]) ** 2).reshape(len(x), len(neighbours), -1).sum(2)
    index = np.argmin(d, 1)
    return index, np.sqrt(d[np.arange(len(x)), index])


def entropy_loss(x, neighbours):
    """-> (-<log NN>, index, distance)"""
    index, distance = nearest(x.detach().numpy(), neighbours.numpy())
    far = torch.from_numpy(distance > FLOOR)
    squares = ((x - neighbours[index]) ** 2).flatten(1).sum(1)
    squares = torch.where(far, squares, torch.full_like(squares, FLOOR ** 2))
    return -(0.5 * torch.log(squares)).mean(), index, distance


def step(model, theta, positives, start, neighbours, noise, settings, labels=None, positive_labels=None):
    """theta: dict of float64 tensors; images (n,c,h,w); noise (K,n,c,h,w). settings: step_size, noise, noise_before, clamp,
    backprop_steps (0: all), kl_batch (0: all), scale_mean. -> dict of float64 arrays, named as `icd step` names them."""
    s = dict(settings)
    steps = len(noise)
    m = s["backprop_steps"] or steps
    theta = {k: v.detach().clone().requires_grad_(True) for k, v in theta.items()}
    over_scales = (lambda e: e.mean(1)) if s["scale_mean"] else (lambda e: e.sum(1))
    out = {}

    x, cut = start, 0
    for k in range(steps):
        out[f"x.{k}"] = x.detach()
        graph = k >= steps - m
        x, before_clamp = langevin(model, theta, x if graph and k > steps - m else stop(x, "chain"), noise[k], labels, s,
                                   graph)
        cut += int((x.detach() != before_clamp.detach()).sum())
    out[f"x.{steps}"] = x.detach()
    out["cut"] = np.array(cut / max(1, noise.numel()))        # what the clamp cut: not in `icd step`'s file

    positive = model.energy(theta, positives, positive_labels)
    negative = model.energy(theta, stop(x, "negatives"), labels)
    n = s["kl_batch"] or len(start)
    cd = over_scales(positive).mean() - over_scales(negative).mean()
    opt = over_scales(model.energy(stop(theta, "theta"), x[:n], None if labels is None else labels[:n])).mean()
    ent, out["nn.index"], out["nn.distance"] = entropy_loss(x[:n], neighbours)

    out["energy.positive"], out["energy.negative"] = positive.sum(1), negative.sum(1)
    for name, loss in ("cd", cd), ("opt", opt), ("ent", ent):
        out[f"loss.{name}"] = loss
        if loss.requires_grad:
            grads = torch.autograd.grad(loss, list(theta.values()), retain_graph=True, allow_unused=True)
        else:
            grads = [None] * len(theta)
        for (key, value), g in zip(theta.items(), grads):
            out[f"grad.{name}.{key}"] = torch.zeros_like(value) if g is None else g
    return {k: v.detach().numpy() if torch.is_tensor(v) else np.asarray(v) for k, v in out.items()}

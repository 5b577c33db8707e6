"""What selftest.py and run.py share: random parameters, and a step size at which the chain moves."""
import numpy as np
import torch


def perturb(name, value, rng):
    """A parameter's value, moved away from every special point: nothing zero, no gain one, biases of every size."""
    part = name.rsplit(".", 2)[-2:]
    noise = rng.standard_normal(value.shape)
    if name.endswith(".gamma"):
        return value + 0.7 + 0.1 * noise
    if name.endswith("class.gain") or (part[0].startswith("norm") and part[1] == "weight"):
        return value + 0.25 * noise
    if part[1] == "bias":
        return value + 0.1 * noise
    spread = float(np.sqrt(np.mean(value.astype(np.float64) ** 2)))
    return value + 0.5 * (spread or 0.1) * noise


def random_theta(model, seed):
    rng = np.random.default_rng(seed)
    theta = {}
    for name, shape in model.shapes.items():
        if len(shape) > 1 and "class." not in name:
            bound = 1 / np.sqrt(np.prod(shape[1:]))
            value = rng.uniform(-bound, bound, shape)
        else:
            value = np.ones(shape) if name.endswith((".weight", ".gain")) else np.zeros(shape)
        theta[name] = torch.from_numpy(perturb(name, value, rng))
    return theta


def moving_step_size(model, theta, x, labels, reach):
    """lambda for which the steepest pixel moves by `reach` in the first step, to two digits."""
    x = x.clone().requires_grad_(True)
    g, = torch.autograd.grad(model.energy(theta, x, labels).sum(), x)
    return float(f"{reach / float(g.abs().max()):.1e}")


def images(rng, n, shape):
    """float32 values, mostly inside [0,1], some near its ends."""
    return torch.from_numpy(rng.uniform(0.02, 0.98, (n, *shape)).astype(np.float32).astype(np.float64))

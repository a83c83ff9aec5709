"""BiLLM as its authors run it, in plain torch: the salience matrix is what both searches look at, a slab's error is fed
back column by column through the factor's diagonal, parameters stay in fp32.
"""

import torch

from peer_common import arguments, inverse_factor, run

CANDIDATES = 50
BREAK_POINTS = 81
DAMP = 0.01


def binarize(x, mask, order):
    """mean + mean|x - mean| sgn(x - mean) of each row's masked elements, `order` times; 0 elsewhere."""
    result = torch.zeros_like(x)
    rest = x * mask
    count = mask.sum(1, keepdim=True).clamp(min=1)
    for _ in range(order):
        mean = rest.sum(1, keepdim=True) / count
        centred = (rest - mean) * mask
        scale = centred.abs().sum(1, keepdim=True) / count
        part = (torch.sign(centred) * scale + mean) * mask
        result += part
        rest = rest - part
    return result


def salient_columns(salience):
    """Which columns are binarized twice: the number of top columns with the smallest error."""
    ranked = torch.argsort(salience.sum(0), descending=True)
    best, chosen = float("inf"), None
    for count in range(1, min(CANDIDATES, salience.shape[1])):
        mask = torch.zeros_like(salience)
        mask[:, ranked[:count]] = 1
        q = binarize(salience, mask, 2) + binarize(salience, 1 - mask, 2)
        error = ((salience - q) ** 2).sum()
        if error < best:
            best, chosen = error, mask
    return chosen


def split(salience, salient):
    """Masks of the concentrated and the sparse set: the quantile with the smallest error."""
    ordinary = 1 - salient
    magnitude = salience.abs() * ordinary
    flat, _ = torch.sort(magnitude.flatten())
    twice = binarize(salience, salient, 2)
    best, chosen = float("inf"), None
    for fraction in torch.linspace(0.1, 0.9, BREAK_POINTS).tolist():
        at = fraction * (flat.numel() - 1)
        low = int(at)
        high = min(low + 1, flat.numel() - 1)
        point = flat[low] + (at - low) * (flat[high] - flat[low])
        sparse = (magnitude >= point) * ordinary
        concentrated = (magnitude < point) * ordinary
        q = twice + binarize(salience, concentrated, 1) + binarize(salience, sparse, 1)
        error = ((salience - q) ** 2).sum()
        if error < best:
            best, chosen = error, (concentrated, sparse)
    return chosen


def quantize(weight, x, options):
    block = options.group
    u = inverse_factor(x, DAMP)
    w = weight.clone()
    q = torch.zeros_like(w)
    for begin in range(0, w.shape[1], block):
        end = min(begin + block, w.shape[1])
        a = w[:, begin:end]
        d = u.diagonal()[begin:end]
        salience = a**2 / d**2
        salient = salient_columns(salience)
        concentrated, sparse = split(salience, salient)
        q[:, begin:end] = binarize(a, salient, 2) + binarize(a, concentrated, 1) + binarize(a, sparse, 1)
        w[:, end:] -= ((a - q[:, begin:end]) / d) @ u[begin:end, end:]
    return q, {}


if __name__ == "__main__":
    run(arguments(__doc__, bits=1.1, group=128), quantize)

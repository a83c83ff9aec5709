"""BiLLM as its authors run it, in plain torch: the salience matrix is what both searches look at, a slab's error is fed
back column by column through the factor's diagonal, parameters stay in fp32.

    billm_peer.py --weights W.npy --inputs X.npy [--bits 1.1] [--group 128]

W [out, in], X [tokens, in], fp32. Prints {"seconds": .., "loss": ..}; loss = tr((W-Q)S(W-Q)') / tr(WSW'), S = X'X.
The time is that of everything behind reading the files.
"""

import argparse
import json
import time

import numpy
import torch

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


def quantize(weight, x, block):
    h = 2.0 / x.shape[0] * (x.T @ x)
    diagonal = torch.arange(h.shape[0])
    h[diagonal, diagonal] += DAMP * h.diagonal().mean()
    u = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(h)), upper=True)
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
    return q


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--weights", required=True)
    parser.add_argument("--inputs", required=True)
    parser.add_argument("--bits", type=float, default=1.1)
    parser.add_argument("--group", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    weight = torch.from_numpy(numpy.load(arguments.weights)).float()
    x = torch.from_numpy(numpy.load(arguments.inputs)).float()
    start = time.perf_counter()
    with torch.no_grad():
        q = quantize(weight, x, arguments.group)
    seconds = time.perf_counter() - start
    s = (x.T @ x).double()
    off = (weight - q).double()
    loss = ((off @ s) * off).sum() / ((weight.double() @ s) * weight.double()).sum()
    print(json.dumps({"seconds": seconds, "loss": loss.item()}))


if __name__ == "__main__":
    main()

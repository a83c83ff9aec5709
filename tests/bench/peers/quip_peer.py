"""QuIP as its authors do it, in plain torch: one linear, its inputs given.

Rotations are formed as dense matrices, H is rotated by dense products and factored by torch's
Cholesky, and LDLQ takes one column after the other, each from a product of all errors behind it
with a column of the factor. The authors' batched variant, too, multiplies once per column; --block N
goes further than it and takes one matrix product for N columns.
"""

import math

import torch

from peer_common import arguments, run


def split(d):
    """d = p0 * p1, prime factors dealt out in turn."""
    parts, turn, prime = [1, 1], 0, 2
    while d > 1:
        while d % prime == 0:
            parts[turn] *= prime
            turn, d = 1 - turn, d // prime
        prime += 1
    return parts


def haar(p, generator):
    q, r = torch.linalg.qr(torch.randn(p, p, dtype=torch.float64, generator=generator))
    return q * torch.sign(torch.diagonal(r))


def rotation(d, generator):
    p0, p1 = split(d)
    m = torch.kron(haar(p0, generator), haar(p1, generator))
    return m[torch.randperm(d, generator=generator)][:, torch.randperm(d, generator=generator)].float()


def ldlq(v, factor, maxq, block):
    n, k = v.shape
    codes, errors = torch.zeros_like(v), torch.zeros_like(v)
    end = k
    while end > 0:
        begin = max(0, end - block)
        base = errors[:, end:] @ factor[end:, begin:end]
        for i in range(end - 1, begin - 1, -1):
            z = v[:, i] + base[:, i - begin]
            if i + 1 < end:
                z = z + errors[:, i + 1:end] @ factor[i + 1:end, i]
            codes[:, i] = torch.clamp(torch.round(z), 0, maxq)
            errors[:, i] = v[:, i] - codes[:, i]
        end = begin
    return codes


def greedy(v, codes, h, maxq, passes):
    s = codes - v
    for _ in range(passes):
        for i in range(v.shape[1] - 1, -1, -1):
            code = torch.clamp(torch.round(codes[:, i] - s @ h[:, i] / h[i, i]), 0, maxq)
            s[:, i] += code - codes[:, i]
            codes[:, i] = code
    return codes


def quantize(w, x, options, rho=2.4):
    maxq, passes = 2**options.bits - 1, options.greedy
    generator = torch.Generator().manual_seed(0)
    n, k = w.shape
    h = x.T @ x
    h = h / h.abs().max()
    scale = (torch.diagonal(h).clamp(min=1e-8) / (w**2).sum(0).clamp(min=1e-8)) ** 0.25
    w, h = w * scale, h / scale[:, None] / scale[None, :]
    h = h * k / h.trace() + 0.0201 * torch.eye(k)
    u, v = rotation(n, generator), rotation(k, generator)
    w, h = u @ w @ v.T, v @ h @ v.T
    reach = rho * w.norm() / math.sqrt(n * k)
    target = (w / reach + 1) / 2 * maxq
    order = torch.argsort(torch.diagonal(h)) if passes > 0 else torch.arange(k)
    target, h = target[:, order], h[order][:, order]
    factor = torch.linalg.cholesky(h)
    codes = ldlq(target, factor / torch.diagonal(factor), maxq, options.block)
    if passes > 0:
        codes = greedy(target, codes, h, maxq, passes)
    codes = codes[:, torch.argsort(order)]
    return u.T @ (reach * (2 * codes / maxq - 1)) @ v / scale, {}


if __name__ == "__main__":
    extra = (("--block", 1, "columns per product"), ("--greedy", 0, "passes of coordinate descent"))
    run(arguments(__doc__, bits=2, group=-1, extra=extra), quantize)

"""SliM-LLM for one linear in plain torch, as its authors do it: one JSON line with seconds and loss.

H = 2XᵀX/N is damped and its inverse factored. Bit widths: slabs of `group` columns are ranked by mean w²/U_jj²; for each
number p of slabs that get one bit less (and as many one bit more) the whole weight is rounded anew, applied to all
inputs, and the softmax of the outputs compared with the original's by its Kullback-Leibler divergence. Then GPTQ's
column loop, slab by slab: the range of each row is the best of 101 factors by |w - q|^2.4, summed apart over salient and
other weights. Grids are asymmetric and hold zero; one-bit slabs are mean ± mean deviation; scales are fp16.
"""

import argparse
import json
import time

import numpy as np
import torch


def half(t):
    return t.half().float()


def uniform_grid(w, bits, tau=1.0):
    """Scale and zero [rows, 1] of w [rows, columns], its range multiplied by tau."""
    maxq = 2**bits - 1
    lo = w.amin(dim=1, keepdim=True).clamp(max=0)
    hi = w.amax(dim=1, keepdim=True).clamp(min=0)
    empty = (lo == 0) & (hi == 0)
    lo, hi = torch.where(empty, -1.0, lo), torch.where(empty, 1.0, hi)
    scale = half(tau * (hi - lo) / maxq)
    return scale, (-tau * lo / scale).round().clamp(0, maxq)


def on_grid(w, bits, scale, zero):
    codes = ((w / scale).round() + zero).clamp(0, 2**bits - 1)
    return (codes - zero) * scale


def binary_grid(w):
    mean = half(w.mean(dim=1, keepdim=True))
    return half((w - mean).abs().mean(dim=1, keepdim=True)), mean


def on_binary(w, alpha, mean):
    return torch.where(w >= mean, mean + alpha, mean - alpha)


def fake_quantize(w, bits):
    return on_binary(w, *binary_grid(w)) if bits == 1 else on_grid(w, bits, *uniform_grid(w, bits))


def mixed(w, widths, group):
    return torch.cat([fake_quantize(s, b) for s, b in zip(w.split(group, dim=1), widths)], dim=1)


def divergence(x, q, reference, windows):
    """Mean over tokens of KL(softmax(x qᵀ) ‖ softmax(reference)), window by window."""
    total = 0.0
    for rows, f in zip(x.split(windows), reference.split(windows)):
        a = torch.softmax(rows @ q.t(), dim=1).clamp(min=1e-6)
        f = torch.softmax(f, dim=1).clamp(min=1e-6)
        total += (a * (a.log() - f.log())).sum().item()
    return total / x.shape[0]


def allocate(w, x, diagonal, bits, group, windows):
    salience = [s.mean().item() for s in (w.pow(2) / diagonal.pow(2)).split(group, dim=1)]
    order = sorted(range(len(salience)), key=lambda s: salience[s])
    reference = x @ w.t()
    best, curve = None, []
    for p in range(len(order) // 2 + 1):
        widths = [bits] * len(order)
        for s in order[:p]:
            widths[s] -= 1
        for s in order[len(order) - p :]:
            widths[s] += 1
        curve.append(divergence(x, mixed(w, widths, group), reference, windows))
        if best is None or curve[-1] < curve[best[0]]:
            best = (p, widths)
    return best


def search_range(w, diagonal, bits):
    """Scale and zero of one slab."""
    salience = w.pow(2) / diagonal.pow(2)
    salient = (salience - salience.mean()) / salience.std() > 2
    scale, zero = uniform_grid(w, bits)
    least = torch.full((w.shape[0], 1), float("inf"))
    steps = [1.0] + [1 + 0.002 * i for i in range(1, 51)] + [1 - 0.002 * i for i in range(1, 51)]
    for tau in steps:
        s, z = uniform_grid(w, bits, tau)
        off = (on_grid(w, bits, s, z) - w).abs().pow(2.4)
        error = (off * ~salient).sum(dim=1, keepdim=True) + (off * salient).sum(dim=1, keepdim=True)
        better = error < least
        least = torch.where(better, error, least)
        scale, zero = torch.where(better, s, scale), torch.where(better, z, zero)
    return scale, zero


def quantize(w, u, widths, group):
    w, q = w.clone(), torch.empty_like(w)
    for slab, bits in enumerate(widths):
        a, e = slab * group, (slab + 1) * group
        block, errors = w[:, a:e].clone(), torch.empty(w.shape[0], group)
        diagonal = u.diagonal()[a:e]
        grid = binary_grid(block) if bits == 1 else search_range(block, diagonal, bits)
        for j in range(group):
            column = block[:, j : j + 1]
            value = on_binary(column, *grid) if bits == 1 else on_grid(column, bits, *grid)
            q[:, a + j : a + j + 1] = value
            error = (column - value) / diagonal[j]
            block[:, j:] -= error @ u[a + j : a + j + 1, a + j : e]
            errors[:, j : j + 1] = error
        w[:, e:] -= errors @ u[a:e, e:]
    return q


@torch.no_grad()
def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", required=True, help="W [out, in] fp32, .npy")
    parser.add_argument("--inputs", required=True, help="X [tokens, in] fp32, .npy")
    parser.add_argument("--bits", type=int, default=2)
    parser.add_argument("--group", type=int, default=128, help="columns per slab")
    parser.add_argument("--windows", type=int, default=2048, help="tokens per window")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    w = torch.from_numpy(np.load(options.weights)).float()
    x = torch.from_numpy(np.load(options.inputs)).float()

    start = time.perf_counter()
    h = 2 / x.shape[0] * (x.t() @ x)
    h.diagonal().add_(0.01 * h.diagonal().mean())
    u = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(h)), upper=True)
    factored = time.perf_counter()
    p, widths = allocate(w, x, u.diagonal(), options.bits, options.group, options.windows)
    allocated = time.perf_counter()
    q = quantize(w, u, widths, options.group)
    end = time.perf_counter()

    gram = x.double().t() @ x.double()
    squared = lambda d: ((d.double() @ gram) * d.double()).sum().item()
    print(
        json.dumps(
            {
                "seconds": round(end - start, 4),
                "statistics_s": round(factored - start, 4),
                "allocation_s": round(allocated - factored, 4),
                "loop_s": round(end - allocated, 4),
                "loss": squared(w - q) / squared(w),
                "raised": p,
            }
        ),
        flush=True,
    )


if __name__ == "__main__":
    main()

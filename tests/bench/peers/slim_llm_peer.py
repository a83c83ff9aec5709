"""SliM-LLM for one linear in plain torch, as its authors do it: one JSON line with seconds and loss.

H = 2XᵀX/N is damped and its inverse factored. Bit widths: slabs of `group` columns are ranked by mean w²/U_jj²; for each
number p of slabs that get one bit less (and as many one bit more) the whole weight is rounded anew, applied to all
inputs, and the softmax of the outputs compared with the original's by its Kullback-Leibler divergence. Then GPTQ's
column loop, slab by slab: the range of each row is the best of 101 factors by |w - q|^2.4, summed apart over salient and
other weights. Grids are asymmetric and hold zero; one-bit slabs are mean ± mean deviation; scales are fp16.
"""

import time

import torch

from peer_common import arguments, inverse_factor, on_grid, run, uniform_grid


def half(t):
    return t.half().float()


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


def round_slabs(w, u, widths, group):
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


def quantize(w, x, options):
    start = time.perf_counter()
    u = inverse_factor(x, 0.01)
    factored = time.perf_counter()
    p, widths = allocate(w, x, u.diagonal(), options.bits, options.group, options.windows)
    allocated = time.perf_counter()
    q = round_slabs(w, u, widths, options.group)
    end = time.perf_counter()
    return q, {
        "statistics_s": round(factored - start, 4),
        "allocation_s": round(allocated - factored, 4),
        "loop_s": round(end - allocated, 4),
        "raised": p,
    }


if __name__ == "__main__":
    run(arguments(__doc__, bits=2, group=128, extra=(("--windows", 2048, "tokens per window"),)), quantize)

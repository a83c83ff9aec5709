"""AWQ's search for one linear in plain torch, as its authors do it: one JSON line with seconds and loss.

The inspected module is the linear itself. For each of 20 exponents the weight is scaled by mean(|x|)^r, rounded,
scaled back and applied to all inputs; the exponent with the smallest mean squared error of the output wins. Then each
group's weights are clamped where that lowers the error of the group's own output on about 512 tokens: ten bounds, 256
rows at a time. Last the scaled, clamped weight is rounded. Grids are asymmetric and hold zero; scales are fp16.
"""

import time

import torch

from peer_common import arguments, on_grid, run, uniform_grid


def fake_quantize(w, bits, group):
    """w [rows, in] as its grid gives it back."""
    g = w.reshape(-1, group)
    return on_grid(g, bits, *uniform_grid(g, bits)).reshape(w.shape)


def search_scale(w, x, bits, group, points=20):
    size = x.abs().mean(dim=0)
    reference = x @ w.t()
    best, best_loss, losses = None, float("inf"), []
    for i in range(points):
        s = size.pow(i / points).clamp(min=1e-4)
        s = s / (s.max() * s.min()).sqrt()
        scaled = fake_quantize(w * s, bits, group) / s
        loss = (reference - x @ scaled.t()).float().pow(2).mean().item()
        losses.append(loss)
        if loss < best_loss:
            best, best_loss = s, loss
    return best, losses


def search_clip(w, x, bits, group, points=20, shrink=0.5, tokens=512, batch=256):
    """The bound of each row's groups, [rows, groups, 1]."""
    x = x[:: max(1, x.shape[0] // tokens)]
    x = x.reshape(x.shape[0], -1, group).transpose(0, 1)  # [groups, tokens, group]
    bounds = []
    for rows in w.split(batch):
        g = rows.reshape(rows.shape[0], -1, group)
        largest = g.abs().amax(dim=2, keepdim=True)
        reference = torch.bmm(x, g.permute(1, 2, 0))  # [groups, tokens, rows]
        best, least = largest.clone(), torch.full_like(largest, 1e9)
        for i in range(int(shrink * points)):
            bound = largest * (1 - i / points)
            clamped = torch.minimum(torch.maximum(g, -bound), bound)
            rounded = fake_quantize(clamped.reshape(rows.shape), bits, group).reshape(g.shape)
            off = torch.bmm(x, rounded.permute(1, 2, 0)) - reference
            error = off.pow(2).mean(dim=1).t().unsqueeze(2)
            better = error < least
            least = torch.where(better, error, least)
            best = torch.where(better, bound, best)
        bounds.append(best)
    return torch.cat(bounds)


def quantize(w, x, options):
    group = w.shape[1] if options.group < 0 else options.group
    start = time.perf_counter()
    s, losses = search_scale(w, x, options.bits, group)
    searched = time.perf_counter()
    scaled = (w * s).reshape(w.shape[0], -1, group)
    bounds = search_clip(w * s, x / s, options.bits, group)
    clipped = torch.minimum(torch.maximum(scaled, -bounds), bounds).reshape(w.shape)
    q = fake_quantize(clipped, options.bits, group) / s
    end = time.perf_counter()
    return q, {
        "search_s": round(searched - start, 4),
        "clip_s": round(end - searched, 4),
        "exponent": losses.index(min(losses)) / 20,
    }


if __name__ == "__main__":
    run(arguments(__doc__, bits=4, group=128), quantize)

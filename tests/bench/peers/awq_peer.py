"""AWQ's search for one linear in plain torch, as its authors do it: one JSON line with seconds and loss.

The inspected module is the linear itself. For each of 20 exponents the weight is scaled by mean(|x|)^r, rounded,
scaled back and applied to all inputs; the exponent with the smallest mean squared error of the output wins. Then each
group's weights are clamped where that lowers the error of the group's own output on about 512 tokens: ten bounds, 256
rows at a time. Last the scaled, clamped weight is rounded. Grids are asymmetric and hold zero; scales are fp16.
"""

import argparse
import json
import time

import numpy as np
import torch


def fake_quantize(w, bits, group):
    """w [rows, in] as its grid gives it back."""
    maxq = 2**bits - 1
    g = w.reshape(-1, group)
    lo = g.amin(dim=1, keepdim=True).clamp(max=0)
    hi = g.amax(dim=1, keepdim=True).clamp(min=0)
    empty = (lo == 0) & (hi == 0)
    lo, hi = torch.where(empty, -1.0, lo), torch.where(empty, 1.0, hi)
    scale = ((hi - lo) / maxq).half().float()
    zero = (-lo / scale).round().clamp(0, maxq)
    codes = ((g / scale).round() + zero).clamp(0, maxq)
    return ((codes - zero) * scale).reshape(w.shape)


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


@torch.no_grad()
def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", required=True, help="W [out, in] fp32, .npy")
    parser.add_argument("--inputs", required=True, help="X [tokens, in] fp32, .npy")
    parser.add_argument("--bits", type=int, default=4)
    parser.add_argument("--group", type=int, default=128, help="-1: one group per row")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    w = torch.from_numpy(np.load(options.weights)).float()
    x = torch.from_numpy(np.load(options.inputs)).float()
    group = w.shape[1] if options.group < 0 else options.group

    start = time.perf_counter()
    s, losses = search_scale(w, x, options.bits, group)
    searched = time.perf_counter()
    scaled = (w * s).reshape(w.shape[0], -1, group)
    bounds = search_clip(w * s, x / s, options.bits, group)
    clipped = torch.minimum(torch.maximum(scaled, -bounds), bounds).reshape(w.shape)
    q = fake_quantize(clipped, options.bits, group) / s
    end = time.perf_counter()

    gram = x.double().t() @ x.double()
    squared = lambda d: ((d.double() @ gram) * d.double()).sum().item()
    print(
        json.dumps(
            {
                "seconds": round(end - start, 4),
                "search_s": round(searched - start, 4),
                "clip_s": round(end - searched, 4),
                "loss": squared(w - q) / squared(w),
                "exponent": losses.index(min(losses)) / 20,
            }
        ),
        flush=True,
    )


if __name__ == "__main__":
    main()

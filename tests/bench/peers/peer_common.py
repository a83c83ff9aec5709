"""What the torch peers share: arguments, reading W and X, threads, and the JSON line that they print."""

import argparse
import json
import time

import numpy as np
import torch


def arguments(doc, bits, group, extra=()):
    """Options of one peer; extra: (name, default, help) of whole numbers."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", required=True, help="W [out, in] fp32, .npy")
    parser.add_argument("--inputs", required=True, help="X [tokens, in] fp32, .npy")
    parser.add_argument("--bits", type=type(bits), default=bits)
    parser.add_argument("--group", type=int, default=group, help="columns; -1: all")
    parser.add_argument("--threads", type=int, default=2)
    for name, default, text in extra:
        parser.add_argument(name, type=int, default=default, help=text)
    return parser.parse_args()


def relative_loss(w, q, x, rows=512):
    """tr((W - Q) X'X (W - Q)') / tr(W X'X W'), tokens by tokens."""
    off = whole = 0.0
    for part in x.split(rows):
        off += (part @ (w - q).t()).double().pow(2).sum().item()
        whole += (part @ w.t()).double().pow(2).sum().item()
    return off / whole


def run(options, quantize):
    """Times quantize(w, x, options) -> (q, more fields), from W and X in memory to the rounded weight."""
    torch.set_num_threads(options.threads)
    w = torch.from_numpy(np.load(options.weights)).float()
    x = torch.from_numpy(np.load(options.inputs)).float()
    start, cpu = time.perf_counter(), time.process_time()
    with torch.no_grad():
        q, more = quantize(w, x, options)
    line = {"seconds": round(time.perf_counter() - start, 4), "cpu_s": round(time.process_time() - cpu, 4)}
    with torch.no_grad():
        line["loss"] = relative_loss(w, q, x)
    print(json.dumps(line | more), flush=True)


def inverse_factor(x, damp):
    """U, upper triangular, U'U the inverse of H = 2X'X/N damped by a part of its mean diagonal."""
    h = 2 / x.shape[0] * (x.t() @ x)
    h.diagonal().add_(damp * h.diagonal().mean())
    return torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(h)), upper=True)


def uniform_grid(w, bits, tau=1.0):
    """Scale (fp16) and zero [rows, 1] of w [rows, columns], its range, which holds zero, multiplied by tau."""
    maxq = 2**bits - 1
    lo = w.amin(dim=1, keepdim=True).clamp(max=0)
    hi = w.amax(dim=1, keepdim=True).clamp(min=0)
    empty = (lo == 0) & (hi == 0)
    lo, hi = torch.where(empty, -1.0, lo), torch.where(empty, 1.0, hi)
    scale = (tau * (hi - lo) / maxq).half().float()
    return scale, (-tau * lo / scale).round().clamp(0, maxq)


def on_grid(w, bits, scale, zero):
    codes = ((w / scale).round() + zero).clamp(0, 2**bits - 1)
    return (codes - zero) * scale

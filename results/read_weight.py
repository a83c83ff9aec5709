#!/usr/bin/env python3
"""Rebuilds the fp32 weight [out, in] of one quantized linear; needs h5py and numpy, nothing of bitgrid.

    read_weight.py PATH CELL LAYER LINEAR [--out w.npy]
    read_weight.py runs/demo gptq-w4-g32 2 self_attn.q_proj

PATH is a results directory, its results.h5 or a packed file; CELL is a name, or NAME.KEY8 where two cells share a name.
The file is verified against the SHA-256 in its first 512 bytes. results/schema.md describes the files. The weight is the
same, bit for bit, as the one that bitgrid evaluated; but one of format "incoherent", whose rotations bitgrid takes back
with a BLAS in fp32, is computed in fp64 here and differs from that by rounding, less than 1e-5 of its largest magnitude.
"""
import argparse
import hashlib
import io
import math
import os
import re
import sys

try:
    import h5py
    import numpy as np
except ImportError as missing:
    if __name__ != "__main__":
        raise
    print(f"read_weight.py: needs the Python packages h5py and numpy: {missing} (Debian: apt-get install python3-h5py)",
          file=sys.stderr)
    sys.exit(2)

USER_BLOCK = re.compile(rb"bitgrid results\nsha256 ([0-9a-f]{64})\nbytes ([0-9]+)\n\0+")


class Problem(Exception):
    """What the caller can put right; one line."""


def unpack(packed, bits, count):
    """Codes of `bits` bits, little-endian along the last axis: code j of a row is at bits [j * bits, (j + 1) * bits)."""
    places = (1 << np.arange(bits)).astype(np.uint8)
    codes = np.empty((packed.shape[0], count), np.uint8)
    for row, line in enumerate(packed):
        codes[row] = np.unpackbits(line, bitorder="little")[: count * bits].reshape(count, bits) @ places
    return codes


def read_array(linear, name):
    dataset = linear[name]
    bits = int(dataset.attrs["packed_bits"])
    return unpack(dataset[()], bits, int(dataset.attrs["shape"][-1])) if bits else dataset[()]


def read_floats(linear, name):
    return read_array(linear, name).astype(np.float32)


def read_flags(linear, name):
    return read_array(linear, name).astype(bool)


def shape_of(linear):
    return int(linear.attrs["rows"]), int(linear.attrs["cols"])


def group_columns(linear):
    """Columns that share a scale."""
    group = int(linear.attrs["group"])
    return shape_of(linear)[1] if group < 0 else group


def natural_groups(linear):
    """The group of each column, where they follow each other."""
    return np.arange(shape_of(linear)[1]) // group_columns(linear)


def dead_columns(linear):
    if "dead_columns" in linear:
        return read_flags(linear, "dead_columns")[0]
    return np.zeros(shape_of(linear)[1], bool)


def mean_plus_minus(positive, mean, deviation):
    return np.where(positive, mean + deviation, mean - deviation)


def uniform(linear):
    group_of = linear["group_index"][()] if "group_index" in linear else natural_groups(linear)
    codes, scales = read_floats(linear, "codes"), read_floats(linear, "scales")
    if "zeros" in linear:
        zeros = read_floats(linear, "zeros")[:, group_of]
    else:
        zeros = np.float32(1 << (int(linear.attrs["bits"]) - 1))
    return scales[:, group_of] * (codes - zeros)


def take_codes(stream, bits, count):
    """The next `count` codes of a stream of runs, each of which ends with a whole byte."""
    run = np.frombuffer(stream.read((count * bits + 7) // 8), np.uint8)
    return unpack(run[np.newaxis], bits, count)[0]


def mixed_width(linear):
    (rows, cols), group = shape_of(linear), group_columns(linear)
    widths = int(linear.attrs["bits"]) - 1 + read_array(linear, "widths")[0].astype(int)
    codes, zeros = (io.BytesIO(linear[name][()].tobytes()) for name in ("codes", "zeros"))
    scales = read_floats(linear, "scales")
    means = iter(read_floats(linear, "means").T if "means" in linear else ())
    w = np.empty((rows, cols), np.float32)
    for slab, width in enumerate(widths):
        code = take_codes(codes, width, rows * group).reshape(rows, group)
        scale = scales[:, slab, np.newaxis]
        if width == 1:
            values = mean_plus_minus(code == 1, next(means)[:, np.newaxis], scale)
        else:
            zero = take_codes(zeros, width, rows).astype(np.float32)[:, np.newaxis]
            values = scale * (code.astype(np.float32) - zero)
        w[:, slab * group : (slab + 1) * group] = values
    if "dead" in linear:
        w[:, linear["dead"][()]] = 0
    return w


def two_binary(linear):
    group_of = natural_groups(linear)
    first, second = read_flags(linear, "plane1"), read_flags(linear, "plane2")
    scale1, scale2 = (read_floats(linear, name)[:, group_of] for name in ("scales1", "scales2"))
    alone = np.where(first, scale1, np.where(second, scale2, np.float32(0)))
    return np.where(first & second, scale1 + scale2, alone)


def pb_llm(linear):
    group_of, binary = natural_groups(linear), read_flags(linear, "binary")
    w = np.zeros(shape_of(linear), np.float32)
    if binary.any():  # masks count row after row, as the codes are stored
        means, deviations = (read_floats(linear, name)[:, group_of] for name in ("means", "deviations"))
        w[binary] = mean_plus_minus(read_flags(linear, "signs")[0], means[binary], deviations[binary])
    salient = ~binary & ~dead_columns(linear)
    if salient.any():
        row = np.nonzero(salient)[0]
        scales, zeros = read_floats(linear, "scales")[row, 0], read_floats(linear, "zeros")[row, 0]
        w[salient] = scales * (read_floats(linear, "salient_codes")[0] - zeros)
    return w


def billm(linear):
    group_of = natural_groups(linear)

    def parameter(name):
        return read_floats(linear, name)[:, group_of] if name in linear else np.float32(0)

    sign, second = read_flags(linear, "signs"), read_flags(linear, "seconds")
    sparse = mean_plus_minus(sign, parameter("sparse_mean"), parameter("sparse_deviation"))
    concentrated = mean_plus_minus(sign, parameter("concentrated_mean"), parameter("concentrated_deviation"))
    salient = mean_plus_minus(sign, parameter("salient_mean"), parameter("salient_deviation"))
    salient = mean_plus_minus(second, salient, parameter("residual_deviation"))
    w = np.where(read_flags(linear, "salient_columns"), salient, np.where(second, sparse, concentrated))
    w[:, dead_columns(linear)] = 0
    return w


def philox(seed, stream, count):
    """Blocks 0 ... count - 1 of Philox4x32-10 with counter (block, stream) and key seed: two arrays of 64-bit numbers."""
    low, word = np.uint64(0xFFFFFFFF), np.uint64(32)
    block = np.arange(count, dtype=np.uint64)
    x = [block & low, block >> word, np.full(count, stream, np.uint64), np.zeros(count, np.uint64)]
    k0, k1 = seed & 0xFFFFFFFF, seed >> 32
    for _ in range(10):
        even, odd = np.uint64(0xD2511F53) * x[0], np.uint64(0xCD9E8D57) * x[2]
        x = [(odd >> word) ^ x[1] ^ np.uint64(k0), odd & low, (even >> word) ^ x[3] ^ np.uint64(k1), even & low]
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return x[0] << word | x[1], x[2] << word | x[3]


def draw_normals(seed, stream, count, size):
    """`count` runs of `size` standard normals, by Box and Muller, two of a block; a run starts with a block. math's
    functions are those of the C library, numpy's own may differ in the last bit."""
    blocks = (size + 1) // 2
    p, q = philox(seed, stream, count * blocks)
    pairs = []
    for u1, u2 in zip(((p >> np.uint64(11)) + np.uint64(1)) * 2.0**-53, (q >> np.uint64(11)) * 2.0**-53):
        r, angle = math.sqrt(-2 * math.log(u1)), 2 * math.pi * u2
        pairs.append((r * math.cos(angle), r * math.sin(angle)))
    return np.array(pairs).reshape(count, 2 * blocks)[:, :size]


def sum_rows(m):
    """One row after the other, which numpy's sums do not promise."""
    return np.cumsum(m, axis=0)[-1] + 0.0


def orthogonal(g):
    """Q diag(sign R_jj) of g = QR, by Householder's reflections; every sum in bitgrid's order, for the same bits."""
    g, p = g.copy(), len(g)
    q, reflections = np.eye(p), []
    for j in range(p):
        v = g[j:, j].copy()
        norm = math.sqrt(sum_rows(v * v))
        r = norm if v[0] < 0 else -norm
        v[0] -= r
        scale = 2 / sum_rows(v * v) if norm else 0.0
        reflections.append((v, scale, r < 0))
        g[j:, j:] -= np.outer(scale * v, sum_rows(v[:, np.newaxis] * g[j:, j:]))
    for j in reversed(range(p)):
        v, scale, _ = reflections[j]
        q[j:, j:] -= np.outer(scale * v, sum_rows(v[:, np.newaxis] * q[j:, j:]))
    return np.where([negative for _, _, negative in reflections], -q, q)


def draw_permutation(seed, stream, d):
    """By Fisher and Yates, from the last position on."""
    order = list(range(d))
    for p, i in zip(philox(seed, stream, d - 1)[0].tolist(), range(d - 1, 0, -1)):
        other = p * (i + 1) >> 64
        order[i], order[other] = order[other], order[i]
    return np.array(order, np.int32)


def split_dimension(d, alternating):
    """d = p0 p1: as close as can be, or prime factors in ascending order, which p0 and p1 take in turn."""
    if not alternating:
        p0 = max(p for p in range(1, math.isqrt(d) + 1) if d % p == 0)
        return p0, d // p0
    parts, prime, turn = [1, 1], 2, 0
    while d > 1:
        if d % prime:
            prime += 1
        else:
            parts[turn] *= prime
            d, turn = d // prime, 1 - turn
    return tuple(parts)


class Rotation:
    """An orthogonal matrix [d, d], drawn from a seed; kind: the byte of dataset "rotation"."""

    def __init__(self, seed, d, kind):
        self.p0, self.p1 = p0, p1 = split_dimension(d, kind // 4 == 1)
        form, self.parts = kind % 4, []
        if form == 2:  # the identity
            return
        for stream, p, blocks in ((0, p0, p1), (1, p1, p0)):
            normals = draw_normals(seed, stream, blocks if form == 1 else 1, p * p)
            self.parts.append(np.array([orthogonal(g.reshape(p, p)) for g in normals]).astype(np.float32))
        self.parts += [draw_permutation(seed, stream, d) for stream in (2, 3)]

    def add_to(self, digest):
        digest.update(f"{self.p0} x {self.p1}\n".encode())
        for part in self.parts:
            digest.update(part.tobytes())

    def take_back(self, x):
        """x [d, n] becomes M^-1 x, in place; a few columns at a time, to save memory."""
        if not self.parts:
            return
        a, b, gather, pick = self.parts
        a, b = (m.transpose(0, 2, 1).astype(np.float64) for m in (a, b))
        for first in range(0, x.shape[1], 256):
            columns = x[:, first : first + 256]
            u = np.empty(columns.shape)
            u[pick] = columns
            u = b @ u.reshape(self.p0, self.p1, -1)
            u = (a @ u.transpose(1, 0, 2)).transpose(1, 0, 2)
            columns[gather] = u.reshape(columns.shape)


def incoherent(linear):
    rows, cols = shape_of(linear)
    delta, kind = linear["delta"][0], 0
    if delta == 0:
        return np.zeros((rows, cols), np.float32)
    if "rotation" in linear:
        kind = int(linear["rotation"][0, 0])
    u_low, u_high, v_low, v_high = linear["seeds"][()].view(np.uint32).tolist()
    u, v = Rotation(u_low | u_high << 32, rows, kind), Rotation(v_low | v_high << 32, cols, kind)
    if "rotation_hash" in linear:
        digest = hashlib.sha256()
        u.add_to(digest)
        v.add_to(digest)
        if digest.hexdigest() != linear["rotation_hash"][()].tobytes().decode():
            raise Problem("format 'incoherent': the seeds give other rotations here than where the weight was made; "
                          "was that with another C library?")
    w = delta * (read_floats(linear, "codes") - np.float32(0.5 * ((1 << int(linear.attrs["bits"])) - 1)))
    u.take_back(w)
    v.take_back(w.T)
    if "column_scales" in linear:
        scales = read_floats(linear, "column_scales")
        w = np.divide(w, scales, out=np.zeros_like(w), where=scales != 0)
    return w


FORMATS = {
    "uniform": uniform,
    "mixed-width": mixed_width,
    "two-binary": two_binary,
    "pb-llm": pb_llm,
    "billm": billm,
    "incoherent": incoherent,
}


def read_weight(linear):
    """linear: the h5py group of one linear. Returns w [rows, cols] float32."""
    name = linear.attrs["format"]
    if name not in FORMATS:
        raise Problem(f"format {name!r} is not known here; known are {', '.join(FORMATS)}")
    return FORMATS[name](linear)


def verify(path):
    """Raises Problem unless the file is, byte for byte, what bitgrid wrote."""
    try:
        with open(path, "rb") as file:
            block = USER_BLOCK.fullmatch(file.read(512))
            if not block:
                raise Problem(f"{path}: damaged or not a file of bitgrid")
            digest, size = hashlib.sha256(), 0
            while part := file.read(1 << 20):
                digest.update(part)
                size += len(part)
    except OSError as error:
        raise Problem(f"{path}: {error.strerror}") from error
    if size != int(block[2]) or digest.hexdigest() != block[1].decode():
        raise Problem(f"{path}: damaged: its content does not have the SHA-256 that it was written with")


def cell_of(path, names, cell):
    """The NAME.KEY8 that is meant."""
    names = sorted(names)
    found = [name for name in names if cell in (name, name.rpartition(".")[0])]
    if len(found) != 1:
        raise Problem(f"{path}: {len(found) or 'no'} cells are called {cell}; there are: {', '.join(names)}")
    return found[0]


def layer_problem(path, cell, layer, parts):
    layers = [int(part[len("layer-"):]) for part in parts if part.startswith("layer-")]
    if not layers:
        return Problem(f"{path}: {cell} has no tensors: it is the baseline, or they are not stored (yet), or were dropped")
    return Problem(f"{path}: {cell} has no layer {layer}; there are {min(layers)} to {max(layers)}")


def open_layer_file(folder, cell, layer):
    cells = os.path.join(folder, "cells")
    if not os.path.isdir(cells):
        raise Problem(f"{folder}: is not a results directory: there is no folder cells")
    cell = cell_of(folder, os.listdir(cells), cell)
    path = os.path.join(cells, cell, f"layer-{layer:04}.h5")
    if not os.path.exists(path):
        parts = [name[:-3] for name in os.listdir(os.path.join(cells, cell)) if name.endswith(".h5")]
        raise layer_problem(folder, cell, layer, parts)
    verify(path)
    return h5py.File(path, "r")


def open_layer(path, cell, layer):
    """The group of one layer; its linears are in its group "linears"."""
    if not os.path.exists(path):
        raise Problem(f"{path}: there is no such file or directory")
    if os.path.isdir(path):
        return open_layer_file(path, cell, layer)
    if os.path.basename(path) == "results.h5":
        return open_layer_file(os.path.dirname(path) or ".", cell, layer)
    verify(path)
    file = h5py.File(path, "r")
    if file.attrs.get("kind") != "packed":
        raise Problem(f"{path}: is neither a results directory nor a packed file")
    cell = cell_of(path, file["cells"], cell)
    if f"layer-{layer:04}" not in file["cells"][cell]:
        raise layer_problem(path, cell, layer, file["cells"][cell])
    return file["cells"][cell][f"layer-{layer:04}"]


def find_linear(path, cell, layer, linear):
    linears = open_layer(path, cell, layer)["linears"]
    if linear not in linears:
        raise Problem(f"{path}: layer {layer} of {cell} has no linear {linear}; there are: {', '.join(linears)}")
    return linears[linear]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path")
    parser.add_argument("cell")
    parser.add_argument("layer", type=int)
    parser.add_argument("linear", help="as in the checkpoint: self_attn.q_proj … mlp.down_proj")
    parser.add_argument("--out", help="write the weight here (.npy)")
    args = parser.parse_args()
    try:
        linear = find_linear(args.path, args.cell, args.layer, args.linear)
        weight = read_weight(linear)
        if args.out:
            np.save(args.out, weight)
    except (Problem, OSError) as error:
        named = isinstance(error, OSError) and error.filename
        print("read_weight.py:", f"{error.filename}: {error.strerror}" if named else error, file=sys.stderr)
        return 2
    print(f"{args.linear} of layer {args.layer}: {weight.shape[0]} x {weight.shape[1]}, "
          f"mean {weight.mean():.6g}, largest magnitude {np.abs(weight).max():.6g}")
    if linear.attrs["format"] == "incoherent":
        print("rotated back in fp64: not bit for bit the weight that was evaluated, but within 1e-5 of its largest magnitude")
    return 0


if __name__ == "__main__":
    sys.exit(main())

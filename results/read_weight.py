#!/usr/bin/env python3
"""Rebuilds the fp32 weight [out, in] of one quantized linear; needs h5py and numpy, nothing of bitgrid.

    read_weight.py PATH CELL LAYER LINEAR [--out w.npy]
    read_weight.py runs/demo gptq-w4-g32 2 self_attn.q_proj

PATH is a results directory, its results.h5 or a packed file; CELL is a name, or NAME.KEY8 where two cells share a name.
The file is verified against the SHA-256 in its first 512 bytes. results/schema.md describes the files. The weight is the
same, bit for bit, as the one that bitgrid evaluated.
"""
import argparse
import hashlib
import os
import re
import sys

import h5py
import numpy as np

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


def read_weight(linear):
    """linear: the h5py group of one linear, of format "uniform". Returns w [rows, cols] float32."""
    if linear.attrs["format"] != "uniform":
        raise Problem(f"format {linear.attrs['format']!r} is not known here")
    cols, group = int(linear.attrs["cols"]), int(linear.attrs["group"])
    if "group_index" in linear:
        group_of = linear["group_index"][()]
    else:
        group_of = np.arange(cols) // (cols if group < 0 else group)
    codes = read_array(linear, "codes").astype(np.float32)
    scales = read_array(linear, "scales").astype(np.float32)
    if "zeros" in linear:
        zeros = read_array(linear, "zeros").astype(np.float32)[:, group_of]
    else:
        zeros = np.float32(1 << (int(linear.attrs["bits"]) - 1))
    return scales[:, group_of] * (codes - zeros)


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


def rebuild(path, cell, layer, linear):
    linears = open_layer(path, cell, layer)["linears"]
    if linear not in linears:
        raise Problem(f"{path}: layer {layer} of {cell} has no linear {linear}; there are: {', '.join(linears)}")
    return read_weight(linears[linear])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path")
    parser.add_argument("cell")
    parser.add_argument("layer", type=int)
    parser.add_argument("linear", help="as in the checkpoint: self_attn.q_proj … mlp.down_proj")
    parser.add_argument("--out", help="write the weight here (.npy)")
    args = parser.parse_args()
    try:
        weight = rebuild(args.path, args.cell, args.layer, args.linear)
        if args.out:
            np.save(args.out, weight)
    except (Problem, OSError) as error:
        named = isinstance(error, OSError) and error.filename
        print("read_weight.py:", f"{error.filename}: {error.strerror}" if named else error, file=sys.stderr)
        return 2
    print(f"{args.linear} of layer {args.layer}: {weight.shape[0]} x {weight.shape[1]}, "
          f"mean {weight.mean():.6g}, largest magnitude {np.abs(weight).max():.6g}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

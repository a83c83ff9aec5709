#!/usr/bin/env python3
"""Rebuilds the fp32 weight [out, in] of one quantized linear; needs h5py and numpy, nothing of bitgrid.

    read_weight.py PATH CELL LAYER LINEAR [--out w.npy]
    read_weight.py runs/demo gptq-w4-g32 2 self_attn.q_proj

PATH is a results directory, its results.h5 or a packed file; CELL is a name, or NAME.KEY8 where two cells share a name.
results/schema.md describes the files. The weight is the same, bit for bit, as the one that bitgrid evaluated.
"""
import argparse
import os
import sys

import h5py
import numpy as np


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
        raise SystemExit(f"format {linear.attrs['format']!r} is not known here")
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


def open_layer(path, cell, layer):
    file = h5py.File(os.path.join(path, "results.h5") if os.path.isdir(path) else path, "r")
    names = [name for name in file["cells"] if cell in (name, name.rpartition(".")[0])]
    if len(names) != 1:
        raise SystemExit(f"{path}: {len(names)} cells are called {cell}; there are: {', '.join(file['cells'])}")
    return file["cells"][names[0]][f"layer-{layer:04}"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path")
    parser.add_argument("cell")
    parser.add_argument("layer", type=int)
    parser.add_argument("linear", help="as in the checkpoint: self_attn.q_proj … mlp.down_proj")
    parser.add_argument("--out", help="write the weight here (.npy)")
    args = parser.parse_args()
    weight = read_weight(open_layer(args.path, args.cell, args.layer)["linears"][args.linear])
    print(f"{args.linear} of layer {args.layer}: {weight.shape[0]} x {weight.shape[1]}, "
          f"mean {weight.mean():.6g}, largest magnitude {np.abs(weight).max():.6g}")
    if args.out:
        np.save(args.out, weight)


if __name__ == "__main__":
    sys.exit(main())

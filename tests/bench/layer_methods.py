#!/usr/bin/env python3
"""Methods beside the algorithms of their authors in torch, one linear at a time, two threads each.

    layer_methods.py [--bin build/cpu/bin] [--folder build/peers/layer] [--tokens 4096] [--methods awq,billm,…]
                     [--shapes q_proj,gate_proj]

Every pair has the same weights and inputs: the program of bitgrid leaves them in the folder, the peer reads them. Both
are timed from weights and inputs in memory to the rounded weight, statistics included, and one after the other. CPU
seconds are of all threads: on a machine with other load their ratio says more. torch comes from the Python that
BITGRID_PEERS_PYTHON names, else from an environment in build/peers that the first call makes.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
SOURCE = HERE.parent.parent
SHAPES = {"q_proj": (4096, 4096), "gate_proj": (14336, 4096)}

# Method: how bitgrid is called, with the authors' choices where the project's differ, and its peers.
METHODS = {
    "awq": ("awq 4 128", [("awq", [])]),
    "billm": ("billm 1.1 128 variant=repository compensation=diag", [("billm", [])]),
    "slim-llm": ("slim-llm 2 128 sba_stride=1", [("slim_llm", [])]),
    "quip": ("quip 2 -1 factors=reference", [("quip", []), ("quip", ["--block", "128"])]),
}


def peers_python():
    if named := os.environ.get("BITGRID_PEERS_PYTHON"):
        return named
    environment = SOURCE / "build/peers/torch"
    python = environment / "bin/python"
    if subprocess.run([python, "-c", "import torch, numpy"], capture_output=True).returncode if python.exists() else True:
        print(f"installing torch and numpy into {environment}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", environment], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "torch", "numpy"], check=True, stdout=sys.stderr)
    return str(python)


def last_line(command):
    """The JSON line that a program prints, or None after saying what it said instead."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    try:
        if done.returncode == 0:
            return json.loads(done.stdout.strip().splitlines()[-1])
    except (IndexError, ValueError):
        pass
    said = (done.stderr.strip() or done.stdout.strip()).splitlines()
    print(f"exit {done.returncode}: {' '.join(map(str, command))}\n    {said[-1] if said else ''}", flush=True)
    return None


def own_command(binaries, method, shape, tokens, folder):
    name, bits, group, *options = METHODS[method][0].split()
    rows, columns = shape
    if name == "awq":
        return [binaries / "awq_bench", folder, rows, columns, tokens, bits, group, 2, 1]
    return [binaries / "tap_bench", name, bits, group, rows, columns, tokens, *options, "--threads=2", f"--write={folder}"]


def compare(method, shape_name, options, python):
    folder = options.folder
    own = last_line(own_command(options.bin, method, SHAPES[shape_name], options.tokens, folder))
    files = ["--weights", folder / "W.npy", "--inputs", folder / "X.npy", "--threads", 2]
    _, bits, group, *_ = METHODS[method][0].split()
    for peer, more in METHODS[method][1]:
        if own is None:
            return
        theirs = last_line([python, HERE / f"peers/{peer}_peer.py", *files, "--bits", bits, "--group", group, *more])
        if theirs is None:
            continue
        print(
            f"{method:<9} {shape_name:<10} {' '.join(more):<12} {own['seconds']:>9.2f} {theirs['seconds']:>9.2f} "
            f"{theirs['seconds'] / own['seconds']:>6.1f} {own['cpu_s']:>9.2f} {theirs['cpu_s']:>9.2f} "
            f"{theirs['cpu_s'] / own['cpu_s']:>6.1f} {own['loss']:>11.6f} {theirs['loss']:>11.6f}",
            flush=True,
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=pathlib.Path, default=SOURCE / "build/cpu/bin")
    parser.add_argument("--folder", type=pathlib.Path, default=SOURCE / "build/peers/layer")
    parser.add_argument("--tokens", type=int, default=4096)
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--shapes", default=",".join(SHAPES))
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    python = peers_python()
    print(f"{options.tokens} tokens, two threads, load {os.getloadavg()[0]:.1f} at the start; s: seconds, cpu: of all threads")
    print(f"{'method':<9} {'linear':<10} {'peer':<12} {'ours s':>9} {'peer s':>9} {'ratio':>6} {'ours cpu':>9} {'peer cpu':>9} "
          f"{'ratio':>6} {'our loss':>11} {'peer loss':>11}", flush=True)
    for shape in options.shapes.split(","):
        for method in options.methods.split(","):
            compare(method, shape, options, python)


if __name__ == "__main__":
    main()

"""Every method on a layer with a dead channel, an outlier channel, a linear of equal weights, and on activations that are not
finite, on one rank and on four: a cell is finished with finite numbers, or fails by name; the same bytes either way."""

import json
import math
import struct

import harness

CELLS = """
[[grid]]
method = ["rtn", "gptq", "awq", "awq+gptq", "slim-llm"]
bits = 3
group = 32
[[grid]]
method = ["smoothquant", "smoothquant+gptq"]
bits = 6
[[grid]]
method = ["quip", "quip-rg", "incoherence+rtn"]
bits = 3
[[grid]]
method = ["fdb", "fdb-gptq", "fdb-block"]
bits = 2
group = 32
[[grid]]
method = "pb-llm"
bits = 1.7
group = 128
[[grid]]
method = "billm"
bits = 1.1
group = 128
"""
COUNT = 15


def value_of(raw, index):
    return struct.unpack("<f", b"\0\0" + bytes(raw[2 * index : 2 * index + 2]))[0]


def set_value(raw, index, value):
    bits = struct.unpack("<I", struct.pack("<f", value))[0] >> 16
    raw[2 * index : 2 * index + 2] = struct.pack("<H", bits)


def scale_entry(index, factor):
    return lambda raw: set_value(raw, index, factor * value_of(raw, index))


def fill(value):
    return lambda raw: [set_value(raw, i, value) for i in range(len(raw) // 2)]


def awkward(model):
    """Layer 1: norm channel 3 without input, channel 5 a thousand times as large; layer 2: up_proj all equal."""
    for norm in ("input_layernorm", "post_attention_layernorm"):
        name = f"model.layers.1.{norm}.weight"
        harness.patch_tensor(model, name, scale_entry(3, 0))
        harness.patch_tensor(model, name, scale_entry(5, 1000))
    harness.patch_tensor(model, "model.layers.2.mlp.up_proj.weight", fill(0.03125))


def not_finite(model):
    """Layer 1's gate and up so large that their product overflows."""
    for name in ("up_proj", "gate_proj"):
        harness.patch_tensor(model, f"model.layers.1.mlp.{name}.weight",
                             lambda raw: [set_value(raw, i, 3e37 * (-1) ** i) for i in range(len(raw) // 2)])


def cells_of(bitgrid, out):
    return json.loads(bitgrid.run(["table", out, "--format", "json"]).stdout)["cells"]


def on_ranks(bitgrid, check, sweep, out, ranks, codes, what):
    run = bitgrid.run(["sweep", sweep, "--out", out, "--quiet"], ranks=ranks, timeout=250)
    check.that(run.returncode in codes, f"{what}, {ranks} ranks: exit code {run.returncode}: {run.stderr[-300:]}")
    check.equal(bitgrid.run(["check", out]).returncode, 0, f"{what}, {ranks} ranks: check")


def main():
    arguments = harness.parse_arguments()
    bitgrid, check = harness.Bitgrid(arguments.bitgrid), harness.Check()
    with harness.Folder() as folder:
        for what, change, codes in (("awkward layers", awkward, (0, 1)), ("activations that are not finite", not_finite, (1,))):
            name = change.__name__
            model = harness.copy_model(folder, name)
            change(model)
            sweep = harness.small_sweep(folder, model=model, grids=CELLS)
            one, four = folder / f"{name}1", folder / f"{name}4"
            on_ranks(bitgrid, check, sweep, one, 1, codes, what)
            on_ranks(bitgrid, check, sweep, four, 4, codes, what)
            diff = bitgrid.run(["diff", one, four])
            check.equal(diff.stdout.strip(), "identical", what + ": one rank and four")
            cells = cells_of(bitgrid, one)
            check.equal(len(cells), COUNT, what + ": cells")
            for cell in cells:
                state = cell["status"]
                print(f"{what}: {cell['name']}: {state} {cell.get('failure', '')}")
                if state == "finished":
                    check.that(change is awkward, f"{what}: {cell['name']} must fail")
                    for metric in cell["metrics"]:
                        check.that(math.isfinite(metric["perplexity"]), f"{what}: {cell['name']}: {metric}")
                else:
                    check.that("layer" in cell["failure"] and "proj" in cell["failure"],
                               f"{what}: {cell['name']} names layer and linear: {cell['failure']}")
    check.finish()


if __name__ == "__main__":
    main()

"""results/read_weight.py rebuilds the weights of every stored format: their distance from the checkpoint's weights is the
relative_weight_error that bitgrid measured with its own, and wherever a format has arrays that may be missing, both
kinds occur."""

import os
import re
import subprocess
import sys

import h5py
import numpy as np

import harness

sys.dont_write_bytecode = True
sys.path.insert(0, str(harness.ROOT / "results"))
import read_weight  # noqa: E402

# method, bits, options
CELLS = [
    ("rtn", 3, "group = [32]"),
    ("rtn", 5, "symmetric = true"),
    ("gptq", 4, 'group = [32]\norder = "act"'),
    ("smoothquant+rtn", 8, "linear_pairs = true"),
    ("slim-llm", 2, "group = [8]"),
    ("slim-llm", 4, "group = [32]"),
    ("fdb", 2, "group = [32]"),
    ("fdb-gptq", 2, ""),
    ("pb-llm", 1.7, "group = [32]"),
    ("pb-llm", 2.7, 'salient_bits = "5"'),
    ("billm", 1.1, "group = [32]"),
    ("billm", 1.1, "group = [64]\nmeans = false"),
    ("quip", 2, ""),
    ("quip", 3, 'rescale = false\nfactors = "reference"'),
    ("incoherence+rtn", 4, 'rotation = "blocked"'),
    ("incoherence+gptq", 3, 'rotation = "none"'),
]
# Arrays without which a weight can be rebuilt, too.
OPTIONAL = {
    "uniform": ["zeros", "group_index"],
    "mixed-width": ["means", "dead"],
    "two-binary": [],
    "pb-llm": ["dead_columns"],
    "billm": ["dead_columns", "concentrated_mean", "sparse_mean"],
    "incoherent": ["rotation", "column_scales"],
}
LAYERS = (1, 2)  # that are looked at
DEAD = range(5, 128, 8)  # inputs of their q, k and v that are always zero: one in every group
# ‖W − Q‖² / ‖W‖² of weights that are the same to the bit: only sums of squares in fp64 are added in another order.
SUMS_TOLERANCE = 1e-12
# Products in fp32, each of fewer than 64 terms and four after each other: an error of less than 4·64·2^-24 of |W|.
ROTATED_TOLERANCE = 4 * 64 * 2.0**-24


def grids():
    return "".join(f'[[grid]]\nmethod = "{method}"\nbits = [{bits}]\n{options}\n' for method, bits, options in CELLS)


def model_with_dead_columns(folder):
    model = harness.copy_model(folder)

    def silence(data):
        for column in DEAD:
            data[2 * column : 2 * column + 2] = bytes(2)

    for layer in LAYERS:
        harness.patch_tensor(model, f"model.layers.{layer}.input_layernorm.weight", silence)
    return model


class Checkpoint:
    """Weights of the model, fp32 from bf16."""

    def __init__(self, model):
        self.model, self.shards = model, {}

    def weight(self, name):
        shard = harness.shard_of(self.model, name)
        if shard not in self.shards:
            self.shards[shard] = harness.read_safetensors(shard)
        header, data = self.shards[shard]
        begin, end = header[name]["data_offsets"]
        assert header[name]["dtype"] == "BF16", header[name]
        bits = np.frombuffer(data, np.uint16, (end - begin) // 2, begin).astype(np.uint32) << 16
        return bits.view(np.float32).reshape(header[name]["shape"])


def smoothed(weights, arrays):
    """The weights of a layer, by name, that SmoothQuant made of the checkpoint's: in fp32, as bitgrid made them."""
    taps = {"self_attn.q_proj": ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
            "mlp.gate_proj": ["mlp.gate_proj", "mlp.up_proj"], "mlp.down_proj": ["mlp.down_proj"]}
    weights = dict(weights)
    for first, linears in taps.items():
        if f"smoothing.{first}" in arrays:
            for linear in linears:
                weights[linear] = weights[linear] * arrays[f"smoothing.{first}"][()]
    if "smoothing.mlp.down_proj" in arrays:
        weights["mlp.up_proj"] = weights["mlp.up_proj"] / arrays["smoothing.mlp.down_proj"][()][:, np.newaxis]
    return weights


def relative_error(w, q):
    """The difference in fp32, its squares in fp64."""
    return np.square((w - q).astype(np.float64)).sum() / np.square(w.astype(np.float64)).sum()


def fits(linear, w, q):
    """Whether q is as far from w as the file says."""
    seen, stored = relative_error(w, q), float(linear.attrs["relative_weight_error"])
    if linear.attrs["format"] != "incoherent":
        return abs(seen - stored) <= SUMS_TOLERANCE * stored, seen, stored
    return abs(seen**0.5 - stored**0.5) <= ROTATED_TOLERANCE, seen, stored


def check_layer(check, cell, number, layer, checkpoint, seen):
    weights = {name: checkpoint.weight(f"model.layers.{number}.{name}.weight") for name in layer["linears"]}
    weights = smoothed(weights, layer["layer"])
    for name, linear in layer["linears"].items():
        q = read_weight.read_weight(linear)
        what = f"{cell}: layer {number}: {name}"
        check.equal((q.dtype, q.shape), (np.dtype(np.float32), weights[name].shape), what)
        sound, error, stored = fits(linear, weights[name], q)
        check.that(sound, f"{what}: relative error is {error!r}, stored is {stored!r}")
        form = linear.attrs["format"]
        seen.setdefault(form, set()).update((array, array in linear) for array in OPTIONAL[form])
        if form == "uniform":
            seen[form].add(("scales", linear["scales"].dtype.name))
        if form == "incoherent" and "rotation" in linear:
            seen[form].add(("rotation", int(linear["rotation"][0, 0])))


def expected_arrays(form):
    expected = {(array, there) for array in OPTIONAL[form] for there in (True, False)}
    extra = {"uniform": {("scales", "float16"), ("scales", "float32")},
             "incoherent": {("rotation", 1), ("rotation", 2), ("rotation", 4)}}
    return expected | extra.get(form, set())


def check_wrong_rotation(check, out, cell):
    """Other seeds than those of rotation_hash are refused."""
    file = next(out.glob(f"cells/{cell}.*/layer-0000.h5"))
    with h5py.File(file, "r+") as layer:
        linear = layer["linears"]["self_attn.o_proj"]
        linear["seeds"][0] += 1
        try:
            read_weight.read_weight(linear)
            check.that(False, "other rotations are noticed")
        except read_weight.Problem as problem:
            check.that("give other rotations" in str(problem), f"other rotations: {problem}")


def check_command(check, out):
    """Where a weight is not the same bit for bit, the command says so."""
    for cell, exact in [("quip-w2-pc", False), ("fdb-w2-g32", True)]:
        script = harness.ROOT / "results" / "read_weight.py"
        answer = subprocess.run([sys.executable, script, out, cell, "1", "mlp.up_proj"], text=True, capture_output=True)
        check.equal(answer.returncode, 0, answer.stderr)
        check.equal("not bit for bit" in answer.stdout, not exact, f"{cell}: {answer.stdout}")


def check_without_h5py(check, folder):
    """Where the package is missing, one line says so."""
    (folder / "empty").mkdir()
    (folder / "empty" / "h5py.py").write_text('raise ImportError("No module named \'h5py\'")')
    script = harness.ROOT / "results" / "read_weight.py"
    answer = subprocess.run([sys.executable, script, "out", "cell", "1", "mlp.up_proj"], text=True, capture_output=True,
                            env={**os.environ, "PYTHONPATH": str(folder / "empty")})
    check.equal((answer.returncode, answer.stdout, len(answer.stderr.splitlines())), (2, "", 1), "no h5py: " + answer.stderr)
    check.that("python3-h5py" in answer.stderr, "its package is named: " + answer.stderr)


def main():
    arguments = harness.parse_arguments()
    bitgrid, check = harness.Bitgrid(arguments.bitgrid), harness.Check()
    known = re.findall(r'format == "([^"]+)"', (harness.ROOT / "core/methods/formats.cpp").read_text())
    check.equal(sorted(read_weight.FORMATS), sorted(known), "the formats of read_weight.py are those of bitgrid")
    with harness.Folder() as folder:
        model, out = model_with_dead_columns(folder), folder / "out"
        sweep = harness.small_sweep(folder, grids=grids(), windows=8, shards=4, model=model)
        run = bitgrid.run(["sweep", sweep, "--out", out, "--set", "evaluation.perplexity=[]"])
        check.equal(run.returncode, 0, "the sweep: " + run.stderr[-500:])
        checkpoint, seen = Checkpoint(model), {}
        for path in sorted(out.glob("cells/*/layer-*.h5")):
            number = int(path.stem[-4:])
            if number in LAYERS:
                with h5py.File(path, "r") as layer:
                    check_layer(check, path.parent.name, number, layer, checkpoint, seen)
        check.equal(sorted(seen), sorted(known), "formats that occurred")
        for form in known:
            check.equal(sorted(map(str, expected_arrays(form) - seen.get(form, set()))), [], f"{form}: kinds that did not occur")
        check_command(check, out)
        check_without_h5py(check, folder)
        check_wrong_rotation(check, out, "quip-w2-pc")
    check.finish()


if __name__ == "__main__":
    main()

"""What the end-to-end tests share: running the program, with and without ranks, on small variants of the demo."""

import argparse
import json
import os
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
DEMO = ROOT / "sweeps" / "demo"
MPI_ENVIRONMENT = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "OMPI_MCA_rmaps_base_oversubscribe": "1",
    "OMPI_MCA_hwloc_base_binding_policy": "none",
    "OMPI_MCA_mpi_yield_when_idle": "1",
    "OMPI_MCA_btl_tcp_if_include": "lo",
    "OPENBLAS_NUM_THREADS": "1",
}


def parse_arguments(**extra):
    parser = argparse.ArgumentParser()
    parser.add_argument("--bitgrid", default=str(ROOT / "build" / "cpu" / "bin" / "bitgrid"))
    for name, default in extra.items():
        parser.add_argument("--" + name, type=type(default), default=default)
    arguments = parser.parse_args()
    arguments.bitgrid = os.path.abspath(arguments.bitgrid)
    return arguments


class Bitgrid:
    def __init__(self, program):
        self.program = program
        self.environment = {**os.environ, **MPI_ENVIRONMENT}
        # Open MPI keeps memory to the end; only matters where the program was built with sanitizers.
        self.mpi_environment = {**self.environment, "ASAN_OPTIONS": "detect_leaks=0"}

    def command(self, arguments, ranks=1):
        launcher = ["mpirun", "-n", str(ranks)] if ranks > 1 else []
        return launcher + [self.program] + [str(a) for a in arguments]

    def run(self, arguments, ranks=1, timeout=300):
        environment = self.mpi_environment if ranks > 1 else self.environment
        return subprocess.run(self.command(arguments, ranks), env=environment, text=True, timeout=timeout,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def start(self, arguments, ranks=1):
        environment = self.mpi_environment if ranks > 1 else self.environment
        return subprocess.Popen(self.command(arguments, ranks), env=environment, text=True,
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)


def own_lines(text):
    """The lines that bitgrid wrote itself; mpirun adds its own when a rank ends with an error."""
    return [line for line in text.splitlines() if line.startswith("bitgrid:")]


class Check:
    """Counts what held and what did not, and says so in the end."""

    def __init__(self):
        self.passed, self.failures = 0, []

    def that(self, condition, what):
        if condition:
            self.passed += 1
        else:
            self.failures.append(what)
            print("FAILED:", what, flush=True)

    def equal(self, seen, expected, what):
        self.that(seen == expected, f"{what}: expected {expected!r}, saw {seen!r}")

    def finish(self):
        print(f"{self.passed} passed, {len(self.failures)} failed")
        sys.exit(1 if self.failures else 0)


class Folder:
    """A temporary folder that goes away with the test."""

    def __enter__(self):
        self.path = pathlib.Path(tempfile.mkdtemp(prefix="bitgrid-test."))
        return self.path

    def __exit__(self, *_):
        shutil.rmtree(self.path, ignore_errors=True)


SMALL = """
name = "small"
model = "{model}"
output = "out"
[data]
dir = "{data}"
[calibration]
data = "c4"
windows = {windows}
length = 64
shards = {shards}
[evaluation]
perplexity = ["wikitext2", "ptb-new"]
length = 64
tasks = ["piqa", "mmlu"]
limit = 4
{grids}
[run]
threads = 1
"""

GRIDS = """
[[grid]]
method = "fp16"
[[grid]]
method = "rtn"
bits = [4]
group = [32]
[[grid]]
method = "gptq"
bits = [3, 2]
group = [32]
[[grid]]
method = "gptq"
bits = [4]
group = [-1]
order = "act"
[[grid]]
method = "gptq"
bits = [4]
group = [32]
true_sequential = false
order = "gar"
"""


def small_data(folder):
    """The demo's texts, cut short so that a sweep takes a second."""
    data = folder / "data"
    shutil.copytree(DEMO / "data", data)
    for name in ["wikitext2/wiki.test.raw", "ptb/ptb.test.txt"]:
        text = (data / name).read_bytes()[:12000]
        (data / name).write_bytes(text[: text.rindex(b"\n") + 1])
    return data


def small_sweep(folder, grids=GRIDS, windows=10, shards=16, model=None):
    data = folder / "data"
    if not data.exists():
        small_data(folder)
    file = folder / "small.toml"
    file.write_text(SMALL.format(model=model or DEMO / "model", data=data, windows=windows, shards=shards, grids=grids))
    return file


def read_safetensors(path):
    raw = pathlib.Path(path).read_bytes()
    (size,) = struct.unpack("<Q", raw[:8])
    return json.loads(raw[8 : 8 + size]), bytearray(raw[8 + size :])


def write_safetensors(path, header, data):
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    pathlib.Path(path).write_bytes(struct.pack("<Q", len(text)) + text + bytes(data))


def copy_model(folder, name="model"):
    model = folder / name
    shutil.copytree(DEMO / "model", model)
    return model


def shard_of(model, tensor):
    return model / json.loads((model / "model.safetensors.index.json").read_text())["weight_map"][tensor]


def patch_tensor(model, tensor, change):
    """change(bytearray of the tensor's bytes) in place."""
    shard = shard_of(model, tensor)
    header, data = read_safetensors(shard)
    begin, end = header[tensor]["data_offsets"]
    part = data[begin:end]
    change(part)
    data[begin:end] = part
    write_safetensors(shard, header, data)

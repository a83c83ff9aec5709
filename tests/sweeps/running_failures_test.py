"""What can only be seen while a sweep runs: NaN weights and a full disk end it (exit code 3), activations that are not
finite fail their cell (exit code 1), a signal stops it (exit code 75); finished files stay sound."""

import os
import shutil
import signal
import struct
import subprocess
import time

import harness
import run_file


def set_bf16(raw, index, value):
    bits = struct.unpack("<I", struct.pack("<f", value))[0] >> 16
    raw[2 * index : 2 * index + 2] = struct.pack("<H", bits)


def nan_weight(bitgrid, check, folder, ranks, extra):
    model = harness.copy_model(folder, f"nan{ranks}")
    name = "model.layers.2.mlp.up_proj.weight"
    harness.patch_tensor(model, name, lambda raw: set_bf16(raw, 5, float("nan")))
    sweep = harness.small_sweep(folder, model=model)
    out = folder / f"nan-out{ranks}"
    run = bitgrid.run(["sweep", sweep, "--out", out, "--quiet"] + extra, ranks=ranks)
    what = f"a NaN weight, {ranks} ranks"
    check.equal(run.returncode, 3, what + ": " + run.stderr)
    lines = harness.own_lines(run.stderr)
    check.equal(len(lines), 1, f"{what}: {run.stderr!r}")
    check.that(all(name in line and "5" in line for line in lines), f"{what}: names tensor and index: {lines}")
    check.equal(bitgrid.run(["check", out]).returncode, 0, what + ": what is finished is sound")


def overflowing_activations(bitgrid, check, folder, ranks, extra):
    """Layer 1's up_proj so large that silu(gate) * up overflows: every cell fails there, by name."""
    model = harness.copy_model(folder, f"inf{ranks}")
    for name in ["model.layers.1.mlp.up_proj.weight", "model.layers.1.mlp.gate_proj.weight"]:
        harness.patch_tensor(model, name, lambda raw: [set_bf16(raw, i, 3e37 * (-1) ** i) for i in range(len(raw) // 2)])
    sweep = harness.small_sweep(folder, model=model)
    out = folder / f"inf-out{ranks}"
    run = bitgrid.run(["sweep", sweep, "--out", out] + extra, ranks=ranks)
    what = f"activations that are not finite, {ranks} ranks"
    check.equal(run.returncode, 1, what + ": " + run.stderr[-500:])
    show = bitgrid.run(["show", out]).stdout
    check.that("layer 1" in show and "mlp.down_proj" in show, f"{what}: layer and linear are named: {show}")
    check.that(len(list(out.glob("cells/*/layer-0000.h5"))) == 5, what + ": layer 0 of every quantized cell is there")
    check.equal(bitgrid.run(["check", out]).returncode, 0, what + ": check")
    check.equal(bitgrid.run(["check", out, "--complete"]).returncode, 1, what + ": check --complete")


def budget_on_a_huge_weight(bitgrid, check, folder, ranks, extra):
    """The walk that spreads a budget meets a weight near the largest: the budget's cells fail, everything else is stored."""
    name = "-".join(["budget", str(ranks), *extra[1:]])
    model = harness.copy_model(folder, name)
    harness.patch_tensor(model, "model.layers.1.mlp.up_proj.weight", lambda raw: raw.__setitem__(slice(10, 12), b"\x70\x7f"))
    grids = '[[grid]]\nmethod = "fp16"\n[[grid]]\nmethod = ["gptq", "rtn"]\nbudget = 3\ngroup = 32\n'
    sweep = harness.small_sweep(folder, model=model, grids=grids + '[[grid]]\nmethod = "gptq"\nbits = 4\ngroup = 32\n')
    out = folder / (name + "-out")
    run = bitgrid.run(["sweep", sweep, "--out", out] + extra, ranks=ranks)
    what = f"a budget on a huge weight, {ranks} ranks"
    check.equal(run.returncode, 1, what + ": " + run.stderr[-500:])
    show = bitgrid.run(["show", out]).stdout
    for cell in ["gptq-b3-g32", "rtn-b3-g32"]:
        check.that(any(cell in line and "layer 1" in line for line in show.splitlines()), f"{what}: {cell} says where: {show}")
    check.that(next(out.glob("cells/gptq-w4-g32.*/layer-0000.h5"), None), what + ": layer 0 of the other cell is there")
    check.equal(bitgrid.run(["check", out]).returncode, 0, what + ": check")


def one_cell_fails(bitgrid, check, folder):
    """Weights that only the symmetric 2-bit grid cannot hold in fp16: that cell fails or not, the others are finished."""
    model = harness.copy_model(folder, "one")
    harness.patch_tensor(model, "model.layers.1.self_attn.v_proj.weight", lambda raw: set_bf16(raw, 0, 3e5))
    grids = '[[grid]]\nmethod = "fp16"\n[[grid]]\nmethod = "rtn"\nbits = [8, 2]\ngroup = 32\n'
    sweep = harness.small_sweep(folder, model=model, grids=grids)
    out = folder / "one-out"
    run = bitgrid.run(["sweep", sweep, "--out", out])
    check.that(run.returncode in (0, 1), "an outlier of 3e5: exit code " + str(run.returncode))
    table = bitgrid.run(["table", out, "--format", "csv"])
    check.equal(table.returncode, 0, "its table")
    check.equal(bitgrid.run(["check", out]).returncode, 0, "its files: " + table.stdout)


def full_disk(bitgrid, check, folder):
    if os.geteuid() != 0:
        print("skipped: a full disk needs root for a small file system")
        return
    sweep = harness.small_sweep(folder)
    script = f"""
mount -t tmpfs -o size=400k none {folder}/disk || exit 77
{bitgrid.program} sweep {sweep} --out {folder}/disk/out --quiet
echo "code $?"
{bitgrid.program} check {folder}/disk/out
echo "check $?"
find {folder}/disk -name '*.tmp.*' | wc -l
"""
    (folder / "disk").mkdir()
    run = subprocess.run(["unshare", "-m", "sh", "-c", script], text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if run.returncode == 77 or "unshare" in run.stderr:
        print("skipped: no mount namespace here:", run.stderr.strip())
        return
    lines = run.stdout.splitlines()
    check.that("code 3" in lines, f"a full disk: {run.stdout!r} {run.stderr!r}")
    check.equal(len(harness.own_lines(run.stderr)), 1, f"a full disk: one line: {run.stderr!r}")
    check.that("No space left" in run.stderr, f"a full disk is named: {run.stderr!r}")
    check.that("check 0" in lines, f"finished files are sound: {run.stdout!r}")
    check.equal(lines[-1], "0", "no temporary file is left")


def stop_by_signal(bitgrid, check, folder, ranks, extra, signals=(signal.SIGUSR1,)):
    sweep = harness.small_sweep(folder, windows=64)
    base, out = folder / "signal-base", folder / f"signal-out{signals[0]}-{ranks}"
    if not base.exists():
        check.equal(bitgrid.run(["sweep", sweep, "--out", base]).returncode, 0, "an undisturbed run")
    process = subprocess.Popen(bitgrid.command(["sweep", sweep, "--out", out] + extra, ranks), env=bitgrid.mpi_environment if ranks > 1 else bitgrid.environment,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))  # ignored in a background job
    deadline = time.monotonic() + 60
    while not list(out.glob("cells/*/layer-*.h5")) and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.005)
    for number in signals:
        process.send_signal(number)
    _, stderr = process.communicate(timeout=120)
    what = f"signal {signals[0].name}, {ranks} ranks"
    check.equal(process.returncode, 75, f"{what}: {stderr[-500:]}")
    check.equal(len(harness.own_lines(stderr)), 1, f"{what}: one line: {stderr[-500:]!r}")
    finished = len(list(out.glob("cells/*/layer-*.h5")))
    check.that(0 < finished < 20, f"{what}: stopped in the middle ({finished} layers finished)")
    check.equal(bitgrid.run(["check", out]).returncode, 0, what + ": check")
    check.equal(bitgrid.run(["sweep", sweep, "--out", out]).returncode, 0, what + ": resumed")
    check.equal(sum(sum(c["layers_quantized"]) for c in run_file.counters(out)), 20 - finished, what + ": the rest was done")
    check.equal(bitgrid.run(["diff", base, out]).returncode, 0, what + ": the same results")


def two_at_once(bitgrid, check, folder):
    sweep = harness.small_sweep(folder, windows=64)
    out = folder / "locked"
    first = bitgrid.start(["sweep", sweep, "--out", out])
    deadline = time.monotonic() + 60
    while not (out / "run.h5").exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    second = bitgrid.run(["sweep", sweep, "--out", out])
    check.equal(second.returncode, 2, "a second sweep on the same output: " + second.stderr)
    check.equal(first.wait(timeout=120), 0, "the first one is not disturbed")


def quiet_on_one_processor(bitgrid, check, folder):
    """More threads than the launcher gives processors: nothing is said of it, and nothing else with --quiet."""
    sweep = harness.small_sweep(folder)
    run = subprocess.run(["taskset", "-c", str(min(os.sched_getaffinity(0))), bitgrid.program, "sweep", sweep, "--out",
                          folder / "bound", "--quiet", "--cells", "rtn*", "--set", "run.threads=3"], text=True, env=bitgrid.environment,
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    check.equal((run.returncode, run.stderr), (0, ""), "three threads on one processor")


def main():
    arguments = harness.parse_arguments()
    bitgrid, check = harness.Bitgrid(arguments.bitgrid), harness.Check()
    several = ["--set", "run.stages=2", "--set", "run.replicas=2"]
    with harness.Folder() as folder:
        for test in [nan_weight, overflowing_activations, stop_by_signal]:
            test(bitgrid, check, folder, 1, [])
            test(bitgrid, check, folder, 4, several)
        budget_on_a_huge_weight(bitgrid, check, folder, 1, [])
        budget_on_a_huge_weight(bitgrid, check, folder, 2, ["--set", "run.replicas=2"])
        budget_on_a_huge_weight(bitgrid, check, folder, 2, ["--set", "run.stages=2"])
        quiet_on_one_processor(bitgrid, check, folder)
        stop_by_signal(bitgrid, check, folder, 1, [], signals=(signal.SIGINT, signal.SIGTERM))
        one_cell_fails(bitgrid, check, folder)
        full_disk(bitgrid, check, folder)
        two_at_once(bitgrid, check, folder)
    check.finish()


if __name__ == "__main__":
    main()

"""Question sets in waves, by memory or one by one: the same bytes as together, on any ranks; a set is kept as soon as it is
scored, whatever happens then."""

import os
import re
import signal
import time

import h5py

import harness
import resume_test
import run_file

GRIDS = """
[[grid]]
method = "fp16"
[[grid]]
method = "gptq"
bits = [4, 2]
group = [32]
inputs = "full"
[[grid]]
method = "gptq"
budget = 3.5
group = 32
[[grid]]
method = "smoothquant"
bits = 8
activation_bits = 8
activation_range = "tensor"
"""
CELLS, LAYERS = 5, 4
ONE = ["--set", 'evaluation.wave="auto"']
TASKS = ["--set", 'evaluation.perplexity=["wikitext2"]', "--set", "evaluation.limit={}", "--set"]
SETS = [text.format(165) for text in TASKS] + ['evaluation.tasks=["piqa", "arc_easy", "hellaswag"]']
SMALL_SETS = [text.format(100) for text in TASKS] + ['evaluation.tasks=["piqa", "arc_easy", "winogrande"]', "--set", 'evaluation.wave="task"']
SQUARE = ["--set", "run.stages=2", "--set", "run.replicas=2"]
# A rank needs 26 MiB beside packs, mostly for threads: hellaswag's 7 MiB do not fit.
LITTLE = ["--set", "run.memory=32MiB", "--set", "run.threads=3"]


def stored_tasks(out):
    """By cell, those that its record has: name -> requests."""
    cells = {}
    for path in out.glob("cells/*/cell.h5"):
        with h5py.File(path, "r") as file:
            tasks = file["tasks"].values() if "tasks" in file else []
            cells[path.parent.name] = {t.attrs["task"]: len(t["log_likelihood"]) for t in tasks}
    return cells


def requests(cells):
    return sum(sum(tasks.values()) for tasks in cells.values())


def total(out, key):
    values = [c[key] for c in run_file.counters(out)]
    return sum(sum(v) if isinstance(v, list) else v for v in values)


def same(bitgrid, check, base, out, what):
    diff = bitgrid.run(["diff", base, out])
    check.equal((diff.returncode, diff.stdout.strip()), (0, "identical"), what)


def check_waves(bitgrid, check, folder, sweep):
    base = folder / "base"
    run = bitgrid.run(["sweep", sweep, "--out", base] + SETS)
    check.equal(run.returncode, 0, "one wave: " + run.stderr[-300:])
    check.that("wave" not in run.stderr, "a single wave is not mentioned: " + run.stderr[-300:])
    check.equal(total(base, "layers_replayed"), 0, "nothing is replayed for one wave")
    asked = total(base, "requests_scored")
    check.equal(asked, requests(stored_tasks(base)), "every request is counted once")
    plan = bitgrid.run(["plan", sweep] + SETS + LITTLE)
    told = re.search(r"^question sets: (\d+) waves", plan.stdout, re.M)
    check.that(told is not None and int(told[1]) >= 3, "plan counts the waves: " + plan.stdout[-900:])
    for name, ranks, extra in [("little", 1, []), ("little4", 4, SQUARE)]:
        out = folder / name
        run = bitgrid.run(["sweep", sweep, "--out", out] + SETS + LITTLE + extra, ranks=ranks)
        check.equal(run.returncode, 0, f"{name}: {run.stderr[-300:]}")
        same(bitgrid, check, base, out, name)
        check.equal(total(out, "requests_scored"), asked, name + ": requests scored")
        waves = max(int(n) for n in re.findall(r"wave 1/(\d+)", run.stderr))
        check.that(waves >= 2 and (ranks > 1 or waves == int(told[1])), f"{name}: {waves} waves, as planned")
        check.that(total(out, "layers_replayed") > 0, name + ": layers are replayed")
        check.equal(bitgrid.run(["check", out, "--complete"]).returncode, 0, name + ": check")


def check_set_by_set(bitgrid, check, folder, sweep):
    base, out = folder / "kill-base", folder / "task"
    check.equal(bitgrid.run(["sweep", sweep, "--out", base] + SMALL_SETS + ONE).returncode, 0, "an undisturbed run")
    run = bitgrid.run(["sweep", sweep, "--out", out] + SMALL_SETS + SQUARE, ranks=4)
    check.equal(run.returncode, 0, f"set by set: {run.stderr[-300:]}")
    same(bitgrid, check, base, out, "set by set")
    check.equal(total(out, "requests_scored"), total(base, "requests_scored"), "set by set: requests scored")
    check.equal(total(out, "layers_replayed"), (CELLS - 1) * LAYERS * 2, "layers replayed for two more waves")
    with h5py.File(next(out.glob("cells/gptq-w4*/cell.h5")), "r") as file:
        check.that("solve" in file["seconds"].attrs, "seconds of all waves: " + str(dict(file["seconds"].attrs)))
        check.that(len(file.attrs["shared_with"]) == 2, "cells that it shared with in its first wave")
    check.that("wave 3/3: layer" in run.stderr and f"cell {CELLS}/{CELLS}" in run.stderr, "the log says which wave")


def check_kill(bitgrid, check, folder, sweep):
    base = folder / "kill-base"
    all_requests = requests(stored_tasks(base))
    for ranks, extra in [(1, []), (4, SQUARE)]:
        out, what = folder / f"kill{ranks}", f"kill -9 between waves, {ranks} ranks"
        process = bitgrid.start(["sweep", sweep, "--out", out] + SMALL_SETS + extra, ranks=ranks)
        deadline = time.monotonic() + 60
        # In the middle of a quantized cell's waves, seen after the rename.
        while process.poll() is None and time.monotonic() < deadline and not list(out.glob("cells/gptq*/cell.h5")):
            time.sleep(0.001)
        for rank in resume_test.descendants(process.pid) if ranks > 1 else [process.pid]:
            os.kill(rank, signal.SIGKILL)
        resume_test.wait_gone(process)
        stored = stored_tasks(out)
        check.that(0 < requests(stored) < all_requests, f"{what}: killed in the middle: {stored}")
        layers = len(list(out.glob("cells/*/layer-*.h5")))
        check.equal(bitgrid.run(["check", out]).returncode, 0, what + ": check")
        complete = bitgrid.run(["check", out, "--complete"])
        check.equal(complete.returncode, 1, what + ": check --complete")
        if any(0 < len(tasks) < 3 for tasks in stored.values()):
            check.that("not asked" in complete.stdout, f"{what}: names what was not asked: {complete.stdout}")
            check.that("question sets still to ask" in bitgrid.run(["show", out]).stdout, what + ": so does show")
        run = bitgrid.run(["sweep", sweep, "--out", out] + SMALL_SETS)
        check.equal(run.returncode, 0, f"{what}: resumed: {run.stderr[-300:]}")
        check.equal(total(out, "requests_scored"), all_requests - requests(stored), what + ": only other sets are asked")
        check.equal(total(out, "layers_quantized"), (CELLS - 1) * LAYERS - layers, what + ": finished layers stay")
        check.equal(bitgrid.run(["check", out, "--complete"]).returncode, 0, what + ": check --complete, resumed")
        same(bitgrid, check, base, out, what)


def check_failing_wave(bitgrid, check, folder, sweep, ranks, extra):
    """A set whose rows change while the sweep runs: its wave fails, later ones are not asked, earlier ones stay."""
    base, out, what = folder / "kill-base", folder / f"failing{ranks}", f"a wave that fails, {ranks} ranks"
    rows = folder / "data" / "tasks" / "arc_easy.jsonl"
    kept = rows.read_text()
    process = bitgrid.start(["sweep", sweep, "--out", out] + SMALL_SETS + extra, ranks=ranks)
    while process.poll() is None and not list(out.glob("cells/fp16*/cell.h5")):
        time.sleep(0.001)
    rows.write_text("".join(kept.splitlines(keepends=True)[1:]))
    code = process.wait(timeout=120)
    rows.write_text(kept)
    check.equal(code, 1, what + ": exit code")
    stored = stored_tasks(out)
    quantized = {cell: tasks for cell, tasks in stored.items() if not cell.startswith("fp16")}
    check.equal([sorted(tasks) for tasks in quantized.values()], [["piqa"]] * (CELLS - 1), what + ": what stays")
    show = bitgrid.run(["show", out]).stdout
    failed = [line for line in show.splitlines() if "failed: " in line and "arc_easy" in line]
    check.that(len(failed) >= CELLS - 1, f"{what}: cells and the set are named: {show}")
    check.equal(bitgrid.run(["check", out]).returncode, 0, what + ": check")
    run = bitgrid.run(["sweep", sweep, "--out", out] + SMALL_SETS)
    check.equal(run.returncode, 0, f"{what}: the rows are back: {run.stderr[-300:]}")
    check.equal(total(out, "layers_quantized"), 0, what + ": nothing is quantized again")
    check.equal(total(out, "requests_scored"), requests(stored_tasks(out)) - requests(stored), what + ": the rest is asked")
    same(bitgrid, check, base, out, what)


def check_failing_layer(bitgrid, check, folder, ranks, extra):
    """A cell that fails at a layer of the last stage, while the stage before is at its next wave already."""
    model = harness.copy_model(folder, f"inf{ranks}")
    for name in ["model.layers.3.mlp.up_proj.weight", "model.layers.3.mlp.gate_proj.weight"]:
        harness.patch_tensor(model, name, lambda raw: raw.__setitem__(slice(0, len(raw)), b"\xb5\x7d\xb5\xfd" * (len(raw) // 4)))
    grids = '[[grid]]\nmethod = "fp16"\n[[grid]]\nmethod = "gptq"\nbits = [4, 3]\ngroup = 32\n'
    sweep = harness.small_sweep(folder, grids=grids, model=model)
    run = bitgrid.run(["sweep", sweep, "--out", folder / f"inf-out{ranks}"] + SMALL_SETS + extra, ranks=ranks)
    what = f"a layer that fails, {ranks} ranks"
    check.equal(run.returncode, 1, f"{what}: {run.stderr[-500:]}")
    failed = [line.split(":")[0].split(",")[0] for line in run.stderr.splitlines() if "failed: " in line]
    check.equal(sorted(failed), ["fp16", "gptq-w3-g32", "gptq-w4-g32"], what + ": each cell once")


def check_metrics_alone(bitgrid, check, folder, sweep):
    """keep = "metrics": layers are there until the last wave has passed them."""
    keep = ["--set", 'run.keep="metrics"', "--cells", "fp16,gptq-w4*"]
    base, out = folder / "keep-base", folder / "keep"
    check.equal(bitgrid.run(["sweep", sweep, "--out", base] + SMALL_SETS + ONE + keep).returncode, 0, "keep = metrics")
    check.equal(bitgrid.run(["sweep", sweep, "--out", out] + SMALL_SETS + keep).returncode, 0, "keep = metrics, in waves")
    check.equal(list(out.glob("cells/*/layer-*.h5")), [], "keep = metrics: no layers stay")
    check.equal(total(out, "layers_quantized"), LAYERS, "keep = metrics: quantized once")
    same(bitgrid, check, base, out, "keep = metrics")


def main():
    arguments = harness.parse_arguments()
    bitgrid, check = harness.Bitgrid(arguments.bitgrid), harness.Check()
    with harness.Folder() as folder:
        sweep = harness.small_sweep(folder, grids=GRIDS)
        check_waves(bitgrid, check, folder, sweep)
        check_set_by_set(bitgrid, check, folder, sweep)
        check_kill(bitgrid, check, folder, sweep)
        check_metrics_alone(bitgrid, check, folder, sweep)
        check_failing_wave(bitgrid, check, folder, sweep, 1, [])
        check_failing_wave(bitgrid, check, folder, sweep, 4, SQUARE)
        check_failing_layer(bitgrid, check, folder, 1, [])
        check_failing_layer(bitgrid, check, folder, 4, SQUARE)
    check.finish()


if __name__ == "__main__":
    main()

"""Question sets through the program: the numbers of lm-evaluation-harness, sets that fail alone, sets of one's own."""

import csv
import json
import shutil

import harness
import run_file

SETS = ["piqa", "arc_easy", "arc_challenge", "hellaswag", "winogrande", "mmlu"]
OWN = """
name = "capitals"
version = "1"
files = ["capitals.jsonl"]
context = "The capital of {country} is"
options = "cities"
answer = "{right}"
"""


def table(bitgrid, out):
    return {cell["name"]: {task["task"]: task for task in cell.get("tasks", [])}
            for cell in json.loads(bitgrid.run(["table", out, "--format", "json"]).stdout)["cells"]}


def check_reference(bitgrid, check, folder, profile):
    """`bitgrid eval` of the demo's model: every value that the harness reports, to the last digit."""
    out = folder / profile
    run = bitgrid.run(["eval", harness.DEMO / "model", "--data", harness.DEMO / "data", "--tasks", ",".join(SETS),
                       "--profile", profile, "--out", out])
    check.equal(run.returncode, 0, f"eval {profile}: {run.stderr[-300:]}")
    check.that("hellaswag" in run.stdout, f"eval prints the table: {run.stdout}")
    seen = table(bitgrid, out)["fp16"]
    compared = 0
    with open(harness.ROOT / "tests" / "data" / "evaluation" / "demo" / "metrics.csv") as file:
        for row in csv.DictReader(file):
            if row["profile"] != profile:
                continue
            task = seen["mmlu" if row["task"].startswith("mmlu") else row["task"]]
            metric = task["metrics"][row["task"]][row["metric"]]
            what = f"{profile} {row['task']} {row['metric']}"
            check.equal(metric["value"], float(row["value"]), what)
            check.that(abs(metric["error"] - float(row["stderr"])) < 1e-12, f"{what}: error {metric['error']}")
            compared += 1
    check.that(compared >= 17, f"{profile}: {compared} values compared")
    again = bitgrid.run(["eval", harness.DEMO / "model", "--data", harness.DEMO / "data", "--tasks", ",".join(SETS),
                         "--profile", profile, "--out", out])
    check.that("nothing to do" in again.stderr, f"a second call has nothing to do: {again.stderr}")


def check_failing_alone(bitgrid, check, folder):
    """Rows that cannot be used end their own set, not the sweep."""
    sweep = harness.small_sweep(folder, grids='[[grid]]\nmethod = "rtn"\nbits = 4\ngroup = 32\n')
    rows = folder / "data" / "tasks" / "piqa.jsonl"
    kept = rows.read_text()
    rows.write_text(kept + '{"goal": "x", "sol1": "a", "label": 0}\n')
    out = folder / "alone"
    run = bitgrid.run(["sweep", sweep, "--out", out, "--set", "evaluation.limit=0"])
    line = kept.count("\n") + 1
    check.equal(run.returncode, 1, f"a set with a bad row: {run.stderr}")
    check.that(f"piqa.jsonl:{line}: " in run.stderr and "sol2" in run.stderr, f"names file, line and field: {run.stderr}")
    check.equal(sorted(table(bitgrid, out)["rtn-w4-g32"]), ["mmlu"], "the other set is there")
    rows.write_text(kept)
    run = bitgrid.run(["sweep", sweep, "--out", out, "--set", "evaluation.limit=0"])
    check.equal(run.returncode, 0, f"the file is mended: {run.stderr}")
    check.equal(sorted(table(bitgrid, out)["rtn-w4-g32"]), ["mmlu", "piqa"], "now both are there")
    check.equal(sum(sum(c["layers_quantized"]) for c in run_file.counters(out)), 0, "without quantizing again")
    run = bitgrid.run(["sweep", sweep, "--out", folder / "none", "--set", 'evaluation.tasks=["hellaswagg"]'])
    check.equal(run.returncode, 2, "an unknown set")
    check.that("did you mean 'hellaswag'" in run.stderr and not (folder / "none").exists(), run.stderr)
    run = bitgrid.run(["sweep", sweep, "--out", folder / "missing", "--set", 'evaluation.tasks=["boolq", "piqa"]'])
    check.equal(run.returncode, 1, "a set without files")
    check.that("boolq" in run.stderr and "boolq.jsonl" in run.stderr, f"says what was looked for: {run.stderr}")


def check_own_set(bitgrid, check, folder):
    """A set that a TOML file defines."""
    rows = [{"country": "France", "cities": ["Lyon", "Paris"], "right": 1},
            {"country": "Japan", "cities": ["Tokyo", "Kyoto", "Osaka"], "right": 0}]
    (folder / "data" / "tasks" / "capitals.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "capitals.toml").write_text(OWN)
    run = bitgrid.run(["eval", harness.DEMO / "model", "--data", folder / "data", "--tasks", folder / "capitals.toml",
                       "--out", folder / "own"], ranks=2)
    check.equal(run.returncode, 0, f"a set of one's own: {run.stderr}")
    task = table(bitgrid, folder / "own")["fp16"]["capitals"]
    check.equal((task["documents"], task["digests"]["requests"]), (2, 5), "its questions and options")


def main():
    arguments = harness.parse_arguments()
    bitgrid, check = harness.Bitgrid(arguments.bitgrid), harness.Check()
    with harness.Folder() as folder:
        for profile in ["lmeh-0.4", "lmeh-0.5"]:
            check_reference(bitgrid, check, folder, profile)
        check_failing_alone(bitgrid, check, folder)
        check_own_set(bitgrid, check, folder)
    check.finish()


if __name__ == "__main__":
    main()

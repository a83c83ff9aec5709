"""KL divergence and top-1 agreement with the unquantized model: in whatever order and topology the cells are run."""

import harness
import run_file

GRID = """
[[grid]]
method = "rtn"
bits = [8, 2]
group = [32]
[[grid]]
method = "fp16"
"""
LAYERS = 4


def main():
    arguments = harness.parse_arguments()
    bitgrid, check = harness.Bitgrid(arguments.bitgrid), harness.Check()
    with harness.Folder() as folder:
        file = harness.small_sweep(folder, grids=GRID)

        def sweep(out, *extra, ranks=1, code=0):
            run = bitgrid.run(["sweep", file, "--out", folder / out, *extra], ranks=ranks)
            check.equal(run.returncode, code, f"{out} {extra}: {run.stderr[-300:]}")
            return run.stderr

        def metrics(out):
            """By cell: what its sets say of the comparison."""
            run = bitgrid.run(["table", folder / out, "--format", "json"])
            return {c["name"]: [m["against_baseline"] for m in c.get("metrics", [])] for c in harness.json.loads(run.stdout)["cells"]}

        def identical(out, what):
            diff = bitgrid.run(["diff", folder / "whole", folder / out])
            check.equal((diff.returncode, diff.stdout[:300]), (0, diff.stdout[:300]), what)
            complete = bitgrid.run(["check", folder / out, "--complete"])
            check.that(complete.returncode == 0, what + ": complete: " + complete.stdout)

        sweep("whole")
        seen = metrics("whole")
        check.equal(seen["fp16"], [None, None], "the unquantized model is not compared with itself")
        for name, least, most in [("rtn-w8-g32", 0, 0.01), ("rtn-w2-g32", 0.1, 20)]:
            for set_seen in seen[name]:
                check.that(least <= set_seen["divergence"] <= most, f"{name}: {set_seen}")
        check.that(all(a["agreement"] > 0.95 > b["agreement"] for a, b in zip(seen["rtn-w8-g32"], seen["rtn-w2-g32"])),
                   f"agreement: {seen}")
        table = bitgrid.run(["table", folder / "whole", "--divergence"]).stdout
        check.that("wikitext2 KL" in table and "ptb-new top-1" in table, "the table shows them: " + table)

        # Cells chosen one after the other: the unquantized model's states are made again where they are needed.
        sweep("chosen", "--cells", "rtn-w8*")
        check.that("fp16" in metrics("chosen") and not list((folder / "chosen/cells").glob("fp16*")), "what was not chosen is not recorded")
        sweep("chosen", "--cells", "fp16")
        before = next((folder / "chosen/cells").glob("fp16*/cell.h5")).read_bytes()
        sweep("chosen", "--cells", "rtn-w2*")
        check.equal(next((folder / "chosen/cells").glob("fp16*/cell.h5")).read_bytes(), before, "a finished cell is only walked again")
        identical("chosen", "cells one by one")
        check.that("nothing to do" in sweep("chosen"), "and then there is nothing left")

        for ranks, stages in [(2, 2), (3, 1), (4, 2)]:
            sweep(f"ranks{ranks}", "--set", f"run.stages={stages}", ranks=ranks)
            identical(f"ranks{ranks}", f"{ranks} ranks in {stages} stages")

        # Measured without, then with: only what is missing is done.
        sweep("later", "--set", "evaluation.divergence=false")
        check.equal(metrics("later")["rtn-w2-g32"], [None, None], "nothing is compared where nobody asks")
        check.equal(bitgrid.run(["check", folder / "later", "--complete"]).returncode, 0, "and nothing is missing")
        asked = bitgrid.run(["sweep", harness.small_sweep(folder, grids=GRID), "--out", folder / "later", "--cells", "fp16"])
        complete = bitgrid.run(["check", folder / "later", "--complete"])
        check.equal((asked.returncode, complete.returncode, complete.stdout.count("not compared with the unquantized model on")), (0, 1, 4),
                    "what is missing is named: " + complete.stdout)
        sweep("later")
        check.equal(sum(sum(c["layers_quantized"]) for c in run_file.counters(folder / "later")), 0, "nothing is quantized again")
        identical("later", "compared later")
    check.finish()


if __name__ == "__main__":
    main()

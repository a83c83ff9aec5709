"""A sweep file that changes: only what is new is done; what is dropped comes back the same."""

import shutil

import harness
import run_file

GRID = '[[grid]]\nmethod = "gptq"\nbits = [{bits}]\ngroup = [32]\n'
LAYERS = 4


def quantized(out):
    return sum(sum(c["layers_quantized"]) for c in run_file.counters(out))


def evaluated(out):
    return sum(sum(c["evaluation_windows"]) for c in run_file.counters(out))


def main():
    arguments = harness.parse_arguments()
    bitgrid, check = harness.Bitgrid(arguments.bitgrid), harness.Check()
    with harness.Folder() as folder:
        out = folder / "out"

        def sweep(what, grids, *extra, code=0, says=""):
            file = harness.small_sweep(folder, grids=grids)
            run = bitgrid.run(["sweep", file, "--out", out, *extra])
            check.equal(run.returncode, code, f"{what}: {run.stderr[-300:]}")
            check.that(says in run.stderr, f"{what}: says {says!r}: {run.stderr}")

        sweep("two cells", GRID.format(bits="4, 3"))
        check.equal(quantized(out), 2 * LAYERS, "two cells are quantized")
        four_bits = next(out.glob("cells/gptq-w4-g32.*/layer-0002.h5")).read_bytes()

        sweep("one more", GRID.format(bits="4, 3, 2"))
        check.equal(quantized(out), LAYERS, "only the new cell is quantized")

        sweep("one fewer", GRID.format(bits="3, 2"), says="kept 1 stored cell that this sweep does not list: gptq-w4-g32.")
        check.equal(quantized(out), 0, "nothing is quantized")
        check.that(list(out.glob("cells/gptq-w4-g32.*")), "what is not listed any more is kept")
        check.that("gptq-w4" not in bitgrid.run(["table", out, "--format", "csv"]).stdout, "but not in the table")

        sweep("names, threads and paths do not matter", GRID.format(bits="4, 3"), "--set", "name=other", "--set",
              "run.threads=2", "--set", "run.deadline=20min")
        check.equal(quantized(out), 0, "nothing is quantized again")

        before = evaluated(out)
        sweep("one more set", GRID.format(bits="4, 3"), "--set", 'evaluation.perplexity=["wikitext2", "ptb-new", "ptb"]')
        check.equal(quantized(out), 0, "a new evaluation set quantizes nothing")
        check.that(before == 0 and evaluated(out) > 0, "but measures it")
        table = bitgrid.run(["table", out, "--format", "csv"]).stdout
        check.that("ptb" in table.splitlines()[0], "and shows it: " + table)

        sweep("another calibration", GRID.format(bits="4"), "--set", "calibration.seed=1")
        check.equal(quantized(out), LAYERS, "other windows make another cell")
        check.equal(len(list(out.glob("cells/gptq-w4-g32.*"))), 2, "beside the old one")
        sweep("before it is pruned", GRID.format(bits="4"), "--set", "calibration.seed=1", says="; --prune removes them")
        stored = len(list(out.glob("cells/*")))
        sweep("pruned", GRID.format(bits="4"), "--prune", says=f"removed {stored - 1} stored cells that this sweep does not list: ")
        sweep("pruned again", GRID.format(bits="4"), "--prune", says="nothing to remove")
        check.equal(len(list(out.glob("cells/*"))), 1, "--prune removes what is not listed")

        # --cells chooses what runs; the file says what there is.
        shutil.rmtree(out)
        sweep("chosen cells", GRID.format(bits="4, 3, 2"), "--cells", "gptq-w3-*")
        check.equal(quantized(out), LAYERS, "only the chosen cell is quantized")
        table = bitgrid.run(["table", out, "--format", "csv"]).stdout
        for name in ["gptq-w4-g32", "gptq-w3-g32", "gptq-w2-g32"]:
            check.that(name in table, f"the table has {name}: {table}")
        check.equal(bitgrid.run(["check", out]).returncode, 0, "what is there is sound")
        complete = bitgrid.run(["check", out, "--complete"])
        check.equal((complete.returncode, complete.stdout.count("not finished")), (1, 2), "two are missing: " + complete.stdout)
        show = bitgrid.run(["show", out]).stdout
        check.that("1 of 3 cells finished" in show, "show counts all: " + show)
        sweep("chosen cells again", GRID.format(bits="4, 3, 2"), "--cells", "gptq-w3-*", says="nothing to do: every chosen cell is finished already")
        check.equal(quantized(out), 0, "and the finished one is left alone")
        other = folder / "one-cell"
        check.equal(bitgrid.run(["sweep", harness.small_sweep(folder, grids=GRID.format(bits="4, 3, 2")), "--out", other, "--cells",
                                 "gptq-w2-*"]).returncode, 0, "another cell")
        diff = bitgrid.run(["diff", out, other])
        check.that("gptq-w3-g32: finished only in the first" in diff.stdout, "diff knows both: " + diff.stdout)
        sweep("the rest", GRID.format(bits="4, 3, 2"))
        check.equal(quantized(out), 2 * LAYERS, "the others are done later")
        sweep("all again", GRID.format(bits="4, 3, 2"), says="nothing to do: every cell is finished already")

        shutil.rmtree(out)
        sweep("numbers only", GRID.format(bits="4, 3"), "--set", 'run.keep="metrics"')
        check.equal(list(out.glob("cells/*/layer-*.h5")), [], "tensors are dropped")
        check.equal(bitgrid.run(["check", out, "--complete"]).returncode, 0, "and nothing is missing")
        check.that("gptq-w4-g32" in bitgrid.run(["show", out]).stdout, "show knows the cell")
        sweep("again", GRID.format(bits="4, 3"), "--set", 'run.keep="metrics"')
        check.equal(quantized(out), 0, "a finished cell without tensors is finished")
        sweep("a new set without tensors", GRID.format(bits="4, 3"), "--set", 'run.keep="metrics"', "--set",
              'evaluation.perplexity=["wikitext2", "ptb"]')
        check.equal(quantized(out), 2 * LAYERS, "tensors that are needed again are made again")
        sweep("tensors wanted", GRID.format(bits="4, 3"))
        check.equal(next(out.glob("cells/gptq-w4-g32.*/layer-0002.h5")).stat().st_size, len(four_bits), "the same size")
        check.equal(bitgrid.run(["check", out, "--complete"]).returncode, 0, "with the hashes of the record")

        packed = folder / "packed.h5"
        check.equal(bitgrid.run(["pack", out, packed]).returncode, 0, "pack")
        check.equal(bitgrid.run(["pack", out, packed]).returncode, 0, "pack, over an older packed file")
        notes = folder / "notes.txt"
        notes.write_text("mine")
        check.equal(bitgrid.run(["pack", out, notes]).returncode, 2, "pack over somebody's notes is refused")
        check.equal(notes.read_text(), "mine", "they are still there")
        diff = bitgrid.run(["diff", out, packed])
        check.equal((diff.returncode, diff.stdout.strip()), (0, "identical"), "the packed file holds the same")
        for command in [["table", packed], ["show", packed], ["check", packed, "--complete"]]:
            check.equal(bitgrid.run(command).returncode, 0, f"{command[0]} of the packed file")
        check.equal(bitgrid.run(["table", out]).stdout, bitgrid.run(["table", packed]).stdout, "and gives the same table")

        other = folder / "other"
        file = harness.small_sweep(folder, grids=GRID.format(bits="4, 3"))
        check.equal(bitgrid.run(["sweep", file, "--out", other, "--set", "calibration.seed=1"]).returncode, 0, "another sweep")
        diff = bitgrid.run(["diff", out, other])
        check.that(diff.returncode == 1 and diff.stdout.strip(), "diff tells different results apart")
    check.finish()


if __name__ == "__main__":
    main()

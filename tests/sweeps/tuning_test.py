"""Methods that tune a layer as a whole: the loss falls in every layer, and the bytes depend neither on ranks and threads nor on a new start."""

import harness
import run_file

GRIDS = """
[[grid]]
method = "fdb-block"
bits = [2]
group = [32]
inputs = ["quantized", "full"]
epochs = 2
batches = 4
[[grid]]
method = "fdb-gptq"
bits = [2]
group = [32]
inputs = "full"
[[grid]]
method = "fdb-block"
bits = [2]
group = [32]
true_sequential = false
epochs = 1
batches = 3
"""


def check_same(bitgrid, check, base, out, what):
    diff = bitgrid.run(["diff", base, out])
    check.equal((diff.returncode, diff.stdout.strip()), (0, "identical"), what)


def main():
    arguments = harness.parse_arguments()
    bitgrid, check = harness.Bitgrid(arguments.bitgrid), harness.Check()
    with harness.Folder() as folder:
        sweep = harness.small_sweep(folder, grids=GRIDS, windows=10, shards=8)
        base = folder / "base"
        run = bitgrid.run(["sweep", sweep, "--out", base])
        check.equal(run.returncode, 0, "one rank, one thread: " + run.stderr[-300:])
        losses = run_file.tuning_losses(base)
        check.equal(len(losses), 3 * 4, "tuned layers")
        for where, (before, after) in losses.items():
            check.that(0 < after < 0.95 * before, f"{where}: loss {before} became {after}")

        for stages, replicas, threads in [(1, 1, 2), (1, 2, 1), (1, 4, 1), (2, 2, 2)]:
            out = folder / f"{stages}-{replicas}-{threads}"
            what = f"{stages} x {replicas} ranks, {threads} threads"
            run = bitgrid.run(["sweep", sweep, "--out", out, "--set", f"run.stages={stages}", "--set",
                               f"run.replicas={replicas}", "--set", f"run.threads={threads}"], ranks=stages * replicas)
            check.equal(run.returncode, 0, what + ": " + run.stderr[-300:])
            check_same(bitgrid, check, base, out, what)

        out = folder / "1-2-1"
        for path in [*out.glob("cells/*/layer-0002.h5"), *out.glob("cells/*/cell.h5")]:
            path.unlink()
        run = bitgrid.run(["sweep", sweep, "--out", out], ranks=2)
        check.equal(run.returncode, 0, "started again: " + run.stderr[-300:])
        check_same(bitgrid, check, base, out, "started again")
    check.finish()


if __name__ == "__main__":
    main()

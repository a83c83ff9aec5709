"""[run] memory: too little is said in one line by plan and sweep, costs time and not results; enough is not mentioned."""

import harness

GRIDS = """
[[grid]]
method = "gptq"
bits = [3]
group = [32]
true_sequential = [true, false]
"""


def warnings(run):
    return [line for line in (run.stdout + run.stderr).splitlines() if line.startswith("warning: a rank needs")]


def main():
    arguments = harness.parse_arguments()
    bitgrid, check = harness.Bitgrid(arguments.bitgrid), harness.Check()
    with harness.Folder() as folder:
        sweep = harness.small_sweep(folder, grids=GRIDS, windows=96)
        # 96 windows of 256 tokens: 12 MiB of states and as much for each of two taps, 36 MiB for the widest.
        size = ["--set", "calibration.length=256"]
        base = folder / "base"
        for limit, all_ranks, warns, again in [("auto", [1], 0, False), ("1GiB", [], 0, False), ("60MiB", [2], 0, True),
                                              ("32MiB", [1], 1, True)]:
            extra = size + ["--set", f"run.memory={limit}"]
            plan = bitgrid.run(["plan", sweep] + extra)
            check.equal((plan.returncode, len(warnings(plan))), (0, warns), f"plan with {limit}: {plan.stdout}{plan.stderr}")
            check.equal("it is made again" in plan.stdout, again, f"plan with {limit}: {plan.stdout}")
            for ranks in all_ranks:
                out = folder / limit if base.exists() else base
                run = bitgrid.run(["sweep", sweep, "--out", out] + extra, ranks=ranks)
                what = f"{limit}, {ranks} ranks"
                check.equal(run.returncode, 0, f"{what}: {run.stderr}")
                if ranks == 1:
                    check.equal(len(warnings(run)), warns, f"{what}: {run.stderr}")
                    if warns:
                        check.that(warnings(run)[0] in plan.stdout, f"{what}: plan and sweep say the same: {run.stderr}")
                diff = bitgrid.run(["diff", base, out])
                check.equal((diff.returncode, diff.stdout.strip()), (0, "identical"), what)
    check.finish()


if __name__ == "__main__":
    main()

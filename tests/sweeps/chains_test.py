"""Every chain that is legal runs: AWQ before any rounding, alone and with SmoothQuant, before and behind it."""

import harness

ROUNDINGS = {
    "rtn": 3, "gptq": 3, "pb-llm": 1.7, "billm": 1.1, "slim-llm": 2, "fdb": 2, "fdb-gptq": 2, "fdb-block": 2, "quip": 2,
    "quip-rg": 2, "incoherence": 3, "incoherence+gptq": 3,
}


def grid(chain, bits):
    more = 'activation_bits = 16\nqkv_bits = 16\n' if "smoothquant" in chain else ""
    if "fdb-block" in chain:
        more += "epochs = 1\nbatches = 2\n"
    return f'[[grid]]\nmethod = "{chain}"\nbits = {bits}\ngroup = 32\n{more}'


def main():
    arguments = harness.parse_arguments()
    bitgrid, check = harness.Bitgrid(arguments.bitgrid), harness.Check()
    with harness.Folder() as folder:
        chains = {}
        for rounding, bits in ROUNDINGS.items():
            chains["awq+" + rounding] = bits
        for rounding in ["gptq", "billm", "quip", "fdb-block"]:
            chains["smoothquant+" + rounding] = ROUNDINGS[rounding]
        for rounding in ["slim-llm", "fdb-gptq", "incoherence+gptq"]:
            chains["awq+smoothquant+" + rounding] = ROUNDINGS[rounding]
        sweep = harness.small_sweep(folder, grids="".join(grid(*item) for item in chains.items()), windows=4)
        extra = ["--set", 'evaluation.perplexity=["ptb-new"]', "--set", "evaluation.tasks=[]"]
        plan = bitgrid.run(["plan", sweep, *extra])
        check.equal(plan.returncode, 0, "plan: " + plan.stderr)
        for ranks, layout in [(1, []), (2, ["--set", "run.replicas=2"])]:
            out = folder / f"out{ranks}"
            run = bitgrid.run(["sweep", sweep, "--out", out, *extra, *layout], ranks=ranks)
            check.equal(run.returncode, 0, f"{ranks} ranks: {run.stderr[-800:]}")
            show = bitgrid.run(["show", out]).stdout
            check.that(f"{len(chains)} of {len(chains)} cells finished" in show, f"all cells: {show}")
        diff = bitgrid.run(["diff", folder / "out1", folder / "out2"])
        check.equal(diff.stdout.strip(), "identical", "on one rank and on two")
    check.finish()


if __name__ == "__main__":
    main()

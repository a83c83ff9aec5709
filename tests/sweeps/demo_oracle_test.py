"""The demo's perplexities beside those of independent implementations (tests/data/quantized/perplexity.csv).

By default a few cells, two threads; --all 1 runs every RTN, GPTQ and SmoothQuant row of the reference. The reference sums the Gram matrix
in one piece, so --shards is 1 here: with dynamic groups the last bits of that sum move scales, columns of nearly equal weight
change places, and perplexities with them, by about as much as the tolerance (--shards 16 shows it).
"""

import csv
import json

import harness

# Relative tolerance by method and bits.
TOLERANCE = {"rtn": {8: 0.0005, 4: 0.002, 3: 0.003, 2: 0.01}, "gptq": {8: 0.001, 4: 0.003, 3: 0.01, 2: 0.05},
             "smoothquant": {8: 0.001, 6: 0.004, 4: 0.03}}
FP16 = 0.0002


def reference():
    with open(harness.ROOT / "tests" / "data" / "quantized" / "perplexity.csv") as file:
        for row in csv.DictReader(file):
            if row["source"] == "reference" and row["method"] in ("fp16", *TOLERANCE):
                yield row


def cell_name(row):
    if row["method"] == "fp16":
        return "fp16"
    group = "pc" if row["group"] == "-1" else "g" + row["group"]
    order = dict(option.split("=") for option in row["options"].split()).get("order")
    if row["method"] == "smoothquant":
        return f"smoothquant-w{row['bits']}-a{row['bits']}-{group}"
    return f"{row['method']}-w{row['bits']}-{group}" + (f"-order={order}" if order else "")


GRIDS = """
[[grid]]
method = "fp16"
[[grid]]
method = "rtn"
bits = [8, 4, 3, 2]
group = [32, -1]
[[grid]]
method = "gptq"
bits = [8, 4, 3, 2]
group = [32, -1]
order = ["none", "act"]
[[grid]]
method = "smoothquant"
bits = [8, 6, 4]
"""


def main():
    arguments = harness.parse_arguments(all=0, shards=1)
    bitgrid, check = harness.Bitgrid(arguments.bitgrid), harness.Check()
    rows = list(reference())
    with harness.Folder() as folder:
        text = (harness.DEMO / "demo.toml").read_text()
        sweep = folder / "demo.toml"
        head = text[: text.index("[[grid]]")].replace('"model"', f'"{harness.DEMO}/model"')
        sweep.write_text(head.replace('dir = "data"', f'dir = "{harness.DEMO}/data"') + GRIDS)
        names = {cell_name(row) for row in rows}
        if not arguments.all:
            names = {"fp16", "rtn-w3-g32", "rtn-w2-pc", "gptq-w4-g32-order=none", "gptq-w3-g32-order=act",
                     "gptq-w2-pc-order=none", "smoothquant-w6-a6-pc"}
        out = folder / "out"
        run = bitgrid.run(["sweep", sweep, "--out", out, "--cells", ",".join(sorted(names)), "--set", "run.threads=2",
                           "--set", f"calibration.shards={arguments.shards}"],
                          timeout=550)
        check.equal(run.returncode, 0, run.stderr[-500:])
        seen = {}
        for cell in json.loads(bitgrid.run(["table", out, "--format", "json"]).stdout)["cells"]:
            for metric in cell.get("metrics", []):  # of those that were not chosen there are none
                seen[cell["name"], metric["set"]] = metric["perplexity"]
        for row in rows:
            name = cell_name(row)
            if name not in names:
                continue
            expected, got = float(row["perplexity"]), seen.get((name, row["set"]))
            check.that(got is not None, f"{name}: no perplexity of {row['set']}")
            if got is None:
                continue
            tolerance = FP16 if name == "fp16" else TOLERANCE[row["method"]][int(row["bits"])]
            off = got / expected - 1
            print(f"{name:28} {row['set']:10} {got:9.5f}  reference {expected:9.5f}  {100 * off:+.3f} % of {100 * tolerance} %")
            check.that(abs(off) <= tolerance, f"{name} on {row['set']}: {got}, reference {expected}")
        if ("rtn-w2-pc", "wikitext2") in seen:
            for key in [("rtn-w2-pc", "gptq-w2-pc-order=none")]:
                check.that(seen[key[1], "wikitext2"] < seen[key[0], "wikitext2"], "GPTQ beats RTN at 2 bits")
    check.finish()


if __name__ == "__main__":
    main()

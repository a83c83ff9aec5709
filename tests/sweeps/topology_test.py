"""Every split of 1 to 4 ranks into stages and replicas, and 1 and 2 threads, gives the same bytes; and the work is shared."""

import harness
import run_file


def splits():
    return [(s, d) for s in range(1, 5) for d in range(1, 5) if s * d <= 4]


def total(counters, key):
    return [sum(values) for values in zip(*(c[key] for c in counters))]


def check_shared_work(check, what, one, many, layers, stages, windows, shards, tile_rows):
    for key in ["layers_read", "calibration_windows", "evaluation_windows", "rows_solved", "layers_quantized"]:
        check.equal(total(many, key), total(one, key), f"{what}: {key} over all ranks")
    check.equal(sum(c["weight_bytes_read"] for c in many), one[0]["weight_bytes_read"], f"{what}: weight bytes read")
    for c in many:
        own = range(c["stage"] * layers // stages, (c["stage"] + 1) * layers // stages)
        for key in ["layers_read", "calibration_windows", "rows_solved"]:
            foreign = [l for l, n in enumerate(c[key]) if n and l not in own]
            check.that(not foreign, f"{what}: rank {c['rank']} did {key} for layers {foreign} of another stage")
    largest_shard = -(-windows // shards)
    for layer in range(layers):
        members = [c for c in many if c["calibration_windows"][layer]]
        walked = [c["calibration_windows"][layer] for c in members]
        cells = sum(walked) // windows
        check.that(max(walked) - min(walked) <= largest_shard * cells + 0, f"{what}: shares of windows {walked}")
        rows = [c["rows_solved"][layer] for c in members]
        check.that(max(rows) - min(rows) <= tile_rows, f"{what}: shares of rows {rows}")


def check_in_flight(check, timeline, stages, layers):
    """Two cells are being worked on at one moment, on two stages."""
    first = [t for t in timeline if t["layer"] * stages // layers == 0]
    later = [t for t in timeline if t["layer"] * stages // layers == 1]
    overlap = any(a["cell"] != b["cell"] and a["started"] < b["finished"] and b["started"] < a["finished"]
                  for a in first for b in later)
    check.that(overlap, "no two cells were in flight on two stages")


def main():
    arguments = harness.parse_arguments()
    bitgrid, check = harness.Bitgrid(arguments.bitgrid), harness.Check()
    windows, shards, layers = 20, 8, 4
    with harness.Folder() as folder:
        sweep = harness.small_sweep(folder, windows=windows, shards=shards)
        base = folder / "base"
        run = bitgrid.run(["sweep", sweep, "--out", base])
        check.equal(run.returncode, 0, "one rank, one thread: " + run.stderr[-300:])
        one = run_file.counters(base)
        cells_with_statistics, cells_quantized = 4, 5
        check.equal(one[0]["calibration_windows"], [cells_with_statistics * windows] * layers,
                    "each layer walks each calibration window once per cell")
        check.equal(one[0]["layers_quantized"], [cells_quantized] * layers, "layers quantized on one rank")
        for stages, replicas in splits():
            for threads in [1, 2]:
                if stages * replicas == 1 and threads == 1:
                    continue
                what = f"{stages} x {replicas} ranks, {threads} threads"
                out = folder / "other"
                run = bitgrid.run(["sweep", sweep, "--out", out, "--set", f"run.stages={stages}", "--set",
                                   f"run.replicas={replicas}", "--set", f"run.threads={threads}"],
                                  ranks=stages * replicas)
                check.equal(run.returncode, 0, what + ": " + run.stderr[-300:])
                diff = bitgrid.run(["diff", base, out])
                check.equal((diff.returncode, diff.stdout.strip()), (0, "identical"), what)
                if threads == 1:
                    # Shares differ by at most one tile per solve; the tiles behind the four taps have 16, 16, 48 and 16 rows.
                    tile_rows = (16 + 16 + 48 + 16) * cells_quantized
                    check_shared_work(check, what, one, run_file.counters(out), layers, stages, windows, shards, tile_rows)
                if (stages, replicas, threads) == (2, 1, 1):
                    check_in_flight(check, run_file.timeline(out), stages, layers)
                harness.shutil.rmtree(out, ignore_errors=True)
    check.finish()


if __name__ == "__main__":
    main()

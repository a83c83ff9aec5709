"""Files that are not what was written: check names each in one line, a sweep makes them again and says so, and the results
are those of a run that nothing happened to."""

import shutil

import harness
import run_file


def flip(path):
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 4
    path.write_bytes(raw)


def truncate(path):
    path.write_bytes(path.read_bytes()[:700])


def one(out, pattern):
    return next(out.glob(f"cells/{pattern}"))


# (what, damage, whether a layer has to be quantized again)
DAMAGES = [
    ("a layer with a flipped bit", lambda out: flip(one(out, "gptq-w2*/layer-0001.h5")), 1),
    ("a layer that is cut short", lambda out: truncate(one(out, "rtn-w4*/layer-0003.h5")), 1),
    ("an empty layer", lambda out: one(out, "gptq-w3*/layer-0000.h5").write_bytes(b""), 1),
    ("zeros in place of a layer", lambda out: one(out, "gptq-w3*/layer-0002.h5").write_bytes(bytes(9000)), 1),
    ("another layer in a layer's place", lambda out: shutil.copy(one(out, "gptq-w3*/layer-0001.h5"),
                                                                one(out, "gptq-w3*/layer-0003.h5")), 1),
    ("a record with a flipped bit", lambda out: flip(one(out, "gptq-w2*/cell.h5")), 0),
    ("a record that is cut short", lambda out: truncate(one(out, "fp16*/cell.h5")), 0),
    ("a run.h5 with a flipped bit", lambda out: flip(out / "run.h5"), 0),
    ("a results.h5 that is cut short", lambda out: truncate(out / "results.h5"), 0),
]


def changed(before, out):
    return [path for path in sorted(out.rglob("*.h5")) if before[path] != path.read_bytes()]


def main():
    arguments = harness.parse_arguments()
    bitgrid, check = harness.Bitgrid(arguments.bitgrid), harness.Check()
    with harness.Folder() as folder:
        sweep, base, out = harness.small_sweep(folder), folder / "base", folder / "out"
        check.equal(bitgrid.run(["sweep", sweep, "--out", base]).returncode, 0, "a run that nothing happens to")
        shutil.copytree(base, out)

        def repaired(what, files, layers, ranks, *extra):
            sound = bitgrid.run(["check", out, "--complete"])
            check.equal((sound.returncode, len(sound.stdout.splitlines())), (1, len(files)), f"{what}: check: {sound.stdout}")
            for path in files:
                lines = [line for line in sound.stdout.splitlines() if line.startswith(f"{path}: ")]
                check.that(len(lines) == 1 and "run the sweep again" in lines[0], f"{what}: a line and its remedy: {sound.stdout}")
            again = bitgrid.run(["sweep", sweep, "--out", out, *extra], ranks=ranks)
            check.equal(again.returncode, 0, f"{what}: the sweep again: {again.stderr[-400:]}")
            for path in files:
                lines = [line for line in again.stderr.splitlines() if f"{path}: " in line]
                check.that(len(lines) == 1 and "is made again" in lines[0], f"{what}: it is said once: {again.stderr}")
            check.that("nothing to do" not in again.stderr or not any("cells" in p.parts for p in files), f"{what}: there was something to do")
            check.equal(sum(sum(c["layers_quantized"]) for c in run_file.counters(out)), layers, what + ": layers quantized")
            complete = bitgrid.run(["check", out, "--complete"])
            check.equal(complete.returncode, 0, f"{what}: check afterwards: {complete.stdout}")
            diff = bitgrid.run(["diff", base, out])
            check.equal((diff.returncode, diff.stdout.strip()), (0, "identical"), what + ": diff")

        for what, damage, layers in DAMAGES:
            before = {path: path.read_bytes() for path in out.rglob("*.h5")}
            damage(out)
            files = changed(before, out)
            check.equal(len(files), 1, what + ": one file is damaged")
            repaired(what, files, layers, 1)
        before = {path: path.read_bytes() for path in out.rglob("*.h5")}
        for _, damage, _ in DAMAGES[:4] + DAMAGES[5:8]:
            damage(out)
        repaired("all at once, several ranks, quietly", changed(before, out), 4, 4, "--quiet")

        # Cells that are not chosen are nobody's business now.
        flip(one(out, "gptq-w2*/layer-0001.h5"))
        chosen = bitgrid.run(["sweep", sweep, "--out", out, "--cells", "rtn*"])
        check.equal(chosen.returncode, 0, "another cell is chosen: " + chosen.stderr)
        check.equal(bitgrid.run(["check", out]).returncode, 1, "the damage is still there")
        pack = bitgrid.run(["pack", out, folder / "packed.h5"])
        check.equal((pack.returncode, len(harness.own_lines(pack.stderr))), (2, 1), "pack refuses it: " + pack.stderr)
        check.that("layer-0001.h5" in pack.stderr and not (folder / "packed.h5").exists(), "by name: " + pack.stderr)

        packed = folder / "packed.h5"
        check.equal(bitgrid.run(["pack", base, packed]).returncode, 0, "a packed file")
        good = packed.read_bytes()
        for what, damage in [("flipped", flip), ("cut short", truncate), ("empty", lambda path: path.write_bytes(b"")),
                             ("of a wrong start", lambda path: path.write_bytes(b"x" + good[1:]))]:
            packed.write_bytes(good)
            damage(packed)
            sound = bitgrid.run(["check", packed])
            check.equal((sound.returncode, len(sound.stdout.splitlines())), (1, 1), f"a packed file, {what}: {sound.stdout} {sound.stderr}")
            check.that("pack the output directory again" in sound.stdout, f"a packed file, {what}: the remedy: {sound.stdout}")
    check.finish()


if __name__ == "__main__":
    main()

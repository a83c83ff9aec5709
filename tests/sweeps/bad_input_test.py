"""Bad input is found before work starts: one clear line in all, exit code 2, no output touched; on one rank and on several."""

import json
import re
import struct

import harness


def edit_json(path, change):
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def truncate(path, size):
    with open(path, "r+b") as file:
        file.truncate(size)


def first_shard(model):
    return model / "model-00001-of-00003.safetensors"


def set_header(model, change):
    header, data = harness.read_safetensors(first_shard(model))
    change(header)
    harness.write_safetensors(first_shard(model), header, data)


def a_tensor(header):
    return sorted(k for k in header if k != "__metadata__")[0]


def integers(header):
    header[a_tensor(header)]["dtype"] = "I16"


def transpose_one(header):
    name = next(k for k, v in sorted(header.items()) if len(v.get("shape", [])) == 2 and v["shape"][0] != v["shape"][1])
    header[name]["shape"] = header[name]["shape"][::-1]


def cases(folder, sweep):
    """(what, extra arguments or a changed sweep file, words that the one line must hold)."""
    text = sweep.read_text()

    def with_text(name, old, new):
        assert old in text, old
        file = folder / f"{name}.toml"
        file.write_text(text.replace(old, new, 1))
        return file

    def with_model(name, change):
        model = harness.copy_model(folder, f"model-{name}")
        change(model)
        return with_text(name, str(harness.DEMO / "model"), str(model))

    def hostile(size):
        return lambda model: first_shard(model).write_bytes(struct.pack("<Q", size) + b"{}")

    yield "unknown key", with_text("key", "windows =", "windos ="), [], ["key.toml:", "windos", "windows"]
    yield "wrong type", with_text("type", "length = 64", 'length = "long"'), [], ["type.toml:", "length"]
    yield "empty grid", with_text("axis", "bits = [4]", "bits = []"), [], ["axis.toml:", "bits"]
    yield "no grid", with_text("grid", harness.GRIDS, ""), [], ["grid"]
    yield "bits 0", with_text("zero", "bits = [4]", "bits = [0]"), [], ["zero.toml:", "bits"]
    yield "bits 9", with_text("nine", "bits = [4]", "bits = [9]"), [], ["nine.toml:", "bits"]
    yield "bits 1", with_text("one", "bits = [4]", "bits = [1]"), [], ["one.toml:", "binary"]
    yield "a group that does not divide", with_text("group", "group = [32]", "group = [48]"), [], ["group", "48", "128"]
    budget = '[[grid]]\nmethod = "gptq"\ngroup = 32\nbudget = '
    few = with_text("few-bits", harness.GRIDS, budget + "2.1\n")
    line = few.read_text().splitlines().index("budget = 2.1") + 1
    yield "a budget that cannot be met", few, [], [f"few-bits.toml:{line}: ", "at least 2.56", "groups of 32"]
    yield ("a budget that cannot be met with mix", with_text("mixed", harness.GRIDS, budget + '2.7\nmix = "mlp=8"\n'), [],
           ["mixed.toml:", "at least", "mix"])
    tuned = '[[grid]]\nmethod = "smoothquant+fdb-block"\nbits = 2\n'
    yield "smoothquant before a tuning", with_text("tuned", harness.GRIDS, tuned), [], ["tuned.toml:", "activation_bits = 16"]
    yield "a later method", with_text("later", 'method = "rtn"', 'method = "ir-qlora"'), [], ["later.toml:", "ir-qlora"]
    yield "an unknown method", with_text("method", 'method = "rtn"', 'method = "gptk"'), [], ["gptk", "gptq"]
    yield "tasks", with_text("tasks", "[run]", '[evaluation.x]\n[run]'), [], ["tasks.toml:"]
    yield "not TOML", with_text("toml", "[run]", "[run"), [], ["toml.toml:"]
    yield "no sweep file", folder / "nowhere.toml", [], ["nowhere.toml"]
    yield "no model directory", with_text("nomodel", str(harness.DEMO / "model"), "nowhere"), [], ["nowhere"]
    yield "a missing shard", with_model("shard", lambda m: first_shard(m).unlink()), [], ["model-00001-of-00003.safetensors"]
    yield ("a truncated shard", with_model("short", lambda m: truncate(first_shard(m), 4000)), [],
           ["model-00001-of-00003.safetensors"])
    yield "a header of 2^64 - 1 bytes", with_model("huge", hostile(2**64 - 1)), [], ["model-00001-of-00003.safetensors"]
    yield "a header beyond the end", with_model("beyond", hostile(60)), [], ["model-00001-of-00003.safetensors"]
    yield "a tensor of the wrong shape", with_model("shape", lambda m: set_header(m, transpose_one)), [], ["shape"]
    yield "a tensor of the wrong type", with_model("dtype", lambda m: set_header(m, integers)), [], ["I16"]
    yield ("another kind of model", with_model("kind", lambda m: edit_json(m / "config.json",
           lambda c: c.update(model_type="mistral"))), [], ["config.json", "model_type"])
    yield ("a tokenizer that is not byte-level BPE", with_model("tokenizer", lambda m: edit_json(
        m / "tokenizer.json", lambda t: t["model"].update(type="Unigram"))), [], ["tokenizer.json", "BPE"])
    short = folder / "short.txt"
    short.write_text("too short\n")
    yield "calibration text shorter than a window", with_text("few", 'data = "c4"', f'data = "{short}"'), [], ["short.txt"]
    yield "an evaluation file that is missing", with_text("eval", '"ptb-new"', '"gone.txt"'), [], ["gone.txt"]
    yield "an unknown set", with_text("set", '"ptb-new"', '"ptb-old"'), [], ["ptb-old", "ptb"]
    yield "windows longer than the model", with_text("long", "length = 64", "length = 4096"), [], ["4096", "1024"]
    yield "more stages than layers", sweep, ["--set", "run.stages=5", "--set", "run.replicas=1"], ["stages"]
    yield "an unknown key on the command line", sweep, ["--set", "calibration.windos=3"], ["windos", "windows"]
    yield "no such cell", sweep, ["--cells", "nothing-*"], ["nothing-*"]
    yield "an empty --cells", sweep, ["--cells", ""], ["--cells", "empty"]
    yield "an empty --set", sweep, ["--set", ""], ["--set", "empty"]
    yield "an empty --device", sweep, ["--device", ""], ["--device", "empty"]
    yield "a silly amount of memory", sweep, ["--set", "run.memory=1KiB"], ["run.memory", "at least 32 MiB"]
    yield "an integer beyond 64 bits", sweep, ["--set", "calibration.windows=99999999999999999999"], ["--set", "64 bits"]
    yield "an unclosed bracket", sweep, ["--set", "evaluation.perplexity=['c4'"], ["--set", "not a TOML value", "array"]
    loop = folder / "loop"
    loop.symlink_to(loop)
    yield "a loop of links as sweep file", loop, [], ["loop", "Too many levels of symbolic links"]
    yield "a folder as sweep file", folder, [], ["is a folder"]
    rows = folder / "rows.jsonl"
    rows.write_text('{"content": "short"}\n' * 3)
    yield ("calibration rows without a text", sweep, ["--set", f"calibration.data={rows}"],
           ["rows.jsonl:1", 'no "text"'])
    yield ("evaluation rows without a text", sweep, ["--set", f"evaluation.perplexity=['{rows}']"],
           ["rows.jsonl:1", 'no "text"'])
    yield "prune with cells", sweep, ["--prune", "--cells", "rtn*"], ["--prune", "--cells"]
    yield "a device that is not there", sweep, ["--set", 'run.device="cuda"'], ["cuda"]


def main():
    arguments = harness.parse_arguments()
    bitgrid, check = harness.Bitgrid(arguments.bitgrid), harness.Check()
    with harness.Folder() as folder:
        sweep = harness.small_sweep(folder)
        for index, (what, file, extra, words) in enumerate(cases(folder, sweep)):
            out = folder / "untouched"
            # mpirun takes a third of a second, so several ranks are tried on every third case.
            for ranks in [1, 3] if index % 3 == 0 else [1]:
                run = bitgrid.run(["sweep", file, "--out", out] + extra, ranks=ranks)
                lines = harness.own_lines(run.stderr)
                label = f"{what}, {ranks} ranks"
                check.equal(run.returncode, 2, label)
                check.equal(len(lines), 1, f"{label}: lines in {run.stderr!r}")
                for word in words:
                    check.that(any(word in line for line in lines), f"{label}: {word!r} in {lines}")
                check.that(not out.exists(), f"{label}: output was touched")
                check.that(not run.stdout.strip(), f"{label}: stdout {run.stdout!r}")

        # An output directory that cannot be written, or belongs to another model.
        (folder / "file").write_text("")
        run = bitgrid.run(["sweep", sweep, "--out", folder / "file" / "out"])
        check.equal((run.returncode, len(harness.own_lines(run.stderr))), (2, 1), "an output that cannot be made: " + run.stderr)
        mine = folder / "mine"
        check.equal(bitgrid.run(["sweep", sweep, "--out", mine, "--cells", "rtn*"]).returncode, 0, "a first sweep")
        before = sorted((p.relative_to(mine), p.read_bytes()) for p in mine.rglob("*.h5"))
        other = harness.copy_model(folder, "other")
        harness.patch_tensor(other, "model.norm.weight", lambda raw: raw.__setitem__(0, raw[0] ^ 1))
        changed = folder / "other.toml"
        changed.write_text(sweep.read_text().replace(str(harness.DEMO / "model"), str(other)))
        run = bitgrid.run(["sweep", changed, "--out", mine])
        check.equal((run.returncode, len(harness.own_lines(run.stderr))), (2, 1), "another model's output: " + run.stderr)
        check.that("model" in run.stderr, "it says so: " + run.stderr)
        after = sorted((p.relative_to(mine), p.read_bytes()) for p in mine.rglob("*.h5"))
        check.that(before == after, "the other model's output is as it was")

        # OpenBLAS would ask for its buffers for ever.
        limited = harness.subprocess.run(["sh", "-c", f"ulimit -v 400000; exec {bitgrid.program} sweep {sweep} --out {folder}/small"],
                                         text=True, stdout=harness.subprocess.PIPE, stderr=harness.subprocess.PIPE, timeout=60)
        if "sanitizer" not in limited.stderr.lower():  # whose shadow needs terabytes
            check.equal((limited.returncode, len(harness.own_lines(limited.stderr))), (2, 1), "too little memory: " + limited.stderr)
            check.that("memory" in limited.stderr, "it says so: " + limited.stderr)

        # What the shapes alone decide is refused by plan as well; what is merely too much is said.
        few = bitgrid.run(["plan", folder / "few-bits.toml"])
        check.equal((few.returncode, len(harness.own_lines(few.stderr))), (2, 1), "plan of a budget too small: " + few.stderr)
        much = folder / "much.toml"
        much.write_text((folder / "few-bits.toml").read_text().replace("budget = 2.1", "budget = 16"))
        for command in [["plan", much], ["sweep", much, "--out", folder / "much"]]:
            run = bitgrid.run(command)
            check.equal(run.returncode, 0, f"{command[0]} of a budget too large: {run.stderr}")
            check.that("more than the 8.75 that these linears can take at most" in run.stdout + run.stderr,
                       f"{command[0]} of a budget too large says so: {run.stdout} {run.stderr}")
        check.that("8.750" in bitgrid.run(["plan", much]).stdout, "and plan counts what is stored")

        for name, words in [("", ["A chain is", "\n    budget = BITS", "\n    mix = ", "activation_bits = 16"]),
                            ("rtn", ["budget = BITS", "mix", "group: columns per scale"]),
                            ("awq", ["bits and group are those of the rounding behind it", "only before rtn and gptq"]),
                            ("incoherence", ["bits are those of the rounding behind it", "group does not apply"]),
                            ("smoothquant", ["activation_bits = bits"]), ("fdb-block", ["nothing but 16"]),
                            ("awq+gptq", ["AWQ + GPTQ", "awq transforms the layer, then gptq rounds", "clip = true", "damp ="]),
                            ("awq+slim-llm", ["sba = true"])]:
            text = bitgrid.run(["methods"] + ([name] if name else [])).stdout
            for word in words:
                check.that(word in text, f"methods {name}: {word!r} in {text}")
        check.that("clip" not in bitgrid.run(["methods", "awq+slim-llm"]).stdout, "awq+slim-llm has no clip")

        for usage, words in [
                ([], "subcommand"), (["swep"], "'swep'; did you mean 'sweep'?"), (["frob"], "'frob'; known: sweep, eval, plan"),
                (["--frob"], "'--frob'"), (["sweep"], "FILE"), (["sweep", ""], "FILE: is empty"),
                (["sweep", sweep, "--out", ""], "--out: is empty"), (["plan", sweep, "--cells", ""], "--cells: is empty"),
                (["table", folder / "nowhere"], "nowhere"), (["table", mine, "--format", "pdf"], "pdf"),
                (["diff", mine, folder / "nowhere"], "nowhere"), (["diff", mine, ""], "B: is empty"), (["methods", "awq+gptk"], "'gptk'"),
                (["check", folder / "nowhere"], "nowhere"), (["show", sweep], "small.toml"),
                (["show", folder / "loop"], "Too many levels of symbolic links"),
                (["sweep", sweep, "--out", folder / "loop"], "loop is not a directory"),
                (["pack", mine, folder / "nowhere" / "x.h5"], "there is no folder"),
                (["pack", mine, folder / "loop"], "is not overwritten"), (["pack", mine, ""], "FILE: is empty")]:
            run = bitgrid.run(usage)
            check.equal((run.returncode, len(harness.own_lines(run.stderr))), (2, 1), f"usage {usage}: {run.stderr}")
            check.that(words in run.stderr, f"usage {usage}: {words!r} in {run.stderr!r}")
        for command in ["", "sweep", "plan", "show", "table", "check", "diff", "pack"]:
            run = bitgrid.run([command, "--help"] if command else ["--help"])
            check.equal(run.returncode, 0, f"{command} --help")
            check.that(re.search("Examples?:", run.stdout), f"{command} --help has examples")
    check.finish()


if __name__ == "__main__":
    main()

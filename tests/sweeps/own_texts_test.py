"""Texts of the user's own: what counts is what they hold, not where they lie or what they are called."""

import json

import harness
import run_file

GRIDS = '[[grid]]\nmethod = "fp16"\n[[grid]]\nmethod = "gptq"\nbits = [3]\ngroup = [32]\n'


def write_sweep(folder, evaluation, calibration="texts/mine.jsonl"):
    file = folder / "own.toml"
    text = harness.SMALL.format(model=harness.DEMO / "model", data=folder / "data", windows=10, shards=16, grids=GRIDS)
    text = text.replace('["wikitext2", "ptb-new"]', json.dumps(evaluation)).replace('data = "c4"', f'data = "{calibration}"')
    file.write_text(text.replace('tasks = ["piqa", "mmlu"]', "tasks = []"))
    return file


def write_texts(folder):
    texts = folder / "texts"
    (texts / "more").mkdir(parents=True)
    lines = (harness.DEMO / "data" / "wikitext2" / "wiki.test.raw").read_text().splitlines()
    (texts / "mine.jsonl").write_text("".join(json.dumps({"text": " ".join(lines[i:i + 40])}) + "\n" for i in range(0, 200, 40)))
    (texts / "mine.txt").write_text("\n".join(lines[:60]))
    (texts / "more" / "mine.txt").write_text("\n".join(lines[60:140]))


def main():
    arguments = harness.parse_arguments()
    bitgrid, check = harness.Bitgrid(arguments.bitgrid), harness.Check()
    with harness.Folder() as folder:
        here, there = folder / "here", folder / "there"
        write_texts(here)

        def sweep(place, evaluation, what, quantized, evaluated):
            run = bitgrid.run(["sweep", write_sweep(place, evaluation), "--out", place / "out"])
            check.equal(run.returncode, 0, f"{what}: {run.stderr[-400:]}")
            counters = run_file.counters(place / "out")
            check.equal(sum(sum(c["layers_quantized"]) for c in counters), quantized, what + ": layers quantized")
            check.equal(any(sum(c["evaluation_windows"]) for c in counters), evaluated, what + ": something is measured")
            return bitgrid.run(["table", place / "out", "--format", "csv"]).stdout

        table = sweep(here, ["texts/mine.txt"], "a text", 4, True)
        check.that("mine.txt,mine.txt standard error" in table.splitlines()[0], "it is called by its name: " + table)
        data = bitgrid.run(["table", here / "out", "--format", "json"]).stdout
        check.that('"mine.jsonl, 10 x 64, seed 0"' in data, "so is the calibration text: " + data)
        for command in [["table", here / "out"], ["table", here / "out", "--format", "json"], ["show", here / "out"]]:
            check.that(str(here / "texts") not in bitgrid.run(command).stdout, f"{command}: no folder of the texts")

        harness.shutil.copytree(here, there)
        moved = sweep(there, ["texts/mine.txt"], "in another folder", 0, False)
        check.equal(moved, table, "the same table")
        diff = bitgrid.run(["diff", here / "out", there / "out"])
        check.equal((diff.returncode, diff.stdout.strip()), (0, "identical"), "diff")
        harness.shutil.rmtree(there / "out")
        sweep(there, ["texts/mine.txt"], "done there from the start", 4, True)
        diff = bitgrid.run(["diff", here / "out", there / "out"])
        check.equal((diff.returncode, diff.stdout.strip()), (0, "identical"), "diff of two runs")

        (there / "texts" / "mine.txt").rename(there / "texts" / "renamed.txt")
        renamed = sweep(there, ["texts/renamed.txt"], "under another name", 0, False)
        check.equal(renamed.replace("renamed.txt", "mine.txt"), table, "the same numbers under the new name")
        check.equal(bitgrid.run(["check", there / "out", "--complete"]).returncode, 0, "and nothing is missing")

        # Two texts of one name are two columns, told apart by what they hold.
        both = sweep(here, ["texts/mine.txt", "texts/more/mine.txt"], "two texts of one name", 0, True)
        head, row = both.splitlines()[0].split(","), both.splitlines()[1].split(",")
        columns = [i for i, name in enumerate(head) if name.startswith("mine.txt (") and name.endswith(")")]
        check.that(len(columns) == 2 and head[columns[0]] != head[columns[1]], "two columns: " + both)
        check.equal(row[columns[0]], table.splitlines()[1].split(",")[7], "the first has the number it had")
        check.that(row[columns[1]] not in ("", row[columns[0]]), "the second its own: " + both)

        # The same name with other content is measured; back again, the old measurement is still good.
        old = (here / "texts" / "mine.txt").read_text()
        (here / "texts" / "mine.txt").write_text(old[: len(old) // 2])
        short = sweep(here, ["texts/mine.txt"], "a changed text", 0, True)
        check.that(short != table, "other numbers: " + short)
        (here / "texts" / "mine.txt").write_text(old)
        check.equal(sweep(here, ["texts/mine.txt"], "as it was", 0, False), table, "the old numbers")
    check.finish()


if __name__ == "__main__":
    main()

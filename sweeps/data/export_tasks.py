#!/usr/bin/env python3
"""Exports the question sets that bitgrid evaluates from the Hugging Face hub to files that it reads.

On a machine with internet: pip install datasets, then

    export_tasks.py --out DIR [piqa arc_easy ...] [--train]

writes DIR/TASK.jsonl (the split that is scored: validation or test, as lm-evaluation-harness takes it) and, with --train,
DIR/TASK_train.jsonl, which examples ("shots") are drawn from; mmlu becomes DIR/mmlu/{dev,test}/SUBJECT_{dev,test}.csv
(question, A, B, C, D, letter; no header). Without names, all sets. Copy DIR to the cluster and name it as the directory
of the tasks. Rows are written as the hub has them, nothing is cleaned. BITGRID_REAL_TASKS=DIR makes bitgrid's task_test compare
them with published digests.
"""
import argparse
import csv
import json
import pathlib

# task: (hub id, configuration, scored split); PIQA's first home needs a loading script, which new versions refuse.
SETS = {
    "piqa": ("baber/piqa", None, "validation"),
    "arc_easy": ("allenai/ai2_arc", "ARC-Easy", "test"),
    "arc_challenge": ("allenai/ai2_arc", "ARC-Challenge", "test"),
    "hellaswag": ("Rowan/hellaswag", None, "validation"),
    "winogrande": ("allenai/winogrande", "winogrande_xl", "validation"),
    "boolq": ("aps/super_glue", "boolq", "validation"),
    "openbookqa": ("allenai/openbookqa", "main", "test"),
}
MMLU = "cais/mmlu"


def write_rows(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="utf-8", newline="\n") as f:
        for row in rows:
            f.write(json.dumps(row, ensure_ascii=False) + "\n")
    print(f"{path}: {len(rows)} rows")


def write_mmlu(out, datasets):
    subjects = sorted(set(datasets.get_dataset_config_names(MMLU)) - {"all", "auxiliary_train"})
    for subject in subjects:
        for split in ("dev", "test"):
            rows = datasets.load_dataset(MMLU, subject, split=split)
            path = out / "mmlu" / split / f"{subject}_{split}.csv"
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(path, "w", encoding="utf-8", newline="") as f:
                writer = csv.writer(f, lineterminator="\n")
                for row in rows:
                    writer.writerow([row["question"], *row["choices"], "ABCD"[row["answer"]]])
    print(f"{out / 'mmlu'}: {len(subjects)} subjects")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("tasks", nargs="*", metavar="TASK", help=f"of {', '.join(SETS)}, mmlu; all if none is named")
    parser.add_argument("--out", required=True, type=pathlib.Path)
    parser.add_argument("--train", action="store_true", help="also the rows that examples are drawn from")
    args = parser.parse_args()
    names = args.tasks or [*SETS, "mmlu"]
    for unknown in set(names) - {*SETS, "mmlu"}:
        parser.error(f"unknown task {unknown}")

    import datasets

    for name in names:
        if name == "mmlu":
            write_mmlu(args.out, datasets)
            continue
        hub, configuration, split = SETS[name]
        write_rows(args.out / f"{name}.jsonl", datasets.load_dataset(hub, configuration, split=split))
        if args.train:
            write_rows(args.out / f"{name}_train.jsonl", datasets.load_dataset(hub, configuration, split="train"))


if __name__ == "__main__":
    main()

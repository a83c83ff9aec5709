#!/usr/bin/env python3
"""The demo's question sets through lm-evaluation-harness, fp32 on the CPU.

The harness's own task definitions; every local task changes only where its documents come from.
MMLU has five shots, the other sets none; no BOS, as in bitgrid's profile lmeh-0.4.

  lm_eval_peer.py DEMO [--batch 32] [--threads 2]

Prints one JSON line: of every set its requests, the positions that went through the model, the
metrics, and seconds: of the model alone ("model_s", from token ids to log-likelihoods), with
tokenization ("scoring_s") and of the whole evaluation with reading and metrics ("evaluation_s").
"""

import argparse
import csv
import json
import os
import pathlib
import tempfile
import time

SETS = {  # the harness's definition, the split that is scored
    "piqa": ("piqa/piqa.yaml", "validation"),
    "arc_easy": ("arc/arc_easy.yaml", "test"),
    "arc_challenge": ("arc/arc_challenge.yaml", "test"),
    "hellaswag": ("hellaswag/hellaswag.yaml", "validation"),
    "winogrande": ("winogrande/default.yaml", "validation"),
}
MMLU = "mmlu/default/_default_template_yaml"


def define(harness, data, where):
    """Task files in `where` that read the demo's documents; returns the names to run."""

    def write(name, base, files, **changes):
        task = dict(include=str(harness / base), task=name, dataset_path="json", dataset_name=None)
        task |= dict(dataset_kwargs=dict(data_files=files), **changes)
        (where / f"{name}.yaml").write_text(json.dumps(task))

    for name, (base, split) in SETS.items():
        others = {"training", "validation", "test"} - {split}
        file = str((data / f"{name}.jsonl").resolve())
        write(name, base, {split: file}, **{f"{other}_split": None for other in others})
    subjects = sorted(p.name.removesuffix("_test.csv") for p in data.glob("mmlu/test/*_test.csv"))
    for subject in subjects:
        files = {}
        for split in ("dev", "test"):
            rows = csv.reader(open(data / f"mmlu/{split}/{subject}_{split}.csv", newline=""))
            files[split] = str(where / f"{subject}_{split}.jsonl")
            with open(files[split], "w") as out:
                for question, *choices, answer in rows:
                    row = dict(question=question, subject=subject, choices=choices)
                    out.write(json.dumps(row | dict(answer="ABCD".index(answer))) + "\n")
        about = subject.replace("_", " ")
        head = f"The following are multiple choice questions (with answers) about {about}.\n\n"
        write(f"mmlu_{subject}", MMLU, files, description=head)
    mean = dict(metric="acc", weight_by_size=True)
    group = dict(group="mmlu", task=[f"mmlu_{s}" for s in subjects], aggregate_metric_list=[mean])
    (where / "mmlu.yaml").write_text(json.dumps(group | dict(metadata=dict(version=2))))
    return [*SETS, "mmlu"]


def timed(base):
    """The harness's model class with clocks."""

    class Timed(base):
        def loglikelihood(self, requests, **options):
            self.requests, self.positions, start = len(requests), 0, time.perf_counter()
            answers = super().loglikelihood(requests, **options)
            self.scoring_s = time.perf_counter() - start
            return answers

        def _loglikelihood_tokens(self, requests, **options):
            start = time.perf_counter()
            answers = super()._loglikelihood_tokens(requests, **options)
            self.model_s = time.perf_counter() - start
            return answers

        def _model_call(self, ids, *rest, **options):
            self.positions += ids.numel()
            return super()._model_call(ids, *rest, **options)

    return Timed


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("demo", type=pathlib.Path)
    parser.add_argument("--batch", default="32")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()

    scratch = tempfile.TemporaryDirectory()
    where = pathlib.Path(scratch.name)
    # Read once, at import.
    os.environ.update(HF_HOME=str(where / "cache"), TOKENIZERS_PARALLELISM="false")
    os.environ.update({f"{part}_OFFLINE": "1" for part in ("HF_HUB", "HF_DATASETS", "TRANSFORMERS")})
    import lm_eval
    import lm_eval.tasks
    import torch
    from lm_eval.models.huggingface import HFLM

    torch.set_num_threads(args.threads)
    harness = pathlib.Path(lm_eval.tasks.__file__).parent
    definitions = where / "definitions"
    definitions.mkdir()
    names = define(harness, args.demo / "data/tasks", definitions)
    manager = lm_eval.tasks.TaskManager(include_path=definitions, include_defaults=False)
    lm = timed(HFLM)(pretrained=str(args.demo / "model"), device="cpu", dtype="float32",
                     batch_size=int(args.batch), add_bos_token=False)
    sets = []
    for name in names:
        start = time.perf_counter()
        result = lm_eval.simple_evaluate(model=lm, tasks=[name], task_manager=manager,
                                         num_fewshot=5 if name == "mmlu" else 0, log_samples=False)
        seconds = time.perf_counter() - start
        values = (result["results"] | result.get("groups", {}))[name]
        metrics = {m: float(values[f"{m},none"]) for m in ("acc", "acc_norm") if f"{m},none" in values}
        sets.append(dict(set=name, requests=lm.requests, positions=lm.positions, metrics=metrics,
                         model_s=lm.model_s, scoring_s=lm.scoring_s, evaluation_s=seconds))
    totals = {key: sum(s[key] for s in sets)
              for key in ("requests", "positions", "model_s", "scoring_s", "evaluation_s")}
    print(json.dumps(dict(tool="lm-evaluation-harness", batch=int(args.batch),
                          threads=torch.get_num_threads(), **totals, sets=sets)))
    scratch.cleanup()


if __name__ == "__main__":
    main()

"""GPTQ by llm-compressor on the demo model: one JSON line with its seconds and perplexity.

W4, groups of 32, asymmetric, no reordering, damping 0.01, 64 calibration windows of 256 from c4 (seed 0), two threads:
the cell gptq-w4-g32-order=none of a sweep over the same files.
"""

import argparse
import gzip
import hashlib
import json
import math
import pathlib
import random
import time

process_start = time.perf_counter()
import torch
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
from datasets import Dataset
from llmcompressor import oneshot
from llmcompressor.modifiers.gptq import GPTQModifier
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

WINDOWS, LENGTH, SEED = 64, 256, 0
# SHA-256 of the 64 windows as int32: what bitgrid draws, too.
DIGEST = "4d01b68711eb7d0d8578f3c9ca13f7df71d952380824e22b6b879f87885aee54"


def calibration_windows(tokenizer, data):
    """GPTQ's rule for c4: a random document longer than a window, a random start in it."""
    with gzip.open(data / "c4/en/c4-train.00000-of-01024.json.gz", "rt", encoding="utf-8") as lines:
        texts = [json.loads(line)["text"] for line in lines]
    random.seed(SEED)
    windows = []
    for _ in range(WINDOWS):
        while True:
            ids = tokenizer(texts[random.randint(0, len(texts) - 1)])["input_ids"]
            if len(ids) > LENGTH:
                break
        start = random.randint(0, len(ids) - LENGTH - 1)
        windows.append(ids[start : start + LENGTH])
    digest = hashlib.sha256(torch.tensor(windows, dtype=torch.int32).numpy().tobytes()).hexdigest()
    if digest != DIGEST:
        raise SystemExit(f"the calibration windows differ from bitgrid's: SHA-256 {digest}, expected {DIGEST}")
    return windows


def wikitext2_ids(tokenizer, data):
    """The test rows joined by blank lines; a row keeps its newline, a blank row is empty."""
    rows = (data / "wikitext2/wiki.test.raw").read_text(encoding="utf-8").split("\n")
    if rows[-1] == "":
        rows.pop()
    text = "\n\n".join(row + "\n" if row.strip() else "" for row in rows)
    return torch.tensor(tokenizer(text)["input_ids"])


@torch.no_grad()
def perplexity(model, ids):
    """GPTQ's protocol: whole windows, the first token of each is not predicted."""
    count = len(ids) // LENGTH
    total = 0.0
    for window in ids[: count * LENGTH].view(count, LENGTH):
        logits = model(window[None]).logits[0, :-1].float()
        total += torch.nn.functional.cross_entropy(logits, window[1:]).item()
    return math.exp(total / count)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("demo", type=pathlib.Path, help="the folder with model/ and data/")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--dtype", default="float32", help="of the model in memory")
    parser.add_argument("--no-perplexity", action="store_true", help="quantize only, as a fair process time wants")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    # The tokenizer file as it is: the automatic class would put a prefix of its own around it.
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(options.demo / "model/tokenizer.json"))
    windows = calibration_windows(tokenizer, options.demo / "data")
    model = AutoModelForCausalLM.from_pretrained(options.demo / "model", dtype=options.dtype)
    weights = QuantizationArgs(num_bits=4, type="int", symmetric=False, strategy="group", group_size=32)
    recipe = GPTQModifier(
        config_groups={"linears": QuantizationScheme(targets=["Linear"], weights=weights)},
        ignore=["lm_head"],
        dampening_frac=0.01,
        actorder=None,
    )
    dataset = Dataset.from_dict({"input_ids": windows, "attention_mask": [[1] * LENGTH] * WINDOWS})

    quantize_start = time.perf_counter()
    oneshot(
        model=model,
        dataset=dataset,
        recipe=recipe,
        num_calibration_samples=WINDOWS,
        max_seq_length=LENGTH,
        shuffle_calibration_samples=False,
    )
    end = time.perf_counter()
    result = {
        "tool": "llm-compressor",
        "cell": "gptq-w4-g32-order=none",
        "threads": options.threads,
        "quantization_s": round(end - quantize_start, 3),
        "process_s": round(end - process_start, 3),
    }
    if not options.no_perplexity:
        result["wikitext2_256"] = round(perplexity(model, wikitext2_ids(tokenizer, options.demo / "data")), 5)
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()

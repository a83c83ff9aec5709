#!/bin/bash
# lm_eval.sh [EVAL_BENCH=build/cpu/bin/eval_bench] [RUNS=3] [BATCH SIZES="1 8 32 64"]
#
# The demo's question sets by lm-evaluation-harness and by bitgrid: the same model and files, fp32, two threads. The harness
# runs once with every batch size, then its best one and eval_bench run in turn. Prints a line per run, whether the accuracies
# are equal, medians and ratios, of all sets and by set.
#
# The first call makes a Python environment in build/peers (or BITGRID_PEERS) and installs a pinned lm-eval with torch from PyPI
# into it: six gigabytes, some minutes. BITGRID_PEERS_PYTHON names a Python that has them already. No GPU, and no network later.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
source=$(cd "$here/../../.." && pwd)
bench=${1:-$source/build/cpu/bin/eval_bench}
runs=${2:-3}
sizes=${3:-1 8 32 64}
peers=${BITGRID_PEERS:-$source/build/peers}
python=${BITGRID_PEERS_PYTHON:-$peers/lm_eval/bin/python}
version=0.4.13

if [ "$("$python" -c 'from importlib.metadata import version as v; print(v("lm_eval"))' 2> /dev/null)" != $version ]; then
  if [ -n "${BITGRID_PEERS_PYTHON:-}" ]; then
    echo "$python has no lm_eval $version" >&2
    exit 1
  fi
  echo "installing lm_eval $version into $peers/lm_eval" >&2
  mkdir -p "$peers"
  python3 -m venv "$peers/lm_eval"
  "$python" -m pip install --quiet --no-cache-dir "lm_eval[hf]==$version" transformers==5.23.0 datasets==5.2.0 >&2
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# One run of the harness with a batch size. Its log goes to a file.
harness() { # BATCH
  if ! CUDA_VISIBLE_DEVICES='' OMP_NUM_THREADS=2 "$python" "$here/lm_eval_peer.py" "$source/sweeps/demo" --batch "$1" \
    --threads 2 > "$work/out" 2> "$work/log"; then
    tail -n 20 "$work/log" >&2
    exit 1
  fi
  grep '^{"tool"' "$work/out"
}
# eval_bench with one run of what it does by default: packed, beginnings shared.
bitgrid() {
  "$bench" 1 2 shared > "$work/out"
  grep '^{"bench"' "$work/out"
}
# Appends what a command prints to a file, with the seconds that the whole process took in front.
clock() { # FILE COMMAND …
  local file=$1 start=$EPOCHREALTIME
  shift
  "$@" > "$work/line"
  local end=$EPOCHREALTIME
  echo "$(echo "$start $end" | awk '{printf "%.4f", $2 - $1}') $(cat "$work/line")" >> "$file"
}
trials() { # FILE
  "$python" - "$1" << 'EOP'
import json
import sys

lines = [line.split(maxsplit=1) for line in open(sys.argv[1])]
found = sorted((run["model_s"], run["batch"], float(process), run["evaluation_s"])
               for process, text in lines for run in [json.loads(text)])
for model, batch, process, evaluation in found:
    print(f"lm-evaluation-harness, batch size {batch}: model {model:.2f} s, evaluation {evaluation:.2f} s, process {process:.2f} s",
          file=sys.stderr)
print(found[0][1])
EOP
}

for size in $sizes; do clock "$work/trials" harness "$size"; done
best=$(trials "$work/trials")
for ((run = 0; run < runs; run++)); do
  clock "$work/harness" harness "$best"
  clock "$work/bitgrid" bitgrid
done

"$python" - "$work/harness" "$work/bitgrid" << 'EOP'
import json
import statistics
import sys


def runs(path):
    return [(float(process), json.loads(text)) for process, text in (line.split(maxsplit=1) for line in open(path))]


theirs, ours = (runs(path) for path in sys.argv[1:])
peer, mine = theirs[0][1], ours[0][1]
equal = True
for a, b in zip(peer["sets"], mine["sets"], strict=True):
    same = a["requests"] == b["requests"] and all(abs(b["metrics"][m] - v) < 1e-9 for m, v in a["metrics"].items())
    equal &= same
    print(f"{a['set']:<14}{a['requests']:>6} requests  " + "  ".join(f"{m} {v:.6f}" for m, v in a["metrics"].items())
          + ("  equal" if same else f"  bitgrid: {b['requests']} {b['metrics']}"))

median = statistics.median
print(f"\n{'':<33}{'harness':>10}{'bitgrid':>10}{'ratio':>8}{'at least':>10}   ratio of each run, batch size {peer['batch']}")
verdict = equal


def row(name, pairs, least=None, rate=False):
    """pairs: seconds of both, run by run."""
    global verdict
    a, b = (median(column) for column in zip(*pairs))
    ratios = [x / y for x, y in pairs]
    values = [mine["requests"] / s for s in (a, b)] if rate else (a, b)
    print(f"{name:<33}{values[0]:>10.{0 if rate else 2}f}{values[1]:>10.{0 if rate else 2}f}{median(ratios):>8.2f}"
          f"{least or '':>10}   " + " ".join(f"{r:.2f}" for r in ratios))
    verdict &= least is None or median(ratios) >= least


def both(peer_seconds, our_seconds):
    return [(peer_seconds(a, p), our_seconds(b, q)) for (p, a), (q, b) in zip(theirs, ours, strict=True)]


model = both(lambda a, p: a["model_s"], lambda b, p: b["shared_s"])
row("requests/s, ids to scores", model, least=5, rate=True)
row("seconds, ids to scores", model)
row("seconds, with tokenization", both(lambda a, p: a["scoring_s"], lambda b, p: b["shared_s"] + b["read_s"] + b["tokenize_s"]))
row("seconds, whole evaluation", both(lambda a, p: a["evaluation_s"],
                                      lambda b, p: b["read_s"] + b["tokenize_s"] + b["evaluation_s"]))
row("seconds, whole process", both(lambda a, p: p, lambda b, p: p))
for i, s in enumerate(mine["sets"]):
    row(f"seconds, {s['set']} alone", both(lambda a, p: a["sets"][i]["model_s"], lambda b, p: b["sets"][i]["shared_s"]))
sys.exit(0 if verdict else 1)
EOP

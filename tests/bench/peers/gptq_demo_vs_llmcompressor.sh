#!/bin/bash
# gptq_demo_vs_llmcompressor.sh [BITGRID=build/cpu/bin/bitgrid] [RUNS=5]
#
# The cell gptq-w4-g32-order=none of the demo model, by llm-compressor and by bitgrid: the same files, the same 64 windows,
# two threads each, no evaluation, runs in turn. Prints a line per run, then medians and ratios. Two times are compared: of
# quantizing alone (inside the process) and of the whole process, start to end.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
source=$(cd "$here/../../.." && pwd)
bitgrid=${1:-$source/build/cpu/bin/bitgrid}
runs=${2:-5}
peers=${BITGRID_PEERS:-$source/build/peers}
cell=gptq-w4-g32-order=none

"$here/llm_compressor.sh" --only-install
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Prints the seconds that a command takes; its output goes to a file.
clock() { # FILE COMMAND …
  local file=$1 start=$EPOCHREALTIME
  shift
  "$@" > "$file"
  local end=$EPOCHREALTIME
  echo "$start $end" | awk '{printf "%.4f", $2 - $1}'
}

"$here/llm_compressor.sh" > "$work/peer.json" # to warm the disk cache, and for its perplexity
cat "$work/peer.json"
"$bitgrid" sweep "$source/sweeps/demo/demo.toml" --out "$work/perplexity" --cells "$cell" --quiet \
  --set 'evaluation.perplexity=["wikitext2"]' --set run.threads=2
echo "bitgrid: wikitext2_256 $("$bitgrid" table "$work/perplexity" --format json | grep -o '"perplexity": [0-9.]*' | sed 's/.*: //')"
for ((run = 0; run < runs; run++)); do
  process=$(clock "$work/peer.json" "$here/llm_compressor.sh" --no-perplexity)
  echo "llm-compressor $process $(sed 's/.*"quantization_s": \([0-9.]*\).*/\1/' "$work/peer.json")"
  out=$work/bitgrid.$run
  process=$(clock "$work/bitgrid.log" "$bitgrid" sweep "$source/sweeps/demo/demo.toml" --out "$out" --cells "$cell" --quiet \
    --set 'evaluation.perplexity=[]' --set run.threads=2)
  "$bitgrid" table "$out" --format json > "$work/table.json"
  echo "bitgrid $process $(grep -o '"wall_s": *[0-9.e+-]*' "$work/table.json" | head -n 1 | sed 's/.*: *//')"
done | tee "$work/runs"

"$peers/venv/bin/python" - "$work/runs" << 'EOP'
import collections
import statistics
import sys

times = collections.defaultdict(lambda: ([], []))
for line in open(sys.argv[1]):
    tool, process, quantization = line.split()
    times[tool][0].append(float(process))
    times[tool][1].append(float(quantization))
peer, ours = ([statistics.median(column) for column in times[tool]] for tool in ("llm-compressor", "bitgrid"))
print(f"{'median seconds':<16}{'llm-compressor':>16}{'bitgrid':>10}{'bitgrid / llm-compressor':>27}{'at most':>9}")
for what, index, most in (("quantization", 1, 1 / 4), ("process", 0, 1 / 10)):
    print(f"{what:<16}{peer[index]:>16.3f}{ours[index]:>10.3f}{ours[index] / peer[index]:>27.4f}{most:>9}")
# The whole process bounds what quantizing takes.
print(f"bitgrid's whole process against the other's quantization alone: {ours[0] / peer[1]:.4f}")
sys.exit(0 if ours[1] <= peer[1] / 4 and ours[0] <= peer[0] / 10 else 1)
EOP

#!/bin/bash
# llm_compressor.sh [--only-install] [options of llm_compressor.py]
#
# Quantizes the demo model with llm-compressor by GPTQ and prints one JSON line: seconds and perplexity. The first call
# makes a Python environment in build/peers (or BITGRID_PEERS) and installs a pinned llm-compressor with torch from PyPI
# into it: six gigabytes, some minutes. PyPI has torch for Linux with CUDA only; without a GPU it computes on the CPU.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
source=$(cd "$here/../../.." && pwd)
peers=${BITGRID_PEERS:-$source/build/peers}
python=$peers/venv/bin/python
version=0.14.0.1

if [ "$("$python" -c 'from importlib.metadata import version as v; print(v("llmcompressor"))' 2> /dev/null)" != $version ]; then
  echo "installing llmcompressor $version into $peers/venv" >&2
  mkdir -p "$peers"
  python3 -m venv "$peers/venv"
  "$python" -m pip install --quiet --no-cache-dir "llmcompressor==$version" >&2
fi
if [ "${1:-}" = --only-install ]; then exit 0; fi

# Its log goes to a file, so that what is printed is the one line.
log=$peers/llm_compressor.log
if ! CUDA_VISIBLE_DEVICES='' HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false \
  "$python" "$here/llm_compressor.py" "$source/sweeps/demo" "$@" > "$log" 2>&1; then
  tail -n 20 "$log" >&2
  exit 1
fi
grep '^{"tool"' "$log"

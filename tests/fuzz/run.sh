#!/bin/sh
# Fuzzes every reader: tests/fuzz/run.sh [seconds each, 60] [harness ...]. Findings and the grown corpora stay in build/fuzz/corpus.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
cd "$root"
seconds=${1:-60}
[ $# -gt 0 ] && shift
names=${*:-safetensors shard_index config tokenizer sweep}

cmake --preset fuzz > /dev/null
targets=$(for name in $names; do printf '%s_fuzz ' "$name"; done)
# shellcheck disable=SC2086  # one word per target
cmake --build build/fuzz --target $targets

failed=""
for name in $names; do
  case $name in
    sweep) dict=sweep.dict max_len=4096 ;;
    tokenizer) dict=json.dict max_len=32768 ;;
    *) dict=json.dict max_len=4096 ;;
  esac
  corpus=build/fuzz/corpus/$name
  mkdir -p "$corpus"
  log=$corpus.log
  # AddressSanitizer's shadow and quarantine count towards the limit.
  if build/fuzz/bin/"$name"_fuzz "$corpus" "tests/fuzz/seeds/$name" -dict="tests/fuzz/$dict" -max_len=$max_len \
      -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -malloc_limit_mb=1024 -print_final_stats=1 \
      -artifact_prefix="$corpus-" > "$log" 2>&1; then
    result=ok
  else
    result="FAILED, see $log"
    failed=1
  fi
  runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
  coverage=$(sed -n 's/.* \(cov: [0-9]* ft: [0-9]*\).*/\1/p' "$log" | tail -n 1)
  echo "$name: ${runs:-?} executions, ${coverage:-no coverage}, $result"
done
[ -z "$failed" ]

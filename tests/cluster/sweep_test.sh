#!/bin/bash
# sweep_test.sh BITGRID SOURCE_DIR   a short sweep of the demo model on a throw-away Slurm: srun on one node and on several,
# and sbatch with slurm/sweep.sbatch, store the same results as mpirun, bit for bit. Skipped (77) without Slurm or root.
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin
bitgrid=$1 source=$2
here=$source/tests/cluster

for program in slurmctld slurmd srun sbatch munged mpirun; do
  command -v "$program" > /dev/null || { echo "skipped: $program is not installed"; exit 77; }
done
[ "$(id -u)" = 0 ] || { echo "skipped: a throw-away Slurm needs root"; exit 77; }

work=$(mktemp -d /tmp/bg.XXXXXX)
finish() {
  local code=$?
  if [ "$code" != 0 ]; then tail -n 20 "$work"/*.log "$work"/slurm/log/*.log 2> /dev/null || true; fi
  "$here/slurm_down.sh" "$work/slurm" || true
  rm -rf "$work"
  exit "$code"
}
chmod 755 "$work" # munged: every folder above its socket
mkdir "$work/slurm"
trap finish EXIT

sweep=("$source/sweeps/demo/demo.toml" --cells 'fp16,rtn-w4-g32,gptq-w4-g32*' --set calibration.windows=8
  --set calibration.shards=4 --set 'evaluation.perplexity=["wikitext2"]' --set run.threads=1)

# Two directories hold the same results, and hold results at all.
same() {
  "$bitgrid" diff "$work/mpirun" "$work/$1" > "$work/diff.log" 2>&1
  [ -n "$(find "$work/$1" -name 'layer-*.h5')" ]
  echo "$1: the same results as mpirun -n 2"
}

timeout 120 mpirun -n 2 "$bitgrid" sweep "${sweep[@]}" --out "$work/mpirun" > "$work/mpirun.log" 2>&1

# A port of its own, so that two of these tests may run side by side; below the ports that connections are given.
"$here/slurm_up.sh" "$work/slurm" 3 4 0 $((17000 + $$ % 1000 * 10))
export SLURM_CONF=$work/slurm/etc/slurm.conf

run() { # NAME, srun's options …
  local name=$1
  shift
  timeout 120 srun --mpi=pmix --time=2 "$@" "$bitgrid" sweep "${sweep[@]}" --out "$work/$name" > "$work/$name.log" 2>&1
  same "$name"
}
run two-ranks-on-one-node -N1 -n2
run four-ranks-on-one-node -N1 -n4
run a-rank-on-each-of-two-nodes -N2 -n2

job=$(BITGRID=$bitgrid sbatch --parsable -N1 -n2 -t2 -o "$work/sbatch.log" "$source/slurm/sweep.sbatch" "${sweep[@]}" \
  --out "$work/sbatch")
for ((tenths = 0; tenths < 1200; tenths++)); do
  state=$(scontrol show job "$job" | sed -n 's/.*JobState=\([A-Z_]*\).*/\1/p')
  case $state in PENDING | RUNNING | CONFIGURING | COMPLETING) sleep 0.1 ;; *) break ;; esac
done
[ "$state" = COMPLETED ] || { echo "the batch job ended as $state"; exit 1; }
same sbatch

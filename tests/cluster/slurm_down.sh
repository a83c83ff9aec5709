#!/bin/bash
# slurm_down.sh DIR   ends the jobs of the cluster that slurm_up.sh started in DIR, then its daemons, and nothing else
set -uo pipefail
PATH=$PATH:/usr/sbin:/sbin
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/cluster/processes.sh
. "$here/processes.sh"
dir=$(cd "$1" && pwd -P)
export SLURM_CONF=$dir/etc/slurm.conf
[ -s "$SLURM_CONF" ] || exit 0

login=()
if grep -q '^SlurmctldHost=.*(10\.77\.' "$SLURM_CONF"; then login=(nsenter --net=/run/netns/bg-login); fi
if "${login[@]}" timeout 10 scancel --user="$(id -un)" 2> /dev/null; then
  for ((tenths = 0; tenths < 80; tenths++)); do
    [ -n "$("${login[@]}" timeout 2 squeue -h 2> /dev/null)" ] || break
    sleep 0.1
  done
fi

mapfile -t pids < <(
  cat "$dir"/slurmd.*.pid "$dir/slurmctld.pid" "$dir/run/munged.pid" 2> /dev/null
  stepds_of "$dir/log/slurmd."
)
if [ ${#pids[@]} -gt 0 ]; then
  kill "${pids[@]}" 2> /dev/null
  for ((tenths = 0; tenths < 50; tenths++)); do
    any_alive "${pids[@]}" || break
    sleep 0.1
  done
  if any_alive "${pids[@]}"; then kill -9 "${pids[@]}" 2> /dev/null; fi
fi
rm -f "$dir"/*.pid "$dir"/run/*
exit 0

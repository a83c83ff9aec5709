# shellcheck shell=bash
# Finds the processes of one throw-away cluster, and only those; sourced by slurm_node.sh and slurm_down.sh.

# The slurmstepds that write to a log whose path begins with $1.
stepds_of() {
  local process
  for process in /proc/[0-9]*; do
    [ "$(cat "$process/comm" 2> /dev/null)" = slurmstepd ] || continue
    readlink "$process"/fd/* 2> /dev/null | grep -qF "$1" && echo "${process#/proc/}"
  done
  return 0
}

# The tasks that cluster $1 runs on node $2.
tasks_of() {
  local process environment
  for process in /proc/[0-9]*; do
    environment=$(tr '\0' '\n' 2> /dev/null < "$process/environ") || continue
    grep -qx "SLURM_CLUSTER_NAME=$1" <<< "$environment" && grep -qx "SLURMD_NODENAME=$2" <<< "$environment" &&
      echo "${process#/proc/}"
  done 2> /dev/null
  return 0
}

# Whether one of the processes is there and no zombie.
any_alive() {
  local pid
  for pid in "$@"; do
    grep -qs '^State:' "/proc/$pid/status" && ! grep -qs '^State:.Z' "/proc/$pid/status" && return 0
  done
  return 1
}

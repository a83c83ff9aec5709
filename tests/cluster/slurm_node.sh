#!/bin/bash
# slurm_node.sh DIR boot NODE    starts the node's slurmd, with clean folders (NET=1: in the node's own network)
# slurm_node.sh DIR crash NODE   kills all that runs on the node at once, as a power cut would
set -uo pipefail
PATH=$PATH:/usr/sbin:/sbin
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/cluster/processes.sh
. "$here/processes.sh"
dir=$(cd "$1" && pwd -P)
node=$3
export SLURM_CONF=$dir/etc/slurm.conf

case $2 in
  boot)
    # PMIx folders of before a crash would keep a requeued step from starting.
    rm -rf "$dir/spool.$node" "$dir/tmp.$node"
    mkdir -p "$dir/spool.$node" "$dir/tmp.$node"
    if [ "${NET:-0}" = 1 ]; then
      # shellcheck disable=SC2016  # the inner shell expands
      exec nsenter --net="/run/netns/bg-$node" unshare --uts sh -c 'hostname "$1" && exec slurmd -N "$1"' sh "$node"
    fi
    exec slurmd -N "$node"
    ;;
  crash)
    mapfile -t victims < <(
      cat "$dir/slurmd.$node.pid" 2> /dev/null
      stepds_of "$dir/log/slurmd.$node.log"
      tasks_of "$(sed -n 's/^ClusterName=//p' "$SLURM_CONF")" "$node"
    )
    [ ${#victims[@]} = 0 ] || kill -9 "${victims[@]}" 2> /dev/null
    rm -f "$dir/slurmd.$node.pid"
    ;;
  *)
    sed -n '2,3s/^# //p' "$0" >&2
    exit 2
    ;;
esac

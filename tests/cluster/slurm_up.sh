#!/bin/bash
# slurm_up.sh DIR [NODES=3] [CPUS=4] [GPUS=0] [PORT=16817]
#
# Starts a whole Slurm cluster on this machine, as root and without systemd: munged, slurmctld and the slurmds of nodes
# n0, n1 …, all of whose files lie in DIR. With NET=1 every node has a network and a hostname of its own (net_up.sh first).
# Then: export SLURM_CONF=DIR/etc/slurm.conf; srun …; slurm_down.sh DIR
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
dir=$(cd "$1" && pwd -P)
nodes=${2:-3} cpus=${3:-4} gpus=${4:-0} port=${5:-16817}
net=${NET:-0}

die() { echo "slurm_up: $1" >&2; exit "${2:-1}"; }
[ ${#dir} -le 45 ] || die "$dir: a Unix socket's path would be too long (45 characters at most)" 2
[ ! -s "$dir/slurmctld.pid" ] || ! kill -0 "$(cat "$dir/slurmctld.pid")" 2> /dev/null || die "already up in $dir" 3

# munged wants its socket reachable for all and its key for nobody else.
umask 022
chmod 755 "$dir"
mkdir -p "$dir"/{etc,state,log,run,dev}
install -d -m 700 "$dir/munge"
[ -s "$dir/munge/key" ] || (umask 077 && head -c 128 /dev/urandom > "$dir/munge/key")
munged --key-file="$dir/munge/key" --seed-file="$dir/munge/seed" --log-file="$dir/munge/munged.log" \
  --socket="$dir/run/munge.sock" --pid-file="$dir/run/munged.pid"

host=$(hostname -s)
memory=$(awk '/^MemTotal/ {print int($2 / 2048)}' /proc/meminfo) # MiB; nobody is held to it
if [ "$net" = 1 ]; then controller=10.77.0.254 interface=eth0; else controller=127.0.0.1 interface=lo; fi

# One line of slurm.conf per node. On one network the ports tell the nodes apart.
node_lines() {
  local i where
  for ((i = 0; i < nodes; i++)); do
    if [ "$net" = 1 ]; then
      where="NodeHostname=n$i NodeAddr=10.77.0.$((10 + i)) Port=$((port + 1))"
    else
      where="NodeHostname=$host NodeAddr=127.0.0.1 Port=$((port + 1 + i))"
    fi
    if [ "$gpus" -gt 0 ]; then where+=" Gres=gpu:$gpus"; fi
    echo "NodeName=n$i $where CPUs=$cpus RealMemory=$memory State=UNKNOWN"
  done
}

cat > "$dir/etc/slurm.conf" << CONF
ClusterName=bg$(cksum <<< "$dir" | cut -d' ' -f1)
SlurmctldHost=$host($controller)
SlurmctldPort=$port
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
# cred_expire: a job that is requeued starts after 6 s instead of 2 minutes.
AuthInfo=socket=$dir/run/munge.sock,cred_expire=5

StateSaveLocation=$dir/state
SlurmctldPidFile=$dir/slurmctld.pid
SlurmctldLogFile=$dir/log/slurmctld.log
SlurmdSpoolDir=$dir/spool.%n
SlurmdPidFile=$dir/slurmd.%n.pid
SlurmdLogFile=$dir/log/slurmd.%n.log
# Nodes on one host must not share PMIx's folders.
TmpFS=$dir/tmp.%n
TaskProlog=$dir/etc/task_prolog.sh
JobCompType=jobcomp/filetxt
JobCompLoc=$dir/log/jobcomp.txt

# No cgroups, no accounting.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none

MpiDefault=pmix
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=2,sched_interval=2,batch_sched_delay=0
PropagateResourceLimits=NONE
GresTypes=gpu
MaxJobCount=10000
# A node may have more CPUs than the host; what can never run is refused at once.
SlurmdParameters=config_overrides
EnforcePartLimits=ALL

# Failures are noticed in seconds: a lost node, a rank that ends badly, a rank that does not want to end.
KillOnBadExit=1
KillWait=5
SlurmctldTimeout=30
SlurmdTimeout=10
UnkillableStepTimeout=20
ReturnToService=2
JobRequeue=1
RequeueExit=75

$(node_lines)
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF

# A GPU is any character device: here, ones that behave as /dev/null.
: > "$dir/etc/gres.conf"
for ((i = 0; i < nodes && gpus > 0; i++)); do
  for ((g = 0; g < gpus; g++)); do
    [ -e "$dir/dev/n$i.gpu$g" ] || mknod "$dir/dev/n$i.gpu$g" c 1 3
  done
  echo "NodeName=n$i Name=gpu File=$dir/dev/n$i.gpu[0-$((gpus - 1))]" >> "$dir/etc/gres.conf"
done
echo "PMIxDirectConn=no" > "$dir/etc/mpi.conf"

# For every task: shared memory files per node (nodes of one hostname would share names), and ranks that yield.
cat > "$dir/etc/task_prolog.sh" << PROLOG
#!/bin/sh
echo "export OMPI_MCA_btl_vader_backing_directory=$dir/tmp.\$SLURMD_NODENAME"
echo "export OMPI_MCA_btl_tcp_if_include=$interface"
echo "export OMPI_MCA_mpi_yield_when_idle=1"
PROLOG
chmod 755 "$dir/etc/task_prolog.sh"

export SLURM_CONF=$dir/etc/slurm.conf
login=()
if [ "$net" = 1 ]; then login=(nsenter --net=/run/netns/bg-login); fi # ip netns exec would hide /sys/fs/cgroup
"${login[@]}" slurmctld
for ((i = 0; i < nodes; i++)); do NET=$net "$here/slurm_node.sh" "$dir" boot "n$i"; done

for ((tenths = 0; tenths < 150; tenths++)); do
  up=$("${login[@]}" sinfo -h -N -o %T 2> /dev/null | grep -cE '^(idle|mixed|allocated)$' || true)
  [ "$up" != "$nodes" ] || exit 0
  sleep 0.1
done
tail -n 5 "$dir"/log/slurm*.log >&2
die "$up of $nodes nodes came up"

#!/bin/bash
# net_up.sh [NODES=3]   hosts on one machine, each a network namespace: bg-login (10.77.0.254), bg-n0 (10.77.0.10), bg-n1 …,
# joined by a bridge in bg-sw. A host's cable: ip -n bg-sw link set v-n1 down, and up again.
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin
nodes=${1:-3}

add_host() { # NAME ADDRESS
  ip netns add "bg-$1"
  ip -n bg-sw link add "v-$1" type veth peer name eth0 netns "bg-$1"
  ip -n bg-sw link set "v-$1" master br0 up
  ip -n "bg-$1" address add "$2/24" dev eth0
  ip -n "bg-$1" link set eth0 up
  ip -n "bg-$1" link set lo up
}

ip netns add bg-sw
ip -n bg-sw link add br0 type bridge
ip -n bg-sw link set br0 up
add_host login 10.77.0.254
for ((i = 0; i < nodes; i++)); do add_host "n$i" "10.77.0.$((10 + i))"; done

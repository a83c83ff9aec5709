#!/bin/bash
# net_down.sh   removes the hosts that net_up.sh made
set -uo pipefail
PATH=$PATH:/usr/sbin:/sbin
ip netns list | awk '/^bg-/ {print $1}' | xargs -r -n 1 ip netns delete

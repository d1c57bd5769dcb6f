#!/usr/bin/env bash
# Several hosts on one machine, each with a link of its own that is limited to a rate, for compare.sh.
#
#   netlab.sh up N RATE [free]   N hosts 10.77.0.1..N in the network namespaces spbench-h1..N on one switch, each link RATE
#                                both ways (such as 100mbit); free: that of host 1 has no limit
#   netlab.sh down               removes them all, ending what still runs inside
#
# Needs root and iproute2. Distances are not simulated, and nothing is lost: a link is a rate, and 100 ms of queue.
set -euo pipefail
P=spbench

limit() { # NAMESPACE DEVICE RATE
    # A burst below the largest segment of 64 KiB would have it cut into packets, which lowers the rate.
    tc -n "$1" qdisc add dev "$2" root tbf rate "$3" burst 256kb latency 100ms
}

up() {
    local n=$1 rate=$2 server=${3:-} i h
    if ip netns list | grep -q "^$P-"; then
        echo "netlab: hosts $P-* are there already; if no other comparison is running, 'netlab.sh down' removes them" >&2
        exit 1
    fi
    ip netns add $P-sw
    ip -n $P-sw link add br0 type bridge
    ip -n $P-sw link set br0 up
    for i in $(seq 1 "$n"); do
        h=$P-h$i
        ip netns add "$h"
        ip -n "$h" link set lo up
        ip link add eth0 netns "$h" type veth peer name p"$i" netns $P-sw
        ip -n "$h" addr add 10.77.0."$i"/24 dev eth0
        ip -n "$h" link set eth0 up
        ip -n $P-sw link set p"$i" master br0 up
        if [ "$i" -gt 1 ] || [ "$server" != free ]; then
            limit "$h" eth0 "$rate"
            limit $P-sw p"$i" "$rate"
        fi
    done
}

down() {
    local n
    for n in $(ip netns list | awk '{print $1}' | grep "^$P-" || true); do
        ip netns pids "$n" | xargs -r kill -9
        ip netns del "$n"
    done
}

case ${1:-}:$# in
    up:3 | up:4) shift; up "$@" ;;
    down:1) down ;;
    *) sed -n '2,8p' "$0" >&2; exit 2 ;;
esac

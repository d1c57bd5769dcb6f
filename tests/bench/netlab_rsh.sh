#!/usr/bin/env bash
# What ssh is to mpirun, for the hosts of netlab.sh: netlab_rsh.sh 10.77.0.I COMMAND runs it on host I, under a host name
# of its own, without which Open MPI takes all hosts for one.
set -euo pipefail
name=spbench-h${1##*.}
shift
exec ip netns exec "$name" unshare --uts sh -c "hostname $name; $*"

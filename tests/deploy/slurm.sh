#!/usr/bin/env bash
# deploy/slurm/signpost.sbatch under a Slurm of its own on this machine: one node that says it has eight processors. A job
# finishes; another one, whose task is killed, goes on, and ends in order by scancel, with its results written.
# Exit code 77: it cannot be had here, and why. Programs are those in build-test/, or in $BUILD. Needs root.
set -euo pipefail
top=$(cd "$(dirname "$0")/../.." && pwd)
build=${BUILD:-$top/build-test}

fail() { echo "slurm: $1" >&2; exit 1; }
began=$SECONDS
step() { printf '%4d s  %s\n' $((SECONDS - began)) "$1"; }

for program in slurmctld slurmd munged sbatch; do
    command -v $program > /dev/null || { echo "skipped: $program is not there (packages slurm-wlm munge)"; exit 77; }
done
[ "$(id -u)" -eq 0 ] || { echo "skipped: a Slurm of its own takes root"; exit 77; }
# shellcheck disable=SC2009 # pgrep counts those that have ended and were not waited for
if ps -C slurmctld,slurmd -o stat= | grep -qv '^Z'; then
    echo "skipped: a Slurm is at work on this machine"
    exit 77
fi

work=$(mktemp -d)
clean_up() {
    local code=$?
    set +e
    [ "$code" -eq 0 ] || tail -n 12 "$work"/*.log "$work"/*.out 2> /dev/null
    for program in slurmd slurmctld munged; do
        [ ! -s "$work/$program.pid" ] || kill "$(cat "$work/$program.pid")" 2> /dev/null
    done
    # What a job has started lives on without its Slurm, and has this configuration in its environment.
    for place in /proc/[0-9]*; do
        ! grep -qzs "^SLURM_CONF=$work/slurm.conf\$" "$place/environ" || kill -9 "${place#/proc/}" 2> /dev/null
    done
    sleep 0.5
    rm -rf "$work"
    exit "$code"
}
trap clean_up EXIT
trap 'exit 1' INT TERM

step "a Slurm"
chmod 755 "$work"
mkdir -m 700 "$work/munge" "$work/spool" "$work/state"
head -c 1024 /dev/urandom > "$work/munge/key"
chmod 400 "$work/munge/key"
munged --force --key-file="$work/munge/key" --socket="$work/munge/socket" --pid-file="$work/munged.pid" --log-file="$work/munged.log" \
    --seed-file="$work/munge/seed" > /dev/null 2>&1 || fail "munged did not start"
port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
host=$(hostname -s)
export SLURM_CONF=$work/slurm.conf
cat > "$SLURM_CONF" << CONF
ClusterName=signpost
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmctldPort=$(port)
SlurmdPort=$(port)
AuthType=auth/munge
AuthInfo=socket=$work/munge/socket
CredType=cred/munge
StateSaveLocation=$work/state
SlurmdSpoolDir=$work/spool
SlurmctldPidFile=$work/slurmctld.pid
SlurmdPidFile=$work/slurmd.pid
SlurmctldLogFile=$work/slurmctld.log
SlurmdLogFile=$work/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
JobAcctGatherType=jobacct_gather/none
ReturnToService=2
MpiDefault=none
KillWait=10
NodeName=$host NodeAddr=127.0.0.1 CPUs=8 State=UNKNOWN
PartitionName=all Nodes=$host Default=YES MaxTime=INFINITE State=UP
CONF
slurmctld > "$work/slurmctld.out" 2>&1 || fail "slurmctld did not start"
slurmd > "$work/slurmd.out" 2>&1 || fail "slurmd did not start"
# wait_for WHAT COMMAND...: until it is true, for a minute at most.
wait_for() {
    local what=$1 end=$((SECONDS + 60))
    shift
    while [ $SECONDS -lt $end ]; do
        if "$@"; then return 0; fi
        sleep 0.3
    done
    fail "waited a minute in vain for $what"
}
node_is_idle() { sinfo -h -o %T 2> /dev/null | grep -q idle; }
wait_for "the node" node_is_idle

export PATH=$build/server:$build/worker/train:$build/deploy/tool:$PATH
submit() { (cd "$work" && sbatch --parsable --ntasks 4 --output "$work/%j.out" "$top/deploy/slurm/signpost.sbatch" "$top/configs/digits.yaml" "$@"); }
state() { scontrol show job "$1" -o | sed 's/.*JobState=\([A-Z]*\).*/\1/'; }
ended() { case $(state "$1") in COMPLETED | FAILED | CANCELLED | TIMEOUT | NODE_FAIL | OUT_OF_MEMORY) return 0 ;; *) return 1 ;; esac; }
lives() { [ "$(signpost status --json "$work/signpost-$1" 2> /dev/null | python3 -c 'import json, sys; print(json.load(sys.stdin)["live"])' 2> /dev/null)" = 4 ]; }
check() { python3 -c 'import json, sys; s = json.load(open(sys.argv[1])); assert s["test_accuracy"] > 0.9 and s["stopped"] == (sys.argv[2] == "stopped"), s' "$work/signpost-$1/summary.json" "$2"; }

step "a job of four tasks"
job=$(submit)
wait_for "its end" ended "$job"
[ "$(state "$job")" = COMPLETED ] || fail "the job is $(state "$job")"
check "$job" finished
grep 'server at' "$work/$job.out"
[ "$(stat -c %a "$work/signpost-$job/secret")" = 600 ] || fail "the secret can be read by others"
[ "$(find "$work/signpost-$job" -name 'worker-*.log' | wc -l)" = 4 ] || fail "there are not four workers' logs"

step "a job that loses a task, and is cancelled"
job=$(submit train.epochs=100000)
wait_for "four workers" lives "$job"
kill -9 "$(pgrep -x signpost-worker | while read -r pid; do ! grep -qza "signpost-$job" "/proc/$pid/cmdline" || echo "$pid"; done | awk 'NR == 1')"
three() { [ "$(signpost status --json "$work/signpost-$job" | python3 -c 'import json, sys; print(json.load(sys.stdin)["live"])')" = 3 ]; }
wait_for "three workers" three
scancel "$job"
wait_for "its end" ended "$job"
check "$job" stopped
grep -q 'stopping the job in order' "$work/$job.out" || fail "it was not stopped in order"

step "a job whose tasks are all gone"
job=$(submit train.epochs=100000)
wait_for "four workers" lives "$job"
scancel "$job.0"
wait_for "its end" ended "$job"
[ "$(state "$job")" = FAILED ] || fail "a job without workers is $(state "$job")"
check "$job" stopped
grep 'all workers are gone' "$work/$job.out"

step "a job file that is not there"
job=$( (cd "$work" && sbatch --parsable --output "$work/%j.out" "$top/deploy/slurm/signpost.sbatch" nothing.yaml) )
wait_for "its end" ended "$job"
[ "$(state "$job")" = FAILED ] || fail "a job without a job file is $(state "$job")"
grep 'the job file nothing.yaml cannot be read' "$work/$job.out"
step "all as it should be"

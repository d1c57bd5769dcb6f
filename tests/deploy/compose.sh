#!/usr/bin/env bash
# deploy/docker-compose.yml for real, in a Docker daemon of its own: the three commands as README has them, then a longer job
# whose worker and server are killed, whose worker loses its network, and which is taken down and brought up again.
# Exit code 77: it cannot be had here, and why. Needs root and some 3 GB in $TMPDIR.
set -euo pipefail
top=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d)
# shellcheck source=tests/deploy/docker.sh
. "$top/tests/deploy/docker.sh"

began=$SECONDS
step() { printf '%4d s  %s\n' $((SECONDS - began)) "$1"; }
fail() { echo "compose: $1" >&2; exit 1; }

why=$(docker_missing)
if [ -n "$why" ]; then
    echo "skipped: $why"
    rm -rf "$work"
    exit 77
fi

clean_up() {
    local code=$?
    set +e
    if [ "$code" -ne 0 ] && [ -d "$work/tree" ]; then
        compose ps
        compose logs --no-color --tail 15
    fi
    [ ! -d "$work/tree" ] || compose down -v --remove-orphans > /dev/null 2>&1
    docker_stop
    rm -rf "$work"
    exit "$code"
}
trap clean_up EXIT
trap 'exit 1' INT TERM

compose() { (cd "$work/tree" && timeout 120 docker-compose -f deploy/docker-compose.yml "$@"); }
status() { compose exec -T server signpost status --json /data/run 2> /dev/null; }
# A number of the status, such as 'round' or 'keep.restarts'; -1: there is no answer.
number() {
    status | python3 -c '
import json, sys
try:
    value = json.load(sys.stdin)
    for key in sys.argv[1].split("."):
        value = value[key]
    print(value)
except (ValueError, KeyError):
    print(-1)' "$1"
}
# wait_for WHAT COMMAND...: until it is true, for a minute at most.
wait_for() {
    local what=$1 end=$((SECONDS + 60))
    shift
    while [ $SECONDS -lt $end ]; do
        if "$@"; then return 0; fi
        sleep 0.5
    done
    fail "waited a minute in vain for $what"
}
is() { [ "$(number "$1")" = "$2" ]; }
exceeds() { [ "$(number "$1")" -gt "$2" ]; }
containers() { compose ps -q "$1"; }
# The program in a container is the child of its init.
kill_program() { kill -9 "$(pgrep -P "$(docker inspect -f '{{.State.Pid}}' "$1")")"; }
restarts() { [ "$(docker inspect -f '{{.RestartCount}}' "$1")" -ge 1 ]; }
summary() { docker run --rm --volume deploy_run:/data signpost cat /data/run/summary.json; }
code() { curl -s -o /dev/null -w '%{http_code}' --max-time 10 "$@"; }

step "a Docker daemon, and the base image from Debian's packages"
docker_start || fail "the Docker daemon did not start"
docker_base_image || fail "mmdebstrap could not make the base image"

# What is committed or is to be, without what builds leave.
mkdir "$work/tree"
(cd "$top" && git ls-files -z --cached --others --exclude-standard | tar --null -cf - -T -) | tar -xf - -C "$work/tree"

mapfile -t commands < <(sed -n '/^## Docker Compose/,/^## /s/^    \$ //p' "$top/README.md" | head -n 3)
[ ${#commands[@]} -eq 3 ] || fail "README.md has no three commands in its section 'Docker Compose'"
# Another server on this machine may have the dashboard's usual port.
SIGNPOST_PORT=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
export SIGNPOST_PORT SIGNPOST_WORKERS=3 SIGNPOST_SET=train.epochs=30 # of the default job only its length is not as README has it
for command in "${commands[@]}"; do
    step "$command"
    (cd "$work/tree" && timeout 300 bash -euc "$command") > "$work/out" 2>&1 || { tail -n 40 "$work/out" >&2; fail "'$command' failed"; }
    grep -a 'dashboard, once' "$work/out" || true
done
summary > "$work/summary.json"
python3 - "$work/summary.json" << 'PYTHON'
import json, sys
summary = json.load(open(sys.argv[1], encoding="utf-8"))
assert summary["outcome"] and not summary["stopped"] and summary["workers"] == 3, summary
assert summary["test_accuracy"] > 0.9, summary["test_accuracy"]
print(f"        the job is done: test accuracy {100 * summary['test_accuracy']:.2f} % after {summary['rounds_done']} rounds")
PYTHON
echo "        image: $(docker image inspect -f '{{.Size}}' signpost | awk '{printf "%.0f MB", $1 / 1e6}'), of it the base $(docker image inspect -f '{{.Size}}' debian:bookworm-slim | awk '{printf "%.0f MB", $1 / 1e6}')"
[ "$(docker run --rm signpost id -u)" = 10001 ] || fail "the image runs as another user than 10001"
for program in signpostd signpost-worker signpost; do
    docker run --rm signpost "$program" --version > /dev/null || fail "$program is not in the image"
done
compose down > /dev/null 2>&1

step "a long job, with three workers and a spare"
export SIGNPOST_SET=train.epochs=100000
compose up -d --scale worker=4 > /dev/null 2>&1
wait_for "three workers" is live 3
wait_for "a spare" is spares 1
wait_for "rounds" exceeds round 20

step "HTTP: with the token, and not without"
url=http://127.0.0.1:$SIGNPOST_PORT
[ "$(code "$url/healthz")" = 200 ] || fail "/healthz gave $(code "$url/healthz")"
[ "$(code "$url/")" = 200 ] || fail "the dashboard's page gave $(code "$url/")"
[ "$(code "$url/metrics")" = 401 ] || fail "/metrics without the token gave $(code "$url/metrics")"
curl -s -H "Authorization: Bearer $(cat "$work/tree/deploy/secrets/http_token")" "$url/metrics" > "$work/metrics"
grep -q '^signpost_live_workers 3' "$work/metrics" || fail "/metrics does not tell of three workers"
ss -Hltn "sport = :$SIGNPOST_PORT" | grep -q "127.0.0.1:$SIGNPOST_PORT" || fail "the dashboard is not published on 127.0.0.1"
! ss -Hltn "sport = :$SIGNPOST_PORT" | grep -qE "(0\\.0\\.0\\.0|\\*|\\[::\\]):$SIGNPOST_PORT" || fail "the dashboard is published to other machines"

step "kill -9 of a worker"
worker=$(containers worker | awk "NR == 1")
kill_program "$worker"
wait_for "its restart" restarts "$worker"
wait_for "three workers and a spare again" is spares 1
is live 3 || fail "a worker that was killed did not come back"

step "kill -9 of the server"
before=$(number round)
kill_program "$(containers server)"
wait_for "its restart" is keep.restarts 1
[ "$(number round)" -ge $((before - 2000)) ] || fail "the server began anew: round $(number round) after round $before"
wait_for "three workers" is live 3
wait_for "rounds beyond those before" exceeds round "$before"

step "a worker loses its network, and gets it back"
compose up -d --scale worker=3 > /dev/null 2>&1
wait_for "no spare" is spares 0
wait_for "three workers" is live 3
worker=$(containers worker | awk "NR == 1")
docker network disconnect deploy_job "$worker"
wait_for "two workers" is live 2
docker network connect deploy_job "$worker"
wait_for "three workers" is live 3

step "down, and up again from the volume"
before=$(number round)
compose down > /dev/null 2>&1
compose up -d > /dev/null 2>&1
wait_for "the server" exceeds round 0
[ "$(number round)" -ge "$before" ] || fail "the job began anew: round $(number round) after round $before"
wait_for "rounds beyond those before" exceeds round "$before"

step "the end"
compose exec -T server signpost stop /data/run > /dev/null
ended() { [ -z "$(docker ps -q)" ]; }
wait_for "all containers to end" ended
summary | python3 -c 'import json, sys; s = json.load(sys.stdin); assert s["stopped"] and s["test_accuracy"] > 0.9 and s["restarts"] >= 2, s'
for container in $(docker ps -aq); do
    [ "$(docker inspect -f '{{.State.ExitCode}}' "$container")" = 0 ] || fail "$(docker inspect -f '{{.Name}} ended with {{.State.ExitCode}}' "$container")"
done
step "all as it should be"

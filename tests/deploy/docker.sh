# A Docker daemon of the test's own, and the base image that deploy/Dockerfile names, made of Debian's packages: nothing is
# asked of a registry. Sourced by compose.sh.
# shellcheck shell=bash
work=${work:?a folder for all of it}

# What is missing for it, in words, or nothing.
docker_missing() {
    local program
    [ "$(id -u)" -eq 0 ] || { echo "a Docker daemon of its own takes root"; return; }
    for program in dockerd docker-compose mmdebstrap curl; do
        command -v "$program" > /dev/null || { echo "$program is not there (packages docker.io docker-compose mmdebstrap curl)"; return; }
    done
    [ -z "$(ip link show docker0 2> /dev/null)" ] || echo "another Docker daemon is at work here (there is an interface docker0)"
}

docker_start() {
    export DOCKER_HOST=unix://$work/docker.sock DOCKER_BUILDKIT=1 COMPOSE_DOCKER_CLI_BUILD=1
    export PATH=/usr/bin:$PATH # a newer client may come first, which wants a plug-in to build
    dockerd --data-root "$work/data" --exec-root "$work/exec" --pidfile "$work/docker.pid" -H "$DOCKER_HOST" \
        --bip 172.30.255.1/24 --default-address-pool base=172.30.0.0/17,size=24 > "$work/dockerd.log" 2>&1 &
    local end=$((SECONDS + 30))
    while [ $SECONDS -lt $end ]; do
        docker info > /dev/null 2>&1 && return 0
        sleep 0.3
    done
    tail -n 5 "$work/dockerd.log" >&2
    return 1
}

docker_base_image() {
    mmdebstrap --quiet --variant=minbase --include=ca-certificates bookworm "$work/base.tar" 2> "$work/mmdebstrap.log" ||
        { tail -n 5 "$work/mmdebstrap.log" >&2; return 1; }
    docker import -c 'CMD ["bash"]' "$work/base.tar" debian:bookworm-slim > /dev/null
    rm -f "$work/base.tar"
}

# Also where the start failed halfway.
docker_stop() {
    local pid mount
    pid=$(cat "$work/docker.pid" 2> /dev/null || true)
    if [ -n "$pid" ]; then
        kill "$pid" 2> /dev/null || true
        timeout 60 tail --pid="$pid" -f /dev/null || kill -9 "$pid" 2> /dev/null || true
    fi
    pkill -9 -f "$work/exec" 2> /dev/null || true
    ip link del docker0 2> /dev/null || true
    nft delete table ip nat 2> /dev/null || true
    nft delete table ip filter 2> /dev/null || true
    while read -r mount; do umount -l "$mount" 2> /dev/null || true; done < <(awk '{print $2}' /proc/mounts | grep "^$work/" | sort -r)
}

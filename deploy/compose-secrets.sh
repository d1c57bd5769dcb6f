#!/usr/bin/env bash
# Makes what docker-compose.yml takes as secrets, unless they are there: deploy/secrets/token, which server and workers share,
# and deploy/secrets/http_token, which lets read over HTTP. Prints where the dashboard is. Run it once the image is built.
#
# The programs run as user 10001 in their containers and refuse a secret that everybody can read, so the files belong to
# you and to that group. Only root can give files away; here it is root in a container that does it.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
secrets=$here/secrets
docker=${DOCKER:-docker}

"$docker" image inspect signpost > /dev/null 2>&1 || {
    echo "compose-secrets: there is no image named signpost; first: docker-compose -f deploy/docker-compose.yml build" >&2
    exit 1
}
mkdir -p "$secrets"
chmod 755 "$secrets"
# shellcheck disable=SC2016 # the shell in the container expands it
"$docker" run --rm --network none --user 0 --volume "$secrets:/secrets" --entrypoint sh signpost -euc '
    for name in token http_token; do
        [ -s /secrets/$name ] || signpost token /secrets/$name
        chown "$1:10001" /secrets/$name
        chmod 640 /secrets/$name
    done' sh "$(id -u)" > /dev/null
echo "compose-secrets: $secrets/token and http_token are there"
echo "dashboard, once the job runs: http://127.0.0.1:${SIGNPOST_PORT:-7701}/#token=$(cat "$secrets/http_token")"

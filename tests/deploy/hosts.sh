#!/usr/bin/env bash
# Server and four workers as five hosts, network namespaces with links of 100 Mbit/s, 20 ms and 0.5 % loss, one of which is cut
# off in the midst of the job: it finishes, and the cards count what is stated. Exit code 77: it cannot be had here, and why.
# Programs are those in build-test/ (tests/run.sh makes it), or in $BUILD.
set -euo pipefail
top=$(cd "$(dirname "$0")/../.." && pwd)
build=${BUILD:-$top/build-test}
export SP_SOURCE_ROOT=$top PYTHONDONTWRITEBYTECODE=1
export SP_SIGNPOSTD=${SP_SIGNPOSTD:-$build/server/signpostd} SP_WORKER=${SP_WORKER:-$build/worker/train/signpost-worker}
export SP_SIGNPOST=${SP_SIGNPOST:-$build/deploy/tool/signpost} SP_WIRE=${SP_WIRE:-$build/tests/deploy/wire}
[ -x "$SP_WIRE" ] || { echo "hosts: $build has no tests/deploy/wire; run tests/run.sh first" >&2; exit 1; }
exec python3 "$top/tests/deploy/five_hosts.py" "$@"

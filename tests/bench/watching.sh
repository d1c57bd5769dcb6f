#!/usr/bin/env bash
# What it costs a job to be watched: rounds with a dashboard open and a scrape of /metrics every second, beside rounds
# without, in turns of some seconds in one job:
#
#   watching.sh [--params 1e6] [--workers 4] [--pairs 12] [--seconds 3] [--phase sign|margin|sgd] [--compute on|off]
#               [--dashboards 1] [--every 1] [--greedy CONNECTIONS]
#
# A dashboard here is what the page asks for each second; the browser's own work is not the server's. With --greedy there
# are connections in their place (at most 31) that ask for the dearest answers again and again. Prints two lines: the time
# of rounds, and what HTTP has taken of the loop in all and at once.
# Programs are those in build/, or in $BUILD.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
build=${BUILD:-$here/../../build}
[ -x "$build/deploy/tool/signpost" ] || { echo "watching: $build has no deploy/tool/signpost; meson setup build && ninja -C build" >&2; exit 1; }
export PYTHONDONTWRITEBYTECODE=1
exec python3 "$here/watching.py" --build "$build" "$@"

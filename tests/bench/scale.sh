#!/usr/bin/env bash
# How a round's time, and what the server spends on a vote bit, grow with workers and parameters; and with 1,000 connections:
#
#   scale.sh --out DIR [--workers 1,4,16,...] [--params 1e5,1e6,...] [--limit SECONDS]
#
# Prints a table in Markdown; DIR gets it too, with every measurement and two plots (gnuplot). Takes about ten minutes on a
# quiet machine. The program is build/deploy/tool/signpost, or $SIGNPOST.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
signpost=${SIGNPOST:-$here/../../build/deploy/tool/signpost}
"$signpost" bench --help > /dev/null 2>&1 || { echo "scale: $signpost is not built, or knows no bench; meson setup build && ninja -C build" >&2; exit 1; }

# A thousand connections are as many descriptors, in the server and in the process that holds the other ends.
if [ "$(ulimit -n)" != unlimited ] && [ "$(ulimit -n)" -lt 4096 ]; then
    ulimit -n 4096 2> /dev/null || echo "scale: no more than $(ulimit -n) files may be open, too few for 1,000 connections; ulimit -n 4096" >&2
fi
export PYTHONDONTWRITEBYTECODE=1
exec python3 "$here/scale.py" --signpost "$signpost" "$@"

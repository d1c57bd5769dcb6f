#!/usr/bin/env bash
# What one slow worker costs a job that closes its rounds by quorum: 8 workers, one of them 10 times slower, beside 7
# without it, for rounds of 2, 20 and 100 ms:
#
#   straggler.sh [--seconds S] [--times 10] [--rounds-of 2,20,100] [--quorum 7]
#
# Prints a table in Markdown. Takes about two minutes on a quiet machine. Programs are those in build/, or in $BUILD.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
build=${BUILD:-$here/../../build}
[ -x "$build/tests/integration/made_worker" ] || { echo "straggler: $build has no tests/integration/made_worker; meson setup -Dtests=true build && ninja -C build" >&2; exit 1; }
export PYTHONDONTWRITEBYTECODE=1
exec python3 "$here/straggler.py" --build "$build" "$@"

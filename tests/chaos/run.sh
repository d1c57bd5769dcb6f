#!/usr/bin/env bash
# Misfortune at absurd rates, and what became of the jobs.
#
#   run.sh           a short one, as continuous integration runs it
#   run.sh --long    five seeds on lines and on hosts (root), rounds that close with all and with a quorum, and 200 kills of the
#                    server; tables in Markdown, half an hour
#
# The programs are those of build-test/ (tests/run.sh builds them), or of $SP_BUILD.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
build=$(realpath "${SP_BUILD:-$here/../../build-test}")
export SP_SIGNPOSTD=$build/server/signpostd SP_WORKER=$build/worker/train/signpost-worker SP_SIGNPOST=$build/deploy/tool/signpost
export SP_SOURCE_ROOT=${here%/tests/chaos} PYTHONDONTWRITEBYTECODE=1

status=0
storm() { # PLACE OPTIONS...
    local rc=0
    echo "== $*"
    python3 "$here/chaos.py" --quiet --place "$@" || rc=$?
    [ "$rc" -eq 0 ] || [ "$rc" -eq 77 ] || status=1
}

case ${1:-} in
    '')
        storm lines --epochs 60 --storm 6 --points 3
        storm hosts --epochs 60 --storm 6 --points 3
        python3 "$here/test_kill_server.py" || status=1
        ;;
    --long)
        for place in lines hosts; do
            storm "$place" --seeds 1,2,3,4,5
            storm "$place" --seeds 1,2,3,4,5 --set server.close.quorum=3
        done
        SP_KILLS=200 SP_KILLS_LIMIT_S=2 python3 "$here/test_kill_server.py" || status=1
        ;;
    *) sed -n '2,8p' "$0" >&2; exit 2 ;;
esac
exit "$status"

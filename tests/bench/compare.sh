#!/usr/bin/env bash
# Signpost beside what people would use in its place: Gloo, PyTorch DDP, Open MPI; one model, the same workers and cores.
#
#   compare.sh [--workers 4] [--params 1e7] [--rounds N] [--launches 3] [--link RATE] [--server-link free|equal]
#              [--only NAME,...] [--limit SECONDS] [--json FILE]
#
# Prints a table in Markdown. --link, such as 1gbit or 100mbit, gives every worker a host of its own with such a link
# (network namespaces: root and iproute2), and the server one without limit, or an equal one. --limit ends a launch that
# hangs. What is not installed is missing from the table, which says so: deploy/install-packages.sh bench.
# The program is build/deploy/tool/signpost, or $SIGNPOST. Wants a quiet machine.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

usage() { sed -n '2,11p' "$here/compare.sh" >&2; exit 2; }

workers=4 params=1e7 rounds='' launches=3 link='' server_link=free only='' limit=600 json=''
while [ $# -gt 0 ]; do
    [ $# -gt 1 ] || usage
    case $1 in
        --workers) workers=$2 ;;
        --params) params=$2 ;;
        --rounds) rounds=$2 ;;
        --launches) launches=$2 ;;
        --link) link=$2 ;;
        --server-link) server_link=$2 ;;
        --only) only=$2 ;;
        --limit) limit=$2 ;;
        --json) json=$(realpath -m "$2") ;;
        *) usage ;;
    esac
    shift 2
done

# A whole number, which may be written as 1e7.
whole() { # OPTION VALUE LEAST MOST
    python3 - "$@" << 'PYTHON'
import sys
option, text, least, most = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
try:
    value = float(text)
except ValueError:
    value = -1.0
if not least <= value <= most or value != int(value):
    sys.exit(f'compare: {option} takes a whole number from {least} to {most}, not {text!r}')
print(int(value))
PYTHON
}
workers=$(whole --workers "$workers" 1 250) || exit 2
params=$(whole --params "$params" 1 1000000000) || exit 2
launches=$(whole --launches "$launches" 1 1000) || exit 2
limit=$(whole --limit "$limit" 1 1000000) || exit 2
case $server_link in free | equal) ;; *) usage ;; esac
if [ -z "$rounds" ]; then
    rounds=20
    [ -z "$link" ] || rounds=5
fi
rounds=$(whole --rounds "$rounds" 1 100000) || exit 2

if [ -n "$link" ]; then
    [ "$(id -u)" -eq 0 ] || { echo "compare: --link makes network namespaces, which takes root" >&2; exit 1; }
    for program in ip tc; do
        command -v $program > /dev/null || { echo "compare: --link needs $program (package iproute2; deploy/install-packages.sh bench)" >&2; exit 1; }
    done
fi

folder=$(mktemp -d)
lab='' child=''
# shellcheck disable=SC2317  # it is called by the traps
clean() {
    trap - EXIT INT TERM HUP
    if [ -n "$child" ]; then
        kill -TERM "$child" 2> /dev/null || true
        wait "$child" 2> /dev/null || true
    fi
    [ -z "$lab" ] || "$here/netlab.sh" down
    rm -rf "$folder"
}
trap clean EXIT
for signal in INT TERM HUP; do
    # shellcheck disable=SC2064  # the signal's name is meant as it is now
    trap "clean; exit $((128 + $(kill -l $signal)))" "$signal"
done

torch=
for python in ${SP_TORCH_PYTHON:-python3 /usr/bin/python3}; do
    if "$python" -c 'import torch.distributed' 2> /dev/null; then torch=$python; break; fi
done

mpi=
if command -v mpicc > /dev/null && command -v mpirun > /dev/null; then
    mpi=$folder/allreduce_mpi
    mpicc -O3 -march=native -o "$mpi" "$here/allreduce_mpi.c"
fi

signpost=${SIGNPOST:-$here/../../build/deploy/tool/signpost}
"$signpost" bench --help > /dev/null 2>&1 || signpost=

if [ -n "$link" ]; then
    lab=yes
    extra=()
    [ "$server_link" = equal ] || extra=(free)
    "$here/netlab.sh" up $((workers + 1)) "$link" "${extra[@]}" || { lab=; exit 1; }
fi

# In the background, so that a signal is answered at once.
PYTHONDONTWRITEBYTECODE=1 python3 "$here/compare.py" --workers "$workers" --params "$params" --rounds "$rounds" --launches "$launches" \
    --link "$link" --server-link "$server_link" --only "$only" --limit "$limit" --json "$json" --folder "$folder" \
    --python "$torch" --mpi "$mpi" --signpost "$signpost" &
child=$!
status=0
wait "$child" || status=$?
child=
exit "$status"

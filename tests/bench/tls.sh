#!/usr/bin/env bash
# What TLS costs a round: signpost bench with and without it, in alternation, on one machine:
#
#   tls.sh [--workers 4] [--params 1e7] [--times 5] [--link RATE]
#
# Prints a table in Markdown: medians over the launches of the median round, and of processor time a round (all processes).
# --link, such as 1gbit, gives every worker a host of its own with such a link, and the server one without limit (network
# namespaces: root and iproute2). Programs are those in build/, or in $BUILD. Wants a quiet machine.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
workers=4 params=1e7 times=5 link=''
while [ $# -gt 0 ]; do
    [ $# -gt 1 ] || { sed -n '2,8p' "$0" >&2; exit 2; }
    case $1 in
        --workers) workers=$2 ;;
        --params) params=$2 ;;
        --times) times=$2 ;;
        --link) link=$2 ;;
        *) sed -n '2,8p' "$0" >&2; exit 2 ;;
    esac
    shift 2
done
signpost=${BUILD:-$here/../../build}/deploy/tool/signpost
[ -x "$signpost" ] || { echo "tls: there is no $signpost; meson setup build && ninja -C build" >&2; exit 1; }

work=$(mktemp -d)
lab=
tidy() { [ -z "$lab" ] || "$here/netlab.sh" down; rm -rf "$work"; }
trap tidy EXIT
trap 'exit 1' INT TERM
"$here/../../deploy/make-certs.sh" "$work/certs" > "$work/log" || { cat "$work/log" >&2; exit 1; }
place=()
if [ -n "$link" ]; then
    lab=1
    "$here/netlab.sh" up $((workers + 1)) "$link" free
    place=(--processes "$workers" --listen 10.77.0.1:7700 --server-prefix 'ip netns exec spbench-h1'
        --worker-prefix 'ip netns exec spbench-h%d')
fi
for ((i = 0; i < times; i++)); do
    for compute in on off; do
        for tls in '' "$work/certs"; do
            "$signpost" bench --workers "$workers" --params "$params" --compute "$compute" ${tls:+--tls "$tls"} "${place[@]}" \
                --json >> "$work/$compute${tls:+-tls}" 2> "$work/log" || { cat "$work/log" >&2; exit 1; }
        done
    done
done
python3 - "$work" << 'PYTHON'
import json, statistics, sys
from pathlib import Path

def medians(name):
    runs = [json.loads(line) for line in (Path(sys.argv[1]) / name).read_text().splitlines()]
    cpu = [run['server_cpu_ms_per_round'] + run['worker_cpu_ms_per_round'] for run in runs]
    return (statistics.median(run['round_ms_median'] for run in runs), statistics.median(cpu),
            statistics.median(run['server_rss_peak_bytes'] for run in runs) / 1e6)

print('| round | without TLS, ms | with TLS, ms | ratio | CPU without, ms | with, ms | server memory without, MB | with, MB |')
print('|---|---:|---:|---:|---:|---:|---:|---:|')
for name, words in (('on', 'with compute'), ('off', 'exchange only')):
    plain, tls = medians(name), medians(f'{name}-tls')
    print(f'| {words} | {plain[0]:.3g} | {tls[0]:.3g} | {tls[0] / plain[0]:.2f} | {plain[1]:.3g} | {tls[1]:.3g} | '
          f'{plain[2]:.0f} | {tls[2]:.0f} |')
PYTHON

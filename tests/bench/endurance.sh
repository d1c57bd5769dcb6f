#!/usr/bin/env bash
# Jobs of very many rounds: does memory stay as it is, and do the counters count on?
#
#   endurance.sh [ROUNDS [ROUNDS_OVER_SOCKETS]]        1000000 and 100000, with 5,000 parameters
#
# First the round core alone (endurance.c), then a server and four workers by `signpost bench`: rounds, resident memory
# of the server and of all its workers together, and the server's open files, with every tenth. Ends with 1 if the server
# grew by more than 1 MiB after the first tenth. (The workers keep what they measure, 48 bytes a round.) Programs are those in build/, or in $BUILD.
set -euo pipefail
build=${BUILD:-$(cd "$(dirname "$0")/../.." && pwd)/build}
signpost=$build/deploy/tool/signpost
rounds=${1:-1000000} wire_rounds=${2:-100000}
[ -x "$build/tests/bench/endurance" ] || { echo "endurance: $build has no tests/bench/endurance; meson setup -Dtests=true build && ninja -C build" >&2; exit 1; }

echo "The round core, $rounds rounds:"
"$build/tests/bench/endurance" "$rounds" 5000

# Of processes, together; of those that are there.
rss_kib() {
    local pid
    for pid in "$@"; do
        cat "/proc/$pid/status" 2> /dev/null || true
    done | awk '/^VmRSS/ {sum += $2} END {print sum + 0}'
}

echo "Server and workers over sockets, $wire_rounds rounds:"
result=$(mktemp)
"$signpost" bench --workers 4 --params 5000 --rounds "$wire_rounds" --json > "$result" &
bench=$!
trap 'kill "$bench" 2> /dev/null || true; rm -f "$result"' EXIT
server=
while [ -z "$server" ] && kill -0 "$bench" 2> /dev/null; do
    sleep 0.1
    server=$(pgrep -P "$bench" signpostd || true)
done
[ -n "$server" ] || { wait "$bench"; echo "endurance: the measurement started no server" >&2; exit 1; }
run=$(tr '\0' '\n' < "/proc/$server/cmdline" | sed -n '/^--out$/{n;p}')
echo "|    rounds | server RSS KiB | workers RSS KiB | files |"
echo "|---|---|---|---|"
next=1 first=0 last=0
while kill -0 "$bench" 2> /dev/null; do
    sleep 0.1
    round=$("$signpost" status "$run" --json 2> /dev/null | sed -n 's/^  "round": \([0-9]*\),$/\1/p' || true)
    [ "${round:-0}" -ge $((next * wire_rounds / 10)) ] || continue
    last=$(rss_kib "$server")
    mapfile -t others < <(pgrep -P "$bench" | grep -vx "$server" || true)
    printf '| %9d | %14d | %15d | %5d |\n' "$round" "$last" "$(rss_kib "${others[@]}")" \
        "$(find "/proc/$server/fd" -mindepth 1 2> /dev/null | wc -l)"
    [ "$next" -gt 1 ] || first=$last
    next=$((10 * round / wire_rounds + 1))
done
wait "$bench"
cat "$result"
[ "$last" -le $((first + 1024)) ] || { echo "endurance: the server grew from $first to $last KiB" >&2; exit 1; }

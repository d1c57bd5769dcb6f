#!/usr/bin/env bash
# Test accuracy of a job over seeds: accuracy.sh JOB.yaml FIRST LAST [--set KEY=VALUE]...
# Prints a line a seed, then mean and standard deviation, and in how many runs the switch came by its own test, by the cap, or not at all.
set -euo pipefail
job=$1 first=$2 last=$3
shift 3
signpost=${SIGNPOST:-$(dirname "$0")/../../build/deploy/tool/signpost}
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
for seed in $(seq "$first" "$last"); do
    "$signpost" run "$job" --out "$out/$seed" --set "seed=$seed" --set server.listen=127.0.0.1:0 "$@" > "$out/log" 2>&1 || { cat "$out/log" >&2; exit 1; }
done
python3 - "$out" "$first" "$last" << 'PYTHON'
import json, statistics, sys
out, first, last = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
runs = [json.load(open(f"{out}/{seed}/summary.json")) for seed in range(first, last + 1)]
for run in runs:
    print(f"seed {run['seed']}: accuracy {100 * run['test_accuracy']:.2f} %, switch after round {run['switch_round']}, {run['train_seconds']:.2f} s")
accuracy = [100 * run["test_accuracy"] for run in runs]
spread = statistics.stdev(accuracy) if len(accuracy) > 1 else 0.0
reasons = [run["switch_reason"] or "none" for run in runs]
capped = sum("cap" in r for r in reasons)
print(f"mean {statistics.mean(accuracy):.2f} %, standard deviation {spread:.2f}, {len(runs)} runs of {runs[0]['rounds']} rounds; "
      f"switch by its own test {sum('diminishing' in r for r in reasons)}, by the cap {capped}")
PYTHON

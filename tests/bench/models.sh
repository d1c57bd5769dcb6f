#!/usr/bin/env bash
# Step time (loss and gradient of a batch, one thread) and memory of the models, beside PyTorch: models.sh [--rounds N] [--json FILE]
# Prints a table in Markdown; --json also leaves every process's figures, a line each. Needs a build in build-test/
# (tests/run.sh makes it) and, for PyTorch's rows, a Python that has it (Debian: python3-torch). Takes about two minutes.
set -euo pipefail
cd "$(dirname "$0")/../.."

rounds=3 json=
while [ $# -gt 0 ]; do
    case $1:${2:-} in
        --rounds:[1-9]*) rounds=$2 ;;
        --json:?*) json=$(realpath "$2") ;;
        *) sed -n '2,4p' "$0" >&2; exit 2 ;;
    esac
    shift 2
done

export SP_MODEL_STEP=${SP_MODEL_STEP:-$PWD/build-test/tests/torch/model_step}
model_time=${SP_MODEL_TIME:-build-test/tests/bench/model_time}
[ -x "$model_time" ] || { echo "models: $model_time is not there; tests/run.sh builds it" >&2; exit 1; }

# Each program finds out for itself what the processor can do, and takes one thread.
unset OPENBLAS_CORETYPE OPENBLAS_L2_SIZE ATEN_CPU_CAPABILITY
export OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE=1

torch=
for python in ${SP_TORCH_PYTHON:-python3 /usr/bin/python3}; do
    if "$python" -c 'import torch' 2> /dev/null; then torch=$python; break; fi
done
[ -n "$torch" ] || echo "models: no Python with PyTorch was found (Debian has it as python3-torch): only Signpost is measured" >&2

lines=$(mktemp)
trap 'rm -f "$lines"' EXIT
load=$(cut -d ' ' -f 1 /proc/loadavg)

measure() { # CASE PROGRAM...: a line of figures
    local name=$1 figures
    shift
    figures=$("$@")
    echo "$name $figures" >> "$lines"
}

# One process a measurement, the programs in turn, all of it several times over.
for round in $(seq "$rounds"); do
    while read -r name text; do
        echo "models: round $round of $rounds, $name" >&2
        IFS=' ' read -r -a words <<< "$text"
        measure "$name" "$model_time" "${words[@]}"
        [ -n "$torch" ] || continue
        measure "$name" "$torch" tests/bench/model_time.py "${words[@]}"
        measure "$name" "$torch" tests/bench/model_time.py --channels-last "${words[@]}"
    done << 'CASES'
lenet,32 model.type=lenet shape=1x28x28 classes=10 batch=32 warm=20 steps=100
lenet,64 model.type=lenet shape=1x28x28 classes=10 batch=64 warm=20 steps=100
resnet18,32 model.type=resnet18 model.width=64 shape=3x32x32 classes=10 batch=32 warm=1 steps=4
CASES
done
[ -z "$json" ] || cp "$lines" "$json"

python3 - "$lines" "$load" << 'PYTHON'
import json, os, re, statistics, sys

runs = {}
for line in open(sys.argv[1], encoding="utf-8"):
    name, text = line.split(" ", 1)
    run = json.loads(text)
    runs.setdefault(name, {}).setdefault(run["who"], []).append(run)

def median(all_runs, what):
    return statistics.median(run[what] / 1024 for run in all_runs)

print("| model | batch | program | step, ms (rounds) | | peak, MiB | before the model, MiB | beyond, MiB | |")
print("|---|---:|---|---:|---:|---:|---:|---:|---:|")
for name, programs in runs.items():
    ours = {}
    for who, all_runs in programs.items():
        rounds = sorted(1000 * statistics.median(run["seconds"]) for run in all_runs)
        step = 1000 * statistics.median(s for run in all_runs for s in run["seconds"])
        peak, before = median(all_runs, "peak"), median(all_runs, "baseline")
        bare = f" (Python alone {median(all_runs, 'bare'):.1f})" if "bare" in all_runs[0] else ""
        ours = ours or {"step": step, "beyond": peak - before}
        times = [f"{own / other:.2f} x" if own != other else "" for own, other in
                 ((step, ours["step"]), (peak - before, ours["beyond"]))]
        model, batch = name.split(",")
        print(f"| {model}, {all_runs[0]['parameters']:,} parameters | {batch} | {who} | {step:.2f} ({rounds[0]:.2f} to {rounds[-1]:.2f}) | {times[0]} "
              f"| {peak:.1f} | {before:.1f}{bare} | {peak - before:.1f} | {times[1]} |")
print()
print("Step: loss and gradient of a batch, one thread, median of all rounds' steps, and of each round's. Peak: the most that the process held (VmHWM), its")
print("libraries included; before the model: with its libraries loaded (VmRSS); beyond: the difference, so weights, gradient, data, activations and")
print("workspace, and what libraries load on first use. A factor is a row's figure by Signpost's.")
print()
for who, how in {run["who"].split(",")[0]: run["with"] for programs in runs.values() for all_runs in programs.values() for run in all_runs}.items():
    print(f"- {who}: {how}")
cpuinfo = open("/proc/cpuinfo", encoding="utf-8").read()
processor = re.search(r"model name\s*: (.*)", cpuinfo)
wide = "with AVX-512" if " avx512f" in cpuinfo else "with AVX2" if " avx2" in cpuinfo else "without AVX2"
print(f"- processor: {processor.group(1) if processor else 'unknown'}, {wide}, {os.cpu_count()} cores seen; load average at the start {sys.argv[2]}"
      + (": the machine was NOT quiet" if float(sys.argv[2]) > 0.5 else ""))
PYTHON

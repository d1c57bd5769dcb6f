#!/usr/bin/env bash
# Builds the fuzz targets with clang and runs each for some seconds (first argument, 20 if left out) from its corpus.
set -euo pipefail
cd "$(dirname "$0")/../.."
seconds=${1:-20}
folder=build-fuzz
new=$(mktemp -d)
trap 'rm -rf "$new"' EXIT
[ -f $folder/build.ninja ] || CC=clang meson setup $folder -Dfuzz=true -Dwerror=true > /dev/null
targets=(checkpoint codec frame journal kernels planes safetensors values)
ninja -C $folder "${targets[@]/#/tests/fuzz/fuzz_}" > "$new/log" || { cat "$new/log" >&2; exit 1; }
for target in "${targets[@]}"; do
    mkdir "$new/$target"
    "$folder/tests/fuzz/fuzz_$target" -max_total_time="$seconds" -print_final_stats=1 -artifact_prefix="$new/" \
        "$new/$target" "tests/fuzz/corpus/$target" > "$new/log" 2>&1 || { cat "$new/log" >&2; exit 1; }
    echo "$target: $(sed -n 's/^stat::number_of_executed_units: *//p' "$new/log") executions in $seconds s, no findings"
done

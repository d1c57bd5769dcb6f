#!/usr/bin/env bash
# Builds the fuzz targets with clang and runs each for some seconds from its corpus: run.sh [SECONDS [TARGET...]]. The
# default is 20 seconds for each of all. What makes a target fail stays in build-fuzz/.
set -euo pipefail
cd "$(dirname "$0")/../.."
seconds=${1:-20}
targets=("${@:2}")
[ ${#targets[@]} -gt 0 ] || targets=(checkpoint codec data frame job journal kernels planes round safetensors values)
folder=build-fuzz
new=$(mktemp -d)
trap 'rm -rf "$new"' EXIT
[ -f $folder/build.ninja ] || CC=clang meson setup $folder -Dfuzz=true -Dwerror=true > /dev/null
ninja -C $folder "${targets[@]/#/tests/fuzz/fuzz_}" > "$new/log" || { cat "$new/log" >&2; exit 1; }
for target in "${targets[@]}"; do
    mkdir "$new/$target"
    "$folder/tests/fuzz/fuzz_$target" -max_total_time="$seconds" -print_final_stats=1 -artifact_prefix="$folder/$target-" \
        "$new/$target" "tests/fuzz/corpus/$target" > "$new/log" 2>&1 || { cat "$new/log" >&2; exit 1; }
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$new/log")
    edges=$(sed -n 's/^#.* cov: \([0-9]*\) .*/\1/p' "$new/log" | tail -n 1)
    echo "$target: $runs executions in $seconds s, $edges edges, no findings"
done

#!/usr/bin/env bash
# "Same job, same bits": builds with gcc and clang, without optimisation and with all that this processor has, runs the digits
# job with each, as it is shipped (signs with dither, then int8) and through the other phases, a network of convolutions and batch norms too, and compares the digests of the
# weights.
set -euo pipefail
cd "$(dirname "$0")/.."
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

names=(shipped again margin adam images)
declare -A sets=(
    [shipped]="" [again]=""
    [margin]="optimizer.switch.to=margin optimizer.margin.until=0.7 optimizer.dither.scale=tensor optimizer.sgd.rate=tracking
              optimizer.sgd.aggregate=trimmed_mean optimizer.weight_decay=0.01 tensors=[{match:dense2.*,update:full}]"
    [adam]="optimizer.mode=adam optimizer.sgd.wire=bf16 train.epochs=10"
    [images]="model.type=resnet18 model.width=4 train.rounds=60 data.augment.crop=1 data.scale.mean=0 data.scale.std=1
              data.scale.compute=channel optimizer.switch.when=at optimizer.switch.fraction=0.5"
)
declare -A first=()

for compiler in gcc clang; do
    for level in "-O0" "-O3 -march=native"; do
        build=build-det-$compiler-${level%% *}
        rm -rf "$build"
        CC=$compiler CFLAGS="$level" meson setup "$build" -Dtests=false -Dbuildtype=plain -Doptimization=plain > "$out/log" 2>&1 || { cat "$out/log" >&2; exit 1; }
        ninja -C "$build" > "$out/log" 2>&1 || { cat "$out/log" >&2; exit 1; }
        for name in "${names[@]}"; do
            arguments=()
            read -r -d '' -a items <<< "${sets[$name]}" || true
            for item in "${items[@]}"; do
                arguments+=(--set "$item")
            done
            "$build/deploy/tool/signpost" run configs/digits.yaml --out "$out/run" --set server.listen=127.0.0.1:0 "${arguments[@]}" \
                > "$out/log" 2>&1 || { cat "$out/log" >&2; exit 1; }
            digest=$(sed -n 's/.*"weights_digest": "\([0-9a-f]*\)".*/\1/p' "$out/run/summary.json")
            echo "$compiler $level, $name: $digest"
            job=${name/again/shipped}
            first[$job]=${first[$job]:-$digest}
            if [ -z "$digest" ] || [ "$digest" != "${first[$job]}" ]; then
                echo "digests differ" >&2
                exit 1
            fi
        done
        rm -rf "$build"
    done
done
echo "all equal: ${first[*]}"

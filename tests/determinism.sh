#!/usr/bin/env bash
# "Same job, same bits": builds with gcc and clang, without optimisation and with all that this processor has, runs the digits
# job with each (dither on), and compares the digests of the weights.
set -euo pipefail
cd "$(dirname "$0")/.."
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
first=
for compiler in gcc clang; do
    for level in "-O0" "-O3 -march=native"; do
        name=build-det-$compiler-${level%% *}
        rm -rf "$name"
        CC=$compiler CFLAGS="$level" meson setup "$name" -Dtests=false -Dbuildtype=plain -Doptimization=plain > "$out/log" 2>&1 || { cat "$out/log" >&2; exit 1; }
        ninja -C "$name" > "$out/log" 2>&1 || { cat "$out/log" >&2; exit 1; }
        for run in 1 2; do
            "$name/deploy/tool/signpost" run configs/digits.yaml --out "$out/$name-$run" --set server.listen=127.0.0.1:0 \
                > "$out/log" 2>&1 || { cat "$out/log" >&2; exit 1; }
            digest=$(sed -n 's/.*"weights_digest": "\([0-9a-f]*\)".*/\1/p' "$out/$name-$run/summary.json")
            echo "$compiler $level, run $run: $digest"
            first=${first:-$digest}
            if [ -z "$digest" ] || [ "$digest" != "$first" ]; then
                echo "digests differ" >&2
                exit 1
            fi
        done
        rm -rf "$name"
    done
done
echo "all equal: $first"

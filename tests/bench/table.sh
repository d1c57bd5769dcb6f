#!/usr/bin/env bash
# The README's tables of policies, by `signpost compare`: table.sh digits (10 seeds), or table.sh mnist (5 seeds, after
# deploy/fetch-data.sh mnist). Further arguments go to `signpost compare`. Needs a build in build/ (deploy/demo.sh makes it).
set -euo pipefail
cd "$(dirname "$0")/../.."

case ${1:-} in
    digits) job=configs/digits.yaml seeds=10 sgd=2.0 adam=5e-3 ;;
    mnist) job=configs/mnist-mlp.yaml seeds=5 sgd=1.2 adam=1e-3 ;;
    *) sed -n '2,3p' "$0" >&2; exit 2 ;;
esac
name=$1
shift
signs="optimizer.switch.when=never optimizer.dither.sigma0=0"
label="data.shards=by_label"

exec build/deploy/tool/signpost compare "$job" --seeds "$seeds" --out "runs/table-$name" \
    --case "sign, constant rate: $signs optimizer.sign.schedule=constant" \
    --case "sign, decayed: $signs" \
    --case "sign, decayed, dither 1: optimizer.switch.when=never optimizer.dither.sigma0=1" \
    --case "margin, decayed: $signs optimizer.start=margin" \
    --case "hybrid auto (as shipped): optimizer.dither.sigma0=0" \
    --case "hybrid auto, float32: optimizer.dither.sigma0=0 optimizer.sgd.wire=f32" \
    --case "hybrid at 50 %: optimizer.dither.sigma0=0 optimizer.switch.when=at optimizer.switch.fraction=0.5" \
    --case "margin, then SGD auto: optimizer.dither.sigma0=0 optimizer.start=margin" \
    --case "SGD, constant rate: optimizer.mode=sgd optimizer.sgd.lr=$sgd optimizer.sgd.schedule=constant" \
    --case "SGD, decayed: optimizer.mode=sgd optimizer.sgd.lr=$sgd optimizer.sgd.schedule=linear" \
    --case "SGD, decayed, int8: optimizer.mode=sgd optimizer.sgd.lr=$sgd optimizer.sgd.schedule=linear optimizer.sgd.wire=i8" \
    --case "Adam, decayed: optimizer.mode=adam optimizer.adam.lr=$adam" \
    --case "by label, sign, decayed: $label $signs" \
    --case "by label, sign, dither 3: $label optimizer.switch.when=never optimizer.dither.sigma0=3" \
    --case "by label, hybrid auto: $label optimizer.dither.sigma0=0" \
    --case "by label, SGD, decayed: $label optimizer.mode=sgd optimizer.sgd.lr=$sgd optimizer.sgd.schedule=linear" \
    --case "by label, Adam, decayed: $label optimizer.mode=adam optimizer.adam.lr=$adam" \
    "$@"

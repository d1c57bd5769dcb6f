#!/usr/bin/env bash
# How long until 97 % of MNIST: Signpost beside PyTorch DDP as it comes, with its float16 hook and with PowerSGD of rank 1; the
# same model, workers, batch and links, each worker on a host of its own (network namespaces: root and iproute2).
#
#   to_accuracy.sh [--link 100mbit] [--accuracy 0.97] [--seeds 3] [--rounds 480] [--rows signpost,ddp-f32,...] [--lr RATE]
#                  [--set KEY=VALUE] [--data DIR]
#
# Each method is tried at three rates, which fall linearly over the rounds planned, and stands with its best. Time counts from
# the first round, without evaluations. The data are those of deploy/fetch-data.sh mnist. Prints a table in Markdown. Programs
# are those in build/, or in $BUILD; what is compared with is installed by deploy/install-packages.sh bench. Wants a quiet
# machine.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
build=${BUILD:-$here/../../build}
data=$here/../../configs/mnist
case " $* " in *" --data "*) data= ;; esac
[ -x "$build/server/signpostd" ] || { echo "to_accuracy: $build has no server/signpostd; meson setup build && ninja -C build" >&2; exit 1; }
[ -z "$data" ] || [ -f "$data/train-images-idx3-ubyte.gz" ] || { echo "to_accuracy: the data are not there; deploy/fetch-data.sh mnist gets them" >&2; exit 1; }
torch=
for python in ${SP_TORCH_PYTHON:-python3 /usr/bin/python3}; do
    if "$python" -c 'import torch.distributed' 2> /dev/null; then torch=$python; break; fi
done
[ -n "$torch" ] || { echo "to_accuracy: no Python with PyTorch was found; deploy/install-packages.sh bench" >&2; exit 1; }
export PYTHONDONTWRITEBYTECODE=1
exec python3 "$here/to_accuracy.py" --build "$build" --python "$torch" ${data:+--data "$data"} "$@"

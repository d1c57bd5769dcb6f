#!/usr/bin/env bash
# Installs what is missing, builds, and runs the bundled job: one server and four workers learn handwritten digits, by
# signs first, by SGD after the automatic switch. Further arguments go to `signpost run`, e.g. --set seed=7.
set -euo pipefail
cd "$(dirname "$0")/.."

echo "== 1 of 3: packages"
deploy/install-packages.sh build

echo "== 2 of 3: build (in build/)"
if [ ! -f build/build.ninja ]; then
    rm -rf build
    meson setup build -Dtests=false > build.log 2>&1 || { cat build.log >&2; exit 1; }
    rm -f build.log
fi
ninja -C build

echo "== 3 of 3: configs/digits.yaml, one server and four workers"
exec build/deploy/tool/signpost run configs/digits.yaml "$@"

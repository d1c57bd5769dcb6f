#!/usr/bin/env bash
# The kernels' arithmetic on a processor that is not x86: builds the stages and their unit tests for aarch64, where the
# scalar set is what the compiler makes of it with NEON, and runs them under qemu's emulation of a processor. What the
# kernels leave of random inputs must be the same as here.
#   other-processors.sh [TEST...]      names of tests/unit/test_NAME.c, or `kernels`; if left out, all that are below
# Needs gcc-aarch64-linux-gnu, libc6-dev-arm64-cross and qemu-user (deploy/install-packages.sh ci), but no libraries for
# aarch64: there is a stand-in for check in tests/cross, and xxhash's header has its functions.
set -euo pipefail
cd "$(dirname "$0")/.."

folder=build-aarch64
tests=(aggregate kernels dither vote values cpu pack planes rng sums weights)
[ $# -eq 0 ] || tests=("$@")
for program in aarch64-linux-gnu-gcc aarch64-linux-gnu-ar qemu-aarch64; do
    command -v "$program" > /dev/null || {
        echo "other-processors: $program is not there; deploy/install-packages.sh ci installs it" >&2
        exit 1
    }
done

each() { # FUNCTION WORD...: the function of every word, as many at once as there are processors; ends where one fails
    local function=$1 running=0
    shift
    for word in "$@"; do
        if [ "$running" -lt "$(nproc)" ]; then running=$((running + 1)); else wait -n; fi
        "$function" "$word" &
    done
    for ((; running > 0; running--)); do wait -n; done
}

compile() { # SOURCE: an object in the folder, with those flags of meson.build that decide about bits and warnings
    aarch64-linux-gnu-gcc -std=gnu11 -O3 -g -fno-strict-aliasing -ffp-contract=off -D_GNU_SOURCE -Wall -Wextra -Werror \
        -Wconversion -Wno-sign-conversion -Wno-unused-parameter -Itests/cross -I. -c "$1" -o "$folder/${1//\//-}.o"
}

build_test() { # NAME: its program in the folder
    local source=tests/unit/test_$1.c
    [ -f "$source" ] || source=tests/$1/test_$1.c
    compile "$source"
    aarch64-linux-gnu-gcc -static "$folder/${source//\//-}.o" "$folder/libtested.a" -lm -o "$folder/test_$1"
}

run_test() { # NAME
    local log=$folder/test_$1.log
    if timeout 300 qemu-aarch64 "$folder/test_$1" > "$log" 2>&1; then
        echo "$1: $(grep -c '^ok ' "$log") passed"
    else
        echo "$1: failed; $log ends so:"
        grep -v '^ok ' "$log" | tail -n 20
        return 1
    fi
}

echo "== build in $folder/"
rm -rf $folder
mkdir $folder
# The linker takes from the archive what a test needs. Files of an instruction set of x86, and of TLS, are left out.
mapfile -t sources < <(grep -LE '#include "(common/x86|version|common/tls_files)\.h"' common/*.c server/vote*.c server/aggregate*.c \
    worker/client/dither*.c tests/kernels/compare_*.c tests/kernels/kernels.c)
each compile "${sources[@]}"
aarch64-linux-gnu-gcc -O3 -DXXH_STATIC_LINKING_ONLY -DXXH_IMPLEMENTATION -x c -include xxhash.h -c /dev/null \
    -o $folder/xxhash.o
aarch64-linux-gnu-ar rc $folder/libtested.a $folder/*.o
each build_test "${tests[@]}"

echo "== tests under emulation of aarch64"
export SP_SOURCE_ROOT=$PWD
each run_test "${tests[@]}"

[ -f $folder/test_kernels.log ] || exit 0
echo "== the kernels' bits beside those of this processor"
if [ ! -f build-test/build.ninja ]; then
    echo "other-processors: not compared: there is no build-test/, which tests/run.sh makes" >&2
    exit 1
fi
ninja -C build-test tests/kernels/test_kernels > $folder/beside.log
build-test/tests/kernels/test_kernels >> $folder/beside.log 2>&1
diff <(grep '^digest' $folder/test_kernels.log) <(grep '^digest' $folder/beside.log) || {
    echo "other-processors: kernels leave other bits of the same input on aarch64 (<) than here (>)" >&2
    exit 1
}
echo "the same: $(grep -c '^digest' $folder/test_kernels.log) digests"

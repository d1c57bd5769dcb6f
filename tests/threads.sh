#!/usr/bin/env bash
# The server's threads under the thread sanitizer: the unit tests of disk, checkpoint, journal and log, and a server that is
# killed, stopped and started again with them. Needs build-test/, which tests/run.sh makes, for the other programs.
set -euo pipefail
cd "$(dirname "$0")/.."

folder=build-threads
units=(disk checkpoint journal log)
[ -f "$folder/build.ninja" ] || meson setup "$folder" -Dtests=true -Db_sanitize=thread -Db_lundef=false -Doptimization=1 > /dev/null
targets=(server/signpostd)
for unit in "${units[@]}"; do targets+=("tests/unit/test_$unit"); done
ninja -C "$folder" "${targets[@]}"

export TSAN_OPTIONS=${TSAN_OPTIONS:-halt_on_error=1:suppressions=$PWD/tests/threads.supp} SP_SOURCE_ROOT=$PWD CK_VERBOSITY=minimal
for unit in "${units[@]}"; do
    echo "== $unit"
    "$folder/tests/unit/test_$unit"
done
echo "== a server that is killed, stopped and started again"
export SP_TEST_SLOW=1 SP_SIGNPOSTD=$PWD/$folder/server/signpostd SP_WORKER=$PWD/build-test/worker/train/signpost-worker
export SP_SIGNPOST=$PWD/build-test/deploy/tool/signpost PYTHONDONTWRITEBYTECODE=1
python3 tests/integration/test_keep.py Keep.test_killed_and_started_again Keep.test_by_interval \
    Keep.test_stopped_and_started_again Keep.test_a_full_disk Keep.test_a_journal_has_its_limit

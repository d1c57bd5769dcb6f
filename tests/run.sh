#!/usr/bin/env bash
# Installs what is missing, builds, and runs all tests. Further arguments go to `meson test` (a test's name, --suite unit).
# SP_SANITIZE=1 builds with the address and undefined-behaviour sanitizers. CC chooses the compiler.
set -euo pipefail
cd "$(dirname "$0")/.."

echo "== packages"
deploy/install-packages.sh test

folder=build-test
options=(-Dtests=true -Dwerror=true)
if [ "${SP_SANITIZE:-0}" = 1 ]; then
    folder=build-sanitize
    options+=('-Db_sanitize=address,undefined' -Db_lundef=false -Doptimization=1)
    export ASAN_OPTIONS=${ASAN_OPTIONS:-abort_on_error=1:detect_stack_use_after_return=1}
    export UBSAN_OPTIONS=${UBSAN_OPTIONS:-halt_on_error=1:print_stacktrace=1}
    export SP_TEST_SLOW=1
fi
[ "${CC:-}" = "" ] || folder=$folder-$(basename "$CC")

echo "== build (in $folder/)"
if [ ! -f "$folder/build.ninja" ]; then
    rm -rf "$folder"
    meson setup "$folder" "${options[@]}" > "$folder.log" 2>&1 || { cat "$folder.log" >&2; exit 1; }
    rm -f "$folder.log"
fi
ninja -C "$folder"

echo "== tests"
meson test -C "$folder" --no-rebuild --print-errorlogs "$@"

# A skipped test proves nothing: it must stand, with its reason, in tests/skips-allowed.txt.
skipped=$(python3 - "$folder/meson-logs/testlog.json" << 'PYTHON'
import json, sys
for line in open(sys.argv[1], encoding="utf-8"):
    test = json.loads(line)
    if test["result"] == "SKIP":
        said = (test.get("stdout") or "").strip().splitlines()
        print(test["name"].rsplit(" / ")[-1], said[-1] if said else "", sep="\t")
PYTHON
)
while IFS=$'\t' read -r name said; do
    [ -n "$name" ] || continue
    grep -q "^$name: " tests/skips-allowed.txt || { echo "test '$name' was skipped and is not in tests/skips-allowed.txt" >&2; exit 1; }
    echo "skipped, as allowed: $(grep "^$name: " tests/skips-allowed.txt)${said:+ (it said: $said)}"
done <<< "$skipped"

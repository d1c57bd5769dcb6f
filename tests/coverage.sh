#!/usr/bin/env bash
# Line coverage of proto/ and server/ by the suites unit, sim and hostile together. Installs
# gcovr, builds in build-coverage/, prints a table by file and the sums.
#   coverage.sh [--least PER_CENT]     fails if one of the two has less
set -euo pipefail
cd "$(dirname "$0")/.."
least=0
[ "${1:-}" != --least ] || least=${2:?--least needs a number}

deploy/install-packages.sh coverage
folder=build-coverage
[ -f $folder/build.ninja ] || meson setup $folder -Dtests=true -Db_coverage=true -Db_lundef=false -Doptimization=1 > /dev/null
ninja -C $folder > /dev/null
find $folder -name '*.gcda' -delete
meson test -C $folder --no-rebuild --suite unit --suite sim --suite hostile --timeout-multiplier 4 | tail -n 12 ||
    echo "not all tests passed, as above: what failed counts for less (one that limits the size of files cannot pass here)"
gcovr --root . --object-directory $folder --gcov-ignore-parse-errors --exclude-unreachable-branches \
    --filter 'proto/' --filter 'server/' --json-summary $folder/coverage.json --txt $folder/coverage.txt $folder > /dev/null
cat $folder/coverage.txt
python3 - $folder/coverage.json "$least" << 'PYTHON'
import json, sys
files = json.load(open(sys.argv[1], encoding='utf-8'))['files']
low = False
for part in 'proto', 'server':
    mine = [f for f in files if f['filename'].startswith(part + '/')]
    total, covered = (sum(f[key] for f in mine) for key in ('line_total', 'line_covered'))
    print(f'{part}: {covered} of {total} lines, {100 * covered / total:.1f} %')
    low = low or 100 * covered / total < float(sys.argv[2])
sys.exit(low)
PYTHON

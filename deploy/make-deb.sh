#!/usr/bin/env bash
# Builds Debian packages of this tree, as it is, into a folder:
#
#   make-deb.sh [OUT]       default: build-deb
#
# Needs debhelper, dpkg-dev, fakeroot and what the build needs: deploy/install-packages.sh deb
set -euo pipefail
top=$(cd "$(dirname "$0")/.." && pwd)
out=${1:-$top/build-deb}
command -v dpkg-buildpackage > /dev/null || { echo "make-deb: dpkg-buildpackage is not there; deploy/install-packages.sh deb" >&2; exit 1; }
mkdir -p "$out"
out=$(cd "$out" && pwd)
version=$(dpkg-parsechangelog -l "$top/deploy/debian/changelog" -S Version)
ours=$(sed -n "s/^ *version: '\(.*\)',/\1/p" "$top/meson.build" | head -n 1)
[ "$version" = "$ours" ] || { echo "make-deb: deploy/debian/changelog is of version $version, meson.build of $ours" >&2; exit 1; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tree=$work/signpost-$version
mkdir "$tree"
if git -C "$top" rev-parse --git-dir > /dev/null 2>&1; then
    # What is committed or is to be, without what builds leave.
    (cd "$top" && git ls-files -z --cached --others --exclude-standard | tar --null -cf - -T -) | tar -xf - -C "$tree"
else
    tar -C "$top" --exclude='./build*' --exclude=./runs -cf - . | tar -xf - -C "$tree"
fi
# The packages have no tests; their corpora are thousands of files.
rm -rf "$tree/tests" "$tree/.ci"
mv "$tree/deploy/debian" "$tree/debian"
(cd "$tree" && dpkg-buildpackage -us -uc --build=full) > "$work/log" 2>&1 || { tail -n 60 "$work/log" >&2; echo "make-deb: the build failed" >&2; exit 1; }
grep -E 'warning:.*(symbol|shlibs)' "$work/log" >&2 || true
rm -f "$out"/*.deb "$out"/*.dsc "$out"/*.changes "$out"/*.buildinfo "$out"/*.tar.*
find "$work" -maxdepth 1 -type f ! -name log -exec mv -t "$out" {} +
echo "make-deb: in $out"
(cd "$out" && du -k -- *.deb | awk '{print "  " $1 " KiB " $2}')

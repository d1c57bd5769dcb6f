#!/usr/bin/env bash
# What `meson install` leaves, and the units in it: systemd-analyze takes them without a word, finds them well locked up, and
# sysusers and tmpfiles make what they say. Builds are those in build-test/, or in $BUILD. Exit code 77: systemd is not there.
set -euo pipefail
top=$(cd "$(dirname "$0")/../.." && pwd)
build=${BUILD:-$top/build-test}
exposure_max=20 # tenths, of 100: what systemd-analyze calls OK

fail() { echo "systemd: $1" >&2; exit 1; }

command -v systemd-analyze > /dev/null || { echo "skipped: systemd-analyze is not there (package systemd)"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
DESTDIR=$work/root meson install -C "$build" --no-rebuild > "$work/log" 2>&1 || { tail -n 20 "$work/log" >&2; fail "meson install failed"; }
prefix=$work/root/usr/local
[ -f "$prefix/lib/systemd/system/signpostd@.service" ] || { echo "skipped: $build is built without libsystemd"; exit 77; }

echo "== the tree"
for file in bin/signpost bin/signpostd bin/signpost-worker include/signpost.h lib/sysusers.d/signpost.conf \
    lib/systemd/system/signpost-worker@.service lib/tmpfiles.d/signpost.conf libexec/signpost/signpost-worker-service \
    share/bash-completion/completions/signpostd share/doc/signpost/signpost.env.example share/man/man1/signpost.1 \
    share/man/man1/signpost-worker.1 share/man/man5/signpost-job.5 share/man/man8/signpostd.8 share/signpost/configs/digits.yaml \
    share/signpost/configs/digits/train-images-idx3-ubyte; do
    [ -s "$prefix/$file" ] || fail "meson install leaves no $file"
done
for file in libsignpost.so libsignpost.so.0 libsignpost.a pkgconfig/signpost.pc; do
    [ -n "$(find "$prefix/lib" -path "*/$file")" ] || fail "meson install leaves no lib/.../$file"
done
sh -n "$prefix/libexec/signpost/signpost-worker-service"
shellcheck "$prefix/libexec/signpost/signpost-worker-service" 2> /dev/null || ! command -v shellcheck > /dev/null || fail "shellcheck"

echo "== the units"
for unit in signpostd@ signpost-worker@; do
    # The programs are where this test has put them.
    sed "s:/usr/local/:$prefix/:g" "$prefix/lib/systemd/system/$unit.service" > "$work/$unit.service"
    systemd-analyze verify --man=no "$work/$unit.service" > "$work/said" 2>&1 || { cat "$work/said" >&2; fail "$unit.service is not right"; }
    [ ! -s "$work/said" ] || { cat "$work/said" >&2; fail "systemd-analyze has something to say of $unit.service"; }
    systemd-analyze security --offline=true --threshold=$exposure_max "$work/$unit.service" > "$work/said" 2>&1 ||
        { cat "$work/said" >&2; fail "$unit.service is exposed more than $exposure_max tenths"; }
    grep 'Overall exposure' "$work/said"
    for line in Type=notify WatchdogSec= Restart=on-failure; do
        grep -q "^$line" "$work/$unit.service" || fail "$unit.service has no $line"
    done
done

echo "== users and folders"
if [ "$(id -u)" -eq 0 ]; then
    mkdir -p "$work/made/etc" "$work/made/usr/lib"
    cp -r "$prefix/lib/sysusers.d" "$prefix/lib/tmpfiles.d" "$work/made/usr/lib/"
    systemd-sysusers --root="$work/made"
    grep -q '^signpost:' "$work/made/etc/passwd" || fail "sysusers made no user"
    systemd-tmpfiles --root="$work/made" --create
    [ "$(stat -c %a "$work/made/etc/signpost")" = 750 ] || fail "tmpfiles made no /etc/signpost that others cannot read"
    [ "$(stat -c %u "$work/made/var/lib/signpost")" != 0 ] || fail "/var/lib/signpost is not the services'"
else
    echo "(only root can make them)"
fi
echo "all as it should be"

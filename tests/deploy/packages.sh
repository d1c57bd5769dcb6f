#!/usr/bin/env bash
# The Debian packages: deploy/make-deb.sh builds them, lintian finds no error, and in a Debian of their own (mmdebstrap) they
# install, and a job of the installed programs, started as the units start them, learns the digits.
# Exit code 77: it cannot be had here, and why. Needs root.
set -euo pipefail
top=$(cd "$(dirname "$0")/../.." && pwd)

fail() { echo "packages: $1" >&2; exit 1; }
began=$SECONDS
step() { printf '%4d s  %s\n' $((SECONDS - began)) "$1"; }

for program in dpkg-buildpackage dh lintian mmdebstrap; do
    command -v $program > /dev/null || { echo "skipped: $program is not there (packages dpkg-dev debhelper lintian mmdebstrap)"; exit 77; }
done
[ "$(id -u)" -eq 0 ] || { echo "skipped: a Debian of its own to install them in takes root"; exit 77; }
# shellcheck source=/dev/null
. /etc/os-release
[ "${VERSION_CODENAME:-}" = bookworm ] || { echo "skipped: the packages are of Debian bookworm, this is ${PRETTY_NAME:-another system}"; exit 77; }

work=$(mktemp -d)
root=$work/root
clean_up() {
    local code=$?
    set +e
    if [ "$code" -ne 0 ]; then
        tail -n 5 "$work"/*.log "$root"/tmp/*.log 2> /dev/null
    fi
    pkill -9 --euid "${service_uid:-4294967294}" signpost 2> /dev/null
    umount -l "$root/proc" 2> /dev/null
    rm -rf "$work"
    exit "$code"
}
trap clean_up EXIT
trap 'exit 1' INT TERM

step "a Debian"
mmdebstrap --quiet --variant=minbase --include=ca-certificates,systemd-standalone-sysusers,systemd-standalone-tmpfiles bookworm "$root" 2> "$work/mmdebstrap.log" &
debian=$!
"$top/deploy/make-deb.sh" "$work/deb"
wait $debian || fail "mmdebstrap failed"

step "lintian"
lintian --fail-on error --allow-root "$work"/deb/*.changes

step "installing"
cp "$work"/deb/*.deb "$root/tmp/"
rm -f "$root"/tmp/*dbgsym*
mount -t proc proc "$root/proc"
inside() { chroot "$root" env DEBIAN_FRONTEND=noninteractive "$@"; }
inside apt-get update -qq > "$work/apt.log" 2>&1 || fail "apt-get update failed"
inside sh -c 'apt-get install -y -qq --no-install-recommends /tmp/*.deb' >> "$work/apt.log" 2>&1 || fail "apt-get install failed"
service_uid=$(inside id -u signpost)
for program in signpost signpostd signpost-worker; do
    inside $program --version
done
[ -e "$root/lib/systemd/system/signpostd@.service" ] || fail "the server's unit is missing"
[ ! -d "$root/etc/systemd/system/multi-user.target.wants" ] || [ -z "$(find "$root/etc/systemd/system/multi-user.target.wants" -name 'signpost*')" ] ||
    fail "a service without a job was enabled"
inside apt-get check -qq

step "a job, as the units start it"
cp -r "$root"/usr/share/signpost/configs/digits "$root"/usr/share/signpost/configs/digits.yaml "$root/etc/signpost/"
inside signpost token /etc/signpost/digits.token > /dev/null
inside chown root:signpost /etc/signpost/digits.token
inside chmod 640 /etc/signpost/digits.token
sed "s/^security:.*//" -i "$root/etc/signpost/digits.yaml"
echo 'security: {token_file: digits.token}' >> "$root/etc/signpost/digits.yaml"
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
printf 'SIGNPOST_SERVER="127.0.0.1:%s"\nSIGNPOST_WORKER_ARGUMENTS="--set model.threads=1"\n' "$port" > "$root/etc/signpost/digits.env"
as() { chroot --userspec=signpost:signpost "$root" env -C /var/lib/signpost "$@"; }
as signpostd --config /etc/signpost/digits.yaml --out /var/lib/signpost/digits --listen "127.0.0.1:$port" --set server.http=off \
    2> "$root/tmp/server.log" &
server=$!
for name in digits digits:2 digits:3 digits:4; do
    as /usr/libexec/signpost/signpost-worker-service $name 2> "$root/tmp/worker-${name#*:}.log" &
done
timeout 120 tail --pid=$server -f /dev/null || fail "the job did not end"
wait || true
python3 - "$root/var/lib/signpost/digits/summary.json" << 'PYTHON'
import json, sys
summary = json.load(open(sys.argv[1], encoding="utf-8"))
assert summary["test_accuracy"] > 0.9 and not summary["stopped"], summary
print(f"        test accuracy {100 * summary['test_accuracy']:.2f} % after {summary['rounds_done']} rounds")
PYTHON

step "removing"
inside sh -c 'apt-get purge -y -qq signpost signpost-server signpost-worker signpost-common libsignpost0 libsignpost-dev' >> "$work/apt.log" 2>&1 ||
    fail "apt-get purge failed"
[ -z "$(find "$root/usr" "$root/lib" -name '*signpost*' | head -n 1)" ] || fail "purged, and yet there is $(find "$root/usr" "$root/lib" -name '*signpost*' | head -n 1)"
step "all as it should be"

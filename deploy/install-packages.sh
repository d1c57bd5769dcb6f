#!/usr/bin/env bash
# Installs what Signpost needs from the packages of Debian or Ubuntu, and nothing that is already there.
#   install-packages.sh build    a compiler, meson, the libraries
#   install-packages.sh test     and what the tests need
#   install-packages.sh ci       and what the checks of continuous integration need
#   install-packages.sh coverage and what tests/coverage.sh needs
#   install-packages.sh deb      what the build needs, and what deploy/make-deb.sh does
#   install-packages.sh bench    what the build needs, and what tests/bench/compare.sh and scale.sh compare and draw with
set -euo pipefail

build=(gcc libc6-dev meson ninja-build pkg-config libuv1-dev libprotobuf-c-dev protobuf-c-compiler libopenblas-dev
    libyaml-dev zlib1g-dev libisal-dev libxxhash-dev libcsv-dev libjansson-dev libssl-dev libmicrohttpd-dev libsystemd-dev python3)
test=(check python3 python3-numpy python3-pyte procps g++ binutils gnuplot-nox libsimde-dev iproute2 ethtool openssl man-db mandoc)
ci=(clang clang-format clang-tidy libclang-rt-dev shellcheck codespell yamllint git python3-torch
    gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user chromium fonts-dejavu-core prometheus
    docker.io docker-compose mmdebstrap curl nftables systemd debhelper dpkg-dev lintian fakeroot
    openssh-server openssh-client slurm-wlm munge python3-yaml)
deb=(debhelper dpkg-dev fakeroot)
coverage=(gcovr)
bench=(python3 python3-torch openmpi-bin libopenmpi-dev iproute2 gnuplot-nox)

case ${1:-} in
    build) wanted=("${build[@]}") ;;
    test) wanted=("${build[@]}" "${test[@]}") ;;
    ci) wanted=("${build[@]}" "${test[@]}" "${ci[@]}") ;;
    coverage) wanted=("${build[@]}" "${test[@]}" "${coverage[@]}") ;;
    deb) wanted=("${build[@]}" "${deb[@]}") ;;
    bench) wanted=("${build[@]}" "${bench[@]}") ;;
    *) sed -n '2,8p' "$0" >&2; exit 2 ;;
esac

if ! command -v dpkg-query > /dev/null || ! command -v apt-get > /dev/null; then
    echo "install-packages: this is not Debian or Ubuntu; install by hand what these packages hold, then go on: ${wanted[*]}" >&2
    exit 1
fi

# Without a package of that name the runtime of the compiler's own version is meant.
if [ "$1" = ci ] && ! apt-cache show libclang-rt-dev > /dev/null 2>&1; then
    version=$(apt-cache depends clang 2> /dev/null | sed -n 's/.*Depends: clang-\([0-9]*\)$/\1/p' | head -n 1)
    wanted=("${wanted[@]/libclang-rt-dev/libclang-rt-${version:-14}-dev}")
fi

missing=()
for package in "${wanted[@]}"; do
    state=$(dpkg-query -W -f '${Status}' "$package" 2> /dev/null || true)
    [ "$state" = "install ok installed" ] || missing+=("$package")
done
if [ ${#missing[@]} -eq 0 ]; then
    echo "install-packages: all ${#wanted[@]} packages are there"
    exit 0
fi

sudo=()
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo > /dev/null || { echo "install-packages: run as root, or install sudo; missing are: ${missing[*]}" >&2; exit 1; }
    sudo=(sudo)
fi
echo "install-packages: installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
"${sudo[@]}" apt-get update -qq
"${sudo[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" > /dev/null

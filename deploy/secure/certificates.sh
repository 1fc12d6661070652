#!/bin/sh
# Makes a CA, and certificates of it for deploy/secure/meterhouse.toml:
#   deploy/secure/certificates.sh /etc/meterhouse/tls indexer.internal shim.internal
# The host names (beside localhost) are in the certificates of the servers. Run again, it renews all but the CA;
# running processes read the new files. For a first try: elsewhere let your own CA issue them.
set -eu
dir=${1:?usage: certificates.sh DIRECTORY [HOST...]}
shift
names="DNS:localhost,IP:127.0.0.1,IP:::1"
for host in "$@"; do names="$names,DNS:$host"; done
umask 077
mkdir -p "$dir"
cd "$dir"

key="-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
if [ ! -e ca.key ]; then
    # shellcheck disable=SC2086 # words on purpose
    openssl req -x509 $key -days 3650 -subj "/CN=Meterhouse CA" -keyout ca.key -out ca.pem \
        -addext keyUsage=critical,keyCertSign,cRLSign
fi

# issue FILE COMMON-NAME USAGE NAMES: key and certificate, put in place whole.
issue() {
    {
        echo "basicConstraints=critical,CA:FALSE"
        echo "keyUsage=critical,digitalSignature"
        echo "extendedKeyUsage=$3"
        echo "subjectAltName=$4"
        echo "subjectKeyIdentifier=hash"
        echo "authorityKeyIdentifier=keyid"
    } >"$1.ext"
    # shellcheck disable=SC2086 # words on purpose
    openssl req $key -subj "/CN=$2" -keyout "$1.key.new" -out "$1.csr"
    openssl x509 -req -in "$1.csr" -CA ca.pem -CAkey ca.key -days 365 -extfile "$1.ext" -out "$1.pem.new" \
        -set_serial "0x$(openssl rand -hex 16)"
    mv "$1.key.new" "$1.key"
    mv "$1.pem.new" "$1.pem"
    rm "$1.csr" "$1.ext"
}

for server in indexer shim agent-tcp; do issue "$server" "$server" serverAuth "$names"; done
for client in agent app; do issue "$client" "$client" clientAuth "DNS:$client"; done

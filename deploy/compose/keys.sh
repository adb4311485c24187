#!/bin/sh
# Makes what the parts of this stack prove themselves with, in the folder KEYS: an authority, a certificate
# for the database's servers and one for the nodes, and the database's passwords. Each part finds its own
# in a folder that it alone can read. Does nothing where that was done before.
#
# For trying: whoever has the folder has it all, and the certificates end after 397 days.
set -eu
umask 077
cd "$KEYS"
if [ -e made ]; then
    exit 0
fi
# Anew from the beginning, where it was cut off.
rm -rf ca.key ca.pem postgres accredit
mkdir postgres accredit

key() { openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1"; }

key ca.key
openssl req -x509 -new -key ca.key -out ca.pem -days 397 -subj "/CN=Accredit, an authority for trying" \
    -addext keyUsage=critical,keyCertSign,cRLSign

# A certificate for a server of some names: folder/name, then the names.
certificate() {
    file=$1
    shift
    names=$(printf ',DNS:%s' "$@")
    key "$file.key"
    openssl req -new -key "$file.key" -subj "/CN=$1" -out request
    printf 'subjectAltName=%s\nextendedKeyUsage=serverAuth\n' "${names#,}" > extensions
    openssl x509 -req -in request -CA ca.pem -CAkey ca.key -CAcreateserial -days 397 \
        -extfile extensions -out "$file.pem"
    rm request extensions
}
certificate postgres/tls primary standby localhost
certificate accredit/tls localhost node1 node2 node3
# Nobody needs to sign anything more.
rm -f ca.key ca.srl

openssl rand -hex 32 > accredit/password
cp accredit/password postgres/password.accredit
openssl rand -hex 32 > postgres/password.standby
printf '*:*:*:standby:%s\n' "$(cat postgres/password.standby)" > postgres/passfile
cp ca.pem postgres/ca.pem
cp ca.pem accredit/ca.pem

# The authority's certificate is for all, the rest for whom it is.
chmod 755 .
chmod 644 ca.pem
if [ "$(id -u)" = 0 ]; then
    chown -R postgres postgres
    chown -R "$ACCREDIT_UID" accredit
    chown "$ACCREDIT_UID" "${ROOT_KEY:-/root-key}"
fi
: > made

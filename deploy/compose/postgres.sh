#!/bin/sh
# Starts a server of the database's: `postgres.sh primary` or `postgres.sh standby`, then options of
# `postgres`, as the user that is to own it, with its data in PGDATA and its keys in KEYS (see keys.sh). A
# new primary makes the database, a new standby copies the primary's. Each talks TLS, and believes nobody
# without a password.
set -eu
umask 077
role=${1:-}
[ $# -eq 0 ] || shift

primary() {
    if [ ! -s "$PGDATA/PG_VERSION" ]; then
        initdb --pgdata "$PGDATA" --username postgres --encoding UTF8 --locale C.UTF-8 \
            --auth-local peer --auth-host scram-sha-256 > /dev/null
        cat > "$PGDATA/pg_hba.conf" <<EOF
local   all         postgres      peer
hostssl accredit    accredit all  scram-sha-256
hostssl replication standby  all  scram-sha-256
EOF
        # Before anybody can connect; passwords are on no command line.
        postgres --single -D "$PGDATA" postgres > /dev/null <<EOF
CREATE ROLE accredit LOGIN PASSWORD '$(cat "$KEYS/password.accredit")'
CREATE ROLE standby LOGIN REPLICATION PASSWORD '$(cat "$KEYS/password.standby")'
CREATE DATABASE accredit OWNER accredit
EOF
    fi
    # A commit waits for the standby's disk: what was answered is on both.
    serve -c synchronous_commit=on -c "synchronous_standby_names=FIRST 1 (standby)" "$@"
}

standby() {
    if [ ! -s "$PGDATA/PG_VERSION" ]; then
        from="host=${PRIMARY_HOST:-primary} port=${PRIMARY_PORT:-5432} user=standby"
        from="$from passfile=$KEYS/passfile sslmode=verify-full sslrootcert=$KEYS/ca.pem"
        until pg_basebackup --pgdata "$PGDATA" --dbname "$from" --write-recovery-conf \
            --wal-method stream --checkpoint fast; do
            sleep 1
        done
    fi
    # Its name is what the primary waits for. Once it is promoted it waits for nobody: give it a standby of
    # its own, and say so in its synchronous_standby_names, before it counts as lossless again.
    serve -c cluster_name=standby -c synchronous_standby_names= "$@"
}

serve() {
    exec postgres -D "$PGDATA" -c "listen_addresses=${LISTEN:-*}" -c ssl=on -c password_encryption=scram-sha-256 \
        -c "ssl_cert_file=$KEYS/tls.pem" -c "ssl_key_file=$KEYS/tls.key" -c wal_keep_size=1GB "$@"
}

case $role in
    primary | standby) "$role" "$@" ;;
    *)
        echo "postgres.sh: \`$role\` is neither primary nor standby" >&2
        exit 2
        ;;
esac

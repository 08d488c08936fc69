#!/bin/sh
# Starts the server, as its environment says:
# - STANDBY_OF=HOST: as a streaming standby of that host. Once only: a standby that was promoted and starts again is what it
#   was before.
# - REJOIN=HOST,HOST: the servers that may have been promoted in its place. Started again, a primary asks each of them; where
#   one writes a newer timeline, it gives up what it has written since they parted (pg_rewind), and follows that one. A server that
#   is there and cannot answer, since it is starting or has too many clients, is asked until it does: two would write otherwise.
#   Where nobody is there it starts as what it was.
# - POSTGRES_SETTINGS="name=value name=value": settings over those of the command; a value has no space in it.
set -ef

follow() {
    read -r name < /etc/hostname || [ -n "$name" ]
    printf "primary_conninfo = 'host=%s port=5432 user=postgres application_name=%s'\n" "$1" "$name" \
        >> "$PGDATA/postgresql.auto.conf"
    : > "$PGDATA/standby.signal"
}

# The timeline that this server was the last to write, as its control file has it.
own_timeline() {
    pg_controldata | while IFS=: read -r key value; do
        if [ "$key" = "Latest checkpoint's TimeLineID" ]; then echo $value; fi
    done
}

# The timeline that another server writes; nothing of a standby.
timeline_of() {
    PGCONNECT_TIMEOUT=2 psql -h "$1" -U postgres -Atc "SELECT ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int
        WHERE NOT pg_is_in_recovery()"
}

# The same, asked until it is told. Only where nothing is there three times in a row nobody can tell.
timeline_told_by() {
    missed=0
    while [ "$missed" -lt 3 ]; do
        if timeline_of "$1"; then return 0; fi
        there=0
        pg_isready -q -h "$1" -U postgres -t 2 || there=$?
        case $there in
            0 | 1) missed=0 ;;
            *) missed=$((missed + 1)) ;;
        esac
        sleep 0.2
    done
    return 1
}

rejoin() {
    # What holds the data of a server that was killed is its number in there; this is a new life of the container, and nobody
    # else is in it.
    if [ -e "$PGDATA/postmaster.pid" ]; then read -r PG_GRANDPARENT_PID < "$PGDATA/postmaster.pid"; fi
    export PG_GRANDPARENT_PID
    # Else the other's control file may not know of its promotion yet.
    psql -h "$1" -U postgres -qc CHECKPOINT
    pg_rewind --target-pgdata="$PGDATA" --source-server="host=$1 port=5432 user=postgres dbname=postgres" --no-sync
    unset PG_GRANDPARENT_PID
    follow "$1"
}

if [ -n "$STANDBY_OF" ] && [ ! -e "$PGDATA/nightmail.standby" ]; then
    follow "$STANDBY_OF"
    : > "$PGDATA/nightmail.standby"
elif [ -n "$REJOIN" ] && [ -e "$PGDATA/nightmail.started" ] && [ ! -e "$PGDATA/standby.signal" ]; then
    own=$(own_timeline)
    IFS=,
    for host in $REJOIN; do
        IFS=' '
        theirs=$(timeline_told_by "$host") || theirs=
        if [ "${theirs:-0}" -gt "$own" ]; then
            echo "replaced: $host writes timeline $theirs, this server has written $own"
            rejoin "$host"
            break
        fi
    done
fi
: > "$PGDATA/nightmail.started"
IFS=' '
for setting in $POSTGRES_SETTINGS; do set -- "$@" "-c$setting"; done
# A server that shall not be written to before it is opened. Once only: `ALTER SYSTEM RESET` opens it for good.
if [ -n "$CLOSED" ] && [ ! -e "$PGDATA/nightmail.closed" ]; then
    echo "default_transaction_read_only = on" >> "$PGDATA/postgresql.auto.conf"
    : > "$PGDATA/nightmail.closed"
fi
exec postgres -D "$PGDATA" "$@"

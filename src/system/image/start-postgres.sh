#!/bin/sh
# Starts the server: as a streaming standby of $STANDBY_OF, if that is set. Once only: a standby that was promoted and
# starts again is what it was before.
set -e
if [ -n "$STANDBY_OF" ] && [ ! -e "$PGDATA/nightmail.standby" ]; then
    read -r name < /etc/hostname || [ -n "$name" ]
    printf "primary_conninfo = 'host=%s port=5432 user=postgres application_name=%s'\n" "$STANDBY_OF" "$name" \
        >> "$PGDATA/postgresql.auto.conf"
    : > "$PGDATA/standby.signal"
    : > "$PGDATA/nightmail.standby"
fi
# A server that shall not be written to before it is opened. Once only: `ALTER SYSTEM RESET` opens it for good.
if [ -n "$CLOSED" ] && [ ! -e "$PGDATA/nightmail.closed" ]; then
    echo "default_transaction_read_only = on" >> "$PGDATA/postgresql.auto.conf"
    : > "$PGDATA/nightmail.closed"
fi
exec postgres -D "$PGDATA" "$@"

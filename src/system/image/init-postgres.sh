#!/bin/sh
# Initialises the data directory, once, while the image is made. Only the shell's own commands are there beside PostgreSQL.
set -e
initdb --username=postgres --auth=trust --encoding=UTF8 --no-locale --data-checksums --wal-segsize=1 --no-sync \
    --no-instructions --pgdata="$PGDATA"
while read -r line || [ -n "$line" ]; do
    printf '%s\n' "$line"
done < /usr/local/share/nightmail/postgresql.conf >> "$PGDATA/postgresql.conf"
printf 'host %s all all trust\n' all replication >> "$PGDATA/pg_hba.conf"

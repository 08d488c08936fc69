#!/bin/sh
# Initialises the data directory, once, while the image is made. Only the shell's own commands are there beside PostgreSQL.
set -e
initdb --username=postgres --auth=trust --encoding=UTF8 --no-locale --data-checksums --wal-segsize=1 --no-sync \
    --no-instructions --pgdata="$PGDATA"
for file in /usr/local/share/nightmail/*.conf; do
    while read -r line || [ -n "$line" ]; do
        printf '%s\n' "$line"
    done < "$file" >> "$PGDATA/postgresql.conf"
done
printf 'host %s all all trust\n' all replication >> "$PGDATA/pg_hba.conf"
# A standby refuses to start with fewer connections and the like than the data directory was last used with. Used with
# the fewest, it starts with any.
echo 'CHECKPOINT' | postgres --single -D "$PGDATA" -F -c max_connections=5 -c max_wal_senders=0 -c max_worker_processes=0 \
    -c max_locks_per_transaction=10 -c max_prepared_transactions=0 postgres > /dev/null

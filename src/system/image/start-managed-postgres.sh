#!/bin/sh
# Starts a server under pg_auto_failover: `monitor`, which watches over the others, or `node`, of which the first to register is
# the primary. In its environment:
# - NODE=NAME: under which name the others reach this one;
# - MONITOR=HOST: the monitor of a node;
# - REPLICATION_QUORUM=false: a node that no commit waits for. With two of these, replication is asynchronous;
# - POSTGRES_SETTINGS="name=value name=value": settings over those of the image; a value has no space in it.
set -e
# They tell of processes of an earlier life of this container, whose numbers belong to others now.
rm -f "$PGDATA/postmaster.pid" "$XDG_RUNTIME_DIR/pg_autoctl$PGDATA"/*.pid
set -f
if [ ! -e "$PGDATA/nightmail.managed" ]; then
    # What a registration that failed has left would keep the next from beginning.
    rm -rf "${XDG_DATA_HOME:-$HOME/.local/share}/pg_autoctl$PGDATA" "${XDG_CONFIG_HOME:-$HOME/.config}/pg_autoctl$PGDATA"
    for setting in $POSTGRES_SETTINGS; do
        printf "%s = '%s'\n" "${setting%%=*}" "${setting#*=}" >> "$PGDATA/postgresql.conf"
    done
    set -- "$1" --pgctl "$(command -v pg_ctl)" --hostname "$NODE" --skip-pg-hba --no-ssl
    case $1 in
        monitor) shift && pg_autoctl create monitor "$@" ;;
        node)
            shift
            # A question that is under way when the network goes would otherwise wait for as long as the cut lasts and longer, and a
            # keeper that waits stops nobody.
            pg_autoctl create postgres "$@" --name "$NODE" --username postgres --dbname postgres \
                --monitor "postgres://autoctl_node@$MONITOR/pg_auto_failover?tcp_user_timeout=500" \
                --replication-quorum "${REPLICATION_QUORUM:-true}"
            # A primary whose keeper reaches neither the monitor nor a standby for so long stops, if a standby was connected when its
            # keeper first looked without the monitor (pg_auto_failover counts from that look).
            pg_autoctl config set timeout.network_partition_timeout 2
            ;;
        *) echo "start-managed-postgres: monitor or node?" >&2 && exit 2 ;;
    esac
    : > "$PGDATA/nightmail.managed"
fi
exec pg_autoctl run

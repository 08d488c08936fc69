//! What a second session sees of a migration while it runs: whether it is at work, which locks it has, who waits for it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::sleep;

use crate::fault::measured::ms;
use crate::fault::postgres::held::Task;
use crate::fault::postgres::{Refused, Server, Session, in_time};

/// The pause between two looks. Each takes all the locks of the server's lock table, if for a moment.
const PAUSE: Duration = Duration::from_millis(25);

/// The modes of a table's lock, from the weakest to the strongest.
const MODES: [&str; 8] = [
    "AccessShareLock",
    "RowShareLock",
    "RowExclusiveLock",
    "ShareUpdateExclusiveLock",
    "ShareLock",
    "ShareRowExclusiveLock",
    "ExclusiveLock",
    "AccessExclusiveLock",
];

/// Locks on tables of the session that asks, as [`Seen::locked`] takes them. The server's own tables are left out.
pub(super) const OWN_LOCKS: &str = "select string_agg(distinct relation::regclass || ' ' || mode, ',') from pg_locks \
     join pg_class on pg_class.oid = relation where granted and locktype = 'relation' and pid = pg_backend_pid() \
     and relation >= 16384 and relkind in ('r', 'p', 'm')";

/// Looks over and over until it is dropped.
#[derive(Debug)]
pub(super) struct Watch {
    seen: Arc<Mutex<Seen>>,
    sql: String,
    server: Server,
    _task: Task,
}

/// All that was seen.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    /// A look found the migration at work, or holding a lock.
    pub at_work: bool,
    looks: u32,
    /// The strongest mode on each table, by its position in [`MODES`].
    locks: BTreeMap<String, usize>,
    waiting: u32,
    longest: Duration,
    /// Why the last look saw nothing.
    pub blind: Option<String>,
}

impl Watch {
    /// Looks at the sessions of that name.
    pub(super) fn of(application: &str, server: &Server) -> Self {
        let sql = sql(application);
        let seen = Arc::<Mutex<Seen>>::default();
        let watch = watch(server.clone(), sql.clone(), seen.clone());
        Self {
            seen,
            sql,
            server: server.clone(),
            _task: Task(tokio::spawn(watch)),
        }
    }

    /// What was seen so far, to which whoever knows more may add.
    pub(super) fn seen(&self) -> Arc<Mutex<Seen>> {
        self.seen.clone()
    }

    /// A last look.
    pub(super) async fn finished(self) -> Seen {
        let last = in_time(async { look(&self.server.connect().await?, &self.sql, &self.seen).await });
        note(&self.seen, last.await);
        lock(&self.seen).clone()
    }
}

impl Seen {
    /// Adds locks as the queries give them: `orders ShareLock,payments RowShareLock`.
    pub(super) fn locked(&mut self, locks: &str) {
        for (table, mode) in locks.split(',').filter_map(|lock| lock.rsplit_once(' ')) {
            let Some(rank) = MODES.iter().position(|known| *known == mode) else {
                continue;
            };
            let strongest = self.locks.entry(table.to_owned()).or_default();
            *strongest = rank.max(*strongest);
        }
    }

    /// A line each.
    pub(super) fn words(&self) -> [String; 2] {
        let locks: Vec<String> = self
            .locks
            .iter()
            .map(|(table, rank)| format!("{} on {table}", MODES[*rank]))
            .collect();
        let locks = match locks.is_empty() {
            true => "no lock of a table was seen".to_owned(),
            false => format!("strongest locks seen: {}", locks.join(", ")),
        };
        let waited = match (self.looks, self.waiting) {
            (0, _) => "nobody knows who waited for it".to_owned(),
            (looks, 0) => format!("nobody was seen to wait for it ({looks} looks)"),
            (looks, waiting) => format!(
                "at most {waiting} other sessions waited for it at the same time, the longest for {} ({looks} looks)",
                ms(self.longest)
            ),
        };
        let blind = self
            .blind
            .as_ref()
            .map(|blind| format!("; the last look failed: {blind}"));
        [locks, waited + &blind.unwrap_or_default()]
    }
}

pub(super) fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whoever stands behind it in a queue waits for it as well: `pg_blocking_pids` says so, too.
fn sql(application: &str) -> String {
    format!(
        "with ours as materialized (
    select pid, state from pg_stat_activity where application_name = '{application}' and backend_type = 'client backend'
), held as (
    select distinct relation, mode from pg_locks join ours using (pid) join pg_class on pg_class.oid = relation
    where granted and locktype = 'relation' and relation >= 16384 and relkind in ('r', 'p', 'm')
    and database = (select oid from pg_database where datname = current_database())
), waiting as (
    select pid, max(clock_timestamp() - waitstart) as waited from pg_locks
    where not granted and pid not in (select pid from ours)
    and pg_blocking_pids(pid) && array(select pid from ours) group by pid
)
select (select count(*) from ours where state = 'active'), (select string_agg(relation::regclass || ' ' || mode, ',') from held),
    (select count(*) from waiting), (select coalesce(max(extract(epoch from waited)) * 1000, 0)::bigint from waiting)"
    )
}

async fn watch(server: Server, sql: String, seen: Arc<Mutex<Seen>>) {
    loop {
        let session = match in_time(server.connect()).await {
            Ok(session) => session,
            Err(refused) => {
                note(&seen, Err(refused));
                sleep(PAUSE).await;
                continue;
            }
        };
        let mut sees = true;
        while sees {
            let looked = in_time(look(&session, &sql, &seen)).await;
            sees = looked.is_ok();
            note(&seen, looked);
            sleep(PAUSE).await;
        }
    }
}

async fn look(session: &Session, sql: &str, seen: &Mutex<Seen>) -> Result<(), Refused> {
    let row = session.row(sql).await?;
    let number = |at: usize| row.get(at)?.as_ref()?.parse::<u64>().ok();
    let (Some(active), Some(waiting), Some(longest_ms)) = (number(0), number(2), number(3)) else {
        return Err(Refused::because(format!("pg_locks answered {row:?}")));
    };
    let locks = row[1].as_deref().unwrap_or_default();
    let mut seen = lock(seen);
    seen.locked(locks);
    seen.at_work |= active > 0 || !locks.is_empty();
    seen.waiting = seen.waiting.max(waiting.try_into().unwrap_or(u32::MAX));
    seen.longest = seen.longest.max(Duration::from_millis(longest_ms));
    seen.looks += 1;
    Ok(())
}

fn note(seen: &Mutex<Seen>, looked: Result<(), Refused>) {
    lock(seen).blind = looked.err().map(String::from);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_table_the_strongest_lock_is_told() {
        let mut seen = Seen::default();
        seen.locked("");
        assert_eq!(seen.words()[0], "no lock of a table was seen");
        seen.locked("orders RowExclusiveLock,\"my table\" ShareLock,orders Unheard");
        seen.locked("orders AccessExclusiveLock");
        seen.locked("orders AccessShareLock");
        assert_eq!(
            seen.words()[0],
            "strongest locks seen: ShareLock on \"my table\", AccessExclusiveLock on orders"
        );
        assert_eq!(seen.words()[1], "nobody knows who waited for it");
    }
}

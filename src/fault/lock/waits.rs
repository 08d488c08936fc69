//! Who waits for a table's lock while the fault lasts.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::sleep;

use crate::fault::measured::ms;
use crate::fault::postgres::held::Task;
use crate::fault::postgres::table::TableName;
use crate::fault::postgres::{Refused, Server, Session, in_time};

/// The pause between two looks. Each takes all the locks of the server's lock table, if for a moment.
const PAUSE: Duration = Duration::from_millis(100);

/// A look at those who wait, over and over until it is dropped.
#[derive(Debug)]
pub(super) struct Waits {
    most: Arc<Mutex<Most>>,
    sql: String,
    server: Server,
    _task: Task,
}

#[derive(Debug, Clone, Default)]
struct Most {
    sessions: u32,
    longest: Duration,
    looks: u32,
    /// Why the last look saw nothing.
    blind: Option<String>,
}

impl Waits {
    pub(super) fn of(table: &TableName, server: &Server) -> Self {
        Self::for_locks(&format!("locktype = 'relation' and relation = {}", table.oid()), server)
    }

    /// Those who wait for rows that a session has locked: the first of each row for its transaction, others for the first.
    pub(super) fn of_rows(table: &TableName, holder: i32, server: &Server) -> Self {
        let table = table.oid();
        let transaction = format!("(select backend_xid from pg_stat_activity where pid = {holder})");
        let locks = format!(
            "(locktype = 'tuple' and relation = {table} or locktype = 'transactionid' and transactionid = {transaction})"
        );
        Self::for_locks(&locks, server)
    }

    /// What a session is, a server tells only who may know; hardly anybody but a client waits.
    fn for_locks(locks: &str, server: &Server) -> Self {
        let sql = format!(
            "select count(*), coalesce(max(extract(epoch from clock_timestamp() - waitstart)) * 1000, 0)::bigint from pg_locks \
             join pg_stat_activity using (pid) where not granted and {locks} and coalesce(backend_type, 'client backend') = 'client backend'"
        );
        let most = Arc::<Mutex<Most>>::default();
        let watch = watch(server.clone(), sql.clone(), most.clone());
        Self {
            most,
            sql,
            server: server.clone(),
            _task: Task(tokio::spawn(watch)),
        }
    }

    /// What was seen of them, to the last moment.
    pub(super) async fn words(self) -> String {
        let last = in_time(async { look(&self.server.connect().await?, &self.sql, &self.most).await });
        note(&self.most, last.await);
        let most = self.most.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match most {
            Most { looks: 0, blind, .. } => {
                format!("nobody knows who waited for it: {}", blind.unwrap_or_default())
            }
            Most {
                sessions,
                longest,
                looks,
                blind,
            } => {
                let seen = format!(
                    "at most {sessions} other sessions waited for it at the same time, the longest for {} ({looks} looks)",
                    ms(longest)
                );
                blind.map_or(seen.clone(), |blind| format!("{seen}; the last look failed: {blind}"))
            }
        }
    }
}

async fn watch(server: Server, sql: String, most: Arc<Mutex<Most>>) {
    loop {
        let session = match in_time(server.connect()).await {
            Ok(session) => session,
            Err(refused) => {
                note(&most, Err(refused));
                sleep(PAUSE).await;
                continue;
            }
        };
        let mut sees = true;
        while sees {
            let seen = in_time(look(&session, &sql, &most)).await;
            sees = seen.is_ok();
            note(&most, seen);
            sleep(PAUSE).await;
        }
    }
}

async fn look(session: &Session, sql: &str, most: &Mutex<Most>) -> Result<(), Refused> {
    let row = session.row(sql).await?;
    let number = |at: usize| {
        row.get(at)
            .cloned()
            .flatten()
            .and_then(|number| number.parse::<u64>().ok())
    };
    let (Some(sessions), Some(longest_ms)) = (number(0), number(1)) else {
        return Err(Refused::because(format!("pg_locks answered {row:?}")));
    };
    let mut most = most.lock().unwrap_or_else(PoisonError::into_inner);
    most.sessions = most.sessions.max(sessions.try_into().unwrap_or(u32::MAX));
    most.longest = most.longest.max(Duration::from_millis(longest_ms));
    most.looks += 1;
    Ok(())
}

fn note(most: &Mutex<Most>, seen: Result<(), Refused>) {
    let blind = seen.err().map(String::from);
    most.lock().unwrap_or_else(PoisonError::into_inner).blind = blind;
}

//! Who takes over, and when: the begin of a promotion, its end, and the first acknowledged write.

use std::time::Duration;

use futures_util::future::{join_all, select_ok};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::fault::FaultContext;
use crate::fault::measured::ms;
use crate::fault::postgres::each::{Member, PAUSE};
use crate::fault::postgres::held::Task;
use crate::fault::postgres::{Refused, Session, in_time};
use crate::plan::ReplicaId;

/// What stands in a member's log when it is asked to be promoted: PostgreSQL's own words, whoever asks, and those of managers that
/// keep these from the log, pg_auto_failover's and Patroni's.
const ASKED: [&str; 3] = [
    "received promote request",
    "FSM transition from \"secondary\" to \"prepare_promotion\"",
    "promoted self to leader by acquiring session lock",
];
/// How much later than a promotion a line of its begin may come.
const LOG_WITHIN: Duration = Duration::from_millis(500);

/// A member that has become the primary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Taken {
    pub member: ReplicaId,
    /// It was not in recovery any more.
    pub promoted: Instant,
    /// It had acknowledged a commit.
    pub first_write: Instant,
}

/// Watches the logs of standbys for the begin of a promotion.
pub(super) struct Begun {
    at: oneshot::Receiver<Instant>,
    _watching: Task,
}

impl Begun {
    pub(super) fn watch(context: &FaultContext, standbys: &[Member]) -> Self {
        let mut lines = context.system.log_lines();
        let standbys: Vec<ReplicaId> = standbys.iter().map(|member| member.id.clone()).collect();
        let (seen, at) = oneshot::channel();
        let watching = tokio::spawn(async move {
            loop {
                match lines.recv().await {
                    Ok(line) if standbys.contains(&line.replica) && is_asked(&line.line) => {
                        // Whoever does not want to know any more need not.
                        let _ = seen.send(Instant::now());
                        return;
                    }
                    Ok(_) | Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return,
                }
            }
        });
        Self {
            at,
            _watching: Task(watching),
        }
    }

    /// When a promotion was seen to begin, if one was. Lines of a log may come later than what they tell of.
    pub(super) async fn at(self) -> Option<Instant> {
        timeout(LOG_WITHIN, self.at).await.ok()?.ok()
    }
}

fn is_asked(line: &str) -> bool {
    ASKED.iter().any(|words| line.contains(words))
}

/// The standby that has received most of the log.
pub(super) async fn furthest(standbys: &[Member]) -> Option<&Member> {
    let received = join_all(standbys.iter().map(async |member| {
        let received = "select coalesce(pg_last_wal_receive_lsn(), '0/0') - '0/0'";
        let asked = in_time(async { member.server.connect().await?.number::<u64>(received).await });
        asked.await.unwrap_or_default()
    }));
    let received = received.await;
    // Of equals the first.
    let best = received.iter().max()?;
    let (member, _) = standbys.iter().zip(&received).find(|(_, received)| *received == best)?;
    Some(member)
}

/// Waits until any of them has taken over.
pub(super) async fn by_one_of(standbys: &[Member], deadline: Instant) -> Result<Taken, String> {
    let any = standbys.iter().map(|member| Box::pin(by(member, deadline)));
    select_ok(any).await.map(|(taken, _)| taken)
}

/// Waits until it has taken over.
pub(super) async fn by(member: &Member, deadline: Instant) -> Result<Taken, String> {
    let begin = Instant::now();
    let taken = async {
        let promoted = promoted(member, deadline).await?;
        let first_write = first_write(member, deadline).await?;
        Ok(Taken {
            member: member.id.clone(),
            promoted,
            first_write,
        })
    };
    let last = |last: Refused| format!("{}: {last} after {}", member.id, ms(begin.elapsed()));
    taken.await.map_err(last)
}

/// Asks on one connection for as long as it lasts.
async fn promoted(member: &Member, deadline: Instant) -> Result<Instant, Refused> {
    let mut open: Option<Session> = None;
    loop {
        let asked = in_time(async {
            let session = match open.take() {
                Some(session) => session,
                None => member.server.connect().await?,
            };
            Ok((session.is_in_recovery().await?, session))
        });
        let last = match asked.await {
            Ok((false, _)) => return Ok(Instant::now()),
            Ok((true, session)) => {
                open = Some(session);
                Refused::because("still in recovery".to_owned())
            }
            Err(refused) => refused,
        };
        if Instant::now() >= deadline {
            return Err(last);
        }
        sleep(PAUSE).await;
    }
}

/// A commit that waits is waited for: one that is given up leaves another one waiting.
async fn first_write(member: &Member, deadline: Instant) -> Result<Instant, Refused> {
    loop {
        let written = async {
            let session = member.server.connect().await?;
            // A manager lets nobody write before it is sure of the old primary, and the log is no table.
            match session.ask("show transaction_read_only").await?.as_deref() {
                Some("on") => Err(Refused::because(
                    "not in recovery, and its transactions only read".to_owned(),
                )),
                _ => session.write_to_log().await,
            }
        };
        let last = match timeout_at(deadline, written).await {
            Ok(Ok(_)) => return Ok(Instant::now()),
            Ok(Err(refused)) => refused,
            Err(_) => Refused::because("not in recovery, and no commit was acknowledged".to_owned()),
        };
        if Instant::now() >= deadline {
            return Err(last);
        }
        sleep(PAUSE).await;
    }
}

//! A guard at the server: it undoes what does not end with a session.
//!
//! It is a session in which a block waits until the fault's time-to-live is over, or until another session is gone, the
//! heart, which ends with the harness. Then it undoes the fault, in the block or by a statement that was sent behind it, since
//! not all can be said in a block. Nobody need wait for the answers: a server that is busy does not notice that its client
//! has died, and goes on with what it has received. Only when it cannot deliver an answer it ends, and so one statement may
//! follow, and no second.

use std::time::Duration;

use super::held::{Holder, Task, application};
use super::{Refused, Server, each, setting_ms};
use crate::fault::FaultContext;

/// The pause between two looks of the block at the heart.
const LOOKS_EVERY: Duration = Duration::from_millis(100);

/// What a guard does in the end.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::fault) struct Undo {
    /// Statements of PL/pgSQL.
    pub in_block: &'static str,
    /// A statement that no block may contain.
    pub behind: Option<&'static str>,
}

/// The two sessions. Dropped, it lets the server undo the fault.
#[derive(Debug)]
pub(in crate::fault) struct Guard {
    _heart: Holder,
    _waiting: Task,
}

impl Guard {
    /// Sets up a guard, which is seen to wait before anything is done that it must undo.
    pub(in crate::fault) async fn arm(context: &FaultContext, server: &Server, undo: Undo) -> Result<Self, Refused> {
        let heart = Holder::open(context, server).await?;
        let guard = Holder::open(context, server).await?;
        guard.session.ask("set statement_timeout = 0").await?;
        let block = block(&application(context), heart.pid, context.ttl, undo.in_block);
        let session = guard.session;
        let waiting = Task(tokio::spawn(async move {
            let behind = async {
                if let Some(statement) = undo.behind {
                    drop(session.ask(statement).await);
                }
            };
            // Both are sent at once, in this order.
            let (_, ()) = futures_util::future::join(session.ask(&block), behind).await;
        }));
        let sql = format!(
            "select count(*) from pg_stat_activity where pid = {} and state = 'active' and query like 'do %'",
            guard.pid
        );
        each::until(context.patience.granted, async || {
            match heart.session.number::<u32>(&sql).await? {
                0 => Err(Refused::because(
                    "the guard that should undo it does not wait".to_owned(),
                )),
                _ => Ok(()),
            }
        })
        .await?;
        Ok(Self {
            _heart: heart,
            _waiting: waiting,
        })
    }
}

/// It commits after each look, so that it holds back no snapshot.
fn block(application: &str, heart: i32, ttl: Duration, undo: &str) -> String {
    let (ttl_ms, pause_ms) = (setting_ms(ttl), LOOKS_EVERY.as_millis());
    format!(
        "do $guard$
declare over timestamptz := clock_timestamp() + interval '{ttl_ms} milliseconds';
begin
    while clock_timestamp() < over and exists (
        select from pg_stat_activity where pid = {heart} and application_name = '{application}'
    ) loop
        perform pg_sleep({pause_ms} / 1000.0);
        commit;
    end loop;
    {undo}
end $guard$"
    )
}

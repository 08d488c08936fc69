//! What a fault keeps open at a server from its injection to its heal: sessions, and tasks that look on.

use tokio::task::JoinHandle;

use super::{Refused, Server, Session, each, in_time};
use crate::fault::FaultContext;

/// Under which name others see a fault's sessions.
pub(in crate::fault) fn application(context: &FaultContext) -> String {
    format!("nightmail fault {}", context.id)
}

/// How many sessions of that fault the server has.
pub(in crate::fault) async fn count(context: &FaultContext, session: &Session) -> Result<u32, Refused> {
    let name = application(context);
    let sql = format!("select count(*) from pg_stat_activity where application_name = '{name}'");
    session.number(&sql).await
}

/// Waits until the server has no session of that fault any more.
pub(in crate::fault) async fn gone(context: &FaultContext, server: &Server) -> Result<(), Refused> {
    each::until(context.patience.granted, async || {
        match count(context, &server.connect().await?).await? {
            0 => Ok(()),
            count => Err(Refused::because(format!(
                "pg_stat_activity shows {count} sessions of the fault"
            ))),
        }
    })
    .await
}

/// A session that the fault holds, and the number by which the server's views show it.
#[derive(Debug)]
pub(in crate::fault) struct Holder {
    pub session: Session,
    pub pid: i32,
}

impl Holder {
    pub(in crate::fault) async fn open(context: &FaultContext, server: &Server) -> Result<Self, Refused> {
        in_time(async {
            let session = server.connect_as(&application(context), "").await?;
            let pid = session.pid().await?;
            Ok(Self { session, pid })
        })
        .await
    }
}

/// A task that ends when it is dropped.
#[derive(Debug)]
pub(in crate::fault) struct Task(pub JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

//! Whether a server lets transactions write, asked without writing anything.

use tokio_postgres::error::SqlState;

use super::{Refused, Session};

/// Writes nothing, and must be allowed to write all the same.
pub(in crate::fault) const TRIAL: &str = "delete from pg_catalog.pg_description where false";

/// Whether a session may write.
pub(in crate::fault) async fn writes(session: &Session) -> Result<(), Refused> {
    session.ask(TRIAL).await.map(drop)
}

/// That a trial was refused since transactions only read.
pub(in crate::fault) fn is_refused(tried: Result<(), Refused>, whose: &str) -> Result<(), Refused> {
    match tried {
        Err(refused) if refused.is(&SqlState::READ_ONLY_SQL_TRANSACTION) => Ok(()),
        Err(refused) => Err(refused),
        Ok(()) => Err(Refused::because(format!("{whose} still writes"))),
    }
}

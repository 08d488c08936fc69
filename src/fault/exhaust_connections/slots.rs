//! The slots that a server has for connections.

use crate::fault::postgres::{Refused, Session};

/// What a server says of its slots. Those of walsenders and of its own workers are others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Slots {
    pub(super) max: i64,
    /// Of them those kept for superusers, and since PostgreSQL 16 for others who have been granted that.
    pub(super) reserved: i64,
    pub(super) used: i64,
    /// Who asked.
    pub(super) user: String,
    pub(super) is_superuser: bool,
    /// Sessions of which the server does not tell that user whether they take a slot.
    pub(super) hidden: i64,
}

/// A setting that a server does not know is empty.
const ASK: &str = "select current_setting('max_connections'), \
    current_setting('superuser_reserved_connections')::int + \
    coalesce(nullif(current_setting('reserved_connections', true), ''), '0')::int, \
    (select count(*) from pg_stat_activity where backend_type = 'client backend'), \
    current_user, current_setting('is_superuser'), \
    (select count(*) from pg_stat_activity where backend_type is null and usesysid is not null and datid is not null)";

impl Slots {
    pub(super) async fn ask(session: &Session) -> Result<Self, Refused> {
        let row = session.row(ASK).await?;
        let read = || {
            let [
                Some(max),
                Some(reserved),
                Some(used),
                Some(user),
                Some(superuser),
                Some(hidden),
            ] = &row[..]
            else {
                return None;
            };
            Some(Self {
                max: max.parse().ok()?,
                reserved: reserved.parse().ok()?,
                used: used.parse().ok()?,
                user: user.clone(),
                is_superuser: superuser == "on",
                hidden: hidden.parse().ok()?,
            })
        };
        read().ok_or_else(|| Refused::because(format!("asked for its slots it answered {row:?}")))
    }

    /// How many are free, those kept for superusers among them or not.
    pub(super) fn free(&self, with_reserved: bool) -> i64 {
        let kept = if with_reserved { 0 } else { self.reserved };
        self.max - kept - self.used
    }

    /// `97 of 100 slots in use, 0 free for all, 3 for superusers`.
    pub(super) fn words(&self) -> String {
        let (free, for_all) = (self.free(true).max(0), self.free(false).max(0));
        let Self { max, used, .. } = self;
        format!(
            "{used} of {max} slots in use, {for_all} free for all, {} for superusers",
            free - for_all
        )
    }
}

//! `exhaust-connections`: idle sessions take the server's slots, until only so many are free.
//!
//! A server keeps some of its slots (`superuser_reserved_connections`, 3 by default) for superusers, and a service that logs in as
//! one is let in for that much longer than others. `take-reserved` takes these as well. The slots are taken at the
//! beginning, those of sessions that are just leaving among them, until a fresh connection is refused: what others let go of
//! later stays free, and the heal says how many were at the end.
//!
//! The sessions are the harness's: they go when it dies, and the server ends each when it has been idle for the fault's
//! time-to-live (`idle_session_timeout`, since PostgreSQL 14).

use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};
use tokio_postgres::error::SqlState;

use super::measured::{Measured, after};
use super::postgres::each::{self, Member};
use super::postgres::held::{self, application};
use super::postgres::{Refused, Session, in_time, setting_ms};
use super::process::TARGETS;
use super::{Fault, FaultContext, FaultError, Hold, Problem, Receipt, target};
use crate::plan::Target;
use crate::system::compose::ComposeFile;
use crate::system::definition::SystemDefinition;

mod slots;

use slots::Slots;

/// How long a server may still count a session that is leaving.
const LEAVING: Duration = Duration::from_millis(20);

/// Parameters of `exhaust-connections`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ExhaustConnections<T> {
    /// The servers: `database:primary`, `database:standby`, or members of a group with roles.
    pub targets: Vec<T>,
    /// How many slots stay free.
    #[serde(default)]
    pub leave: u32,
    /// Whether the slots that are kept for superusers count as well, which takes a superuser.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub take_reserved: bool,
}

impl<T> ExhaustConnections<T> {
    pub(super) fn map_targets<U, E>(
        &self,
        map: &mut dyn FnMut(&str, &T) -> Result<U, E>,
    ) -> Result<ExhaustConnections<U>, E> {
        Ok(ExhaustConnections {
            targets: super::map_list(TARGETS, &self.targets, map)?,
            leave: self.leave,
            take_reserved: self.take_reserved,
        })
    }
}

/// What is taken of one server.
struct Held {
    /// The first of the sessions: nobody could ask by a fresh one.
    asker: Session,
    others: Vec<Session>,
}

impl Held {
    fn count(&self) -> usize {
        1 + self.others.len()
    }
}

#[async_trait]
impl Fault for ExhaustConnections<Target> {
    fn targets(&self) -> Vec<&Target> {
        self.targets.iter().collect()
    }

    fn holds(&self) -> Option<Hold> {
        Some(Hold::Connections)
    }

    fn describe(&self) -> String {
        let (leave, names) = (self.leave, target::names(&self.targets));
        match self.take_reserved {
            true => format!("take all but {leave} connections of {names}, those kept for superusers as well"),
            false => format!("take all but {leave} ordinary connections of {names}"),
        }
    }

    fn problems(&self) -> Vec<Problem> {
        target::empty_list(TARGETS, &self.targets).into_iter().collect()
    }

    fn problems_in(&self, definition: &SystemDefinition, _compose: &ComposeFile) -> Vec<Problem> {
        each::roleless(definition, &self.targets)
    }

    async fn inject(&self, context: &FaultContext) -> Result<Receipt, FaultError> {
        let start = Instant::now();
        each::inject(context, &self.targets, |member| async move {
            match self.exhaust(context, &member).await {
                Ok((held, Ok(seen))) => {
                    let onset = Some(start.elapsed());
                    let measured = Measured::new(onset, format!("{}: {seen}{}", member.id, after(onset)));
                    (Some(held), measured)
                }
                Ok((held, Err(refused))) => (Some(held), member.unseen(refused)),
                Err(refused) => (None, member.unseen(refused)),
            }
        })
        .await
    }

    async fn heal(&self, context: &FaultContext) -> Result<Receipt, FaultError> {
        let start = Instant::now();
        each::heal(context, |member, held| async move {
            self.free(context, &member, held, start).await
        })
        .await
    }
}

impl ExhaustConnections<Target> {
    /// Takes the slots, and says by what it was seen that no more are free, or why it was not.
    async fn exhaust(
        &self,
        context: &FaultContext,
        member: &Member,
    ) -> Result<(Held, Result<String, Refused>), Refused> {
        let (name, start) = (application(context), Instant::now());
        let settings = format!("-c idle_session_timeout={}", setting_ms(context.ttl));
        let take = || in_time(member.server.connect_as(&name, &settings));
        let mut held = Held {
            asker: take().await?,
            others: Vec::new(),
        };
        let before = in_time(Slots::ask(&held.asker)).await?;
        if self.take_reserved && !before.is_superuser {
            let user = before.user;
            return Err(Refused::because(format!(
                "`{user}` is no superuser, for whom slots would be kept"
            )));
        }
        if before.hidden > 0 {
            let Slots { hidden, user, .. } = before;
            return Err(Refused::because(format!(
                "the server hides {hidden} sessions of others from `{user}`, who needs `pg_read_all_stats`; nothing was done to it"
            )));
        }
        if before.free(self.take_reserved) <= i64::from(self.leave) {
            return Err(Refused::because(format!(
                "before, {}; nothing was done to it",
                before.words()
            )));
        }
        let mut is_counted_twice = false;
        loop {
            let is_last = start.elapsed() >= context.patience.granted;
            let seen = in_time(Slots::ask(&held.asker)).await?;
            let words = seen.words();
            let spare = seen.free(self.take_reserved) - i64::from(self.leave);
            if spare > 0 && is_last {
                return Ok((held, Err(Refused::because(words))));
            }
            for _ in 0..spare {
                match take().await {
                    Ok(session) => held.others.push(session),
                    // Somebody else was quicker.
                    Err(refused) if refused.is(&SqlState::TOO_MANY_CONNECTIONS) => break,
                    Err(refused) => return Err(refused),
                }
            }
            if spare > 0 {
                is_counted_twice = false;
                continue;
            }
            // Where none may be left a fresh connection decides, for who is still counted may be leaving. Elsewhere the count
            // does, a moment later.
            let is_superusers = seen.is_superuser && !self.take_reserved && seen.reserved > 0;
            if (self.leave > 0 || is_superusers) && !is_counted_twice {
                is_counted_twice = true;
                sleep(LEAVING).await;
                continue;
            }
            if self.leave > 0 {
                return Ok((held, Ok(words)));
            }
            if is_superusers {
                return Ok((
                    held,
                    Ok(format!(
                        "{words}; a fresh connection as `{}`, a superuser, still has these, so that an ordinary one was not tried",
                        seen.user
                    )),
                ));
            }
            let user = seen.user;
            match take().await {
                Ok(session) => held.others.push(session),
                Err(refused) if refused.is(&SqlState::TOO_MANY_CONNECTIONS) => {
                    return Ok((
                        held,
                        Ok(format!("{words}; a fresh connection as `{user}` is refused (53300)")),
                    ));
                }
                Err(refused) => {
                    let why = format!("{words}; a fresh connection failed otherwise: {refused}");
                    return Ok((held, Err(Refused::because(why))));
                }
            }
            // It has let in more than it says that it has slots, or again and again.
            if is_last || held.count() as i64 > seen.max {
                let why = format!("{words}; a fresh connection as `{user}` is let in all the same");
                return Ok((held, Err(Refused::because(why))));
            }
        }
    }

    async fn free(
        &self,
        context: &FaultContext,
        member: &Member,
        held: Option<Held>,
        start: Instant,
    ) -> (bool, Measured) {
        let (mut lapsed, mut evidence) = (false, Vec::new());
        if let Some(held) = held {
            let last = in_time(async {
                let seen = Slots::ask(&held.asker).await?;
                Ok((held::count(context, &held.asker).await?, seen))
            });
            match last.await {
                Ok((count, seen)) => {
                    lapsed = (count as usize) < held.count();
                    let (all, words) = (held.count(), seen.words());
                    let gone = if lapsed {
                        ", the others were gone before the heal"
                    } else {
                        ""
                    };
                    evidence.push(format!(
                        "{}: at the end, {count} of the fault's {all} sessions{gone}; {words}",
                        member.id
                    ));
                }
                Err(refused) => {
                    lapsed = true;
                    evidence.push(format!(
                        "{}: its sessions were gone before the heal: {refused}",
                        member.id
                    ));
                }
            }
        }
        let gone = held::gone(context, &member.server).await;
        let onset = gone.is_ok().then(|| start.elapsed());
        evidence.push(match gone {
            Ok(()) => format!(
                "{}: a fresh connection is let in, and pg_stat_activity shows no session of the fault{}",
                member.id,
                after(onset)
            ),
            Err(last) => format!("{}: {last}", member.id),
        });
        (lapsed, Measured { onset, evidence })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::fault::postgres::double::{self, Double, Refusal};
    use crate::fault::test_double::{self, Disobedience, FakeSystem, targets};

    const MAX: usize = 10;
    const RESERVED: usize = 3;

    /// A server with ten slots, of which three are kept for superusers.
    #[derive(Default)]
    struct Server {
        sessions: BTreeMap<i32, String>,
        /// How many are those of others.
        others: usize,
        /// How many of them are leaving, still counted, and gone when somebody needs their slot.
        leaving: usize,
        is_superuser: bool,
        /// How many sessions of others it keeps to itself.
        hidden: usize,
        /// It lets everybody in, whatever it says.
        is_open: bool,
    }

    impl Server {
        fn used(&self) -> usize {
            self.others + self.sessions.len()
        }
    }

    impl Double for Server {
        fn begun(&mut self, session: i32, application: &str) -> Result<(), Refusal> {
            let kept = if self.is_superuser { 0 } else { RESERVED };
            if self.used() + kept >= MAX && self.leaving > 0 {
                (self.others, self.leaving) = (self.others - 1, self.leaving - 1);
            }
            if self.used() + kept >= MAX && !self.is_open {
                return Err(("53300", "sorry, too many clients already"));
            }
            self.sessions.insert(session, application.to_owned());
            Ok(())
        }

        fn answer(&mut self, _session: i32, query: &str) -> Result<Vec<String>, Refusal> {
            if query.contains("max_connections") {
                let superuser = if self.is_superuser { "on" } else { "off" };
                let numbers = [MAX, RESERVED, self.used()].map(|number| number.to_string());
                let user = ["nightmail".to_owned(), superuser.to_owned(), self.hidden.to_string()];
                return Ok([&numbers[..], &user].concat());
            }
            let of_the_fault = self.sessions.values().filter(|name| *name == "nightmail fault 7");
            Ok(vec![of_the_fault.count().to_string()])
        }

        fn ended(&mut self, session: i32) {
            self.sessions.remove(&session);
        }
    }

    async fn first(server: Server) -> (Arc<Mutex<Server>>, FaultContext) {
        let addresses = test_double::addresses();
        let server = double::listen(addresses[0].0, server).await;
        (server, FakeSystem::new(Disobedience::default(), addresses).context())
    }

    fn fault(leave: u32, take_reserved: bool) -> ExhaustConnections<Target> {
        ExhaustConnections {
            targets: targets(&[1]),
            leave,
            take_reserved,
        }
    }

    #[tokio::test]
    async fn slots_are_taken_to_the_last_that_shall_be_and_given_back() {
        for (leave, is_superuser, take_reserved, used, because) in [
            (
                0,
                false,
                false,
                7,
                "a fresh connection as `nightmail` is refused (53300)",
            ),
            (
                2,
                false,
                false,
                5,
                "5 of 10 slots in use, 2 free for all, 3 for superusers",
            ),
            (0, true, false, 7, "a superuser, still has these"),
            (
                0,
                true,
                true,
                10,
                "10 of 10 slots in use, 0 free for all, 0 for superusers; a fresh connection as `nightmail` is",
            ),
        ] {
            let (server, context) = first(Server {
                others: 2,
                is_superuser,
                ..Server::default()
            })
            .await;
            let fault = fault(leave, take_reserved);
            let on = fault.inject(&context).await.unwrap();
            assert!(on.confirmed && on.evidence[0].contains(because), "{on:?}");
            let ours = |name: &&String| *name == "nightmail fault 7";
            let taken = server.lock().unwrap().sessions.values().filter(ours).count();
            assert_eq!(taken + 2, used);
            let off = fault.heal(&context).await.unwrap();
            assert!(off.confirmed && !off.lapsed, "{off:?}");
        }
    }

    #[tokio::test]
    async fn the_slots_of_those_who_were_leaving_are_taken_too() {
        let (server, context) = first(Server {
            others: 3,
            leaving: 2,
            ..Server::default()
        })
        .await;
        let on = fault(0, false).inject(&context).await.unwrap();
        assert!(on.confirmed && on.evidence[0].contains("is refused (53300)"), "{on:?}");
        {
            let server = server.lock().unwrap();
            assert_eq!((server.sessions.len(), server.others), (6, 1));
        }
        assert!(fault(0, false).heal(&context).await.unwrap().confirmed);
    }

    #[tokio::test]
    async fn what_was_exhausted_before_or_lets_everybody_in_is_not_confirmed() {
        let full = Server {
            others: 6,
            ..Server::default()
        };
        let is_open = Server {
            is_open: true,
            ..Server::default()
        };
        let hides = Server {
            hidden: 2,
            ..Server::default()
        };
        for (server, take_reserved, because) in [
            (hides, false, "hides 2 sessions of others from `nightmail`"),
            (full, false, "before, 7 of 10 slots in use, 0 free for all"),
            (is_open, false, "is let in all the same"),
            (Server::default(), true, "`nightmail` is no superuser"),
        ] {
            let (_server, context) = first(server).await;
            let on = fault(0, take_reserved).inject(&context).await.unwrap();
            assert!(!on.confirmed && on.evidence[0].contains(because), "{on:?}");
        }
    }

    #[tokio::test]
    async fn sessions_that_are_gone_before_the_heal_have_lapsed() {
        let (server, context) = first(Server::default()).await;
        assert!(fault(0, false).inject(&context).await.unwrap().confirmed);
        server.lock().unwrap().sessions.pop_last();
        let off = fault(0, false).heal(&context).await.unwrap();
        assert!(off.confirmed && off.lapsed, "{off:?}");
    }
}

//! `read-only`: every new transaction may only read, as on a server that an administrator or a failover manager has fenced.
//!
//! It is the server's default (`default_transaction_read_only`), which sessions take up at their next transaction: those that are
//! there as well as new ones. A session that says otherwise for itself is not bound by it. The default stands in a file,
//! where it would outlive the harness: guards at the server take it out and have the file read again when the harness dies
//! or the time-to-live is over.

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::measured::{Measured, after};
use super::postgres::each::{self, Member};
use super::postgres::guard::{Guard, Undo};
use super::postgres::held::{self, Holder};
use super::postgres::writes::{is_refused, writes};
use super::postgres::{Refused, Server, in_time};
use super::process::TARGETS;
use super::{Fault, FaultContext, FaultError, Hold, Problem, Receipt, target};
use crate::plan::{Role, Target};
use crate::system::compose::ComposeFile;
use crate::system::definition::SystemDefinition;

/// Takes the default out of the file, which no block may do.
const RESET: &str = "alter system reset default_transaction_read_only";
const RELOAD: &str = "select pg_reload_conf()";
/// Has the file read when the other guard has taken the default out, for which it has some seconds.
const RELOAD_WHEN_RESET: &str = "for look in 1..500 loop
        exit when not exists (select from pg_file_settings where name = 'default_transaction_read_only' and setting = 'on');
        perform pg_sleep(0.01);
        commit;
    end loop;
    perform pg_reload_conf();";

/// Parameters of `read-only`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ReadOnly<T> {
    /// The primaries: `database:primary`, or members of a group with roles.
    pub targets: Vec<T>,
}

impl<T> ReadOnly<T> {
    pub(super) fn map_targets<U, E>(&self, map: &mut dyn FnMut(&str, &T) -> Result<U, E>) -> Result<ReadOnly<U>, E> {
        Ok(ReadOnly {
            targets: super::map_list(TARGETS, &self.targets, map)?,
        })
    }
}

/// What makes one server read-only for as long as it lasts.
struct Held {
    /// One that was there before.
    old: Holder,
    guards: [Guard; 2],
}

#[async_trait]
impl Fault for ReadOnly<Target> {
    fn targets(&self) -> Vec<&Target> {
        self.targets.iter().collect()
    }

    fn holds(&self) -> Option<Hold> {
        Some(Hold::Writes)
    }

    fn describe(&self) -> String {
        format!("make transactions of {} read-only", target::names(&self.targets))
    }

    fn problems(&self) -> Vec<Problem> {
        let nobody = target::empty_list(TARGETS, &self.targets);
        let misplaced = each::misplaced(&self.targets, Role::Standby, "which is read-only already");
        nobody.into_iter().chain(misplaced).collect()
    }

    fn problems_in(&self, definition: &SystemDefinition, _compose: &ComposeFile) -> Vec<Problem> {
        each::roleless(definition, &self.targets)
    }

    async fn inject(&self, context: &FaultContext) -> Result<Receipt, FaultError> {
        let start = Instant::now();
        each::inject(context, &self.targets, |member| async move {
            fence(context, &member, start).await
        })
        .await
    }

    async fn heal(&self, context: &FaultContext) -> Result<Receipt, FaultError> {
        let start = Instant::now();
        each::heal(context, |member, held| async move {
            unfence(context, &member, held, start).await
        })
        .await
    }
}

async fn fence(context: &FaultContext, member: &Member, start: Instant) -> (Option<Held>, Measured) {
    let server = &member.server;
    let held = async {
        let old = Holder::open(context, server).await?;
        in_time(writes(&old.session)).await?;
        let ask = "select count(*) from pg_file_settings where name = 'default_transaction_read_only'";
        let set: u32 = in_time(old.session.number(ask)).await?;
        if set > 0 {
            let why = "its configuration sets default_transaction_read_only, which the heal would lose";
            return Err(Refused::because(why.to_owned()));
        }
        let reset = Undo {
            behind: Some(RESET),
            ..Undo::default()
        };
        let reload = Undo {
            in_block: RELOAD_WHEN_RESET,
            ..Undo::default()
        };
        let guards = [
            Guard::arm(context, server, reset).await?,
            Guard::arm(context, server, reload).await?,
        ];
        Ok(Held { old, guards })
    };
    let held: Result<Held, Refused> = held.await;
    let held = match held {
        Ok(held) => held,
        Err(refused) => {
            return (
                None,
                member.unseen(format!("before, {refused}; nothing was done to it")),
            );
        }
    };
    let fenced = async {
        in_time(async {
            let session = server.connect().await?;
            session
                .ask("alter system set default_transaction_read_only = on")
                .await?;
            session.ask(RELOAD).await
        })
        .await?;
        each::until(context.patience.granted, async || {
            is_refused(writes(&server.connect().await?).await, "a fresh session")?;
            is_refused(writes(&held.old.session).await, "a session from before")
        })
        .await
    };
    let measured = match fenced.await {
        Ok(()) => {
            let onset = Some(start.elapsed());
            let seen = "a write is refused (25006), in a fresh session and in one from before";
            Measured::new(onset, format!("{}: {seen}{}", member.id, after(onset)))
        }
        Err(refused) => member.unseen(refused),
    };
    (Some(held), measured)
}

async fn unfence(context: &FaultContext, member: &Member, held: Option<Held>, start: Instant) -> (bool, Measured) {
    let server = &member.server;
    let (mut lapsed, mut evidence) = (false, Vec::new());
    let was_held = held.is_some();
    if let Some(Held { old, guards }) = held {
        let last = in_time(fresh(server)).await;
        let still = is_refused(last, "a fresh session");
        lapsed = still.is_err();
        evidence.push(match still {
            Ok(()) => format!("{}: at the end a write is refused (25006)", member.id),
            Err(seen) => format!("{}: before the heal {seen}", member.id),
        });
        drop((old, guards));
    }
    let opened = async {
        if was_held {
            in_time(async {
                let session = server.connect().await?;
                session.ask(RESET).await?;
                session.ask(RELOAD).await
            })
            .await?;
        }
        // The guards do the same, now that they are let go; they must not do so any later.
        held::gone(context, server).await?;
        each::until(context.patience.granted, || fresh(server)).await
    };
    let opened: Result<(), Refused> = opened.await;
    let onset = opened.is_ok().then(|| start.elapsed());
    evidence.push(match opened {
        Ok(()) => format!("{}: a fresh session writes{}", member.id, after(onset)),
        Err(refused) => format!("{}: {refused}", member.id),
    });
    (lapsed, Measured { onset, evidence })
}

async fn fresh(server: &Server) -> Result<(), Refused> {
    writes(&server.connect().await?).await
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::fault::postgres::double::{self, Double, Refusal};
    use crate::fault::postgres::writes::TRIAL;
    use crate::fault::test_double::{self, Disobedience, FakeSystem, targets};

    #[derive(Default)]
    struct Server {
        is_read_only: bool,
        is_set: bool,
        /// It does not read its configuration again.
        is_deaf: bool,
        /// Sessions that are there already go on as before.
        spares_the_old: bool,
        /// Sessions that wait for the end of the fault, which never comes here.
        guards: BTreeSet<i32>,
        /// The first session that it had, which is the old one.
        first: Option<i32>,
    }

    impl Double for Server {
        fn answer(&mut self, session: i32, query: &str) -> Result<Vec<String>, Refusal> {
            let is_old = *self.first.get_or_insert(session) == session;
            let value = match query {
                _ if self.guards.contains(&session) => "",
                "select pg_backend_pid()" => return Ok(vec![session.to_string()]),
                TRIAL if self.is_read_only && !(is_old && self.spares_the_old) => {
                    return Err(("25006", "cannot execute DELETE in a read-only transaction"));
                }
                "alter system set default_transaction_read_only = on" => {
                    self.is_set = true;
                    ""
                }
                RESET => {
                    self.is_set = false;
                    ""
                }
                RELOAD => {
                    if !self.is_deaf {
                        self.is_read_only = self.is_set;
                    }
                    "t"
                }
                query if query.starts_with("do $guard$") => {
                    self.guards.insert(session);
                    ""
                }
                query if query.contains("state = 'active'") => "1",
                query if query.contains("from pg_file_settings") && self.is_set => "1",
                query if query.contains("count(*)") => "0",
                _ => "",
            };
            Ok(vec![value.to_owned()])
        }
    }

    async fn first(server: Server) -> (Arc<Mutex<Server>>, FaultContext) {
        let addresses = test_double::addresses();
        let server = double::listen(addresses[0].0, server).await;
        (server, FakeSystem::new(Disobedience::default(), addresses).context())
    }

    fn fence() -> ReadOnly<Target> {
        ReadOnly { targets: targets(&[1]) }
    }

    #[tokio::test]
    async fn writes_that_are_refused_until_the_heal_are_confirmed() {
        let (server, context) = first(Server::default()).await;
        let on = fence().inject(&context).await.unwrap();
        assert!(
            on.confirmed && on.evidence[0].contains("a write is refused (25006)"),
            "{on:?}"
        );
        assert_eq!(server.lock().unwrap().guards.len(), 2);
        let off = fence().heal(&context).await.unwrap();
        assert!(off.confirmed && !off.lapsed, "{off:?}");
        assert!(!server.lock().unwrap().is_set);
    }

    #[tokio::test]
    async fn a_server_that_goes_on_or_was_read_only_before_is_not_confirmed() {
        let is_deaf = Server {
            is_deaf: true,
            ..Server::default()
        };
        let spares_the_old = Server {
            spares_the_old: true,
            ..Server::default()
        };
        let is_read_only = Server {
            is_read_only: true,
            ..Server::default()
        };
        let is_set = Server {
            is_set: true,
            ..Server::default()
        };
        for (server, because) in [
            (is_deaf, "a fresh session still writes"),
            (spares_the_old, "a session from before still writes"),
            (is_read_only, "read-only transaction; nothing was done to it"),
            (is_set, "which the heal would lose; nothing was done to it"),
        ] {
            let (_server, context) = first(server).await;
            let on = fence().inject(&context).await.unwrap();
            assert!(!on.confirmed && on.evidence[0].contains(because), "{on:?}");
        }
    }

    #[tokio::test]
    async fn one_that_somebody_opens_has_lapsed_and_one_that_stays_closed_is_not_healed() {
        let (server, context) = first(Server::default()).await;
        fence().inject(&context).await.unwrap();
        server.lock().unwrap().is_read_only = false;
        let off = fence().heal(&context).await.unwrap();
        assert!(off.confirmed && off.lapsed, "{off:?}");

        let (server, context) = first(Server::default()).await;
        fence().inject(&context).await.unwrap();
        server.lock().unwrap().is_deaf = true;
        let off = fence().heal(&context).await.unwrap();
        assert!(!off.confirmed && !off.lapsed, "{off:?}");
    }
}

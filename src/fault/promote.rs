//! `promote`: a standby of a group with roles is asked to become a primary. It is never undone: the heal says whether it still
//! is one.
//!
//! The server's own answer to `pg_promote` counts for nothing. It is a primary once a fresh connection finds that it is not in
//! recovery and accepts a transaction that writes.

use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use super::measured::{Measured, ms, nothing_to_heal, receipt};
use super::postgres::each::{self, Member, PAUSE};
use super::postgres::{Refused, Server, in_time};
use super::process::TARGETS;
use super::{Fault, FaultContext, FaultError, Hold, Problem, Receipt, target};
use crate::plan::{ReplicaId, Role, Target};
use crate::system::compose::ComposeFile;
use crate::system::definition::SystemDefinition;

/// Parameters of `promote`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Promote<T> {
    /// The standbys: `database:standby`, or a member of a group with roles.
    pub targets: Vec<T>,
}

impl<T> Promote<T> {
    pub(super) fn map_targets<U, E>(&self, map: &mut dyn FnMut(&str, &T) -> Result<U, E>) -> Result<Promote<U>, E> {
        Ok(Promote {
            targets: super::map_list(TARGETS, &self.targets, map)?,
        })
    }
}

#[async_trait]
impl Fault for Promote<Target> {
    fn targets(&self) -> Vec<&Target> {
        self.targets.iter().collect()
    }

    fn holds(&self) -> Option<Hold> {
        Some(Hold::Role)
    }

    fn is_undone(&self) -> bool {
        false
    }

    fn describe(&self) -> String {
        format!("promote {}", target::names(&self.targets))
    }

    fn problems(&self) -> Vec<Problem> {
        let nobody = target::empty_list(TARGETS, &self.targets);
        let misplaced = each::misplaced(&self.targets, Role::Primary, "which has nothing to become");
        nobody.into_iter().chain(misplaced).collect()
    }

    fn problems_in(&self, definition: &SystemDefinition, _compose: &ComposeFile) -> Vec<Problem> {
        each::roleless(definition, &self.targets)
    }

    async fn inject(&self, context: &FaultContext) -> Result<Receipt, FaultError> {
        let start = Instant::now();
        let replicas = target::resolve(&*context.system, &self.targets).await?;
        let members: Vec<Member> = replicas
            .iter()
            .map(|id| Member::of(context, id))
            .collect::<Result<_, _>>()?;
        context.acted.remember(TARGETS, &replicas);
        let promoted = join_all(members.iter().map(|Member { id, server }| {
            let limit = context.patience.promoted;
            promote(id, server, start, limit)
        }));
        Ok(receipt(&replicas, promoted.await))
    }

    async fn heal(&self, context: &FaultContext) -> Result<Receipt, FaultError> {
        let replicas = context.acted.list(TARGETS);
        if replicas.is_empty() {
            return Ok(nothing_to_heal());
        }
        let members: Vec<Member> = replicas
            .iter()
            .map(|id| Member::of(context, id))
            .collect::<Result<_, _>>()?;
        let start = Instant::now();
        let looked = join_all(members.iter().map(async |Member { id, server }| {
            match until_primary(server, start, context.patience.ready).await {
                Ok(onset) => Measured::new(
                    Some(onset),
                    format!("{id}: nothing is undone; it still accepts writes on a fresh connection"),
                ),
                Err(last) => Measured::new(
                    None,
                    format!(
                        "{id}: does not accept writes, {} after it was first asked: {last}",
                        ms(start.elapsed())
                    ),
                ),
            }
        }));
        Ok(receipt(&replicas, looked.await))
    }
}

/// Asks for the promotion of what is a standby, and waits until it shows.
async fn promote(id: &ReplicaId, server: &Server, start: Instant, limit: Duration) -> Measured {
    if let Err(reason) = ask(server).await {
        return Measured::new(None, format!("{id}: {reason}"));
    }
    let told = Instant::now();
    match until_primary(server, told, limit).await {
        Ok(_) => {
            let onset = start.elapsed();
            let seen = format!(
                "{id}: in recovery before; not any more, and accepts a write transaction on a fresh connection"
            );
            Measured::new(Some(onset), format!("{seen} after {}", ms(onset)))
        }
        Err(last) => Measured::new(
            None,
            format!("{id}: {} after it was told to promote: {last}", ms(limit)),
        ),
    }
}

/// Asks for the promotion of what is a standby, and does not wait for it.
pub(super) async fn ask(server: &Server) -> Result<(), Refused> {
    in_time(async {
        let session = server.connect().await?;
        if !session.is_in_recovery().await? {
            let not = "was no standby before (not in recovery), nothing was asked of it";
            return Err(Refused::because(not.to_owned()));
        }
        let promoted = session.promote().await;
        promoted.map_err(|reason| Refused::because(format!("would not be promoted: {reason}")))
    })
    .await
}

/// How long after `start` it was a primary, or what it said last.
pub(super) async fn until_primary(server: &Server, start: Instant, limit: Duration) -> Result<Duration, Refused> {
    loop {
        let is_primary = async {
            let session = server.connect().await?;
            if session.is_in_recovery().await? {
                return Err(Refused::because("still in recovery".to_owned()));
            }
            session.accepts_writes().await
        };
        match in_time(is_primary).await {
            Ok(()) => return Ok(start.elapsed()),
            Err(last) if start.elapsed() >= limit => return Err(last),
            Err(_) => sleep(PAUSE).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::postgres::double::{self, State};
    use crate::fault::test_double::{self, Disobedience, FakeSystem, targets};

    const STANDBY: State = State {
        in_recovery: true,
        stays: false,
        refuses: false,
        only_reads: false,
    };

    /// A group whose first member is gone, and whose second is this.
    async fn second(state: State) -> (std::sync::Arc<std::sync::Mutex<State>>, FaultContext) {
        let addresses = test_double::addresses();
        let server = double::listen(addresses[1].0, state).await;
        (server, FakeSystem::new(Disobedience::default(), addresses).context())
    }

    fn promote(targets: Vec<Target>) -> Promote<Target> {
        Promote { targets }
    }

    fn by_role(role: Role) -> Vec<Target> {
        vec![Target::Role {
            group: "database".to_owned(),
            role,
            members: vec![test_double::id(1), test_double::id(2)],
        }]
    }

    #[tokio::test]
    async fn a_standby_becomes_a_primary_though_the_old_one_is_dead() {
        let (server, context) = second(STANDBY).await;
        let promote = promote(by_role(Role::Standby));
        let on = promote.inject(&context).await.unwrap();
        assert!(on.confirmed && on.onset_us.is_some(), "{on:?}");
        assert_eq!(on.replicas, ["api-2"]);
        assert!(!server.lock().unwrap().in_recovery);
        let off = promote.heal(&context).await.unwrap();
        assert!(off.confirmed && !off.lapsed, "{off:?}");
        assert!(off.evidence[0].contains("still accepts writes"), "{off:?}");
    }

    #[tokio::test]
    async fn what_is_no_standby_or_does_not_become_a_primary_is_not_confirmed() {
        let primary = State::default();
        let stays = State { stays: true, ..STANDBY };
        let refuses = State {
            refuses: true,
            ..STANDBY
        };
        let only_reads = State {
            only_reads: true,
            ..STANDBY
        };
        for (state, because) in [
            (primary, "was no standby before"),
            (stays, "still in recovery"),
            (refuses, "permission denied for function pg_promote"),
            (only_reads, "cannot assign TransactionIds"),
        ] {
            let (_server, context) = second(state).await;
            let on = promote(targets(&[2])).inject(&context).await.unwrap();
            assert!(!on.confirmed && on.onset_us.is_none(), "{on:?}");
            assert!(on.evidence[0].contains(because), "{on:?}");
        }
    }

    #[tokio::test]
    async fn what_stops_accepting_writes_is_not_confirmed_at_the_end() {
        let (server, context) = second(STANDBY).await;
        let promote = promote(targets(&[2]));
        assert!(promote.inject(&context).await.unwrap().confirmed);
        server.lock().unwrap().in_recovery = true;
        let off = promote.heal(&context).await.unwrap();
        assert!(
            !off.confirmed && off.evidence[0].contains("still in recovery"),
            "{off:?}"
        );
    }

    #[tokio::test]
    async fn nobody_in_the_role_is_an_error_and_nothing_to_heal() {
        let (_server, context) = second(State::default()).await;
        let promote = promote(by_role(Role::Standby));
        let error = promote.inject(&context).await.unwrap_err().to_string();
        assert!(
            error.contains("api-1 did not answer") && error.contains("api-2 is primary"),
            "{error}"
        );
        assert!(promote.heal(&context).await.unwrap().confirmed);
    }

    #[test]
    fn a_primary_has_nothing_to_become() {
        assert_eq!(promote(by_role(Role::Primary)).problems()[0].path, "targets[0]");
        assert_eq!(promote(by_role(Role::Standby)).problems(), []);
    }
}

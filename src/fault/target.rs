//! Targets: naming them, finding who they are at the moment of injection, and remembering whom a fault acted on.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{FaultError, Problem, postgres};
use crate::plan::{ReplicaId, Role, Target};
use crate::system::definition::Roles;
use crate::system::engine::RunningSystem;
use futures_util::future::join_all;

/// How long a member of a group may take to say which role it has.
const ROLE_TIMEOUT: Duration = Duration::from_secs(2);

/// The replicas a fault acted on, by the list of its parameters (`targets`, `from`, `to`) that named them, and what was
/// measured of their links before, and what holds it up there. Shared by the clones of a context.
#[derive(Debug, Clone, Default)]
pub struct Acted(Arc<Mutex<Remembered>>);

#[derive(Debug, Default)]
struct Remembered {
    lists: BTreeMap<&'static str, Vec<ReplicaId>>,
    round_trips: BTreeMap<String, Duration>,
    held: BTreeMap<ReplicaId, Box<dyn Any + Send>>,
}

impl Acted {
    fn remembered(&self) -> MutexGuard<'_, Remembered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers them, before the fault acts.
    pub(super) fn remember(&self, list: &'static str, replicas: &[ReplicaId]) {
        self.remembered().lists.insert(list, replicas.to_vec());
    }

    /// Whom the fault acted on through that list; empty if it never got so far.
    pub fn list(&self, list: &str) -> Vec<ReplicaId> {
        self.remembered().lists.get(list).cloned().unwrap_or_default()
    }

    /// Remembers what a round trip on a path took before the fault acted.
    pub(super) fn remember_round_trip(&self, path: &str, took: Duration) {
        self.remembered().round_trips.insert(path.to_owned(), took);
    }

    /// Keeps what holds the fault up at a replica; it ends there when this is dropped.
    pub(super) fn hold(&self, replica: &ReplicaId, held: Box<dyn Any + Send>) {
        self.remembered().held.insert(replica.clone(), held);
    }

    /// Gives back what holds the fault up at a replica, if anything does.
    pub(super) fn let_go(&self, replica: &ReplicaId) -> Option<Box<dyn Any + Send>> {
        self.remembered().held.remove(replica)
    }

    /// What a round trip on a path took before the fault acted, if that was measured.
    pub(super) fn round_trip(&self, path: &str) -> Option<Duration> {
        self.remembered().round_trips.get(path).copied()
    }
}

/// `postage-api-1, postage-api-2, primary of database`.
pub(super) fn names(targets: &[Target]) -> String {
    let mut names = Vec::new();
    for target in targets {
        match target {
            Target::Replicas(replicas) => names.extend(replicas.iter().map(ToString::to_string)),
            Target::Role { group, role, .. } => names.push(format!("{} of {group}", role_name(*role))),
        }
    }
    names.join(", ")
}

/// An empty list of targets is a problem: a fault on nobody proves nothing.
pub(super) fn empty_list(list: &str, targets: &[Target]) -> Option<Problem> {
    targets.is_empty().then(|| Problem {
        path: list.to_owned(),
        message: "names no target".to_owned(),
        hint: "name at least one service of the system".to_owned(),
    })
}

/// How many replicas targets mean: of a role, one has it.
pub(super) fn count(targets: &[Target]) -> usize {
    let count = |target: &Target| match target {
        Target::Replicas(ids) => ids.len(),
        Target::Role { .. } => 1,
    };
    targets.iter().map(count).sum()
}

/// Targets that mean more than the one primary that a fault can act on; `why` follows their number.
pub(super) fn several(list: &str, targets: &[Target], why: &str) -> Option<Problem> {
    let count = count(targets);
    (count > 1).then(|| Problem {
        path: list.to_owned(),
        message: format!("mean {count} replicas, and {why}"),
        hint: "name the primary alone, such as `database:primary`".to_owned(),
    })
}

/// Targets of `to` that share a replica or a role with `from`: nobody can be cut off from itself.
pub(super) fn overlaps(from: &[Target], to: &[Target]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (index, target) in to.iter().enumerate() {
        let shared: BTreeSet<String> = from.iter().flat_map(|other| shared(other, target)).collect();
        if !shared.is_empty() {
            let shared = shared.into_iter().collect::<Vec<_>>().join(", ");
            problems.push(Problem {
                path: format!("to[{index}]"),
                message: format!("{shared} is in both `from` and `to`"),
                hint: "nothing can be separated from itself: keep it in one of the two lists".to_owned(),
            });
        }
    }
    problems
}

fn shared(one: &Target, other: &Target) -> Vec<String> {
    match (one, other) {
        (Target::Replicas(ones), Target::Replicas(others)) => ones
            .iter()
            .filter(|id| others.contains(id))
            .map(ToString::to_string)
            .collect(),
        (
            Target::Role { group, role, .. },
            Target::Role {
                group: other_group,
                role: other_role,
                ..
            },
        ) if group == other_group && role == other_role => {
            vec![format!("{} of {group}", role_name(*role))]
        }
        _ => Vec::new(),
    }
}

/// Who the targets are now, each once, in their order.
pub(super) async fn resolve(system: &dyn RunningSystem, targets: &[Target]) -> Result<Vec<ReplicaId>, FaultError> {
    let mut found = Vec::new();
    for target in targets {
        let replicas = match target {
            Target::Replicas(replicas) => replicas.clone(),
            Target::Role { group, role, members } => ask_role(system, group, *role, members).await?,
        };
        for id in replicas {
            system.replica(&id)?;
            if !found.contains(&id) {
                found.push(id);
            }
        }
    }
    Ok(found)
}

async fn ask_role(
    system: &dyn RunningSystem,
    group: &str,
    role: Role,
    members: &[ReplicaId],
) -> Result<Vec<ReplicaId>, FaultError> {
    let no_target = |reason: String| FaultError::NoTarget {
        role: role_name(role).to_owned(),
        members: members.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        reason,
    };
    let roles = system
        .definition()
        .groups
        .get(group)
        .and_then(|group| group.roles.as_ref());
    let Some(roles) = roles else {
        return Err(no_target(format!("`groups.{group}.roles` does not say how to ask")));
    };
    let answers = join_all(members.iter().map(|id| ask_member(system, roles, id))).await;
    let matching: Vec<ReplicaId> = members
        .iter()
        .zip(&answers)
        .filter(|(_, answer)| answer.as_ref() == Ok(&role))
        .map(|(id, _)| id.clone())
        .collect();
    let told: Vec<String> = members
        .iter()
        .zip(answers)
        .map(|(id, answer)| match answer {
            Ok(role) => format!("{id} is {}", role_name(role)),
            Err(reason) => format!("{id} did not answer ({reason})"),
        })
        .collect();
    match (role, matching.len()) {
        (_, 0) => Err(no_target(told.join("; "))),
        (Role::Primary, 2..) => Err(no_target(format!("there is more than one: {}", told.join("; ")))),
        _ => Ok(matching),
    }
}

async fn ask_member(system: &dyn RunningSystem, roles: &Roles, id: &ReplicaId) -> Result<Role, String> {
    let address = system.replica(id).map_err(|error| error.to_string())?.address;
    let server = postgres::Server::of(roles, address);
    match tokio::time::timeout(ROLE_TIMEOUT, ask_postgres(&server)).await {
        Ok(answer) => answer.map_err(String::from),
        Err(_) => Err(format!("nothing within {} s", ROLE_TIMEOUT.as_secs())),
    }
}

/// The role of that server. `connect_timeout` would not cover a server that accepts and hangs, so the caller
/// bounds the whole.
async fn ask_postgres(server: &postgres::Server) -> Result<Role, postgres::Refused> {
    match server.connect().await?.is_in_recovery().await? {
        true => Ok(Role::Standby),
        false => Ok(Role::Primary),
    }
}

fn role_name(role: Role) -> &'static str {
    match role {
        Role::Primary => "primary",
        Role::Standby => "standby",
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;
    use crate::fault::postgres::double;
    use crate::fault::test_double::{self, Disobedience, FakeSystem};

    fn replicas(ids: &[(&str, u32)]) -> Target {
        Target::Replicas(
            ids.iter()
                .map(|(service, index)| ReplicaId {
                    service: (*service).to_owned(),
                    index: *index,
                })
                .collect(),
        )
    }

    #[test]
    fn a_replica_in_both_lists_is_named_where_it_stands() {
        let from = [replicas(&[("db", 1)])];
        let to = [replicas(&[("api", 1)]), replicas(&[("db", 1), ("db", 2)])];
        let problems = overlaps(&from, &to);
        assert_eq!(problems.len(), 1);
        assert_eq!(problems[0].path, "to[1]");
        assert!(
            problems[0].message.starts_with("db-1 is in both"),
            "{}",
            problems[0].message
        );
    }

    #[test]
    fn the_same_role_overlaps_and_another_role_does_not() {
        let role = |role| Target::Role {
            group: "database".to_owned(),
            role,
            members: Vec::new(),
        };
        assert_eq!(overlaps(&[role(Role::Primary)], &[role(Role::Primary)]).len(), 1);
        assert!(overlaps(&[role(Role::Primary)], &[role(Role::Standby)]).is_empty());
    }

    #[derive(Clone, Copy)]
    enum Server {
        InRecovery(bool),
        Silent,
        Absent,
    }

    /// Accepts, and never answers.
    async fn hang(listener: TcpListener) {
        let mut held = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            held.push(stream);
        }
    }

    /// Who has that role in a group of two such servers.
    async fn ask(servers: [Server; 2], role: Role) -> Result<Vec<ReplicaId>, FaultError> {
        let agents = test_double::addresses();
        for (agent, server) in agents.iter().zip(servers) {
            match server {
                Server::InRecovery(in_recovery) => {
                    let state = double::State {
                        in_recovery,
                        ..double::State::default()
                    };
                    double::listen(agent.0, state).await;
                }
                Server::Silent => {
                    let at = (agent.0, test_double::POSTGRES_PORT);
                    tokio::spawn(hang(TcpListener::bind(at).await.unwrap()));
                }
                Server::Absent => {}
            }
        }
        let system = FakeSystem::new(Disobedience::default(), agents);
        let members = vec![test_double::id(1), test_double::id(2)];
        resolve(
            &*system,
            &[Target::Role {
                group: "database".to_owned(),
                role,
                members,
            }],
        )
        .await
    }

    #[tokio::test]
    async fn a_role_is_whoever_says_so_now() {
        let servers = [Server::InRecovery(true), Server::InRecovery(false)];
        assert_eq!(ask(servers, Role::Primary).await.unwrap(), [test_double::id(2)]);
        assert_eq!(ask(servers, Role::Standby).await.unwrap(), [test_double::id(1)]);
        let one_left = [Server::Absent, Server::InRecovery(false)];
        assert_eq!(ask(one_left, Role::Primary).await.unwrap(), [test_double::id(2)]);
    }

    #[tokio::test]
    async fn a_role_that_nobody_has_is_an_error_with_what_each_said() {
        let error = ask([Server::InRecovery(true), Server::Absent], Role::Primary)
            .await
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("no primary among api-1, api-2: api-1 is standby; api-2 did not answer"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_server_that_accepts_and_hangs_does_not_hang_the_run() {
        let error = ask([Server::Silent, Server::InRecovery(true)], Role::Primary)
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains("api-1 did not answer (nothing within 2 s)"), "{error}");
    }

    #[tokio::test]
    async fn two_primaries_are_not_a_target() {
        let error = ask([Server::InRecovery(false); 2], Role::Primary)
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains("there is more than one"), "{error}");
    }

    #[test]
    fn clones_of_a_memory_share_it() {
        let acted = Acted::default();
        let id = ReplicaId {
            service: "api".to_owned(),
            index: 1,
        };
        acted.clone().remember("targets", std::slice::from_ref(&id));
        assert_eq!(acted.list("targets"), [id]);
        assert!(acted.list("from").is_empty());
    }
}

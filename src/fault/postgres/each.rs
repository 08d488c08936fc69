//! What the faults of databases have in common: their targets are members of groups with roles, each is acted on by itself,
//! and what is held there is let go by the heal.

use std::any::Any;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, sleep};

use super::{Refused, Server, in_time};
use crate::diagnostic::list;
use crate::fault::measured::{Measured, nothing_to_heal, receipt};
use crate::fault::process::TARGETS;
use crate::fault::{FaultContext, FaultError, Problem, Receipt, target};
use crate::plan::{ReplicaId, Role, Target};
use crate::system::definition::{Roles, SystemDefinition};

/// The pause between two looks.
pub(in crate::fault) const PAUSE: Duration = Duration::from_millis(5);

/// A member of a group with roles, and how it is asked.
#[derive(Debug, Clone)]
pub(in crate::fault) struct Member {
    pub id: ReplicaId,
    pub server: Server,
}

impl Member {
    /// The replica, which must be in a group that says how it is asked.
    pub(in crate::fault) fn of(context: &FaultContext, id: &ReplicaId) -> Result<Self, FaultError> {
        let roles = roles_of(context.system.definition(), id).ok_or_else(|| FaultError::Unfit {
            replica: id.to_string(),
            reason: "it is in no group that says how to ask for roles".to_owned(),
        })?;
        Ok(Self {
            id: id.clone(),
            server: Server::of(roles, context.system.replica(id)?.address),
        })
    }

    /// What was not seen there.
    pub(in crate::fault) fn unseen(&self, why: impl std::fmt::Display) -> Measured {
        Measured::new(None, format!("{}: {why}", self.id))
    }
}

/// The other members of the group with roles that a replica is in, in their order.
pub(in crate::fault) fn others(context: &FaultContext, id: &ReplicaId) -> Vec<Member> {
    let mut groups = context.system.definition().groups.values();
    let group = groups.find(|group| group.roles.is_some() && group.services.contains(&id.service));
    let Some(group) = group else { return Vec::new() };
    let replicas = context.system.replicas().iter().map(|replica| &replica.id);
    let others = replicas.filter(|other| *other != id && group.services.contains(&other.service));
    others.filter_map(|other| Member::of(context, other).ok()).collect()
}

/// How a service's role is asked for, if it is in a group that says so.
pub(in crate::fault) fn roles_of<'a>(definition: &'a SystemDefinition, id: &ReplicaId) -> Option<&'a Roles> {
    let mut groups = definition
        .groups
        .values()
        .filter(|group| group.services.contains(&id.service));
    groups.find_map(|group| group.roles.as_ref())
}

/// Targets that are in no group with roles.
pub(in crate::fault) fn roleless(definition: &SystemDefinition, targets: &[Target]) -> Vec<Problem> {
    roleless_of(definition, TARGETS, targets)
}

/// Those of the parameter `list`.
pub(in crate::fault) fn roleless_of(
    definition: &SystemDefinition,
    list_name: &str,
    targets: &[Target],
) -> Vec<Problem> {
    let roleless = |target: &Target| match target {
        Target::Replicas(ids) => ids.iter().find(|id| roles_of(definition, id).is_none()).cloned(),
        Target::Role { .. } => None,
    };
    let groups = || {
        let with_roles = definition.groups.iter().filter(|(_, group)| group.roles.is_some());
        list(with_roles.map(|(name, _)| name.as_str()))
    };
    let problem = |(index, target)| {
        let id = roleless(target)?;
        Some(Problem {
            path: format!("{list_name}[{index}]"),
            message: format!(
                "means {id}, which is in no group with roles (groups with roles: {})",
                groups()
            ),
            hint: format!(
                "say in system.yaml how to ask it: `groups: {{NAME: {{services: [{}, ...], roles: ...}}}}`",
                id.service
            ),
        })
    };
    targets.iter().enumerate().filter_map(problem).collect()
}

/// Targets named by a role in which the fault makes no sense. `why` ends `is the <role> of <group>, `.
pub(in crate::fault) fn misplaced(targets: &[Target], role: Role, why: &str) -> Vec<Problem> {
    let (is, other) = match role {
        Role::Primary => ("primary", "standby"),
        Role::Standby => ("standby", "primary"),
    };
    let problem = |(index, target): (usize, &Target)| match target {
        Target::Role { group, role: found, .. } if *found == role => Some(Problem {
            path: format!("{TARGETS}[{index}]"),
            message: format!("is the {is} of `{group}`, {why}"),
            hint: format!("write `{group}:{other}`"),
        }),
        _ => None,
    };
    targets.iter().enumerate().filter_map(problem).collect()
}

/// Acts on each target by itself. What `act` returns beside the measurement is held until the heal.
pub(in crate::fault) async fn inject<H, F>(
    context: &FaultContext,
    targets: &[Target],
    mut act: impl FnMut(Member) -> F,
) -> Result<Receipt, FaultError>
where
    H: Any + Send,
    F: Future<Output = (Option<H>, Measured)>,
{
    let replicas = target::resolve(&*context.system, targets).await?;
    let members: Vec<Member> = replicas
        .iter()
        .map(|id| Member::of(context, id))
        .collect::<Result<_, _>>()?;
    context.acted.remember(TARGETS, &replicas);
    let mut measured = Vec::new();
    for (id, (held, part)) in replicas.iter().zip(join_all(members.into_iter().map(&mut act)).await) {
        if let Some(held) = held {
            context.acted.hold(id, Box::new(held));
        }
        measured.push(part);
    }
    Ok(receipt(&replicas, measured))
}

/// Mends each replica that was acted on, given what was held there; `mend` says also whether the fault had ended before.
pub(in crate::fault) async fn heal<H, F>(
    context: &FaultContext,
    mut mend: impl FnMut(Member, Option<H>) -> F,
) -> Result<Receipt, FaultError>
where
    H: Any + Send,
    F: Future<Output = (bool, Measured)>,
{
    let replicas = context.acted.list(TARGETS);
    if replicas.is_empty() {
        return Ok(nothing_to_heal());
    }
    let mending: Vec<F> = replicas
        .iter()
        .map(|id| {
            let held = context.acted.let_go(id).and_then(|held| held.downcast::<H>().ok());
            Ok(mend(Member::of(context, id)?, held.map(|held| *held)))
        })
        .collect::<Result<_, FaultError>>()?;
    let (lapsed, mended): (Vec<bool>, Vec<Measured>) = join_all(mending).await.into_iter().unzip();
    Ok(Receipt {
        lapsed: lapsed.contains(&true),
        ..receipt(&replicas, mended)
    })
}

/// Asks until the answer is there, each time within the time of a question; after `limit` the last refusal.
pub(in crate::fault) async fn until<T, F>(limit: Duration, mut ask: impl FnMut() -> F) -> Result<T, Refused>
where
    F: Future<Output = Result<T, Refused>>,
{
    let start = Instant::now();
    loop {
        match in_time(ask()).await {
            Ok(answer) => return Ok(answer),
            Err(last) if start.elapsed() >= limit => return Err(last),
            Err(_) => sleep(PAUSE).await,
        }
    }
}

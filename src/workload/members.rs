//! The members of a group with roles, and which of them has a role now.

use std::net::Ipv4Addr;
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::time::Instant;
use tokio_postgres::Config;

use super::WorkloadError;
use super::session::Session;
use crate::plan::Role;
use crate::system::definition::Roles;
use crate::system::postgres;

/// How long a member may take to say which role it has.
pub(super) const ANSWER: Duration = Duration::from_secs(5);

/// A member of a group, and how to reach it.
#[derive(Debug, Clone)]
pub(super) struct Member {
    /// As in the history: service and number.
    pub(super) name: String,
    pub(super) config: Config,
}

/// Every replica of these services, which are where `addresses` says.
pub(super) fn members<'a>(
    services: &[String],
    roles: &Roles,
    addresses: impl Fn(&str) -> Option<&'a [Ipv4Addr]>,
) -> Result<Vec<Member>, WorkloadError> {
    let mut members = Vec::new();
    for service in services {
        let known = addresses(service).filter(|known| !known.is_empty());
        let known = known.ok_or_else(|| WorkloadError::NoAddress {
            service: service.clone(),
        })?;
        members.extend(known.iter().zip(1..).map(|(address, number)| Member {
            name: format!("{service}-{number}"),
            config: postgres::config(roles, *address),
        }));
    }
    Ok(members)
}

/// The one member that is not in recovery, or the first that is. Once one with the role has answered, the others have
/// `grace` to answer, too: one that hangs must not hold up what is asked of another. Of several that are not in recovery, those
/// are left out on which transactions only read by default: servers that are closed, since another took their place or before
/// they take it. The error tells what each said.
pub(super) async fn with_role(members: &[Member], role: Role, grace: Duration) -> Result<(&Member, Session), String> {
    let (mut primaries, mut standbys, mut told) = (Vec::new(), Vec::new(), Vec::new());
    let answers = answers(members, role, grace).await;
    for (member, answer) in members.iter().zip(answers) {
        match answer {
            Some(Ok((true, session))) => {
                told.push(format!("{} is a standby", member.name));
                standbys.push((member, session));
            }
            Some(Ok((false, session))) => {
                told.push(format!("{} is a primary", member.name));
                primaries.push((member, session));
            }
            Some(Err(reason)) => told.push(format!("{} did not answer ({reason})", member.name)),
            None => told.push(format!("{} did not answer", member.name)),
        }
    }
    let told = told.join("; ");
    let mut are_all_closed = false;
    if primaries.len() > 1 {
        primaries = open(primaries).await;
        are_all_closed = primaries.is_empty();
    }
    match role {
        Role::Primary if primaries.len() > 1 => Err(format!("there is more than one primary: {told}")),
        Role::Primary if are_all_closed => Err(format!("there is no primary that is open: {told}")),
        Role::Primary => primaries.pop().ok_or_else(|| format!("there is no primary: {told}")),
        Role::Standby => standbys
            .into_iter()
            .next()
            .ok_or_else(|| format!("there is no standby: {told}")),
    }
}

/// Those on which transactions may write by default, or that do not say.
async fn open(primaries: Vec<(&Member, Session)>) -> Vec<(&Member, Session)> {
    let asked = primaries.into_iter().map(async |(member, session)| {
        let only_reads = tokio::time::timeout(ANSWER, session.only_reads()).await;
        (!matches!(only_reads, Ok(Ok(true)))).then_some((member, session))
    });
    join_all(asked).await.into_iter().flatten().collect()
}

/// Whether a member is in recovery, and the session that told it.
type Answer = Result<(bool, Session), String>;

/// What each member says in its time.
async fn answers(members: &[Member], role: Role, grace: Duration) -> Vec<Option<Answer>> {
    let mut answers: Vec<Option<Answer>> = members.iter().map(|_| None).collect();
    let asked = members.iter().enumerate().map(|(place, member)| async move {
        let answer = async {
            let session = Session::open(&member.config).await?;
            Ok((session.is_in_recovery().await?, session))
        };
        (place, answer.await)
    });
    let mut asked: FuturesUnordered<_> = asked.collect();
    let mut deadline = Instant::now() + ANSWER;
    while let Ok(Some((place, answer))) = tokio::time::timeout_at(deadline, asked.next()).await {
        let is_found = matches!(&answer, Ok((in_recovery, _)) if *in_recovery == (role == Role::Standby));
        if is_found {
            deadline = deadline.min(Instant::now() + grace);
        }
        answers[place] = Some(answer);
    }
    answers
}

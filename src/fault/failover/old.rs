//! What becomes of the old primary.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::By;
use crate::fault::measured::{Measured, ms, receipt};
use crate::fault::postgres::each::{Member, PAUSE};
use crate::fault::postgres::{Refused, in_time};
use crate::fault::process::{self, Halt};
use crate::fault::{FaultContext, FaultError, Receipt, network};
use crate::plan::{ReplicaId, Target};

/// What a member is.
enum Is {
    /// It streams from that host.
    Follower(String),
    /// It is in recovery, and streams from nobody.
    Idle,
    /// It is not in recovery.
    Primary,
}

/// Says what it is once it has settled. Nobody changes what the operator leaves as it is, while a manager has `patience`.
pub(super) async fn whereabouts(member: &Member, by: By, start: Instant, patience: Duration) -> String {
    let id = &member.id;
    let deadline = Instant::now() + patience;
    loop {
        let found = in_time(ask(member)).await;
        let over = Instant::now() >= deadline;
        match found {
            Ok(Is::Follower(host)) => {
                return format!("{id}: follows {host} ({} after the command)", ms(start.elapsed()));
            }
            Ok(Is::Primary) if over || by == By::Operator => {
                return format!("{id}: is not in recovery: a second primary, unless somebody stops it");
            }
            Ok(Is::Idle) if over => return format!("{id}: in recovery, and follows nobody"),
            Err(refused) if over => return format!("{id}: does not say what it is: {refused}"),
            Ok(Is::Primary | Is::Idle) | Err(_) => sleep(PAUSE).await,
        }
    }
}

async fn ask(member: &Member) -> Result<Is, Refused> {
    let session = member.server.connect().await?;
    if !session.is_in_recovery().await? {
        return Ok(Is::Primary);
    }
    let sender = "select sender_host from pg_stat_wal_receiver where status = 'streaming'";
    Ok(session.ask(sender).await?.map_or(Is::Idle, Is::Follower))
}

/// Kills what is cut off before anybody reaches it again, opens the way, and starts it.
pub(super) async fn restart(context: &FaultContext, old: &ReplicaId) -> Result<Receipt, FaultError> {
    let target = [Target::Replicas(vec![old.clone()])];
    let killed = process::inject(context, &target, Halt::Kill).await;
    // Whatever went wrong before, it is neither left cut off nor dead.
    let opened = network::heal(context, true, None).await;
    let started = process::heal(context, Halt::Kill).await;
    let parts = [killed?, opened?, started?];
    let confirmed = parts.iter().all(|part| part.confirmed);
    let onset_us = parts.iter().filter_map(|part| part.onset_us).sum();
    Ok(Receipt {
        confirmed,
        onset_us: confirmed.then_some(onset_us),
        replicas: vec![old.to_string()],
        lapsed: parts.iter().any(|part| part.lapsed),
        failed: None,
        evidence: parts.into_iter().flat_map(|part| part.evidence).collect(),
        takeover: None,
    })
}

/// Leaves it dead, and sees that it is.
pub(super) async fn stays_dead(context: &FaultContext, old: &ReplicaId, halt: Halt) -> Result<Receipt, FaultError> {
    let start = Instant::now();
    let went_on = process::goes_on(context, halt, old).await;
    context.system.disarm_deadline(context.id).await?;
    let left = Measured::new(Some(start.elapsed()), format!("{old}: left dead"));
    let mut receipt = receipt(std::slice::from_ref(old), vec![left]);
    receipt.lapsed = went_on.is_some();
    receipt.evidence.splice(0..0, went_on);
    Ok(receipt)
}

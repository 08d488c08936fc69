//! `replication-lag`: a standby goes on receiving and stops replaying, so that whoever reads there reads the past.
//!
//! It is there once a write on the primary has been received and is not replayed, and over when it is. A guard at the server
//! resumes the replay when the harness dies or the time-to-live is over. A promotion ends the pause, too.

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::measured::{Measured, after};
use super::postgres::each::{self, Member};
use super::postgres::guard::{Guard, Undo};
use super::postgres::{Refused, Server, held, in_time};
use super::process::TARGETS;
use super::{Fault, FaultContext, FaultError, Hold, Problem, Receipt, target};
use crate::plan::{ReplicaId, Role, Target};
use crate::system::compose::ComposeFile;
use crate::system::definition::SystemDefinition;

/// What resumes the replay. One that has been promoted refuses to be asked.
const RESUME: Undo = Undo {
    in_block: "if pg_is_in_recovery() then perform pg_wal_replay_resume(); end if;",
    behind: None,
};

/// Parameters of `replication-lag`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ReplicationLag<T> {
    /// The standbys: `database:standby`, or members of a group with roles.
    pub targets: Vec<T>,
}

impl<T> ReplicationLag<T> {
    pub(super) fn map_targets<U, E>(
        &self,
        map: &mut dyn FnMut(&str, &T) -> Result<U, E>,
    ) -> Result<ReplicationLag<U>, E> {
        Ok(ReplicationLag {
            targets: super::map_list(TARGETS, &self.targets, map)?,
        })
    }
}

/// What keeps one standby behind.
struct Held {
    guard: Guard,
    /// A place in the log that must not be replayed before the heal.
    held_back: Option<Lsn>,
}

/// A place in the log, as the server writes it.
#[derive(Debug, Clone)]
struct Lsn(String);

#[async_trait]
impl Fault for ReplicationLag<Target> {
    fn targets(&self) -> Vec<&Target> {
        self.targets.iter().collect()
    }

    fn holds(&self) -> Option<Hold> {
        Some(Hold::Replay)
    }

    fn describe(&self) -> String {
        format!("stop the replay at {}", target::names(&self.targets))
    }

    fn problems(&self) -> Vec<Problem> {
        let nobody = target::empty_list(TARGETS, &self.targets);
        let misplaced = each::misplaced(&self.targets, Role::Primary, "which replays nothing");
        nobody.into_iter().chain(misplaced).collect()
    }

    fn problems_in(&self, definition: &SystemDefinition, _compose: &ComposeFile) -> Vec<Problem> {
        each::roleless(definition, &self.targets)
    }

    async fn inject(&self, context: &FaultContext) -> Result<Receipt, FaultError> {
        let start = Instant::now();
        each::inject(context, &self.targets, |member| async move {
            pause(context, &member, start).await
        })
        .await
    }

    async fn heal(&self, context: &FaultContext) -> Result<Receipt, FaultError> {
        let start = Instant::now();
        each::heal(context, |member, held| async move {
            resume(context, &member, held, start).await
        })
        .await
    }
}

async fn pause(context: &FaultContext, member: &Member, start: Instant) -> (Option<Held>, Measured) {
    let primary = match follows(context, member).await {
        Ok(primary) => primary,
        Err(refused) => {
            return (
                None,
                member.unseen(format!("before, {refused}; nothing was done to it")),
            );
        }
    };
    let guard = match Guard::arm(context, &member.server, RESUME).await {
        Ok(guard) => guard,
        Err(refused) => return (None, member.unseen(refused)),
    };
    let mut held = Held { guard, held_back: None };
    let paused = async {
        in_time(async { member.server.connect().await?.ask("select pg_wal_replay_pause()").await }).await?;
        is_paused(context, &member.server, true).await?;
        let written = in_time(write(&primary.server)).await?;
        held.held_back = Some(written.clone());
        reaches(context, &member.server, "pg_last_wal_receive_lsn", &written).await?;
        if in_time(has(&member.server, "pg_last_wal_replay_lsn", &written)).await? {
            return Err(Refused::because(format!(
                "it has replayed {}, written after the pause",
                written.0
            )));
        }
        Ok(written)
    };
    let measured = match paused.await {
        Ok(written) => {
            let (id, onset) = (&member.id, Some(start.elapsed()));
            let seen = format!(
                "{id}: paused; {}, which {} wrote afterwards, is received and not replayed{}",
                written.0,
                primary.id,
                after(onset)
            );
            Measured::new(onset, seen)
        }
        Err(refused) => member.unseen(refused),
    };
    (Some(held), measured)
}

/// The primary whose writes it replays, seen to be so.
async fn follows(context: &FaultContext, member: &Member) -> Result<Member, Refused> {
    let state = in_time(async {
        let session = member.server.connect().await?;
        if !session.is_in_recovery().await? {
            return Err(Refused::because("it was no standby (not in recovery)".to_owned()));
        }
        session.ask("select pg_get_wal_replay_pause_state()").await
    });
    let state = state.await?.unwrap_or_default();
    if state != "not paused" {
        return Err(Refused::because(format!("its replay was {state}")));
    }
    let primary = primary_of(context, &member.id).await?;
    let written = in_time(write(&primary.server)).await?;
    let replayed = reaches(context, &member.server, "pg_last_wal_replay_lsn", &written).await;
    replayed.map_err(|last| Refused::because(format!("it did not replay what {} wrote: {last}", primary.id)))?;
    Ok(primary)
}

/// The primary of the group that a replica is in.
async fn primary_of(context: &FaultContext, id: &ReplicaId) -> Result<Member, Refused> {
    for member in each::others(context, id) {
        let in_recovery = in_time(async { member.server.connect().await?.is_in_recovery().await });
        if in_recovery.await == Ok(false) {
            return Ok(member);
        }
    }
    Err(Refused::because("no primary was there to write anything".to_owned()))
}

/// Writes to the log and nothing else, and says where. It waits for no standby, and so not for one that replays nothing.
async fn write(primary: &Server) -> Result<Lsn, Refused> {
    let session = primary.connect().await?;
    session.ask("set synchronous_commit = local").await?;
    session.write_to_log().await.map(Lsn)
}

/// Whether the standby has come as far as that, by one of its functions.
async fn has(standby: &Server, function: &str, place: &Lsn) -> Result<bool, Refused> {
    let sql = format!("select {function}() >= '{}'::pg_lsn", place.0);
    Ok(standby.connect().await?.ask(&sql).await?.as_deref() == Some("t"))
}

async fn reaches(context: &FaultContext, standby: &Server, function: &str, place: &Lsn) -> Result<(), Refused> {
    each::until(context.patience.granted, async || {
        match has(standby, function, place).await? {
            true => Ok(()),
            false => Err(Refused::because(format!("{function}() has not come to {}", place.0))),
        }
    })
    .await
}

async fn is_paused(context: &FaultContext, standby: &Server, paused: bool) -> Result<(), Refused> {
    let expected = if paused { "paused" } else { "not paused" };
    each::until(context.patience.granted, async || {
        let state = pause_state(standby).await?;
        match state == expected {
            true => Ok(()),
            false => Err(Refused::because(format!("its replay is {state}"))),
        }
    })
    .await
}

async fn pause_state(standby: &Server) -> Result<String, Refused> {
    let asked = standby
        .connect()
        .await?
        .ask("select pg_get_wal_replay_pause_state()")
        .await;
    asked.map(Option::unwrap_or_default)
}

async fn resume(context: &FaultContext, member: &Member, held: Option<Held>, start: Instant) -> (bool, Measured) {
    let server = &member.server;
    let (mut lapsed, mut evidence, mut held_back) = (false, Vec::new(), None);
    if let Some(Held {
        guard,
        held_back: place,
    }) = held
    {
        let last = in_time(last(server)).await;
        lapsed = !matches!(last, Ok(Ok(_)));
        evidence.push(match last {
            Ok(Ok(behind)) => format!(
                "{}: at the end {behind} bytes of the log were received and not replayed",
                member.id
            ),
            Ok(Err(state)) => format!("{}: before the heal it was {state}", member.id),
            Err(refused) => format!("{}: before the heal: {refused}", member.id),
        });
        held_back = place;
        drop(guard);
    }
    // The guard resumes the replay as well, now that it is let go; it must not do so any later.
    let resumed = async {
        if !in_time(async { server.connect().await?.is_in_recovery().await }).await? {
            held::gone(context, server).await?;
            return Ok("is no standby any more".to_owned());
        }
        in_time(async { server.connect().await?.ask("select pg_wal_replay_resume()").await }).await?;
        is_paused(context, server, false).await?;
        held::gone(context, server).await?;
        let Some(place) = &held_back else {
            return Ok("not paused".to_owned());
        };
        reaches(context, server, "pg_last_wal_replay_lsn", place).await?;
        Ok(format!("not paused, and {} is replayed", place.0))
    };
    let resumed: Result<String, Refused> = resumed.await;
    let onset = resumed.is_ok().then(|| start.elapsed());
    evidence.push(match resumed {
        Ok(seen) => format!("{}: {seen}{}", member.id, after(onset)),
        Err(refused) => format!("{}: {refused}", member.id),
    });
    (lapsed, Measured { onset, evidence })
}

/// How many bytes it is behind while it is paused, or what it is instead.
async fn last(standby: &Server) -> Result<Result<i64, String>, Refused> {
    let session = standby.connect().await?;
    if !session.is_in_recovery().await? {
        return Ok(Err("no standby any more".to_owned()));
    }
    match session.ask("select pg_get_wal_replay_pause_state()").await?.as_deref() {
        Some("paused") => {}
        state => return Ok(Err(state.unwrap_or_default().to_owned())),
    }
    let behind = "select pg_wal_lsn_diff(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())::bigint";
    session.number(behind).await.map(Ok)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::fault::postgres::double::{self, Double, Refusal};
    use crate::fault::test_double::{self, Disobedience, FakeSystem, targets};

    /// A primary whose log is as long as it was written to often.
    struct Primary(u32);

    impl Double for Primary {
        fn answer(&mut self, _session: i32, query: &str) -> Result<Vec<String>, Refusal> {
            if query.starts_with("select pg_logical_emit_message") {
                self.0 += 1;
                return Ok(vec![format!("0/{}", self.0)]);
            }
            Ok(vec!["f".to_owned()])
        }
    }

    /// Its standby, which has replayed all that was written before it was paused.
    #[derive(Default)]
    struct Standby {
        is_paused: bool,
        /// It says that it is paused, and goes on.
        only_says_so: bool,
        /// It receives nothing.
        is_cut_off: bool,
        /// It does not resume.
        stays: bool,
        is_promoted: bool,
    }

    fn truth(holds: bool) -> String {
        if holds { "t" } else { "f" }.to_owned()
    }

    impl Double for Standby {
        fn answer(&mut self, session: i32, query: &str) -> Result<Vec<String>, Refusal> {
            let value = match query {
                "select pg_is_in_recovery()" => truth(!self.is_promoted),
                "select pg_backend_pid()" => session.to_string(),
                "select pg_get_wal_replay_pause_state()" if self.is_paused => "paused".to_owned(),
                "select pg_get_wal_replay_pause_state()" => "not paused".to_owned(),
                "select pg_wal_replay_pause()" => {
                    self.is_paused = true;
                    String::new()
                }
                "select pg_wal_replay_resume()" => {
                    self.is_paused &= self.stays;
                    String::new()
                }
                query if query.contains("state = 'active'") => "1".to_owned(),
                query if query.contains("count(*)") => "0".to_owned(),
                query if query.contains("pg_wal_lsn_diff") => "4096".to_owned(),
                query if query.contains("pg_last_wal_receive_lsn") => truth(!self.is_cut_off),
                query if query.contains("pg_last_wal_replay_lsn") => truth(!self.is_paused || self.only_says_so),
                _ => String::new(),
            };
            Ok(vec![value])
        }
    }

    /// The first is the primary, the second this.
    async fn second(standby: Standby) -> (Arc<Mutex<Standby>>, FaultContext) {
        let addresses = test_double::addresses();
        double::listen(addresses[0].0, Primary(0)).await;
        let standby = double::listen(addresses[1].0, standby).await;
        (standby, FakeSystem::new(Disobedience::default(), addresses).context())
    }

    fn lag() -> ReplicationLag<Target> {
        ReplicationLag { targets: targets(&[2]) }
    }

    #[tokio::test]
    async fn what_is_received_and_not_replayed_is_confirmed_until_it_is() {
        let (standby, context) = second(Standby::default()).await;
        let on = lag().inject(&context).await.unwrap();
        let seen = "0/2, which api-1 wrote afterwards, is received and not replayed";
        assert!(on.confirmed && on.evidence[0].contains(seen), "{on:?}");
        let off = lag().heal(&context).await.unwrap();
        assert!(off.confirmed && !off.lapsed, "{off:?}");
        assert!(off.evidence[0].contains("4096 bytes"), "{off:?}");
        assert!(!standby.lock().unwrap().is_paused);
    }

    #[tokio::test]
    async fn one_that_goes_on_or_was_behind_before_or_receives_nothing_is_not_confirmed() {
        let is_paused = Standby {
            is_paused: true,
            ..Standby::default()
        };
        let only_says_so = Standby {
            only_says_so: true,
            ..Standby::default()
        };
        let is_cut_off = Standby {
            is_cut_off: true,
            ..Standby::default()
        };
        let is_promoted = Standby {
            is_promoted: true,
            ..Standby::default()
        };
        for (standby, because) in [
            (is_paused, "its replay was paused; nothing was done"),
            (only_says_so, "it has replayed 0/2"),
            (is_cut_off, "pg_last_wal_receive_lsn() has not come to 0/2"),
            (is_promoted, "it was no standby"),
        ] {
            let (_standby, context) = second(standby).await;
            let on = lag().inject(&context).await.unwrap();
            assert!(!on.confirmed && on.evidence[0].contains(because), "{on:?}");
        }
    }

    #[tokio::test]
    async fn one_that_somebody_resumes_or_promotes_has_lapsed_and_one_that_stays_is_not_healed() {
        let resumed: fn(&mut Standby) = |standby| standby.is_paused = false;
        let promoted: fn(&mut Standby) = |standby| standby.is_promoted = true;
        for undo in [resumed, promoted] {
            let (standby, context) = second(Standby::default()).await;
            lag().inject(&context).await.unwrap();
            undo(&mut standby.lock().unwrap());
            let off = lag().heal(&context).await.unwrap();
            assert!(off.confirmed && off.lapsed, "{off:?}");
        }
        let stays = Standby {
            stays: true,
            ..Standby::default()
        };
        let (_standby, context) = second(stays).await;
        lag().inject(&context).await.unwrap();
        let off = lag().heal(&context).await.unwrap();
        assert!(
            !off.confirmed && off.evidence[1].contains("its replay is paused"),
            "{off:?}"
        );
    }
}

//! `failover`: a primary is broken and another member of its group takes its place, promoted by an operator, which is this fault
//! itself, or by the system's own failover manager. The heal brings the old one back, and says what it then is.
//!
//! Detection, promotion and the first acknowledged write are measured apart, each from the command on. The operator has
//! detected it when the old primary is seen to be broken; a manager when it has asked a standby to be promoted, which
//! PostgreSQL says in that standby's log. Promoted is who is not in recovery any more. Neither is a primary to anybody before a
//! commit is acknowledged: a server whose commits wait for a synchronous standby in vain says that it is one.

mod old;
mod taken;
#[cfg(test)]
mod tests;

use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use super::measured::{ms, nothing_to_heal, receipt};
use super::postgres::each::{self, Member};
use super::postgres::{Refused, in_time};
use super::process::{self, Halt, TARGETS};
use super::{Fault, FaultContext, FaultError, Hold, Problem, Receipt, Takeover, network, promote, target};
use crate::duration::DurationMs;
use crate::plan::{ReplicaId, Role, Target};
use crate::system::compose::ComposeFile;
use crate::system::definition::SystemDefinition;
use taken::{Begun, Taken};

/// Whose turn it was to take over, remembered from the injection to the heal.
const NEW: &str = "new";
/// The least time in which a failover may be asked to be over.
const WITHIN_MIN_MS: u64 = 1_000;
/// The most.
const WITHIN_MAX_MS: u64 = 300_000;

/// Parameters of `failover`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Failover<T> {
    /// The primary: `database:primary`, or the member of a group with roles that is it.
    pub targets: Vec<T>,
    /// How it is broken.
    #[serde(default)]
    pub how: How,
    /// `cut-off`: from whom, such as the standby and the manager's monitor. Everybody else still reaches it.
    #[serde(default = "Vec::<T>::new", skip_serializing_if = "Vec::is_empty")]
    pub from: Vec<T>,
    /// Who promotes another.
    #[serde(default)]
    pub by: By,
    /// The operator promotes a standby so long after the primary was seen to be broken; at once unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promote_after: Option<DurationMs>,
    /// How long it may take, from the promotion's being due (operator) or the break (manager) on, until another member has
    /// acknowledged a write; 30 s unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<DurationMs>,
    /// What becomes of the old primary at the heal.
    #[serde(default)]
    pub returns: Returns,
}

/// How a primary is broken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    /// SIGKILL.
    #[default]
    Kill,
    /// Frozen.
    Pause,
    /// No packet passes between it and those of `from`.
    CutOff,
}

/// Who promotes another member.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum By {
    /// This fault does, as somebody on call would.
    #[default]
    Operator,
    /// The system's own failover manager does.
    Manager,
}

/// What becomes of the old primary at the heal.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Returns {
    /// It is started, thawed or reached again, and nobody tells it what happened meanwhile.
    #[default]
    AsItWas,
    /// `cut-off`: it is killed before it is reached again, and then started.
    Restarted,
    /// `kill`: it stays dead.
    Never,
}

impl<T> Failover<T> {
    pub(super) fn map_targets<U, E>(&self, map: &mut dyn FnMut(&str, &T) -> Result<U, E>) -> Result<Failover<U>, E> {
        Ok(Failover {
            targets: super::map_list(TARGETS, &self.targets, map)?,
            how: self.how,
            from: super::map_list(network::FROM, &self.from, map)?,
            by: self.by,
            promote_after: self.promote_after,
            within: self.within,
            returns: self.returns,
        })
    }
}

#[async_trait]
impl Fault for Failover<Target> {
    fn targets(&self) -> Vec<&Target> {
        self.targets.iter().chain(&self.from).collect()
    }

    fn needs_agent(&self) -> bool {
        self.how == How::CutOff
    }

    fn holds(&self) -> Option<Hold> {
        Some(match self.how {
            How::Kill | How::Pause => Hold::Processes,
            How::CutOff => Hold::Role,
        })
    }

    fn describe(&self) -> String {
        let primary = target::names(&self.targets);
        let breaks = match self.how {
            How::Kill => format!("SIGKILL to {primary}"),
            How::Pause => format!("freeze {primary}"),
            How::CutOff => format!("cut {primary} off from {}", target::names(&self.from)),
        };
        match (self.by, self.promote_after) {
            (By::Operator, Some(after)) => format!("{breaks}, and promote a standby {after} later"),
            (By::Operator, None) => format!("{breaks}, and promote a standby"),
            (By::Manager, _) => format!("{breaks}, and see whom the failover manager promotes"),
        }
    }

    fn problems(&self) -> Vec<Problem> {
        let mut problems: Vec<Problem> = target::empty_list(TARGETS, &self.targets).into_iter().collect();
        problems.extend(target::several(TARGETS, &self.targets, "one is replaced at a time"));
        problems.extend(each::misplaced(
            &self.targets,
            Role::Standby,
            "which nobody need take over from",
        ));
        problems.extend(self.misfits());
        if let Some(within) = self
            .within
            .filter(|within| !(WITHIN_MIN_MS..=WITHIN_MAX_MS).contains(&within.0))
        {
            let (least, most) = (DurationMs(WITHIN_MIN_MS), DurationMs(WITHIN_MAX_MS));
            problems.push(Problem {
                path: "within".to_owned(),
                message: format!("must be from {least} to {most}, is {within}"),
                hint: "a manager takes some seconds, for example `within: 30s`".to_owned(),
            });
        }
        problems
    }

    fn problems_in(&self, definition: &SystemDefinition, compose: &ComposeFile) -> Vec<Problem> {
        let mut problems = each::roleless(definition, &self.targets);
        problems.extend(alone(&self.targets, definition, compose));
        problems
    }

    async fn inject(&self, context: &FaultContext) -> Result<Receipt, FaultError> {
        let start = Instant::now();
        let old = self.primary(context).await?;
        let standbys = match standbys(context, &old).await {
            Ok(standbys) => standbys,
            Err(refused) => {
                let unseen = old.unseen(format!("{refused}; nothing was done to it"));
                return Ok(receipt(&[old.id], vec![unseen]));
            }
        };
        let begun = Begun::watch(context, &standbys);
        let told = Instant::now();
        let broken = self.break_down(context, &old.id).await?;
        let Some(onset_us) = broken.onset_us.filter(|_| broken.confirmed) else {
            return Ok(broken);
        };
        let gone = told + Duration::from_micros(onset_us);
        let taken = match self.by {
            By::Operator => self.operate(context, &standbys, gone).await,
            By::Manager => taken::by_one_of(&standbys, gone + self.within(context)).await,
        };
        let detected = match self.by {
            By::Operator => Some(gone),
            By::Manager => match &taken {
                // The line may come after what it tells of, which is over when it has taken over.
                Ok(taken) => begun.at().await.map(|at| at.min(taken.promoted)),
                Err(_) => None,
            },
        };
        let confirmed = taken.is_ok();
        let mut evidence = broken.evidence;
        let mut takeover = None;
        match taken {
            Ok(taken) => {
                let times = times(&taken, detected, start);
                evidence.push(told_in_words(&old.id, &taken, times));
                takeover = Some(times);
                context.acted.remember(NEW, &[taken.member]);
            }
            Err(reason) => evidence.push(format!("nobody took over: {reason}")),
        }
        Ok(Receipt {
            confirmed,
            // The effect is the end of the old primary; that another came to take its place is not its beginning.
            onset_us: confirmed.then(|| micros(gone - start)),
            evidence,
            takeover,
            ..broken
        })
    }

    async fn heal(&self, context: &FaultContext) -> Result<Receipt, FaultError> {
        let Some(old) = self.acted_on(context) else {
            return Ok(nothing_to_heal());
        };
        let start = Instant::now();
        let (new, mut last) = match context.acted.list(NEW).pop() {
            Some(new) => (Member::of(context, &new)?, Vec::new()),
            None => match late(context, &old).await {
                Some(new) => {
                    let line = format!("{}: has taken over since, too late", new.id);
                    (new, vec![line])
                }
                // Nobody took over: whatever was to become of the old one, it is the only one.
                None => return self.mend(context, &old, Returns::AsItWas).await,
            },
        };
        let mut mended = self.mend(context, &old, self.returns).await?;
        if self.returns != Returns::Never {
            let returned = Member::of(context, &old)?;
            let patience = match self.by {
                By::Operator => context.patience.granted,
                By::Manager => self.within(context),
            };
            last.push(old::whereabouts(&returned, self.by, start, patience).await);
        }
        let writes = promote::until_primary(&new.server, start, context.patience.ready).await;
        mended.confirmed &= writes.is_ok();
        last.push(match writes {
            Ok(_) => format!(
                "{}: no promotion is undone; it still accepts writes on a fresh connection",
                new.id
            ),
            Err(last) => format!("{}: does not accept writes: {last}", new.id),
        });
        mended.evidence.extend(last);
        mended.onset_us = mended.onset_us.filter(|_| mended.confirmed);
        Ok(mended)
    }
}

impl Failover<Target> {
    /// Parameters that do not go together.
    fn misfits(&self) -> Vec<Problem> {
        let cut_off = self.how == How::CutOff;
        let operator = self.by == By::Operator;
        let wrong = [
            (
                cut_off && self.from.is_empty(),
                "from",
                "says not from whom it is cut off",
                "name who must not reach it any more, such as `from: [database:standby]`",
            ),
            (
                !cut_off && !self.from.is_empty(),
                "from",
                "is for `how: cut-off` alone",
                "leave it out, or write `how: cut-off`",
            ),
            (
                !operator && self.promote_after.is_some(),
                "promote-after",
                "is the operator's, and here a manager promotes",
                "leave it out, or write `by: operator`",
            ),
            (
                !cut_off && self.returns == Returns::Restarted,
                "returns",
                "can be `restarted` with `how: cut-off` alone",
                "leave it out: one that was killed is started in any case",
            ),
            (
                self.how != How::Kill && self.returns == Returns::Never,
                "returns",
                "can be `never` with `how: kill` alone",
                "one that is frozen or cut off is still there; write `how: kill`",
            ),
        ];
        let problem = |(_, path, message, hint): (bool, &str, &str, &str)| Problem {
            path: path.to_owned(),
            message: message.to_owned(),
            hint: hint.to_owned(),
        };
        wrong
            .into_iter()
            .filter(|(is_wrong, ..)| *is_wrong)
            .map(problem)
            .collect()
    }

    fn within(&self, context: &FaultContext) -> Duration {
        self.within.map_or(context.patience.promoted, DurationMs::as_duration)
    }

    /// Who is to be replaced.
    async fn primary(&self, context: &FaultContext) -> Result<Member, FaultError> {
        let found = target::resolve(&*context.system, &self.targets).await?;
        match &found[..] {
            [one] => Member::of(context, one),
            _ => Err(FaultError::NoTarget {
                role: "primary".to_owned(),
                members: found.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
                reason: "one is replaced at a time".to_owned(),
            }),
        }
    }

    async fn break_down(&self, context: &FaultContext, old: &ReplicaId) -> Result<Receipt, FaultError> {
        let old = [Target::Replicas(vec![old.clone()])];
        match self.halt() {
            Some(halt) => process::inject(context, &old, halt).await,
            None => network::inject(context, &old, &self.from, true, None).await,
        }
    }

    fn halt(&self) -> Option<Halt> {
        match self.how {
            How::Kill => Some(Halt::Kill),
            How::Pause => Some(Halt::Freeze),
            How::CutOff => None,
        }
    }

    /// Promotes the standby that has received most.
    async fn operate(&self, context: &FaultContext, standbys: &[Member], gone: Instant) -> Result<Taken, String> {
        let due = gone + self.promote_after.unwrap_or_default().as_duration();
        sleep(due.saturating_duration_since(Instant::now())).await;
        let standby = taken::furthest(standbys).await.ok_or("no standby is there")?;
        let refused = |refused: Refused| format!("{}: {refused}", standby.id);
        promote::ask(&standby.server).await.map_err(refused)?;
        taken::by(standby, Instant::now() + self.within(context)).await
    }

    /// Who was acted on, if anybody.
    fn acted_on(&self, context: &FaultContext) -> Option<ReplicaId> {
        let list = match self.how {
            How::Kill | How::Pause => TARGETS,
            How::CutOff => network::FROM,
        };
        context.acted.list(list).pop()
    }

    async fn mend(&self, context: &FaultContext, old: &ReplicaId, returns: Returns) -> Result<Receipt, FaultError> {
        match (self.halt(), returns) {
            (Some(halt), Returns::Never) => old::stays_dead(context, old, halt).await,
            (Some(halt), _) => process::heal(context, halt).await,
            (None, Returns::Restarted) => old::restart(context, old).await,
            (None, _) => network::heal(context, true, None).await,
        }
    }
}

/// A target whose group has no other member.
fn alone(targets: &[Target], definition: &SystemDefinition, compose: &ComposeFile) -> Option<Problem> {
    let (Target::Replicas(ids) | Target::Role { members: ids, .. }) = targets.first()?;
    let id = ids.first()?;
    let mut groups = definition.groups.iter();
    let (name, group) = groups.find(|(_, group)| group.roles.is_some() && group.services.contains(&id.service))?;
    let replicas = compose.replicas();
    let members = group.services.iter().filter_map(|service| replicas.get(service));
    (members.sum::<u32>() < 2).then(|| Problem {
        path: format!("{TARGETS}[0]"),
        message: format!("is the only member of `{name}`, and nobody can take its place"),
        hint: format!("add a standby to `groups: {{{name}: {{services: ...}}}}` in system.yaml"),
    })
}

/// The others of its group that follow a primary, seen before it is broken.
async fn standbys(context: &FaultContext, old: &Member) -> Result<Vec<Member>, Refused> {
    let in_recovery =
        async |member: &Member| in_time(async { member.server.connect().await?.is_in_recovery().await }).await;
    if in_recovery(old).await? {
        return Err(Refused::because("it was no primary (in recovery)".to_owned()));
    }
    let mut standbys = Vec::new();
    for member in each::others(context, &old.id) {
        match in_recovery(&member).await {
            Ok(true) => standbys.push(member),
            Ok(false) => return Err(Refused::because(format!("{} was a primary, too", member.id))),
            // Nobody counts on one that does not answer.
            Err(_) => {}
        }
    }
    match standbys.is_empty() {
        true => Err(Refused::because("no standby of its group answered".to_owned())),
        false => Ok(standbys),
    }
}

/// Who of the others is a primary though nobody was when time was up: the one that was asked, or whom a manager chose after all.
async fn late(context: &FaultContext, old: &ReplicaId) -> Option<Member> {
    for member in each::others(context, old) {
        let asked = in_time(async { member.server.connect().await?.is_in_recovery().await });
        if let Ok(false) = asked.await {
            return Some(member);
        }
    }
    None
}

/// Each from the command on.
fn times(taken: &Taken, detected: Option<Instant>, start: Instant) -> Takeover {
    let from_start = |at: Instant| at.saturating_duration_since(start).as_secs_f64() * 1e3;
    Takeover {
        detection_ms: detected.map(from_start),
        promotion_ms: from_start(taken.promoted),
        first_write_ms: from_start(taken.first_write),
    }
}

fn told_in_words(old: &ReplicaId, taken: &Taken, times: Takeover) -> String {
    let words = |time_ms: f64| ms(Duration::from_secs_f64(time_ms / 1e3));
    let detection = match times.detection_ms {
        Some(time_ms) => format!("detection after {}", words(time_ms)),
        None => "detection not observable (no member's log tells of a request to promote)".to_owned(),
    };
    format!(
        "{} took over from {old}: {detection}, promotion after {}, first acknowledged write after {}",
        taken.member,
        words(times.promotion_ms),
        words(times.first_write_ms)
    )
}

fn micros(duration: Duration) -> u64 {
    duration.as_micros().try_into().unwrap_or(u64::MAX)
}

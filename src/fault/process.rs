//! What the faults of processes share: halting replicas, setting them going again, and measuring both.
//!
//! The measurement never is the engine's answer to the command: a process counts as halted when its state says so, and
//! as going when it meets its readiness condition on a fresh connection.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, sleep, timeout};

use super::measured::{Measured, ms, nothing_to_heal, receipt};
use super::{FaultContext, FaultError, Patience, Receipt, target};
use crate::plan::{ReplicaId, Target};
use crate::system::definition::Ready;
use crate::system::engine::{EngineError, ProcessState, RunningSystem, Undo};

/// The list of parameters that names the replicas.
pub(super) const TARGETS: &str = "targets";
/// The pause between two looks at a process's state.
const POLL: Duration = Duration::from_millis(1);
/// The same while a process may take its time to end.
const POLL_PATIENT: Duration = Duration::from_millis(5);
/// How long one try of the readiness condition may take.
const TRY_WITHIN: Duration = Duration::from_secs(1);
/// A frozen process that would have answered a fresh connection would have done so within this time.
const SILENT_FOR: Duration = Duration::from_millis(25);

/// How processes are halted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Halt {
    /// SIGKILL.
    Kill,
    /// The replica's own stop signal.
    Stop,
    /// Frozen.
    Freeze,
}

impl Halt {
    fn halted(self) -> ProcessState {
        match self {
            Self::Kill | Self::Stop => ProcessState::Exited,
            Self::Freeze => ProcessState::Paused,
        }
    }

    fn undo(self) -> Undo {
        match self {
            Self::Kill | Self::Stop => Undo::Start,
            Self::Freeze => Undo::Unpause,
        }
    }

    fn limit(self, patience: &Patience) -> Duration {
        match self {
            Self::Kill | Self::Freeze => patience.halted,
            Self::Stop => patience.stopped,
        }
    }

    fn poll(self) -> Duration {
        match self {
            Self::Kill | Self::Freeze => POLL,
            Self::Stop => POLL_PATIENT,
        }
    }

    async fn act(self, system: &dyn RunningSystem, id: &ReplicaId) -> Result<(), EngineError> {
        match self {
            Self::Kill => system.kill(id).await,
            Self::Stop => system.stop(id).await,
            Self::Freeze => system.pause(id).await,
        }
    }

    async fn revert(self, system: &dyn RunningSystem, id: &ReplicaId) -> Result<(), EngineError> {
        match self.undo() {
            Undo::Start => system.start(id).await,
            Undo::Unpause => system.unpause(id).await,
        }
    }
}

/// Halts the targets, all at once.
pub(super) async fn inject(context: &FaultContext, targets: &[Target], halt: Halt) -> Result<Receipt, FaultError> {
    let start = Instant::now();
    let replicas = target::resolve(&*context.system, targets).await?;
    context.acted.remember(TARGETS, &replicas);
    let halted = join_all(replicas.iter().map(|id| halt_one(context, halt, id, start))).await;
    Ok(receipt(&replicas, halted.into_iter().collect::<Result<_, _>>()?))
}

/// Sets those that were halted going again, all at once.
pub(super) async fn heal(context: &FaultContext, halt: Halt) -> Result<Receipt, FaultError> {
    let replicas = context.acted.list(TARGETS);
    if replicas.is_empty() {
        return Ok(nothing_to_heal());
    }
    // Looked at before anything is undone: what goes on already was not halted for as long as planned.
    let went_on = join_all(replicas.iter().map(|id| goes_on(context, halt, id))).await;
    let went_on: Vec<String> = went_on.into_iter().flatten().collect();
    let healed = join_all(replicas.iter().map(|id| revert_one(context, halt, id))).await;
    let healed = healed.into_iter().collect::<Result<_, _>>()?;
    let mut receipt = receipt(&replicas, healed);
    receipt.lapsed = !went_on.is_empty();
    receipt.evidence.splice(0..0, went_on);
    // Only now: where one could not be set going, whoever keeps the deadline tries again.
    if let Err(error) = context.system.disarm_deadline(context.id).await {
        receipt.evidence.push(format!(
            "the deadline stays armed, and will find nothing to do: {error}"
        ));
    }
    Ok(receipt)
}

async fn halt_one(context: &FaultContext, halt: Halt, id: &ReplicaId, start: Instant) -> Result<Measured, FaultError> {
    let system = &*context.system;
    let before = system.state(id).await?;
    if before != ProcessState::Running {
        let evidence = vec![format!(
            "{id}: was {} before, nothing was done to it",
            state_name(before)
        )];
        return Ok(Measured { onset: None, evidence });
    }
    let answered_before =
        halt == Halt::Freeze && answers_by_itself(system, id) && tries_ready(system, id).await.is_ok();
    // Arranged before it is needed: the harness may be gone a moment later.
    system.arm_deadline(context.id, halt.undo(), id, context.ttl).await?;
    let watch = async { Ok(watch_state(context, id, halt, start).await) };
    let ((), seen) = tokio::try_join!(halt.act(system, id), watch)?;
    let onset = match seen {
        Ok(onset) => onset,
        Err(last) => {
            let evidence = vec![format!("{id}: {last} after {}", ms(halt.limit(&context.patience)))];
            return Ok(Measured { onset: None, evidence });
        }
    };
    let mut evidence = vec![format!("{id}: {} after {}", state_name(halt.halted()), ms(onset))];
    if !answered_before {
        return Ok(Measured {
            onset: Some(onset),
            evidence,
        });
    }
    let silent = is_silent(system, id).await;
    evidence.push(match silent {
        true => format!(
            "{id}: a fresh connection got no answer within {}, and did before",
            ms(SILENT_FOR)
        ),
        false => format!("{id}: a fresh connection was still answered"),
    });
    // The onset is the freeze itself: silence takes its time to be heard, and began with it.
    Ok(Measured {
        onset: silent.then_some(onset),
        evidence,
    })
}

/// What a replica does that ought to be halted, in words; nothing if it is, or if that cannot be seen.
pub(super) async fn goes_on(context: &FaultContext, halt: Halt, id: &ReplicaId) -> Option<String> {
    let state = context.system.state(id).await.ok()?;
    (state != halt.halted()).then(|| {
        let name = state_name(state);
        format!("{id}: was {name} before the heal: its time-to-live had passed, or somebody undid the fault")
    })
}

async fn revert_one(context: &FaultContext, halt: Halt, id: &ReplicaId) -> Result<Measured, FaultError> {
    let system = &*context.system;
    let limit = context.patience.ready;
    let start = Instant::now();
    halt.revert(system, id).await?;
    let mut last = "nothing was tried".to_owned();
    while start.elapsed() < limit {
        match is_going(system, id).await {
            Ok(()) => {
                let onset = start.elapsed();
                let evidence = vec![format!(
                    "{id}: running, and ready on a fresh connection after {}",
                    ms(onset)
                )];
                return Ok(Measured {
                    onset: Some(onset),
                    evidence,
                });
            }
            Err(reason) => last = reason,
        }
        sleep(POLL).await;
    }
    let line = format!("{id}: {last}, {} after it was told to go on", ms(limit));
    Ok(Measured::new(None, line))
}

/// When the state was first seen to be as it should, or what it was last.
async fn watch_state(context: &FaultContext, id: &ReplicaId, halt: Halt, start: Instant) -> Result<Duration, String> {
    let mut last = "not seen".to_owned();
    let told = Instant::now();
    while told.elapsed() < halt.limit(&context.patience) {
        match context.system.state(id).await {
            Ok(state) if state == halt.halted() => return Ok(start.elapsed()),
            Ok(state) => last = format!("still {}", state_name(state)),
            Err(error) => last = error.to_string(),
        }
        sleep(halt.poll()).await;
    }
    Err(last)
}

async fn is_going(system: &dyn RunningSystem, id: &ReplicaId) -> Result<(), String> {
    match system.state(id).await {
        Ok(ProcessState::Running) => tries_ready(system, id).await,
        Ok(state) => Err(state_name(state).to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

async fn tries_ready(system: &dyn RunningSystem, id: &ReplicaId) -> Result<(), String> {
    match timeout(TRY_WITHIN, system.is_ready(id)).await {
        Ok(Ok(true)) => Ok(()),
        Ok(Ok(false)) => Err("not ready".to_owned()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {}", ms(TRY_WITHIN))),
    }
}

async fn is_silent(system: &dyn RunningSystem, id: &ReplicaId) -> bool {
    !matches!(timeout(SILENT_FOR, system.is_ready(id)).await, Ok(Ok(true)))
}

/// Whether readiness takes an answer of the process itself. The kernel goes on accepting connections for a frozen one.
fn answers_by_itself(system: &dyn RunningSystem, id: &ReplicaId) -> bool {
    let hints = system.definition().services.get(&id.service);
    matches!(
        hints.and_then(|hints| hints.ready.as_ref()),
        Some(Ready::Http { .. } | Ready::Postgres { .. })
    )
}

fn state_name(state: ProcessState) -> &'static str {
    match state {
        ProcessState::Running => "running",
        ProcessState::Paused => "frozen",
        ProcessState::Exited => "gone",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::test_double::{Disobedience, FakeSystem, id, targets};

    const OBEDIENT: Disobedience = Disobedience {
        goes_on: false,
        stays_down: false,
        answers_frozen: false,
        never_ready: false,
        refuses: false,
    };

    #[tokio::test]
    async fn what_obeys_is_confirmed_on_and_off() {
        for halt in [Halt::Kill, Halt::Stop, Halt::Freeze] {
            let system = FakeSystem::without_agents(OBEDIENT);
            let context = system.context();
            let on = inject(&context, &targets(&[1, 2]), halt).await.unwrap();
            assert!(on.confirmed && on.onset_us.is_some(), "{halt:?}: {on:?}");
            assert_eq!(on.replicas, ["api-1", "api-2"]);
            let off = heal(&context, halt).await.unwrap();
            assert!(off.confirmed && off.onset_us.is_some(), "{halt:?}: {off:?}");
            assert_eq!(off.replicas, ["api-1", "api-2"]);
        }
    }

    #[tokio::test]
    async fn the_deadline_is_armed_before_the_act_and_disarmed_after_the_heal() {
        let system = FakeSystem::without_agents(OBEDIENT);
        let context = system.context();
        inject(&context, &targets(&[1]), Halt::Freeze).await.unwrap();
        heal(&context, Halt::Freeze).await.unwrap();
        assert_eq!(
            system.asked(),
            ["arm 7 Unpause api-1 60s", "pause api-1", "unpause api-1", "disarm 7"]
        );
    }

    #[tokio::test]
    async fn what_goes_on_is_not_confirmed() {
        for halt in [Halt::Kill, Halt::Stop, Halt::Freeze] {
            let system = FakeSystem::without_agents(Disobedience {
                goes_on: true,
                ..OBEDIENT
            });
            let on = inject(&system.context(), &targets(&[1]), halt).await.unwrap();
            assert!(!on.confirmed && on.onset_us.is_none(), "{halt:?}: {on:?}");
            assert!(on.evidence[0].contains("still running"), "{on:?}");
        }
    }

    #[tokio::test]
    async fn a_frozen_replica_that_still_answers_is_not_confirmed() {
        let system = FakeSystem::without_agents(Disobedience {
            answers_frozen: true,
            ..OBEDIENT
        });
        let on = inject(&system.context(), &targets(&[1]), Halt::Freeze).await.unwrap();
        assert!(!on.confirmed, "{on:?}");
        assert!(on.evidence.iter().any(|line| line.contains("still answered")), "{on:?}");
    }

    #[tokio::test]
    async fn what_stays_down_or_is_never_ready_has_not_healed() {
        let broken = [
            (
                Disobedience {
                    stays_down: true,
                    ..OBEDIENT
                },
                "gone",
            ),
            (
                Disobedience {
                    never_ready: true,
                    ..OBEDIENT
                },
                "not ready",
            ),
        ];
        for (disobedience, reason) in broken {
            let system = FakeSystem::without_agents(disobedience);
            let context = system.context();
            inject(&context, &targets(&[1]), Halt::Kill).await.unwrap();
            let off = heal(&context, Halt::Kill).await.unwrap();
            assert!(!off.confirmed && off.evidence[0].contains(reason), "{off:?}");
        }
    }

    #[tokio::test]
    async fn what_went_on_before_the_heal_did_not_last() {
        for halt in [Halt::Kill, Halt::Stop, Halt::Freeze] {
            let system = FakeSystem::without_agents(OBEDIENT);
            let context = system.context();
            inject(&context, &targets(&[1, 2]), halt).await.unwrap();
            system.set(&id(2), ProcessState::Running);
            let off = heal(&context, halt).await.unwrap();
            assert!(off.confirmed && off.lapsed, "{halt:?}: {off:?}");
            assert!(
                off.evidence[0].starts_with("api-2: was running before the heal"),
                "{off:?}"
            );

            inject(&context, &targets(&[1, 2]), halt).await.unwrap();
            let off = heal(&context, halt).await.unwrap();
            assert!(off.confirmed && !off.lapsed, "{halt:?}: {off:?}");
        }
    }

    #[tokio::test]
    async fn what_was_down_before_proves_nothing() {
        let system = FakeSystem::without_agents(OBEDIENT);
        system.set(&id(1), ProcessState::Exited);
        let on = inject(&system.context(), &targets(&[1, 2]), Halt::Kill).await.unwrap();
        assert!(!on.confirmed, "{on:?}");
        assert!(
            on.evidence.iter().any(|line| line.contains("api-1: was gone before")),
            "{on:?}"
        );
        assert!(!system.asked().contains(&"kill api-1".to_owned()));
    }

    #[tokio::test]
    async fn an_engine_that_refuses_is_an_error_and_the_heal_still_acts() {
        let system = FakeSystem::without_agents(Disobedience {
            refuses: true,
            ..OBEDIENT
        });
        let context = system.context();
        assert!(inject(&context, &targets(&[1]), Halt::Kill).await.is_err());
        assert!(heal(&context, Halt::Kill).await.unwrap().confirmed);
        assert!(system.asked().contains(&"start api-1".to_owned()));
    }

    #[tokio::test]
    async fn a_fault_that_never_acted_has_nothing_to_heal() {
        let system = FakeSystem::without_agents(OBEDIENT);
        assert!(heal(&system.context(), Halt::Kill).await.unwrap().confirmed);
        assert!(system.asked().is_empty());
    }
}

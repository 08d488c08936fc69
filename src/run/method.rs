//! Drives the faults: each waits for its trigger, is injected, lasts, and is healed, whatever else happens.
//!
//! One path heals: when the time is up and when a signal comes alike. An undo never depends on this code living: the
//! agent and the reaper enforce each fault's time-to-live by themselves.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use regex::Regex;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::sleep_until;

use super::interrupt::{Interrupt, Interrupted};
use super::{Stop, broken};
use crate::event::{Event, Events};
use crate::fault::{Acted, FaultContext, FaultError, Patience, Receipt};
use crate::plan::{Plan, PlannedFault, Trigger};
use crate::system::engine::{LogLine, RunningSystem};
use crate::workload::Load;

/// Runs every fault of the plan to its healing. Returns when all are healed, or were missed.
pub(super) async fn run(
    plan: &Plan,
    system: &Arc<dyn RunningSystem>,
    load: &Load,
    events: &Events,
    interrupt: &Interrupt,
    gate_passed: Instant,
) -> Result<(), Stop> {
    let drivers = plan.faults.iter().map(|fault| {
        let context = FaultContext {
            system: system.clone(),
            id: fault.id,
            ttl: Duration::from_millis(fault.ttl_ms),
            acted: Acted::default(),
            seed: plan.seed ^ (u64::from(fault.id) << 32),
            patience: Patience::default(),
            toxiproxy: plan.toxiproxy.clone(),
        };
        Driver {
            fault,
            context,
            load,
            events,
            interrupt,
            gate_passed,
        }
        .run()
    });
    join_all(drivers).await.into_iter().collect()
}

struct Driver<'a> {
    fault: &'a PlannedFault,
    context: FaultContext,
    load: &'a Load,
    events: &'a Events,
    interrupt: &'a Interrupt,
    gate_passed: Instant,
}

impl Driver<'_> {
    async fn run(self) -> Result<(), Stop> {
        if !self.interrupt.race(self.triggered()).await? {
            let reason = format!("its trigger did not come within {} ms", self.fault.trigger.latest_ms());
            return self.emit(Event::FaultMissed {
                fault: self.fault.id,
                reason,
            });
        }
        // A signal from here on must not skip the healing, so nothing below is raced but the time in between.
        let lasted = self.inject().await?;
        self.heal().await?;
        Ok(lasted?)
    }

    /// Waits for the trigger; false if it did not come in its time.
    async fn triggered(&self) -> bool {
        let deadline = self.gate_passed + Duration::from_millis(self.fault.trigger.latest_ms());
        let came = async {
            match &self.fault.trigger {
                Trigger::At { .. } => sleep_until(deadline.into()).await,
                Trigger::OnOperation {
                    operation,
                    outcome,
                    nth,
                    ..
                } => {
                    if self.load.nth(operation, *outcome, *nth).await.is_none() {
                        std::future::pending::<()>().await; // The load ended first: the deadline says the rest.
                    }
                }
                Trigger::OnLog {
                    service, matches, nth, ..
                } => self.nth_line(service, matches, *nth).await,
            }
        };
        match self.fault.trigger {
            Trigger::At { .. } => {
                came.await;
                true
            }
            _ => tokio::time::timeout_at(deadline.into(), came).await.is_ok(),
        }
    }

    /// Waits for the n-th matching line of a service's log from now on. Never returns if the logs end first.
    async fn nth_line(&self, service: &str, matches: &str, nth: u64) {
        let mut lines = self.context.system.log_lines();
        let Ok(pattern) = Regex::new(matches) else {
            return std::future::pending().await;
        };
        let mut seen = 0;
        loop {
            match lines.recv().await {
                Ok(LogLine { replica, line }) if replica.service == service && pattern.is_match(&line) => seen += 1,
                Ok(_) => continue,
                Err(RecvError::Lagged(missed)) => {
                    self.events.notice(format!(
                        "{missed} log lines passed unseen while waiting for {matches:?}"
                    ));
                    continue;
                }
                Err(RecvError::Closed) => return std::future::pending().await,
            }
            if seen >= nth {
                return;
            }
        }
    }

    /// Injects, and waits while the fault lasts. The inner result is the signal that cut it short.
    async fn inject(&self) -> Result<Result<(), Interrupted>, Stop> {
        let behaviour = self.fault.fault.behaviour();
        let planned_ms = match self.fault.trigger {
            Trigger::At { at_ms } => Some(at_ms),
            _ => None,
        };
        self.emit(Event::FaultIntent {
            fault: self.fault.id,
            name: self.fault.name.clone(),
            describe: behaviour.describe(),
            planned_ms,
        })?;
        let commanded = Instant::now();
        let seen = self.record(
            behaviour.inject(&self.context).await,
            commanded,
            |fault, receipt, effective_us| Event::FaultInjected {
                fault,
                receipt,
                effective_us,
            },
        )?;
        match seen {
            Some(effective) => {
                let until = effective + Duration::from_millis(self.fault.for_ms);
                Ok(self.interrupt.race(sleep_until(until.into())).await)
            }
            // Not seen to bite: the run is inconclusive, and there is nothing to wait for.
            None => Ok(Ok(())),
        }
    }

    async fn heal(&self) -> Result<(), Stop> {
        self.emit(Event::HealIntent { fault: self.fault.id })?;
        let commanded = Instant::now();
        let healed = self.fault.fault.behaviour().heal(&self.context).await;
        if let Err(error) = &healed {
            let reason = error.to_string();
            return self.emit(Event::HealFailed {
                fault: self.fault.id,
                reason,
            });
        }
        self.record(healed, commanded, |fault, receipt, healed_us| Event::FaultHealed {
            fault,
            receipt,
            healed_us,
        })?;
        Ok(())
    }

    /// Emits what was measured. The instant at which the effect was first seen, if it was.
    fn record(
        &self,
        measured: Result<Receipt, FaultError>,
        commanded: Instant,
        event: impl FnOnce(u32, Receipt, Option<i64>) -> Event,
    ) -> Result<Option<Instant>, Stop> {
        match measured {
            Ok(receipt) => {
                let seen = receipt.onset_us.filter(|_| receipt.confirmed);
                let seen = seen.map(|onset_us| commanded + Duration::from_micros(onset_us));
                let seen_us = seen.map(|seen| self.events.since_epoch_us(seen));
                self.emit(event(self.fault.id, receipt, seen_us))?;
                Ok(seen)
            }
            Err(error) => {
                self.emit(Event::FaultMissed {
                    fault: self.fault.id,
                    reason: error.to_string(),
                })?;
                Ok(None)
            }
        }
    }

    fn emit(&self, event: Event) -> Result<(), Stop> {
        self.events.emit(event).map_err(broken)
    }
}

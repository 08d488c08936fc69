//! `clock`: a replica's programs take it to be earlier or later than it is.
//!
//! No kernel shifts the clock of one replica alone, so the service does it by itself: where `system.yaml` says that it can, it
//! is told the offset and for how long, and answers what time it takes it to be. That answer against the harness's own clock
//! is the measurement, within 250 ms and the time that asking took. The service drops the offset when its time is
//! over; the reaper takes it away as well, should the harness be gone by then.

use async_trait::async_trait;
use futures_util::future::join_all;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::measured::{nothing_to_heal, receipt};
use super::process::TARGETS;
use super::{Fault, FaultContext, FaultError, Hold, Problem, Receipt, target};
use crate::duration::OffsetMs;
use crate::plan::Target;
use crate::system::compose::ComposeFile;
use crate::system::definition::SystemDefinition;

mod dial;

use dial::{Dial, hint_of};

/// The least shift that cannot be taken for none.
const LEAST_MS: u64 = 1_000;

/// Parameters of `clock`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Clock<T> {
    /// The replicas, of services that say in `system.yaml` how their clock is shifted.
    pub targets: Vec<T>,
    /// How far ahead, or with a minus behind: `2h`, `-10m`.
    pub by: OffsetMs,
}

impl<T> Clock<T> {
    pub(super) fn map_targets<U, E>(&self, map: &mut dyn FnMut(&str, &T) -> Result<U, E>) -> Result<Clock<U>, E> {
        Ok(Clock {
            targets: super::map_list(TARGETS, &self.targets, map)?,
            by: self.by,
        })
    }
}

#[async_trait]
impl Fault for Clock<Target> {
    fn targets(&self) -> Vec<&Target> {
        self.targets.iter().collect()
    }

    fn holds(&self) -> Option<Hold> {
        Some(Hold::Clock)
    }

    fn describe(&self) -> String {
        format!("shift the clock of {} by {}", target::names(&self.targets), self.by)
    }

    fn problems(&self) -> Vec<Problem> {
        let mut problems: Vec<Problem> = target::empty_list(TARGETS, &self.targets).into_iter().collect();
        if self.by.0.unsigned_abs() < LEAST_MS {
            problems.push(Problem {
                path: "by".to_owned(),
                message: format!("must be 1s or more either way, is {}", self.by),
                hint: "a smaller shift cannot be told from the time that asking for it takes".to_owned(),
            });
        }
        problems
    }

    fn problems_in(&self, definition: &SystemDefinition, _compose: &ComposeFile) -> Vec<Problem> {
        let problem = |(index, target): (usize, &Target)| {
            let (Target::Replicas(ids) | Target::Role { members: ids, .. }) = target;
            let service = &ids.iter().find(|id| hint_of(definition, id).is_none())?.service;
            Some(Problem {
                path: format!("{TARGETS}[{index}]"),
                message: format!("means `{service}`, of which system.yaml does not say how its clock is shifted"),
                hint: format!(
                    "declare it: `services: {{{service}: {{clock: {{port: 8080, path: /clock}}}}}}`; fixtures/README.md says \
                     what is asked there"
                ),
            })
        };
        self.targets.iter().enumerate().filter_map(problem).collect()
    }

    async fn inject(&self, context: &FaultContext) -> Result<Receipt, FaultError> {
        let start = Instant::now();
        let replicas = target::resolve(&*context.system, &self.targets).await?;
        let dials = Dial::of_all(context, &replicas)?;
        context.acted.remember(TARGETS, &replicas);
        let shifted = join_all(dials.iter().map(|dial| dial.shift(context, self.by, start))).await;
        Ok(receipt(&replicas, shifted.into_iter().collect::<Result<_, _>>()?))
    }

    async fn heal(&self, context: &FaultContext) -> Result<Receipt, FaultError> {
        let replicas = context.acted.list(TARGETS);
        if replicas.is_empty() {
            return Ok(nothing_to_heal());
        }
        let dials = Dial::of_all(context, &replicas)?;
        let healed = join_all(dials.iter().map(|dial| dial.set_right(context, self.by))).await;
        let lapsed = healed.iter().any(|(lapsed, _)| *lapsed);
        let mut receipt = receipt(&replicas, healed.into_iter().map(|(_, measured)| measured).collect());
        receipt.lapsed = lapsed;
        // Where a clock could not be set right, whoever keeps the deadline tries again.
        if receipt.confirmed
            && let Err(error) = context.system.disarm_deadline(context.id).await
        {
            receipt.evidence.push(format!(
                "the deadline stays armed, and will find nothing to do: {error}"
            ));
        }
        Ok(receipt)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};
    use std::time::{SystemTime, UNIX_EPOCH};

    use hyper::{Method, StatusCode};
    use serde_json::{Value, json};
    use tokio::net::TcpListener;

    use super::*;
    use crate::control::{self, Asked};
    use crate::fault::test_double::{self, CLOCK_PORT, Disobedience, FakeSystem, targets};

    const BY: OffsetMs = OffsetMs(-600_000);

    /// A service's clock, and what is wrong with it.
    #[derive(Debug, Default)]
    struct Service {
        offset_ms: i64,
        /// It says that it is shifted, and goes on as before.
        only_says_so: bool,
        /// What it is told it passes over.
        is_deaf: bool,
        puts: Vec<String>,
    }

    fn answer(service: &mut Service, asked: &Asked) -> control::Answer {
        if asked.method == Method::PUT {
            let body: Value = serde_json::from_slice(asked.body.as_ref().unwrap()).unwrap();
            service.puts.push(body.to_string());
            if !service.is_deaf {
                service.offset_ms = body["offset_ms"].as_i64().unwrap();
            }
        }
        let real_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
        let shifted_by = if service.only_says_so { 0 } else { service.offset_ms };
        let body = json!({"now_ms": real_ms as i64 + shifted_by, "offset_ms": service.offset_ms});
        control::Answer {
            status: StatusCode::OK,
            content_type: control::JSON,
            body: body.to_string().into(),
        }
    }

    /// A system whose first replica has this clock.
    async fn first(service: Service) -> (Arc<Mutex<Service>>, Arc<FakeSystem>) {
        let addresses = test_double::addresses();
        let listener = TcpListener::bind((addresses[0].0, CLOCK_PORT)).await.unwrap();
        let service = Arc::new(Mutex::new(service));
        let shared = service.clone();
        tokio::spawn(async move {
            let answer = move |asked: Asked| {
                let service = shared.clone();
                async move { answer(&mut service.lock().unwrap(), &asked) }
            };
            control::serve(&listener, answer).await;
        });
        (service, FakeSystem::new(Disobedience::default(), addresses))
    }

    fn clock(by: OffsetMs) -> Clock<Target> {
        let targets = targets(&[1]);
        Clock { targets, by }
    }

    #[tokio::test]
    async fn a_clock_that_is_shifted_and_set_right_is_confirmed_on_and_off() {
        let (service, system) = first(Service::default()).await;
        let context = system.context();
        let on = clock(BY).inject(&context).await.unwrap();
        assert!(on.confirmed && on.onset_us.is_some(), "{on:?}");
        assert_eq!(service.lock().unwrap().offset_ms, BY.0);
        let off = clock(BY).heal(&context).await.unwrap();
        assert!(off.confirmed && !off.lapsed, "{off:?}");
        assert_eq!(
            service.lock().unwrap().puts,
            [
                r#"{"offset_ms":-600000,"ttl_ms":60000}"#,
                r#"{"offset_ms":0,"ttl_ms":1}"#
            ]
        );
        // Whoever keeps the deadline is told before the clock is.
        assert_eq!(system.asked(), ["call 7 PUT /clock 60s", "disarm 7"]);
    }

    #[tokio::test]
    async fn a_clock_that_only_says_so_or_does_nothing_is_not_confirmed() {
        let only_says_so = Service {
            only_says_so: true,
            ..Service::default()
        };
        let is_deaf = Service {
            is_deaf: true,
            ..Service::default()
        };
        for service in [only_says_so, is_deaf] {
            let (_service, system) = first(service).await;
            let on = clock(BY).inject(&system.context()).await.unwrap();
            assert!(!on.confirmed && on.onset_us.is_none(), "{on:?}");
            assert!(on.evidence[0].contains("should be within 250.0 ms of -10m"), "{on:?}");
        }
    }

    #[tokio::test]
    async fn a_clock_that_was_off_before_proves_nothing() {
        let (service, system) = first(Service {
            offset_ms: 5_000,
            ..Service::default()
        })
        .await;
        let on = clock(BY).inject(&system.context()).await.unwrap();
        assert!(
            !on.confirmed && on.evidence[0].contains("before, nothing was done"),
            "{on:?}"
        );
        assert_eq!(service.lock().unwrap().offset_ms, 5_000);
        assert!(system.asked().is_empty());
    }

    #[tokio::test]
    async fn an_offset_that_is_gone_before_the_heal_has_lapsed() {
        let (service, system) = first(Service::default()).await;
        let context = system.context();
        clock(BY).inject(&context).await.unwrap();
        service.lock().unwrap().offset_ms = 0;
        let off = clock(BY).heal(&context).await.unwrap();
        assert!(off.confirmed && off.lapsed, "{off:?}");
        assert!(off.evidence[0].contains("before the heal"), "{off:?}");
    }

    #[tokio::test]
    async fn a_clock_that_stays_off_is_not_confirmed_and_its_deadline_stays_armed() {
        let (service, system) = first(Service::default()).await;
        let context = system.context();
        clock(BY).inject(&context).await.unwrap();
        service.lock().unwrap().is_deaf = true;
        let off = clock(BY).heal(&context).await.unwrap();
        assert!(!off.confirmed && !off.lapsed, "{off:?}");
        assert_eq!(system.asked(), ["call 7 PUT /clock 60s"]);
    }

    #[tokio::test]
    async fn a_service_that_does_not_answer_is_not_confirmed() {
        let (_service, system) = first(Service::default()).await;
        let second = Clock {
            targets: targets(&[2]),
            by: BY,
        };
        let on = second.inject(&system.context()).await.unwrap();
        assert!(!on.confirmed && on.evidence[0].starts_with("api-2: before: "), "{on:?}");
    }

    #[test]
    fn a_shift_that_could_be_chance_is_a_problem() {
        for by in [OffsetMs(0), OffsetMs(-999)] {
            assert_eq!(clock(by).problems()[0].path, "by");
        }
        assert_eq!(clock(OffsetMs(1_000)).problems(), []);
    }
}

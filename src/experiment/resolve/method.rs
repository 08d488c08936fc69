//! The method: triggers, durations, faults and their targets.

use std::convert::Infallible;

use super::Resolver;
use super::overlap::{Considered, Named};
use super::targets::Targets;
use crate::diagnostic::{Diagnostic, list};
use crate::experiment::spec::{Event, Step};
use crate::fault::{EMULATED_PREFIX, FaultSpec, NAMES};
use crate::history::Outcome;
use crate::kernel::{Feature, Netem};
use crate::plan::{PlannedFault, Target, Trigger};
use crate::yaml::place::Place;

/// How much longer than `for` a fault may last before it heals by itself, unless the file says otherwise.
const TTL_GRACE_MS: u64 = 30_000;

impl Resolver<'_> {
    pub(super) fn method(&mut self) -> Vec<PlannedFault> {
        let mut faults = Vec::new();
        for (index, step) in self.experiment.method.iter().enumerate() {
            let place = Place::root().key("method").index(index);
            let trigger = self.trigger(&place, step);
            let ttl_ms = self.times(&place, step);
            let fault = self.fault(&place, index as u32, step);
            if let (Some(trigger), Some((fault, named))) = (trigger, fault) {
                let fault = PlannedFault {
                    id: index as u32,
                    name: step.name.clone(),
                    trigger,
                    for_ms: step.r#for.0,
                    ttl_ms,
                    fault,
                };
                let considered = Considered { fault, named };
                self.overlap(&place, &considered, &faults);
                self.same_emulation(&place, &considered, &faults);
                self.same_disk(&place, &considered, &faults);
                faults.push(considered);
            }
        }
        faults.into_iter().map(|considered| considered.fault).collect()
    }

    fn trigger(&mut self, place: &Place, step: &Step) -> Option<Trigger> {
        match (&step.at, &step.on) {
            (Some(at), None) => Some(Trigger::At { at_ms: at.0 }),
            (None, Some(event)) => self.event(&place.key("on"), event),
            (at, _) => {
                let message = match at {
                    Some(_) => "`at` and `on` exclude each other",
                    None => "this says not when the fault starts",
                };
                self.found.push(
                    self.document
                        .at_key(&place.key("at"), message)
                        .allowed(
                            "at: DURATION, or on: {operation: ..., by: ...}, or on: {log: ..., matches: ..., by: ...}",
                        )
                        .hint("add for example `at: 5s`, counted from the moment the gate passed"),
                );
                None
            }
        }
    }

    fn event(&mut self, place: &Place, event: &Event) -> Option<Trigger> {
        if event.nth == 0 {
            self.found.push(
                self.document
                    .at_value(&place.key("nth"), "`nth` counts from 1")
                    .allowed("1 or more")
                    .hint("leave it out for the first"),
            );
        }
        let (nth, by_ms) = (event.nth, event.by.0);
        match (&event.operation, &event.log) {
            (Some(operation), None) => {
                if event.matches.is_some() {
                    self.misplaced(
                        &place.key("matches"),
                        "`matches` belongs to `log`",
                        "remove it, or name a `log`",
                    );
                }
                self.is_in_load(&place.key("operation"), operation)
                    .then(|| Trigger::OnOperation {
                        operation: operation.clone(),
                        outcome: event.outcome.unwrap_or(Outcome::Ok),
                        nth,
                        by_ms,
                    })
            }
            (None, Some(service)) => {
                if event.outcome.is_some() {
                    self.misplaced(
                        &place.key("outcome"),
                        "`outcome` belongs to `operation`",
                        "remove it, or name an `operation`",
                    );
                }
                self.log_event(place, event, service).map(|matches| Trigger::OnLog {
                    service: service.clone(),
                    matches,
                    nth,
                    by_ms,
                })
            }
            _ => {
                self.found.push(
                    self.document
                        .at_value(place, "an event is either the end of an operation or a line of a log")
                        .allowed("{operation, outcome, nth, by} or {log, matches, nth, by}")
                        .hint("for example {log: postage-worker, matches: 'label created', nth: 20, by: 15s}"),
                );
                None
            }
        }
    }

    fn log_event(&mut self, place: &Place, event: &Event, service: &str) -> Option<String> {
        let known = &self.system.replicas;
        if !known.contains_key(service) {
            let known = known.keys().map(String::as_str);
            self.found
                .push(self.document.unknown(&place.key("log"), "service", service, known));
        }
        let Some(matches) = &event.matches else {
            self.found.push(
                self.document
                    .at_key(place, "`on` with `log` lacks `matches`")
                    .allowed("a regular expression for the line")
                    .hint("add for example `matches: 'label created'`"),
            );
            return None;
        };
        if let Err(error) = regex::Regex::new(matches) {
            let diagnostic = super::bad_regex(self.document, &place.key("matches"), matches, &error);
            self.found.push(diagnostic);
        }
        Some(matches.clone())
    }

    fn misplaced(&mut self, place: &Place, message: &str, hint: &str) {
        self.found.push(self.document.at_key(place, message).hint(hint));
    }

    /// Checks how long a fault lasts and returns its time-to-live.
    fn times(&mut self, place: &Place, step: &Step) -> u64 {
        let for_ms = step.r#for.0;
        if for_ms < 100 {
            self.found.push(
                self.document
                    .at_value(&place.key("for"), "a fault that short cannot be measured")
                    .allowed("100ms or more")
                    .hint("write for example `for: 10s`"),
            );
        }
        let ttl_ms = step.ttl.map_or(for_ms.saturating_add(TTL_GRACE_MS), |ttl| ttl.0);
        if ttl_ms < for_ms.saturating_add(1_000) {
            self.found.push(
                self.document
                    .at_value(
                        &place.key("ttl"),
                        "the fault would heal by itself before its time is over",
                    )
                    .allowed(format!("at least 1s more than `for` ({})", step.r#for))
                    .hint("leave it out for 30s more than `for`"),
            );
        }
        ttl_ms
    }

    /// The fault with its targets resolved, and how they were written.
    fn fault(&mut self, place: &Place, id: u32, step: &Step) -> Option<(FaultSpec<Target>, Vec<Named>)> {
        let place = place.key("inject").key(step.inject.name());
        let mut targets = Targets::new(self.system, self.seed, id, is_of_packets(&step.inject));
        let (mut bad, mut named) = (Vec::new(), Vec::new());
        let mapped = step.inject.map_targets(&mut |path, text: &String| {
            let place = place.below(path);
            let target = match targets.resolve(text) {
                Ok(choice) => {
                    let target = choice.target.clone();
                    named.push(Named {
                        place,
                        list: path.split('[').next().unwrap_or(path).to_owned(),
                        text: text.clone(),
                        choice,
                    });
                    target
                }
                Err(problem) => {
                    let diagnostic = self.document.at_value(&place, problem.message);
                    bad.push(diagnostic.allowed(problem.allowed).hint(problem.hint));
                    Target::Replicas(Vec::new())
                }
            };
            Ok::<Target, Infallible>(target)
        });
        let Ok(mut fault) = mapped;
        bad.extend(self.meeting(&named));
        if bad.is_empty() {
            let (definition, compose) = (&self.system.definition, &self.system.compose);
            let problems = match fault.read_files(&self.system.dir) {
                unread if unread.is_empty() => [fault.problems(), fault.behaviour().problems_in(definition, compose)],
                unread => [unread, Vec::new()],
            };
            bad.extend(problems.into_iter().flatten().map(|problem| {
                let message = format!("`{}` {}", last(&problem.path), problem.message);
                let at = place.below(&problem.path);
                self.document.at_value(&at, message).hint(problem.hint)
            }));
        }
        if bad.is_empty() {
            bad.extend(self.beyond_the_kernel(&place, &fault));
            bad.extend(self.beyond_the_filter(&place, &fault));
        }
        let is_right = bad.is_empty();
        self.found.append(&mut bad);
        is_right.then_some((fault, named))
    }
}

impl Resolver<'_> {
    /// A fault that takes what this kernel does not have. Where nobody knows, the agents will have to try.
    fn beyond_the_kernel(&self, place: &Place, fault: &FaultSpec<Target>) -> Option<Diagnostic> {
        let emulated = fault.behaviour().emulated()?;
        let Netem::Missing(said) = (self.capabilities.netem)() else {
            return None;
        };
        let others = NAMES.iter().copied().filter(|name| !name.starts_with(EMULATED_PREFIX));
        let message = format!(
            "`{}` needs network emulation (netem), which this kernel does not have",
            fault.name()
        );
        Some(
            self.document
                .at_key(place, message)
                .label(said)
                .allowed(format!("faults that do without: {}", list(others)))
                .hint(match emulated.instead {
                    Some(instead) => {
                        format!("use {instead}; or load it with `modprobe sch_netem`, if the kernel comes with it")
                    }
                    None => "load it with `modprobe sch_netem`, if the kernel comes with it; nothing else does this"
                        .to_owned(),
                }),
        )
    }
}

impl Resolver<'_> {
    /// A fault of the network, on a kernel that is known to have no packet filter.
    fn beyond_the_filter(&self, place: &Place, fault: &FaultSpec<Target>) -> Option<Diagnostic> {
        if !fault.behaviour().needs_agent() {
            return None;
        }
        let Feature::LeftOut(found) = (self.capabilities.packet_filter)() else {
            return None;
        };
        let message = format!(
            "`{}` needs a packet filter (nftables), which this kernel does not have",
            fault.name()
        );
        Some(
            self.document
                .at_key(place, message)
                .label(found)
                .allowed("kill, stop, pause, promote, clock, disk-full and the faults of databases (lock and others)")
                .hint("run it on a kernel with nf_tables"),
        )
    }
}

fn last(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
}

/// Whether a fault acts on packets, and so on all replicas of a service unless some of them are named.
fn is_of_packets(fault: &FaultSpec<String>) -> bool {
    anywhere(fault).behaviour().needs_agent()
}

/// Whether a step with that fault is an assertion, too.
pub(super) fn is_judged(fault: &FaultSpec<String>) -> bool {
    anywhere(fault).behaviour().is_judged()
}

/// The fault, whoever its targets are.
fn anywhere(fault: &FaultSpec<String>) -> FaultSpec<Target> {
    let Ok(anywhere) = fault.map_targets(&mut |_, _| Ok::<_, Infallible>(Target::Replicas(Vec::new())));
    anywhere
}

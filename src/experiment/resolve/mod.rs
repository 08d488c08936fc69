//! From what was written to a plan: defaults, references, targets and random choices, each checked.
//!
//! Every part notes what is wrong and goes on, so that one reading finds all of it.

use std::collections::BTreeMap;

use super::SystemUnderTest;
use super::spec::{Experiment, Recovery};
use crate::diagnostic::{Diagnostic, did_you_mean, list};
use crate::kernel::Capabilities;
use crate::plan::{
    BoundUnit, ExperimentInfo, Gate, NoBound, Plan, RecoveryPlan, SCHEMA_VERSION, Schedule, Tolerance, variants,
};
use crate::system::definition::OperationRate;
use crate::yaml::Document;
use crate::yaml::place::Place;

mod controls;
mod engine;
mod links;
pub(super) mod load;
mod method;
mod metrics;
mod overlap;
mod probes;
mod targets;
mod windows;

pub(super) use targets::plural;

/// What a plan is made from.
pub(super) struct Input<'a> {
    pub document: &'a Document,
    pub experiment: &'a Experiment,
    pub system: &'a SystemUnderTest,
    pub configuration: &'a BTreeMap<String, String>,
    pub secrets: &'a [String],
    pub defects: &'a [String],
    pub capabilities: &'a Capabilities,
    pub seed: u64,
    pub info: ExperimentInfo,
}

/// Makes the plan, or says all that is wrong with the experiment.
pub(super) fn resolve(input: Input<'_>) -> Result<Plan, Vec<Diagnostic>> {
    let Input {
        document,
        experiment,
        system,
        ..
    } = input;
    let mut resolver = Resolver {
        document,
        experiment,
        system,
        configuration: input.configuration,
        load: load::rates(&experiment.workload.0, &system.definition),
        capabilities: input.capabilities,
        seed: input.seed,
        found: Vec::new(),
    };
    let workload = resolver.workload();
    let gate = resolver.gate();
    let toxiproxy = resolver.toxiproxy();
    let faults = resolver.method();
    resolver.within_toxiproxy(toxiproxy.as_ref(), &faults);
    resolver.within_engine(toxiproxy.as_ref());
    let during = resolver.during();
    let recovery = resolver.recovery();
    let afterwards = resolver.afterwards(recovery.as_ref());
    resolver.invariants();
    resolver.purpose();
    let data_loss_fault = resolver.losing_fault();
    resolver.environment(&Place::root().key("environment"), &experiment.environment);
    resolver.defects(input.defects);
    let negative_controls = resolver.controls(&during, &afterwards);
    resolver.names_are_unique(&during, &afterwards);
    if !resolver.found.is_empty() {
        return Err(resolver.found);
    }
    let method_ms = faults
        .iter()
        .map(|fault| fault.trigger.latest_ms().saturating_add(fault.for_ms))
        .max()
        .or(experiment.workload.0.r#for.map(|duration| duration.0))
        .unwrap_or_default();
    let gate_ms = gate.warm_up_ms + gate.window_ms;
    let recovery_ms = recovery.as_ref().map_or(0, |plan| plan.within_ms + plan.stable_for_ms);
    let plan = Plan {
        schema_version: SCHEMA_VERSION,
        experiment: input.info,
        seed: input.seed,
        configuration: input.configuration.clone(),
        system: system.definition.clone(),
        system_dir: system.dir.clone(),
        replicas: system.replicas.clone(),
        environment: experiment.environment.clone(),
        defects: Vec::new(),
        workload,
        gate,
        toxiproxy,
        faults,
        during,
        afterwards,
        recovery,
        invariants: experiment.invariants.clone(),
        tolerate: Tolerance {
            data_loss_operations: experiment.tolerate.data_loss.operations,
            data_loss_time_ms: experiment.tolerate.data_loss.time.0,
            data_loss_fault,
        },
        negative_controls,
        schedule: Schedule {
            gate_ms,
            method_ms,
            recovery_ms,
            total_ms: gate_ms + method_ms + recovery_ms,
        },
        is_twin: false,
        secrets: input.secrets.to_vec(),
    };
    resolver.arrivals(&plan);
    if !resolver.found.is_empty() {
        return Err(resolver.found);
    }
    let plan = metrics::without_those_nobody_asks_for(plan);
    Ok(input
        .defects
        .iter()
        .fold(plan, |plan, defect| variants::with_defect(plan, defect)))
}

/// An invalid regular expression.
pub(super) fn bad_regex(document: &Document, place: &Place, pattern: &str, error: &regex::Error) -> Diagnostic {
    let said = error.to_string();
    let reason = said
        .lines()
        .last()
        .unwrap_or_default()
        .trim_start_matches("error: ")
        .to_owned();
    document
        .at_value(place, format!("`{pattern}` is no regular expression: {reason}"))
        .allowed("the syntax of https://docs.rs/regex (no look-around, no back-references)")
        .hint("put it into single quotes, so that YAML leaves backslashes alone")
}

/// A text that is no bound in this unit.
pub(super) fn no_bound(document: &Document, place: &Place, wrong: NoBound, unit: BoundUnit) -> Diagnostic {
    let diagnostic = document.at_value(place, wrong.message);
    diagnostic.allowed(unit.allowed()).hint(wrong.hint)
}

/// Resolves an experiment part by part.
struct Resolver<'a> {
    document: &'a Document,
    experiment: &'a Experiment,
    system: &'a SystemUnderTest,
    configuration: &'a BTreeMap<String, String>,
    /// The operations of the load, a profile's included.
    load: BTreeMap<String, OperationRate>,
    capabilities: &'a Capabilities,
    seed: u64,
    found: Vec<Diagnostic>,
}

impl Resolver<'_> {
    fn gate(&mut self) -> Gate {
        let hypothesis = &self.experiment.steady_state_hypothesis;
        let place = Place::root().key("steady-state-hypothesis").key("probes");
        if hypothesis.probes.is_empty() {
            self.found.push(
                self.document
                    .at_value(&place, "without probes every state is steady")
                    .label("empty")
                    .allowed("at least one probe")
                    .hint(
                        "for example {name: buying succeeds, metric: success-rate, operation: buy-postage, \
                         tolerance: \">= 99.5%\"}",
                    ),
            );
        }
        if self.experiment.gate.window.0 < 500 {
            self.found.push(
                self.document
                    .at_value(
                        &Place::root().key("gate").key("window"),
                        "this window is too short to judge anything",
                    )
                    .allowed("500ms or more")
                    .hint("leave it out for 4s"),
            );
        }
        Gate {
            title: hypothesis.title.clone(),
            warm_up_ms: self.experiment.gate.warm_up.0,
            window_ms: self.experiment.gate.window.0,
            probes: self.gate_probes(&place),
        }
    }

    fn recovery(&mut self) -> Option<RecoveryPlan> {
        let place = Place::root().key("recovery");
        let has_method = !self.experiment.method.is_empty();
        match (&self.experiment.recovery, has_method) {
            (None, true) => {
                self.found.push(
                    self.document
                        .at_key(
                            &Place::root().key("method"),
                            "`method` breaks something, but `recovery` is missing",
                        )
                        .label("when must the system have recovered from this?")
                        .allowed("recovery: {within: DURATION, stable-for: DURATION}")
                        .hint("add for example `recovery: {within: 10s, stable-for: 5s}`"),
                );
                None
            }
            (Some(_), false) => {
                self.found.push(
                    self.document
                        .at_key(&place, "there is nothing to recover from: `method` is empty")
                        .hint("remove `recovery`, or add a fault to `method`"),
                );
                None
            }
            (
                Some(Recovery {
                    within,
                    stable_for,
                    disrupted_for,
                }),
                true,
            ) => {
                if stable_for.0 < 1_000 {
                    self.found.push(
                        self.document
                            .at_value(
                                &place.key("stable-for"),
                                "good time must last longer than this to count",
                            )
                            .allowed("1s or more")
                            .hint("leave it out for 5s"),
                    );
                }
                Some(RecoveryPlan {
                    within_ms: within.0,
                    stable_for_ms: stable_for.0,
                    disrupted_for_ms: disrupted_for.map(|most| most.0),
                })
            }
            (None, false) => None,
        }
    }

    fn invariants(&mut self) {
        let place = Place::root().key("invariants");
        let known = &self.system.definition.invariants;
        for (index, name) in self.experiment.invariants.iter().enumerate() {
            let place = place.index(index);
            if !known.contains_key(name) {
                let known = known.keys().map(String::as_str);
                self.found.push(self.document.unknown(&place, "invariant", name, known));
            } else if self.experiment.invariants[..index].contains(name) {
                self.found.push(
                    self.document
                        .at_value(&place, format!("the invariant `{name}` is there twice"))
                        .hint("remove one of them"),
                );
            }
        }
    }

    /// An experiment must be able to find something, and a baseline must know how long it lasts.
    fn purpose(&mut self) {
        let experiment = self.experiment;
        let method = Place::root().key("method");
        let duration = Place::root().key("workload").key("for");
        let asks_nothing =
            experiment.invariants.is_empty() && experiment.during.is_empty() && experiment.afterwards.is_empty();
        if !experiment.method.is_empty() && asks_nothing {
            let known = self.system.definition.invariants.keys().map(String::as_str);
            self.found.push(
                self.document
                    .at_key(
                        &method,
                        "`method` breaks something, but neither `invariants`, `during` nor `afterwards` says what must hold",
                    )
                    .label("what must hold all the same?")
                    .allowed(format!("invariants of this system: {}", list(known)))
                    .hint("name at least one of `invariants`, or a bound under `during`"),
            );
        }
        if experiment.method.is_empty() {
            if experiment.workload.0.r#for.is_none() {
                self.found.push(
                    self.document
                        .at_key(
                            &Place::root().key("workload"),
                            "without a `method` nothing says how long the load lasts",
                        )
                        .allowed("workload: {for: DURATION, ...}, or a method")
                        .hint("add `for: 20s` to `workload`"),
                );
            }
            self.without_faults();
        } else if experiment.workload.0.r#for.is_some() {
            self.found.push(
                self.document
                    .at_key(
                        &duration,
                        "how long the load lasts follows from `method` and `recovery`",
                    )
                    .hint("remove `for` from `workload`"),
            );
        }
    }

    /// What asks about faults asks nothing where there are none.
    fn without_faults(&mut self) {
        let experiment = self.experiment;
        let lists = [
            ("during", "the time of faults", experiment.during.is_empty()),
            ("afterwards", "the time after faults", experiment.afterwards.is_empty()),
        ];
        for (key, time, _) in lists.into_iter().filter(|(.., is_empty)| !is_empty) {
            self.found.push(
                self.document
                    .at_key(
                        &Place::root().key(key),
                        format!("`{key}` asks about {time}, and there are none"),
                    )
                    .hint(format!("remove `{key}`, or add a fault to `method`")),
            );
        }
    }

    fn environment(&mut self, place: &Place, environment: &BTreeMap<String, BTreeMap<String, String>>) {
        let known = &self.system.replicas;
        for service in environment.keys().filter(|service| !known.contains_key(*service)) {
            let diagnostic = self.unknown_key(&place.key(service), "service", service, known.keys());
            self.found.push(diagnostic);
        }
    }

    fn defects(&mut self, defects: &[String]) {
        let known = || self.system.definition.defects.keys().map(String::as_str);
        for name in defects.iter().filter(|name| !known().any(|defect| defect == *name)) {
            let mut diagnostic = Diagnostic::in_file(
                &self.document.path,
                format!("--defect {name}: the system has no defect `{name}`"),
            )
            .allowed(list(known()));
            diagnostic.hint = did_you_mean(name, known()).map(|meant| format!("did you mean `--defect {meant}`?"));
            self.found.push(diagnostic);
        }
    }

    /// A key that refers to nothing known.
    fn unknown_key<'k>(
        &self,
        place: &Place,
        what: &str,
        name: &str,
        known: impl Iterator<Item = &'k String> + Clone,
    ) -> Diagnostic {
        let unknown = self.document.unknown(place, what, name, known.map(String::as_str));
        let mut diagnostic = self.document.at_key(place, unknown.message);
        diagnostic.label = unknown.label;
        diagnostic.allowed = unknown.allowed;
        diagnostic.hint = unknown.hint;
        diagnostic
    }
}

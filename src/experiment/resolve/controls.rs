//! Negative controls, and the names by which they refer to assertions.

use std::collections::BTreeMap;

use super::Resolver;
use crate::experiment::spec::{Control, With};
use crate::plan::{ControlChange, NegativeControl, WindowedProbe};
use crate::yaml::node::Value;
use crate::yaml::place::Place;

/// The assertion on recovery, by name.
const RECOVERY: &str = "recovery";

impl Resolver<'_> {
    pub(super) fn controls(&mut self, during: &[WindowedProbe], afterwards: &[WindowedProbe]) -> Vec<NegativeControl> {
        let known = self.assertions(during.iter().chain(afterwards));
        let mut controls: Vec<NegativeControl> = Vec::new();
        for (index, control) in self.experiment.negative_controls.iter().enumerate() {
            let place = Place::root().key("negative-controls").index(index);
            self.fails(&place.key("fails"), &control.fails.0, &known);
            let Some(change) = self.change(&place, control) else {
                continue;
            };
            let name = control.name.clone().unwrap_or_else(|| match &change {
                ControlChange::Defect(defect) => defect.clone(),
                ControlChange::With {
                    environment,
                    configuration,
                    ..
                } => describe(environment, configuration),
            });
            controls.push(NegativeControl {
                name,
                change,
                fails: control.fails.0.clone(),
            });
        }
        controls
    }

    fn change(&mut self, place: &Place, control: &Control) -> Option<ControlChange> {
        let defects = &self.system.definition.defects;
        match (&control.defect, &control.with) {
            (Some(defect), None) => {
                if !defects.contains_key(defect) {
                    let known = defects.keys().map(String::as_str);
                    let unknown = self.document.unknown(&place.key("defect"), "defect", defect, known);
                    self.found.push(unknown);
                }
                Some(ControlChange::Defect(defect.clone()))
            }
            (None, Some(with)) => {
                let place = place.key("with");
                self.environment(&place.key("environment"), &with.environment);
                if with.environment.values().all(BTreeMap::is_empty) && with.configuration.is_empty() {
                    self.found.push(
                        self.document
                            .at_value(&place.key("environment"), "this control changes nothing")
                            .label("empty")
                            .hint("set the variable or the configuration value that makes the system unsafe"),
                    );
                }
                Some(ControlChange::With {
                    environment: with.environment.clone(),
                    configuration: self.other_configuration(&place.key("configuration"), with),
                    variation: None,
                })
            }
            (defect, _) => {
                let message = match defect {
                    Some(_) => "`defect` and `with` exclude each other",
                    None => "this control says not what is made unsafe",
                };
                self.found.push(
                    self.document
                        .at_value(place, message)
                        .allowed(
                            "defect: NAME, or with: {environment: {SERVICE: {VARIABLE: VALUE}}, configuration: {NAME: VALUE}}",
                        )
                        .hint("name a defect of the system, or the setting that makes it unsafe"),
                );
                None
            }
        }
    }

    /// Values as they are written: what they are is known where they are used.
    fn other_configuration(&mut self, place: &Place, with: &With) -> BTreeMap<String, String> {
        let mut values = BTreeMap::new();
        for name in with.configuration.keys() {
            let at = place.key(name);
            if !self.configuration.contains_key(name) {
                let unknown = self.unknown_key(&at, "configuration value", name, self.configuration.keys());
                self.found.push(match self.configuration.is_empty() {
                    true => unknown
                        .allowed("values that `configuration` declares, of which there are none")
                        .hint(format!("declare it in the file: `configuration: {{{name}: ...}}`")),
                    false => unknown,
                });
            } else if let Value::Scalar(scalar) = &at.find(&self.document.root).value.value {
                values.insert(name.clone(), scalar.text.clone());
            } else {
                self.found.push(
                    self.document
                        .at_value(&at, format!("`{name}` is no single value"))
                        .allowed("text, a number, true or false")
                        .hint("write one value after the colon"),
                );
            }
        }
        values
    }

    fn fails(&mut self, place: &Place, names: &[String], known: &[String]) {
        if names.is_empty() {
            self.found.push(
                self.document
                    .at_value(place, "this control must make nothing fail")
                    .label("empty")
                    .hint("name the assertion that finds it"),
            );
        }
        for (index, name) in names.iter().enumerate() {
            self.fails_by(&place.index(index), name, known);
        }
    }

    fn fails_by(&mut self, place: &Place, name: &str, known: &[String]) {
        if !known.iter().any(|assertion| assertion == name) {
            let known: Vec<&str> = known.iter().map(String::as_str).collect();
            let diagnostic = self.document.unknown(place, "assertion", name, known.iter().copied());
            let diagnostic = diagnostic.label("this experiment asserts no such thing");
            // An invariant of the system under its right name is not misspelt.
            self.found
                .push(match self.system.definition.invariants.contains_key(name) {
                    true => diagnostic.hint(format!("add `{name}` to `invariants`")),
                    false => diagnostic,
                });
        }
    }

    /// Everything that a control may make fail.
    fn assertions<'p>(&self, windowed: impl Iterator<Item = &'p WindowedProbe>) -> Vec<String> {
        let mut names = self.experiment.invariants.clone();
        if !self.experiment.method.is_empty() {
            names.push(RECOVERY.to_owned());
        }
        names.extend(self.gate_names().map(str::to_owned));
        names.extend(windowed.map(|windowed| windowed.probe.name.clone()));
        names
    }

    fn gate_names(&self) -> impl Iterator<Item = &str> {
        let probes = &self.experiment.steady_state_hypothesis.probes;
        probes.iter().map(|probe| probe.name.as_str())
    }

    /// Reports and controls refer to assertions and faults by name.
    pub(super) fn names_are_unique(&mut self, during: &[WindowedProbe], afterwards: &[WindowedProbe]) {
        let root = Place::root();
        let probes = root.key("steady-state-hypothesis").key("probes");
        let steps = self.experiment.method.iter().map(|step| step.name.as_str());
        let mut named: Vec<(Place, &str)> = Vec::new();
        named.extend(
            self.gate_names()
                .enumerate()
                .map(|(index, name)| (probes.index(index).key("name"), name)),
        );
        named.extend(
            steps
                .enumerate()
                .map(|(index, name)| (root.key("method").index(index).key("name"), name)),
        );
        let lists = [
            ("during", during, self.experiment.during.len()),
            ("afterwards", afterwards, self.experiment.afterwards.len()),
        ];
        // A probe without a place of its own (one that is wrong) is not here: positions hold only if all are.
        for (list, probes, _) in lists
            .into_iter()
            .filter(|(_, probes, written)| probes.len() == *written)
        {
            let names = probes.iter().map(|windowed| windowed.probe.name.as_str());
            let place = |index| root.key(list).index(index).key("name");
            named.extend(names.enumerate().map(|(index, name)| (place(index), name)));
        }
        let mut found = Vec::new();
        for (position, (place, name)) in named.iter().enumerate() {
            let reserved = *name == RECOVERY || self.experiment.invariants.iter().any(|invariant| invariant == name);
            if name.trim().is_empty() {
                found.push(
                    self.document
                        .at_value(place, "this name is empty")
                        .hint("say in a few words what it is"),
                );
            } else if reserved || named[..position].iter().any(|(_, earlier)| earlier == name) {
                found.push(
                    self.document
                        .at_value(place, format!("the name `{name}` is taken"))
                        .label("used before, or an invariant's")
                        .allowed("a name of its own for each probe, bound and step")
                        .hint("give this one another `name`"),
                );
            }
        }
        self.found.append(&mut found);
    }
}

fn describe(
    environment: &BTreeMap<String, BTreeMap<String, String>>,
    configuration: &BTreeMap<String, String>,
) -> String {
    let of_services = environment
        .iter()
        .flat_map(|(service, variables)| variables.keys().map(move |name| format!("{service} {name}")));
    let of_the_file = configuration.iter().map(|(name, value)| format!("{name} {value}"));
    let settings: Vec<String> = of_services.chain(of_the_file).collect();
    format!("with {}", settings.join(", "))
}

//! `system.yaml` with its Compose file, read and checked: every reference in it must lead somewhere.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::check::{Invariant, StatedBound};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::plan::Bound;
use crate::system::compose::ComposeFile;
use crate::system::definition::SystemDefinition;
use crate::yaml::Document;
use crate::yaml::place::Place;

mod business;
mod heartbeats;
mod operations;
mod reads;
mod replicas;
mod sql;

/// A system definition that has been checked.
#[derive(Debug, Clone)]
pub struct SystemUnderTest {
    /// The definition.
    pub definition: SystemDefinition,
    /// The folder that holds it (absolute).
    pub dir: PathBuf,
    /// Its Compose file.
    pub compose: ComposeFile,
    /// Replicas of each Compose service.
    pub replicas: BTreeMap<String, u32>,
}

/// What to do about a missing key.
const MISSING: crate::yaml::read::MissingHints = &[
    ("name", "give the system a short name, for example `name: postage`"),
    ("operations", "say what customers do"),
    ("outcome", "say which answers count: `outcome: {ok: \"status < 300\"}`"),
    (
        "ok",
        "say which answers are acknowledgements, for example `ok: \"status < 300\"`",
    ),
    (
        "request",
        "say what is sent: `request: {service: api, port: 8080, path: /}`",
    ),
    ("service", "name the Compose service that answers"),
    ("port", "name the port within the container"),
    ("rate", "say how often it arrives, for example `rate: 40/s`"),
    ("at", "say when, counted from the start of the load: `at: 8s`"),
    (
        "where",
        "say which items must not be there, for example `where: {explained: false}`",
    ),
    (
        "journal",
        "name the final read that lists the entries of all devices' journals",
    ),
    ("host", "name the final read that lists what the host has of them"),
    ("device", "name the field that says whose entry it is"),
    ("sequence", "name the field that numbers a device's entries, from 1"),
    ("claim", "say what is published: `claim: {metric: NAME, is: \">= 1\"}`"),
    (
        "true-when",
        "say what must be so then: `true-when: {metric: NAME, is: \"== 0\"}`",
    ),
    (
        "impact-tolerance",
        "say what is tolerable, for example `impact-tolerance: {time: 30s}`",
    ),
    ("time", "say for how long at most, for example `time: 30s`"),
    ("is", "state the bound, for example `is: \">= 1\"`"),
    ("lag", "say for how long it may be false on end, for example `lag: 1s`"),
];

impl SystemUnderTest {
    /// Reads a `system.yaml` and its Compose file.
    pub fn load(path: &Path) -> Result<Self, Diagnostics> {
        Self::load_variant(path, None)
    }

    /// The same with another Compose file than it names itself, relative to its folder.
    pub fn load_variant(path: &Path, compose: Option<&Path>) -> Result<Self, Diagnostics> {
        let document = Document::load(path)?;
        let mut definition: SystemDefinition = crate::yaml::read::read(&document, MISSING).map_err(super::all)?;
        if let Some(compose) = compose {
            compose.clone_into(&mut definition.compose);
        }
        let folder = path.parent().unwrap_or(Path::new(""));
        let dir = std::path::absolute(Path::new(".").join(folder))
            .map_err(|error| Diagnostic::in_file(path, format!("its folder cannot be found: {error}")))?;
        let compose = folder.join(&definition.compose);
        if !compose.is_file() {
            return Err(document
                .at_value(
                    &Place::root().key("compose"),
                    format!("there is no Compose file {}", definition.compose.display()),
                )
                .hint("put compose.yaml beside system.yaml, or name the file with `compose:`")
                .into());
        }
        let compose = crate::system::compose::load(&compose)?;
        let replicas = compose.replicas();
        let mut checker = Checker {
            document: &document,
            definition: &definition,
            replicas: &replicas,
            found: Vec::new(),
        };
        checker.check();
        Diagnostics::check(checker.found)?;
        Ok(Self {
            definition,
            dir,
            compose,
            replicas,
        })
    }
}

/// Checks a system definition part by part.
struct Checker<'a> {
    document: &'a Document,
    definition: &'a SystemDefinition,
    replicas: &'a BTreeMap<String, u32>,
    found: Vec<Diagnostic>,
}

impl Checker<'_> {
    fn check(&mut self) {
        let root = Place::root();
        self.name(&root.key("name"));
        self.topology(&root);
        self.operations(&root);
        self.profiles(&root);
        self.reads(&root);
        self.heartbeats(&root.key("heartbeats"));
        self.invariants(&root.key("invariants"));
        self.business_services(&root.key("business-services"));
        self.defects(&root.key("defects"));
        self.workload();
    }

    fn name(&mut self, place: &Place) {
        let name = &self.definition.name;
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if name.is_empty() || name.starts_with('-') || !name.chars().all(plain) {
            self.found.push(
                self.document
                    .at_value(place, format!("`{name}` cannot be a system's name"))
                    .allowed("lower-case letters, digits and hyphens")
                    .hint("it becomes part of folder and container names"),
            );
        }
    }

    fn topology(&mut self, root: &Place) {
        for (name, group) in &self.definition.groups {
            let place = root.key("groups").key(name);
            if self.replicas.contains_key(name) {
                self.found.push(
                    self.document
                        .at_key(&place, format!("the group `{name}` has the name of a Compose service"))
                        .hint("give the group another name, so that targets are clear"),
                );
            }
            let members = place.key("services");
            if group.services.is_empty() {
                self.empty(&members, "a group needs at least one service");
            }
            for (index, service) in group.services.iter().enumerate() {
                self.service(&members.index(index), service);
            }
        }
        for (name, hints) in &self.definition.services {
            let place = root.key("services").key(name);
            self.service_key(&place, name);
            if let Some(crate::system::definition::Ready::Log { matches }) = &hints.ready {
                self.regex(&place.key("ready").key("log").key("matches"), matches);
            }
            if let Some(crate::system::definition::Ready::Http { path, .. }) = &hints.ready {
                self.leading_slash(&place.key("ready").key("http").key("path"), path);
            }
            if let Some(clock) = &hints.clock {
                let place = place.key("clock").key("path");
                self.leading_slash(&place, &clock.path);
                self.without_space(&place, &clock.path);
            }
        }
    }

    fn invariants(&mut self, place: &Place) {
        for (name, invariant) in &self.definition.invariants {
            let place = place.key(name).key(invariant.name());
            let names = invariant.checker().names();
            for (path, operation) in &names.operations {
                let known = self.definition.operations.keys();
                self.known(&place.below(path), "operation", operation, known);
            }
            for (path, read) in &names.reads {
                let known = self.definition.final_reads.keys();
                self.known(&place.below(path), "final read", read, known);
            }
            for (path, metric) in &names.metrics {
                let known = self.definition.metrics.keys();
                self.known(&place.below(path), "metric", metric, known);
            }
            for (path, group) in &names.heartbeats {
                let known = self.definition.heartbeats.keys();
                self.known(&place.below(path), "group with heartbeats", group, known);
            }
            self.bounds(&place, &names.bounds);
            if let Invariant::NeverAnswered(asked) = invariant {
                self.says_never(&place, &asked.operations);
            }
            for mistake in invariant.checker().mistakes() {
                self.found.push(
                    self.document
                        .at_value(&place.below(mistake.at), mistake.message)
                        .allowed(mistake.allowed)
                        .hint(mistake.hint),
                );
            }
        }
    }

    /// Bounds on metrics, in their units. What is unknown has no unit, and is an error of its own.
    fn bounds(&mut self, place: &Place, bounds: &[StatedBound<'_>]) {
        for stated in bounds {
            let Some(metric) = self.definition.metrics.get(stated.metric) else {
                continue;
            };
            let unit = metric.unit.into();
            if let Err(wrong) = Bound::parse(stated.text, unit) {
                let place = place.below(stated.at);
                let diagnostic = super::resolve::no_bound(self.document, &place, wrong, unit);
                self.found.push(diagnostic);
            }
        }
    }

    fn defects(&mut self, place: &Place) {
        for (name, defect) in &self.definition.defects {
            let place = place.key(name);
            if defect.services.is_empty() {
                self.empty(&place.key("services"), "a defect needs at least one service");
            }
            for (index, service) in defect.services.iter().enumerate() {
                self.service(&place.key("services").index(index), service);
            }
            if defect.environment.is_empty() {
                self.empty(
                    &place.key("environment"),
                    "a defect needs at least one variable that switches it on",
                );
            }
        }
    }

    /// An operation that may be answered anything is never answered wrongly.
    fn says_never(&mut self, place: &Place, operations: &[String]) {
        let known = &self.definition.operations;
        for (index, name) in operations.iter().enumerate() {
            if known
                .get(name)
                .is_some_and(|operation| operation.outcome.never.is_none())
            {
                let at = place.key("operations").index(index);
                self.found.push(
                    self.document
                        .at_value(&at, format!("`{name}` does not say what it must never be answered"))
                        .allowed("operations with `outcome: {never: RULE}`")
                        .hint("add for example `never: \"status == 500\"` to its `outcome`"),
                );
            }
        }
        if operations.is_empty() {
            self.empty(&place.key("operations"), "no operation is asked about");
        }
    }

    fn empty(&mut self, place: &Place, message: &str) {
        self.found.push(
            self.document
                .at_value(place, message)
                .label("empty")
                .hint("add one, or remove the whole entry"),
        );
    }

    fn known<'k>(
        &mut self,
        place: &Place,
        what: &str,
        name: &str,
        known: impl Iterator<Item = &'k String> + Clone,
    ) -> bool {
        let is_known = known.clone().any(|candidate| candidate == name);
        if !is_known {
            let known = known.map(String::as_str);
            self.found.push(self.document.unknown(place, what, name, known));
        }
        is_known
    }

    fn service(&mut self, place: &Place, name: &str) {
        self.known(place, "service", name, self.replicas.keys());
    }

    fn service_key(&mut self, place: &Place, name: &str) {
        if !self.replicas.contains_key(name) {
            self.unknown_key(place, "service", name, self.replicas.keys());
        }
    }

    /// A key that refers to nothing known.
    fn unknown_key<'k>(
        &mut self,
        place: &Place,
        what: &str,
        name: &str,
        known: impl Iterator<Item = &'k String> + Clone,
    ) {
        let at_value = self.document.unknown(place, what, name, known.map(String::as_str));
        let mut diagnostic = self.document.at_key(place, at_value.message);
        diagnostic.label = at_value.label;
        diagnostic.allowed = at_value.allowed;
        diagnostic.hint = at_value.hint;
        self.found.push(diagnostic);
    }

    fn regex(&mut self, place: &Place, pattern: &str) -> Option<regex::Regex> {
        match regex::Regex::new(pattern) {
            Ok(regex) => Some(regex),
            Err(error) => {
                self.found
                    .push(super::resolve::bad_regex(self.document, place, pattern, &error));
                None
            }
        }
    }

    fn without_space(&mut self, place: &Place, path: &str) {
        if path.contains(|c: char| c.is_whitespace() || c.is_control()) {
            self.found.push(
                self.document
                    .at_value(place, format!("the path `{path}` has white space in it"))
                    .hint("write a space in a path as `%20`"),
            );
        }
    }

    fn leading_slash(&mut self, place: &Place, path: &str) {
        if !path.starts_with('/') {
            self.found.push(
                self.document
                    .at_value(place, format!("the path `{path}` does not begin with a slash"))
                    .hint(format!("write `/{path}`")),
            );
        }
    }
}

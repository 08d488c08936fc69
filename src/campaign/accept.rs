//! Weaknesses that are known and accepted until a date: a reviewed file, `accepted.yaml`, and what it makes of a run.
//!
//! Nothing is hidden by it. An accepted failure stays a failure in the run's own verdict and in every report; it only does
//! not close the gate, as long as its date has not passed.

use std::borrow::Cow;
use std::fmt;
use std::path::Path;

use jiff::civil::Date;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::Value;

use super::RunRecord;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::verdict::conclude::exit_code;
use crate::verdict::{Assertion, AssertionKind, Judgement, Status};
use crate::yaml::Document;
use crate::yaml::place::Place;

mod unmatched;

use unmatched::why_unmatched;

/// Stands for every assertion of an experiment but its invariants.
const ANY: &str = "*";

/// An accepted weakness, as its file says it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Entry {
    /// The system's name, where experiments of several systems have one name.
    system: Option<String>,
    /// The experiment's name: that of its file, without `.yaml`.
    experiment: String,
    /// The assertion that may fail, or `*` for any but an invariant: whatever is lost, doubled or does not add up is
    /// accepted by its name or not at all.
    assertion: Option<String>,
    /// The metric that may be worse than the baseline's, by its name in `nightmail diff`; instead of `assertion`.
    metric: Option<String>,
    /// The business service that may exceed its impact tolerance, by its key in `system.yaml`; instead of `assertion`.
    business_service: Option<String>,
    /// Why it is accepted.
    reason: String,
    /// Who has it mended.
    owner: String,
    /// The last day on which it is accepted.
    until: Day,
}

/// A day, written `2027-01-31`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Day(Date);

impl Serialize for Day {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Day {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        // What reads dates also reads instants, of which the day would depend on where one is.
        let date = (text.len() == "2027-01-31".len()).then(|| text.parse().ok()).flatten();
        date.map(Self)
            .ok_or_else(|| de::Error::custom(format!("`{text}` is not a day; write for example `2027-01-31`")))
    }
}

impl JsonSchema for Day {
    fn schema_name() -> Cow<'static, str> {
        "Day".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "format": "date"})
    }
}

/// What to do about a missing key.
const MISSING: crate::yaml::read::MissingHints = &[
    (
        "experiment",
        "name the experiment, for example `experiment: provider-answers-lost`",
    ),
    (
        "reason",
        "say why it is accepted: whoever reviews the file must be able to judge it",
    ),
    ("owner", "say who has it mended"),
    (
        "until",
        "say until when, for example `until: 2027-01-31`; nothing is accepted for ever",
    ),
];

/// The JSON Schema of `accepted.yaml`.
pub fn schema() -> Value {
    schemars::schema_for!(Vec<Entry>).to_value()
}

/// What is accepted today.
#[derive(Debug, Clone, Default)]
pub struct Accepted {
    entries: Vec<(Entry, Weakness)>,
    today: Date,
}

/// An accepted weakness, for reports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Weakness {
    /// The experiment.
    pub experiment: String,
    /// The assertion, `*`, the metric, or the business service.
    pub what: String,
    /// Why it is accepted.
    pub reason: String,
    /// Who has it mended.
    pub owner: String,
    /// The last day on which it is accepted, as `2027-01-31`.
    pub until: String,
    /// Where it stands, as `accepted.yaml:12`.
    pub place: String,
}

impl Weakness {
    /// Whether it is about that assertion, if it is about one at all.
    pub fn is_about(&self, assertion: &Assertion) -> bool {
        names_assertion(&self.what, assertion)
    }
}

/// Whether what an entry says means that assertion: by its name, or as any but an invariant.
fn names_assertion(what: &str, assertion: &Assertion) -> bool {
    match what {
        ANY => assertion.kind != AssertionKind::Invariant,
        name => assertion.name == name,
    }
}

impl Entry {
    /// Whether it is about runs of that experiment on that system.
    fn is_of(&self, system: &str, experiment: &str) -> bool {
        self.experiment == experiment && self.system.as_deref().is_none_or(|of| of == system)
    }

    fn is_of_run(&self, run: &RunRecord) -> bool {
        self.is_of(&run.system, &run.verdict.experiment)
    }
}

impl fmt::Display for Weakness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            experiment,
            what,
            reason,
            owner,
            until,
            place,
        } = self;
        write!(f, "{experiment}: {what}: {reason} ({owner}, until {until}; {place})")
    }
}

/// Whether a weakness is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acceptance<'a> {
    /// Nobody accepted it.
    No,
    /// It is.
    Yes(&'a Weakness),
    /// It was, until a day that has passed.
    Expired(&'a Weakness),
}

impl<'a> Acceptance<'a> {
    /// What somebody accepted, until whatever day.
    pub fn weakness(self) -> Option<&'a Weakness> {
        match self {
            Self::No => None,
            Self::Yes(weakness) | Self::Expired(weakness) => Some(weakness),
        }
    }
}

/// A run, with what is accepted of it left out.
#[derive(Debug, Clone, PartialEq)]
pub struct Weighed {
    /// The judgement of all assertions but those whose failure is accepted.
    pub verdict: Judgement,
    /// The exit code that follows.
    pub exit_code: u8,
    /// What failed and is accepted.
    pub accepted: Vec<Weakness>,
    /// What failed and was accepted, until a day that has passed.
    pub expired: Vec<Weakness>,
}

impl Accepted {
    /// Reads `accepted.yaml`: a list of weaknesses, each accepted up to and including its day.
    pub fn load(path: &Path, today: Date) -> Result<Self, Diagnostics> {
        // What is said of YAML files in general has experiments in mind.
        let of_accepted = |text: String| {
            let text = text.replace("`nightmail schema`", "`nightmail schema accepted`");
            text.replace("the README shows an experiment", "write `[]` where nothing is accepted")
        };
        let read = Document::load(path).map_err(Diagnostics::from);
        let accepted = read.and_then(|document| Self::of(&document, today));
        accepted.map_err(|wrong| wrong.map(of_accepted))
    }

    fn of(document: &Document, today: Date) -> Result<Self, Diagnostics> {
        let wrong = |found| Diagnostics::check(found).expect_err("something was found");
        let entries: Vec<Entry> = crate::yaml::read::read(document, MISSING).map_err(wrong)?;
        let mut found = Vec::new();
        for (index, entry) in entries.iter().enumerate() {
            check(document, &Place::root().index(index), entry, &mut found);
            let same = |other: &Entry| names(other) == names(entry);
            if entries[..index].iter().any(same) {
                let twice = document.at_value(&Place::root().index(index).key("experiment"), "this is accepted twice");
                found.push(twice.hint("keep one of the two, so that it has one owner and one day"));
            }
        }
        Diagnostics::check(found)?;
        let weakness = |(index, entry): (usize, Entry)| {
            let at = document.at_value(&Place::root().index(index), "");
            let place = format!("{}:{}", document.path.display(), at.line().unwrap_or(1));
            let weakness = Weakness {
                experiment: entry.experiment.clone(),
                what: names(&entry).2.name().to_owned(),
                reason: entry.reason.clone(),
                owner: entry.owner.clone(),
                until: entry.until.0.to_string(),
                place,
            };
            (entry, weakness)
        };
        Ok(Self {
            entries: entries.into_iter().enumerate().map(weakness).collect(),
            today,
        })
    }

    /// Only what is about the experiments of these runs: on one of several machines nobody knows what became of the others.
    pub fn about(mut self, runs: &[RunRecord]) -> Self {
        self.entries
            .retain(|(entry, _)| runs.iter().any(|run| entry.is_of_run(run)));
        self
    }

    /// What a run comes to if accepted failures are left out of account.
    pub fn weigh(&self, run: &RunRecord) -> Weighed {
        let verdict = &run.verdict;
        let mut weighed = Weighed {
            verdict: verdict.verdict,
            exit_code: verdict.exit_code,
            accepted: Vec::new(),
            expired: Vec::new(),
        };
        let failed = |assertion: &&Assertion| assertion.finding.verdict == Judgement::Fail;
        let mut rest = Vec::new();
        for assertion in verdict.assertions.iter().filter(failed) {
            let (into, weakness) = match self.assertion(run, assertion) {
                Acceptance::Yes(weakness) => (&mut weighed.accepted, weakness),
                Acceptance::Expired(weakness) => {
                    rest.push(assertion);
                    (&mut weighed.expired, weakness)
                }
                Acceptance::No => {
                    rest.push(assertion);
                    continue;
                }
            };
            if !into.contains(weakness) {
                into.push(weakness.clone());
            }
        }
        if !rest.is_empty() || weighed.accepted.is_empty() {
            return weighed;
        }
        let others = verdict.assertions.iter().map(|assertion| assertion.finding.verdict);
        weighed.verdict = others
            .filter(|judged| *judged != Judgement::Fail)
            .max()
            .unwrap_or(Judgement::Pass);
        if verdict.status == Status::Completed {
            weighed.exit_code = exit_code(verdict.status, weighed.verdict, None, !verdict.leftovers.is_empty());
        }
        weighed
    }

    /// Whether that assertion of a run may fail.
    pub fn assertion(&self, run: &RunRecord, assertion: &Assertion) -> Acceptance<'_> {
        self.find(&run.system, &run.verdict.experiment, |entry| {
            let what = entry.assertion.as_deref();
            what.is_some_and(|what| names_assertion(what, assertion))
        })
    }

    /// Whether that metric of an experiment may be worse than the baseline's.
    pub fn metric(&self, system: &str, experiment: &str, metric: &str) -> Acceptance<'_> {
        self.find(system, experiment, |entry| entry.metric.as_deref() == Some(metric))
    }

    /// Whether that business service may exceed its impact tolerance in that run.
    pub fn service(&self, run: &RunRecord, service: &str) -> Acceptance<'_> {
        self.find(&run.system, &run.verdict.experiment, |entry| {
            entry.business_service.as_deref() == Some(service)
        })
    }

    /// Every entry, and whether its day has passed.
    pub fn entries(&self) -> impl Iterator<Item = (&Weakness, bool)> {
        let is_over = |entry: &Entry| entry.until.0 < self.today;
        self.entries
            .iter()
            .map(move |(entry, weakness)| (weakness, is_over(entry)))
    }

    /// The first that is accepted; otherwise one that was.
    fn find(&self, system: &str, experiment: &str, fits: impl Fn(&Entry) -> bool) -> Acceptance<'_> {
        let is_of = |entry: &Entry| entry.is_of(system, experiment) && fits(entry);
        let mut expired = None;
        for (entry, weakness) in self.entries.iter().filter(|(entry, _)| is_of(entry)) {
            match self.today <= entry.until.0 {
                true => return Acceptance::Yes(weakness),
                false => expired = expired.or(Some(weakness)),
            }
        }
        expired.map_or(Acceptance::No, Acceptance::Expired)
    }

    /// Entries that accept nothing of these runs, each with why, in one line. Entries on metrics are left out: what became
    /// worse only a comparison knows.
    pub fn unmatched(&self, runs: &[RunRecord]) -> Vec<String> {
        let entries = self.entries.iter().filter(|(entry, _)| entry.metric.is_none());
        let why = |(entry, weakness): &(Entry, Weakness)| {
            let why = why_unmatched(entry, runs)?;
            Some(format!("{}: {why}", weakness.place))
        };
        entries.filter_map(why).collect()
    }

    /// Entries on metrics, of experiments for which `is_worse` holds of no such metric.
    pub fn unmatched_metrics(&self, is_worse: impl Fn(&Weakness) -> bool) -> Vec<String> {
        let entries = self.entries.iter().filter(|(entry, _)| entry.metric.is_some());
        let idle = entries.filter(|(_, weakness)| !is_worse(weakness));
        idle.map(
            |(
                _,
                Weakness {
                    place,
                    experiment,
                    what,
                    ..
                },
            )| {
                format!("{place}: `{what}` of `{experiment}` has not become worse than the baseline's: remove this")
            },
        )
        .collect()
    }
}

/// What is accepted of an experiment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What<'a> {
    Assertion(&'a str),
    Metric(&'a str),
    BusinessService(&'a str),
    /// The file does not say; [`check`] does.
    Nothing,
}

impl<'a> What<'a> {
    fn name(self) -> &'a str {
        match self {
            Self::Assertion(name) | Self::Metric(name) | Self::BusinessService(name) => name,
            Self::Nothing => "",
        }
    }
}

/// What an entry is about: system, experiment, and what of it.
fn names(entry: &Entry) -> (Option<&str>, &str, What<'_>) {
    let named = [
        entry.assertion.as_deref().map(What::Assertion),
        entry.metric.as_deref().map(What::Metric),
        entry.business_service.as_deref().map(What::BusinessService),
    ];
    let what = named.into_iter().flatten().next().unwrap_or(What::Nothing);
    (entry.system.as_deref(), &entry.experiment, what)
}

/// Checks what the types cannot.
fn check(document: &Document, place: &Place, entry: &Entry, found: &mut Vec<Diagnostic>) {
    let at = |key: &str| place.key(key);
    let named: Vec<&str> = [
        ("assertion", entry.assertion.is_some()),
        ("metric", entry.metric.is_some()),
        ("business-service", entry.business_service.is_some()),
    ]
    .into_iter()
    .filter_map(|(key, is_there)| is_there.then_some(key))
    .collect();
    match named[..] {
        [_] => {}
        [] => found.push(
            document
                .at_key(
                    &at("experiment"),
                    "this element lacks `assertion`, `metric` or `business-service`",
                )
                .allowed("the name of an assertion, or `assertion: \"*\"`; or `metric: recovery-time`; or the key of a business service")
                .hint("say what is accepted of this experiment"),
        ),
        [first, second, ..] => found.push(
            document
                .at_key(&at(second), format!("`{first}` and `{second}` stand in one element"))
                .allowed("one of the two")
                .hint("write an element for each"),
        ),
    }
    for (key, text) in [
        ("experiment", &entry.experiment),
        ("reason", &entry.reason),
        ("owner", &entry.owner),
    ] {
        if text.trim().is_empty() {
            let empty = document.at_value(&at(key), format!("`{key}` is empty"));
            found.push(empty.allowed("text").hint("say it, so that it can be reviewed"));
        }
    }
    let name = entry.experiment.as_str();
    if name == ANY {
        found.push(
            document
                .at_value(&at("experiment"), "a weakness is accepted of one experiment")
                .allowed("the name of an experiment")
                .hint("write an element for each experiment that fails"),
        );
    } else if name.contains('/') || name.ends_with(".yaml") || name.ends_with(".yml") {
        let stem = Path::new(name).file_stem().unwrap_or_default().to_string_lossy();
        found.push(
            document
                .at_value(&at("experiment"), "this is a file, and the experiment's name is meant")
                .allowed("the name of the file without its folder and `.yaml`")
                .hint(format!("write `experiment: {stem}`")),
        );
    }
}

#[cfg(test)]
mod tests;

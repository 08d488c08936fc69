//! Where in an experiment's file an assertion stands: for whoever points at it afterwards.

use std::path::Path;

use sha2::{Digest, Sha256};

use crate::verdict::{Assertion, AssertionKind};
use crate::yaml::Document;
use crate::yaml::node::{Node, Value};
use crate::yaml::place::Place;

/// Where the assertions of one experiment stand.
#[derive(Debug)]
pub struct Positions {
    document: Option<Document>,
}

impl Positions {
    /// Of the file, if it is still the one with these bytes (SHA-256, in hexadecimal).
    pub fn of(file: &Path, sha256: &str) -> Self {
        let is_same = |document: &Document| {
            let digest = Sha256::digest(document.text.as_bytes());
            digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>() == sha256
        };
        Self {
            document: Document::load(file).ok().filter(is_same),
        }
    }

    /// The line of an assertion, from 1: that of its own entry, else that of the key that it belongs to, else the first.
    pub fn line(&self, assertion: &Assertion) -> usize {
        let Some(document) = &self.document else { return 1 };
        let (section, entry) = place(document, assertion);
        if document.root.get(section).is_none() {
            return 1;
        }
        let section = Place::root().key(section);
        let diagnostic = match entry {
            Some(entry) => document.at_value(&entry, ""),
            None => document.at_key(&section, ""),
        };
        diagnostic.line().unwrap_or(1)
    }
}

/// The key that an assertion belongs to, and its own entry below it, if it is found there by its name.
fn place(document: &Document, assertion: &Assertion) -> (&'static str, Option<Place>) {
    use AssertionKind::{
        Afterwards, Backlog, During, Gate, Generator, Invariant, NonVacuous, Receipt, Recovery, SteadyStateAfter,
    };
    let name = assertion.name.as_str();
    match assertion.kind {
        Gate | SteadyStateAfter => {
            let key = "steady-state-hypothesis";
            let probes = Place::root().key(key).key("probes");
            (key, named(document, probes, |probe| is(probe, "name", name)))
        }
        During => (
            "during",
            named(document, Place::root().key("during"), |asked| says(asked, name)),
        ),
        Afterwards => (
            "afterwards",
            named(document, Place::root().key("afterwards"), |asked| says(asked, name)),
        ),
        Receipt => (
            "method",
            named(document, Place::root().key("method"), |step| is(step, "name", name)),
        ),
        Invariant => (
            "invariants",
            named(document, Place::root().key("invariants"), |invariant| {
                text(invariant) == Some(name)
            }),
        ),
        Recovery => ("recovery", None),
        Backlog | NonVacuous | Generator => ("workload", None),
    }
}

/// The element of a list for which something holds.
fn named(document: &Document, list: Place, holds: impl Fn(&Node) -> bool) -> Option<Place> {
    let elements = list.find(&document.root).value.elements();
    Some(list.index(elements.iter().position(holds)?))
}

/// By its name, or by what it measures where it has none: `purchase-history success-rate`.
fn says(asked: &Node, name: &str) -> bool {
    if asked.get("name").is_some() {
        return is(asked, "name", name);
    }
    let subject = ["operation", "of"].iter().find_map(|key| text(asked.get(key)?));
    let keys = asked.entries().iter().map(|entry| entry.key.as_str());
    let Some(rest) = subject.and_then(|subject| name.strip_prefix(subject)) else {
        return false;
    };
    let measured = rest.trim_start().split(' ').next().unwrap_or_default();
    keys.into_iter().any(|key| key == measured)
}

fn is(node: &Node, key: &str, wanted: &str) -> bool {
    node.get(key).and_then(text) == Some(wanted)
}

fn text(node: &Node) -> Option<&str> {
    match &node.value {
        Value::Scalar(scalar) => Some(&scalar.text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::{Finding, Judgement};

    const EXPERIMENT: &str = "title: t
workload: {operations: {}}
steady-state-hypothesis:
  title: normal
  probes:
    - {name: buying succeeds, metric: success-rate}
    -
      metric: p99
      name: quick
method:
  - name: the database dies
    at: 1s
during:
  - {operation: buy, success-rate: '>= 1%'}
  - {name: told, operation: buy, p99: '<= 1s'}
recovery:
  within: 5s
invariants:
  - nothing-lost
  - nobody-charged-twice
";

    fn assertion(kind: AssertionKind, name: &str) -> Assertion {
        Assertion {
            name: name.to_owned(),
            kind,
            finding: Finding {
                verdict: Judgement::Fail,
                detail: String::new(),
                evidence: Vec::new(),
                samples: 0,
                first: None,
            },
        }
    }

    #[test]
    fn each_assertion_is_found_at_its_entry_or_at_its_key_or_at_the_top() {
        use AssertionKind::*;
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("one.yaml");
        std::fs::write(&file, EXPERIMENT).unwrap();
        let sha256: String = Sha256::digest(EXPERIMENT)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let positions = Positions::of(&file, &sha256);
        for (kind, name, line) in [
            (Gate, "buying succeeds", 6),
            (SteadyStateAfter, "quick", 8),
            (Gate, "unheard of", 3),
            (Receipt, "the database dies", 11),
            (During, "buy success-rate", 14),
            (During, "told", 15),
            (Afterwards, "told", 1),
            (Recovery, "recovery", 16),
            (Invariant, "nobody-charged-twice", 20),
            (Invariant, "unheard-of", 18),
            (Backlog, "labels", 2),
            (Generator, "generator", 2),
        ] {
            assert_eq!(positions.line(&assertion(kind, name)), line, "{kind:?} {name}");
        }
        let changed = Positions::of(&file, "0000");
        assert_eq!(changed.line(&assertion(Recovery, "recovery")), 1, "another file by now");
        let gone = Positions::of(&dir.path().join("gone.yaml"), &sha256);
        assert_eq!(gone.line(&assertion(Recovery, "recovery")), 1);
    }
}

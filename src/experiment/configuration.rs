//! `configuration`, `--var`, and `${name}`.

use std::collections::BTreeMap;

use super::Overrides;
use super::spec::FromEnvType;
use crate::diagnostic::{Diagnostic, did_you_mean, list};
use crate::yaml::Document;
use crate::yaml::node::{Node, Scalar, Value};
use crate::yaml::place::Place;

/// Values by name.
type Configuration = BTreeMap<String, String>;

/// What the references of a document stand for.
pub struct Substituted {
    /// The values in force.
    pub values: Configuration,
    /// Those that came from environment variables: they stand in no file and go into none.
    pub secrets: Vec<String>,
}

/// Replaces each `${name}` of the document's values. Positions stay.
pub fn substitute(document: &mut Document, overrides: &Overrides) -> Result<Substituted, Vec<Diagnostic>> {
    let mut found = Vec::new();
    let mut secrets = Vec::new();
    let values = values(document, overrides, &mut secrets, &mut found);
    let mut root = document.root.clone();
    let mut substitution = Substitution {
        document,
        values: &values,
        found,
    };
    if let Value::Map(entries) = &mut root.value {
        for entry in entries.iter_mut().filter(|entry| entry.key != "configuration") {
            substitution.replace(&mut entry.node);
        }
    }
    let found = substitution.found;
    document.root = root;
    if found.is_empty() {
        Ok(Substituted { values, secrets })
    } else {
        Err(found)
    }
}

fn values(
    document: &Document,
    overrides: &Overrides,
    secrets: &mut Vec<String>,
    found: &mut Vec<Diagnostic>,
) -> Configuration {
    let mut configuration = Configuration::new();
    let declared = document
        .root
        .get("configuration")
        .map(Node::entries)
        .unwrap_or_default();
    for (name, _) in &overrides.vars {
        if !declared.iter().any(|entry| &entry.key == name) {
            found.push(unknown_var(document, name));
        }
    }
    for entry in declared {
        let place = Place::root().key("configuration").key(&entry.key);
        let overridden = overrides.vars.iter().rev().find(|(name, _)| name == &entry.key);
        let value = match (&entry.node.value, overridden) {
            (_, Some((_, value))) => Some(value.clone()),
            (Value::Scalar(scalar), None) => literal(document, &place, scalar, found),
            (Value::Map(_), None) => from_env(document, &place, &entry.node, secrets, found),
            (Value::Null | Value::List(_), None) => {
                let what = entry.node.describe();
                found.push(
                    document
                        .at_value(&place, format!("configuration value `{}` cannot be {what}", entry.key))
                        .allowed("text, a number, true, false, or {type: env, key: VARIABLE, default: VALUE}")
                        .hint("write one value after the colon"),
                );
                None
            }
        };
        // A wrong value still declares its name, so that its uses are no errors of their own.
        configuration.insert(entry.key.clone(), value.unwrap_or_default());
    }
    configuration
}

fn unknown_var(document: &Document, name: &str) -> Diagnostic {
    let declared = document
        .root
        .get("configuration")
        .map(Node::entries)
        .unwrap_or_default();
    let names = || declared.iter().map(|entry| entry.key.as_str());
    let diagnostic = Diagnostic::in_file(
        &document.path,
        format!("--var {name}: the experiment has no configuration value `{name}`"),
    )
    .allowed(list(names()));
    match did_you_mean(name, names()) {
        Some(meant) => diagnostic.hint(format!("did you mean `--var {meant}=...`?")),
        None => diagnostic.hint(format!("declare it in the file: `configuration: {{{name}: ...}}`")),
    }
}

fn literal(document: &Document, place: &Place, scalar: &Scalar, found: &mut Vec<Diagnostic>) -> Option<String> {
    if scalar.text.contains("${") {
        found.push(
            document
                .at_value(place, "configuration values cannot refer to others")
                .allowed("text, a number, true, false, or {type: env, key: VARIABLE, default: VALUE}")
                .hint("write the value itself"),
        );
        return None;
    }
    Some(scalar.text.clone())
}

fn from_env(
    document: &Document,
    place: &Place,
    node: &Node,
    secrets: &mut Vec<String>,
    found: &mut Vec<Diagnostic>,
) -> Option<String> {
    let text = |key: &str| match &node.get(key)?.value {
        Value::Scalar(scalar) => Some(scalar.text.clone()),
        _ => None,
    };
    let (Some(kind), Some(key)) = (text("type"), text("key")) else {
        found.push(
            document
                .at_value(place, "this configuration value needs `type: env` and `key`")
                .allowed("type, key, default")
                .hint("for example {type: env, key: POSTAGE_TOKEN, default: none}"),
        );
        return None;
    };
    const KEYS: [&str; 3] = ["type", "key", "default"];
    for entry in node
        .entries()
        .iter()
        .filter(|entry| !KEYS.contains(&entry.key.as_str()))
    {
        let diagnostic = document
            .at_key(&place.key(&entry.key), format!("unknown key `{}`", entry.key))
            .label("not a key of this place")
            .allowed(list(KEYS));
        found.push(match did_you_mean(&entry.key, KEYS) {
            Some(meant) => diagnostic.hint(format!("did you mean `{meant}`?")),
            None => diagnostic.hint("remove it"),
        });
    }
    if serde_json::from_value::<FromEnvType>(kind.clone().into()).is_err() {
        found.push(document.unknown(&place.key("type"), "source of a value", &kind, ["env"]));
        return None;
    }
    let set = std::env::var(&key).ok();
    secrets.extend(set.clone());
    let value = set.or_else(|| text("default"));
    if value.is_none() {
        found.push(
            document
                .at_value(
                    &place.key("key"),
                    format!("the environment variable `{key}` is not set"),
                )
                .label("not set, and there is no default")
                .hint("set it, add `default: ...`, or give the value with --var"),
        );
    }
    value
}

/// The replacement of references in one document.
struct Substitution<'a> {
    document: &'a Document,
    values: &'a Configuration,
    found: Vec<Diagnostic>,
}

impl Substitution<'_> {
    fn replace(&mut self, node: &mut Node) {
        match &mut node.value {
            Value::Null => {}
            Value::List(elements) => elements.iter_mut().for_each(|element| self.replace(element)),
            Value::Map(entries) => entries.iter_mut().for_each(|entry| self.replace(&mut entry.node)),
            Value::Scalar(scalar) if !scalar.text.contains("${") => {}
            Value::Scalar(scalar) => match expand(&scalar.text, self.values) {
                Ok(text) => *scalar = Scalar::resolve(text),
                Err(problem) => {
                    let written = &self.document.text[node.span.clone()];
                    let bytes = match written.find(&problem.text) {
                        Some(at) => node.span.start + at..node.span.start + at + problem.text.len(),
                        None => node.span.clone(),
                    };
                    self.found.push(self.unexpanded(bytes, &problem));
                }
            },
        }
    }

    fn unexpanded(&self, bytes: std::ops::Range<usize>, problem: &Unexpanded) -> Diagnostic {
        let names = || self.values.keys().map(String::as_str);
        let Some(name) = &problem.name else {
            return self
                .document
                .diagnostic(bytes, "`${` without a closing `}`")
                .allowed("${name}, or $${ for the characters themselves")
                .hint("close it, or write `$${`");
        };
        let misspelt = misspelt_section(self.document);
        self.document
            .diagnostic(bytes, format!("`${{{name}}}` refers to no configuration value"))
            .label("not declared")
            .allowed(list(names()))
            .hint(match (did_you_mean(name, names()), misspelt) {
                (Some(meant), _) => format!("did you mean `${{{meant}}}`?"),
                (None, Some(misspelt)) => format!("did you mean `configuration` by the key `{misspelt}`?"),
                (None, None) => format!("declare it: `configuration: {{{name}: ...}}`"),
            })
    }
}

/// The key that was meant to be `configuration`. Values are replaced before keys are checked, so it is looked for here.
fn misspelt_section(document: &Document) -> Option<&str> {
    if document.root.get("configuration").is_some() {
        return None;
    }
    let schema = super::schema();
    let is_known = |key: &str| schema["properties"].get(key).is_some();
    let keys = document.root.entries().iter().map(|entry| entry.key.as_str());
    did_you_mean("configuration", keys.filter(|key| !is_known(key)))
}

/// A reference that could not be replaced.
#[derive(Debug, PartialEq)]
struct Unexpanded {
    text: String,
    /// Absent when the brace is not closed.
    name: Option<String>,
}

fn expand(text: &str, values: &Configuration) -> Result<String, Unexpanded> {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        if rest[..at].ends_with('$') {
            expanded.push_str(&rest[..at]);
            expanded.push('{');
            rest = &rest[at + 2..];
            continue;
        }
        expanded.push_str(&rest[..at]);
        let Some(end) = rest[at..].find('}') else {
            return Err(Unexpanded {
                text: "${".to_owned(),
                name: None,
            });
        };
        let name = rest[at + 2..at + end].trim();
        match values.get(name) {
            Some(value) => expanded.push_str(value),
            None => {
                return Err(Unexpanded {
                    text: rest[at..=at + end].to_owned(),
                    name: Some(name.to_owned()),
                });
            }
        }
        rest = &rest[at + end + 1..];
    }
    expanded.push_str(rest);
    Ok(expanded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_replaced_within_longer_text() {
        let values = BTreeMap::from([("cut".to_owned(), "15s".to_owned())]);
        assert_eq!(expand("${cut}", &values).unwrap(), "15s");
        assert_eq!(
            expand("cut for ${ cut }, then ${cut}.", &values).unwrap(),
            "cut for 15s, then 15s."
        );
        assert_eq!(expand("$${cut} $5 {cut}", &values).unwrap(), "${cut} $5 {cut}");
        assert_eq!(expand("a ${typo}", &values).unwrap_err().text, "${typo}");
        assert_eq!(expand("a ${cut", &values).unwrap_err().name, None);
    }
}

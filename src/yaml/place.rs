//! A name for a place in a document, such as `method[0].inject.partition.from[1]`, and the way from it to the bytes.

use std::fmt;
use std::ops::Range;

use super::node::Node;

/// A place in a document.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place(Vec<Step>);

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Key(String),
    Index(usize),
}

/// What stands at a place.
#[derive(Debug)]
pub struct Found<'a> {
    /// The value; if the place does not exist, the nearest above it that does.
    pub value: &'a Node,
    /// Its key, if it has one.
    pub key: Option<Range<usize>>,
}

impl Found<'_> {
    /// The bytes to point at: a scalar itself, of a list or map its key.
    pub fn bytes(&self) -> Range<usize> {
        match (&self.value.value, &self.key) {
            (super::node::Value::Scalar(_), _) | (_, None) => self.value.head(),
            (_, Some(key)) => key.clone(),
        }
    }
}

impl Place {
    /// The document as a whole.
    pub fn root() -> Self {
        Self::default()
    }

    /// The value of a key here.
    pub fn key(&self, key: impl Into<String>) -> Self {
        self.with(Step::Key(key.into()))
    }

    /// An element of the list here, from 0.
    pub fn index(&self, index: usize) -> Self {
        self.with(Step::Index(index))
    }

    /// A place below this one, as written: `causes.operations[0]`.
    pub fn below(&self, path: &str) -> Self {
        path.split(['.', '['])
            .filter(|step| !step.is_empty())
            .fold(self.clone(), |place, step| {
                match step.strip_suffix(']').map(str::parse) {
                    Some(Ok(index)) => place.index(index),
                    _ => place.key(step),
                }
            })
    }

    /// What stands here.
    pub fn find<'a>(&self, root: &'a Node) -> Found<'a> {
        let mut found = Found { value: root, key: None };
        for step in &self.0 {
            let next = match step {
                Step::Key(key) => found
                    .value
                    .entries()
                    .iter()
                    .find(|entry| &entry.key == key)
                    .map(|entry| Found {
                        value: &entry.node,
                        key: Some(entry.key_span.clone()),
                    }),
                Step::Index(index) => found
                    .value
                    .elements()
                    .get(*index)
                    .map(|value| Found { value, key: None }),
            };
            match next {
                Some(next) => found = next,
                None => break,
            }
        }
        found
    }

    fn with(&self, step: Step) -> Self {
        let mut steps = self.0.clone();
        steps.push(step);
        Self(steps)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, step) in self.0.iter().enumerate() {
            match step {
                Step::Key(key) if position == 0 => f.write_str(key)?,
                Step::Key(key) => write!(f, ".{key}")?,
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

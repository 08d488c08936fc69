//! From a tree to plain types: a serde deserializer that knows the bytes of what it reads.
//!
//! It reports every unknown key and every wrong value of a file, not the first alone: whatever cannot be read is noted
//! and left out, and reading starts again. What then misses only because it was left out is no message of its own.

use std::cell::RefCell;
use std::collections::HashSet;
use std::fmt;
use std::ops::Range;

use serde::de::{self, DeserializeOwned};

use super::Document;
use super::node::{Entry, Node, Value};
use crate::diagnostic::{Diagnostic, did_you_mean, list};
use reader::Reader;

mod access;
mod reader;

/// What to do about a missing key, by key.
pub type MissingHints = &'static [(&'static str, &'static str)];

/// Reads a document as `T`, or says all that is wrong with it.
pub fn read<T: DeserializeOwned>(document: &Document, hints: MissingHints) -> Result<T, Vec<Diagnostic>> {
    let reading = Reading {
        document,
        hints,
        found: RefCell::default(),
        left_out: RefCell::default(),
    };
    loop {
        let root = Reader::new(&document.root, Subject::Root, &reading);
        let fatal = match T::deserialize(root) {
            Ok(value) if reading.found.borrow().is_empty() => return Ok(value),
            Ok(_) => true,
            Err(error) => reading.note_error(error),
        };
        if fatal {
            return Err(reading.found.into_inner());
        }
    }
}

struct Reading<'a> {
    document: &'a Document,
    hints: MissingHints,
    found: RefCell<Vec<Diagnostic>>,
    /// Nodes that could not be read, by address.
    left_out: RefCell<HashSet<*const Node>>,
}

impl Reading<'_> {
    fn note(&self, diagnostic: Diagnostic) {
        let mut found = self.found.borrow_mut();
        if !found.contains(&diagnostic) {
            found.push(diagnostic);
        }
    }

    /// Notes an error and leaves its node out. True if nothing is left to read.
    fn note_error(&self, Wrong(error): Wrong) -> bool {
        let node = error.node.unwrap_or(&raw const self.document.root);
        if !error.is_consequence {
            let bytes = error.bytes.clone().unwrap_or_else(|| self.document.root.head());
            let mut diagnostic = self.document.diagnostic(bytes, error.message);
            diagnostic.label = error.label;
            diagnostic.allowed = error.allowed;
            diagnostic.hint = error
                .hint
                .or_else(|| Some("`nightmail schema` says what belongs here".to_owned()));
            self.note(diagnostic);
        }
        let is_new = self.left_out.borrow_mut().insert(node);
        std::ptr::eq(node, &raw const self.document.root) || !is_new
    }

    fn is_left_out(&self, node: &Node) -> bool {
        self.left_out.borrow().contains(&std::ptr::from_ref(node))
    }
}

/// What is being read, for messages.
#[derive(Clone, Copy)]
enum Subject<'a> {
    Root,
    Key(&'a Entry),
    Element(Option<&'a str>),
}

impl fmt::Display for Subject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => f.write_str("the file"),
            Self::Key(entry) => write!(f, "`{}`", entry.key),
            Self::Element(Some(list)) => write!(f, "each element of `{list}`"),
            Self::Element(None) => f.write_str("each element"),
        }
    }
}

/// Why a node could not be read. Boxed, since serde passes it up through every level.
#[derive(Debug)]
struct Wrong(Box<Failure>);

#[derive(Debug, Default)]
struct Failure {
    message: String,
    bytes: Option<Range<usize>>,
    node: Option<*const Node>,
    label: Option<String>,
    allowed: Option<String>,
    hint: Option<String>,
    missing: Option<&'static str>,
    is_consequence: bool,
}

impl Wrong {
    /// A value of the wrong kind.
    fn kind(reader: &Reader<'_>, expected: &str) -> Self {
        let message = match &reader.node.value {
            Value::Null => format!("{} has no value", reader.subject),
            _ => format!("{} must be {expected}, not {}", reader.subject, reader.node.describe()),
        };
        let hint = match (&reader.node.value, expected) {
            (Value::Null, _) => "give it a value, or remove the key",
            (_, "keys and values") => "write lines of the form `key: value`",
            (_, "text") => "write one value; text with special characters needs quotes",
            (_, "true or false") => "write `true` or `false`, without quotes",
            _ => "write the number alone, without a unit",
        };
        Self(Box::new(Failure {
            message,
            label: Some(format!("expected {expected}")),
            hint: Some(hint.to_owned()),
            ..Failure::default()
        }))
        .at(reader)
    }

    fn reworded(mut self, message: String) -> Self {
        self.0.message = message;
        self.0.label = None;
        self
    }

    fn pointing(mut self, bytes: Range<usize>) -> Self {
        self.0.bytes = Some(bytes);
        self
    }

    fn allowed(mut self, allowed: String) -> Self {
        self.0.allowed = Some(allowed);
        self
    }

    fn hint(mut self, hint: Option<String>) -> Self {
        self.0.hint = hint;
        self
    }

    /// Something that cannot be read only because a part of it was left out.
    fn consequence(reader: &Reader<'_>) -> Self {
        Self(Box::new(Failure {
            is_consequence: true,
            ..Failure::default()
        }))
        .at(reader)
    }

    /// Gives an error that came from below without a place the place of this value.
    fn at(mut self, reader: &Reader<'_>) -> Self {
        if self.0.node.is_some() {
            return self;
        }
        self.0.node = Some(std::ptr::from_ref(reader.node));
        self.0.bytes = Some(reader.bytes());
        match self.0.missing {
            Some(field) => self.place_missing(field, reader),
            None if self.0.label.is_none() => self.0.message = format!("{}: {}", reader.subject, self.0.message),
            None => {}
        }
        self
    }

    fn place_missing(&mut self, field: &'static str, reader: &Reader<'_>) {
        let entries = reader.node.entries();
        let misspelt = |entry: &&Entry| {
            !reader.is_known(&entry.key) && did_you_mean(&entry.key, reader.fields.iter().copied()) == Some(field)
        };
        // Left out since its value is wrong, or there under a misspelt key: the message is given there.
        self.0.is_consequence =
            entries.iter().any(|entry| entry.key == field) || entries.iter().find(misspelt).is_some();
        self.0.message = match reader.subject {
            Subject::Root => format!("`{field}` is missing"),
            Subject::Key(entry) => format!("`{}` lacks `{field}`", entry.key),
            Subject::Element(Some(of)) => format!("this element of `{of}` lacks `{field}`"),
            Subject::Element(None) => format!("this element lacks `{field}`"),
        };
        self.0.allowed = Some(list(reader.fields.iter().copied()));
        let hints = reader.reading.hints.iter();
        self.0.hint = hints
            .filter(|(key, _)| *key == field)
            .map(|(_, hint)| (*hint).to_owned())
            .next()
            .or_else(|| Some(format!("add `{field}`")));
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl std::error::Error for Wrong {}

impl de::Error for Wrong {
    fn custom<T: fmt::Display>(message: T) -> Self {
        let message = message.to_string();
        // Parsers of scalars say what is wrong, and after a semicolon what to write.
        let (message, hint) = match message.split_once("; ") {
            Some((message, hint)) => (message.to_owned(), Some(hint.to_owned())),
            None => (message, None),
        };
        Self(Box::new(Failure {
            message,
            hint,
            ..Failure::default()
        }))
    }

    fn missing_field(field: &'static str) -> Self {
        Self(Box::new(Failure {
            message: format!("`{field}` is missing"),
            missing: Some(field),
            ..Failure::default()
        }))
    }
}

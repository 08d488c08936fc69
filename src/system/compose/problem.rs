//! The parser's errors, told as diagnostics.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use serde_saphyr::{Error, Location};

use super::unsupported;
use crate::diagnostic::{Diagnostic, did_you_mean, list};

/// What an error of the parser means to the reader.
pub(super) fn diagnose(path: &Path, text: &Arc<str>, error: &Error) -> Diagnostic {
    let error = error.without_snippet();
    let bytes = error.location().map(|location| bytes(&location, text));
    let at = |message: String| match &bytes {
        Some(bytes) => Diagnostic::at(path, text, bytes.clone(), message),
        None => Diagnostic::in_file(path, message),
    };
    match error {
        Error::SerdeUnknownField { field, expected, .. } => unknown_key(at, field, expected),
        Error::SerdeUnknownVariant { variant, expected, .. } => {
            let mut diagnostic = at(format!("unknown value `{variant}`")).allowed(list(expected.iter().copied()));
            if let Some(meant) = did_you_mean(variant, expected.iter().copied()) {
                diagnostic = diagnostic.hint(format!("did you mean `{meant}`?"));
            }
            diagnostic
        }
        Error::SerdeMissingField { field, .. } => at(format!("the key `{field}` is missing")),
        Error::DuplicateMappingKey { key, .. } => match key {
            Some(key) => at(format!("the key `{key}` is there twice")),
            None => at("a key is there twice".to_owned()),
        },
        Error::Budget { .. } => {
            at("this file is nested, repeated or expanded beyond what a Compose file needs".to_owned())
                .hint("look for aliases (*name) of aliases")
        }
        _ => {
            let message = error.to_string();
            let message = message.lines().next().unwrap_or_default();
            // The place is shown beside the line itself.
            let end = message
                .find(" at line ")
                .or_else(|| message.find(": line "))
                .unwrap_or(message.len());
            at(message[..end].to_owned())
        }
    }
}

fn unknown_key(at: impl Fn(String) -> Diagnostic, key: &str, expected: &[&'static str]) -> Diagnostic {
    if let Some(advice) = unsupported::advice(key) {
        return at(format!("the Compose key `{key}` is not supported"))
            .allowed(list(expected.iter().copied()))
            .hint(advice);
    }
    let diagnostic = at(format!("unknown key `{key}`")).allowed(list(expected.iter().copied()));
    match did_you_mean(key, expected.iter().copied()) {
        Some(meant) => diagnostic.hint(format!("did you mean `{meant}`?")),
        None => diagnostic.hint("keys of your own begin with `x-`"),
    }
}

/// The bytes of a location; the rest of its line where the parser knows no end.
pub(super) fn bytes(location: &Location, text: &str) -> Range<usize> {
    let span = location.span();
    let start = match span.byte_offset() {
        Some(offset) => offset as usize,
        None => of_line_and_column(text, location.line() as usize, location.column() as usize),
    }
    .min(text.len());
    let end = match span.byte_len() {
        Some(len) if len > 0 => start.saturating_add(len as usize),
        _ => text[text.floor_char_boundary(start)..]
            .find('\n')
            .map_or(text.len(), |len| start + len),
    };
    start..end.min(text.len())
}

fn of_line_and_column(text: &str, line: usize, column: usize) -> usize {
    let start: usize = text
        .split_inclusive('\n')
        .take(line.saturating_sub(1))
        .map(str::len)
        .sum();
    let line = text[start..].lines().next().unwrap_or_default();
    let within = line
        .char_indices()
        .nth(column.saturating_sub(1))
        .map_or(line.len(), |(at, _)| at);
    start + within
}

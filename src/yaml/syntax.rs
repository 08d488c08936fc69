//! From bytes to a tree: size, encoding, YAML's syntax, and the budgets that stop a YAML bomb.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use serde_saphyr::{DuplicateKeyPolicy, Error, Options, Spanned};

use super::node::{Node, Unplaced, bytes};
use crate::diagnostic::Diagnostic;

/// The largest file that is read, in bytes. The largest experiment written so far has 6 kB.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Reads a file, but no more of it than a file of ours can have.
pub(super) fn read_bounded(path: &Path) -> Result<Vec<u8>, Diagnostic> {
    let unreadable = |error: std::io::Error| {
        Diagnostic::in_file(path, format!("this file cannot be read: {error}"))
            .hint("check the path and its permissions")
    };
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(Diagnostic::in_file(path, "this file is too large")
            .allowed(format!("{FILE_BYTES_MAX} bytes"))
            .hint("is it really an experiment or a system definition?"));
    }
    Ok(bytes)
}

/// The text of a file, without a byte order mark.
pub(super) fn decode(path: &Path, bytes: &[u8]) -> Result<Arc<str>, Diagnostic> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let line = bytes[..error.valid_up_to()]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count()
            + 1;
        Diagnostic::in_file(
            path,
            format!(
                "this file is not UTF-8: the first wrong byte is number {}, in line {line}",
                error.valid_up_to() + 1
            ),
        )
        .hint(format!(
            "convert it, for example with `iconv -t utf-8 {}`",
            path.display()
        ))
    })?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text).into())
}

/// The tree of a file that holds one document.
pub(super) fn parse(path: &Path, text: &Arc<str>) -> Result<Node, Diagnostic> {
    let has_content = |line: &str| {
        let line = line.trim();
        !(line.is_empty() || line.starts_with('#') || line == "---" || line == "...")
    };
    if !text.lines().any(has_content) {
        return Err(Diagnostic::in_file(path, "this file is empty")
            .hint("`nightmail schema` says what belongs in it; the README shows an experiment"));
    }
    let parsed: Result<Spanned<Unplaced>, Error> = serde_saphyr::from_str_with_options(text, options());
    match parsed {
        Ok(root) => Ok(Unplaced::place(root, text)),
        Err(error) => Err(syntax_error(path, text, error.without_snippet())),
    }
}

fn options() -> Options {
    serde_saphyr::options! {
        // Otherwise a key `n`, and a value `on`, would be booleans.
        strict_booleans: true,
        // `007` is a name, not seven.
        leading_zero_numbers_as_strings: true,
        duplicate_keys: DuplicateKeyPolicy::Error,
        reject_unsupported_tags: true,
        emit_comments: false,
        with_snippet: false,
        budget: serde_saphyr::budget! {
            max_documents: 1,
            max_depth: 32,
            flow_nesting_limit: 64,
            max_nodes: 50_000,
            max_events: 100_000,
            max_anchors: 1_000,
            max_aliases: 1_000,
            max_merge_keys: 1_000,
            max_recorded_anchor_events: 50_000,
            max_recorded_anchor_bytes: 1024 * 1024,
            max_total_scalar_bytes: 4 * 1024 * 1024,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: 20_000,
            max_replay_stack_depth: 16,
            max_alias_expansions_per_anchor: 500,
        },
    }
}

fn syntax_error(path: &Path, text: &Arc<str>, error: &Error) -> Diagnostic {
    let location = error.location();
    // Within an alias, what went wrong is one thing, and the alias as written is the place.
    let error = match error {
        Error::AliasError { error, .. } => error.without_snippet(),
        other => other,
    };
    let at = location.map(|location| {
        // Where only line and column are known, find the byte.
        let span = location.span();
        if span.byte_offset().is_some() {
            bytes(&location, text)
        } else {
            byte_of(text, location.line() as usize, location.column() as usize)
        }
    });
    let place = |message: String| match at.clone() {
        Some(at) => Diagnostic::at(path, text, at, message),
        None => Diagnostic::in_file(path, message),
    };
    match error {
        Error::DuplicateMappingKey { key, .. } => {
            let key = key.as_deref().unwrap_or("?");
            place(format!("the key `{key}` appears twice"))
                .label("second one")
                .allowed("each key once")
                .hint("remove one of them")
        }
        Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. }
        | Error::AliasReplayCounterOverflow { .. } => {
            place("the aliases of this file expand to too much (a YAML bomb?)".to_owned())
                .allowed("20,000 values from aliases, 500 from one anchor, 16 within one another")
                .hint("write the values out instead of `*alias`")
        }
        Error::Budget { breach, .. } => budget_error(place, breach),
        Error::MultipleDocuments { .. } => place("a second YAML document begins here".to_owned())
            .allowed("one document in a file")
            .hint("put the second one into a file of its own"),
        Error::UnknownAnchor { .. } => place("this alias refers to no anchor".to_owned())
            .label("no anchor `&...` of this name stands above")
            .hint("text that begins with `*` needs quotes"),
        Error::UnsupportedTag { tag, .. } => {
            place(format!("the tag `{tag}` means nothing here")).hint("text that begins with `!` needs quotes")
        }
        _ => {
            let said = error.render_with_formatter(&serde_saphyr::DefaultMessageFormatter);
            let said = said.split(" at line ").next().unwrap_or(&said).trim();
            place(format!("this is not valid YAML: {said}")).hint(syntax_hint(text, at.clone()))
        }
    }
}

fn budget_error(place: impl Fn(String) -> Diagnostic, breach: &serde_saphyr::budget::BudgetBreach) -> Diagnostic {
    use serde_saphyr::budget::BudgetBreach;
    match breach {
        BudgetBreach::Depth { .. } => place("this is nested too deeply".to_owned())
            .allowed("32 levels")
            .hint("no experiment needs as many; is a bracket missing?"),
        BudgetBreach::Documents { .. } => place("a second YAML document begins here".to_owned())
            .allowed("one document in a file")
            .hint("put the second one into a file of its own"),
        _ => place("this file holds too much (a YAML bomb?)".to_owned())
            .allowed("50,000 values, 1,000 anchors, 1,000 aliases, 4 MiB of text")
            .hint("write less, and values out instead of `*alias`"),
    }
}

/// What usually is behind a syntax error on this line.
fn syntax_hint(text: &str, at: Option<std::ops::Range<usize>>) -> &'static str {
    let start = at.map_or(0, |at| at.start);
    let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
    let line = text[line_start..].lines().next().unwrap_or_default();
    let before = text[..line_start].lines().next_back().unwrap_or_default();
    let after = text[line_start..].lines().nth(1).unwrap_or_default();
    if line.contains('\t') || after.starts_with('\t') {
        "YAML wants spaces for indentation, not tabs"
    } else if line.contains("${") || before.contains("${") {
        "within `{...}` and `[...]`, `${name}` needs quotes: \"${name}\""
    } else if line.matches('"').count() % 2 == 1 || line.matches('\'').count() % 2 == 1 {
        "is a closing quote missing?"
    } else if line.matches(['{', '[']).count() != line.matches(['}', ']']).count() {
        "is a bracket missing?"
    } else {
        "check the indentation, the colons (followed by a space) and the brackets of this line and the one before"
    }
}

fn byte_of(text: &str, line: usize, column: usize) -> std::ops::Range<usize> {
    let line_start: usize = text
        .split_inclusive('\n')
        .take(line.saturating_sub(1))
        .map(str::len)
        .sum();
    let in_line = text[line_start.min(text.len())..]
        .char_indices()
        .nth(column.saturating_sub(1))
        .map_or(0, |(at, _)| at);
    let at = line_start + in_line;
    at..at + 1
}

//! What is wrong with a file, and where: the one form of every message about bad input.
//!
//! A diagnostic says what was found, where (file, line, column, the line itself), what is allowed, and one hint. It is
//! plain data; [`Diagnostic::render`] draws it.

use std::fmt;
use std::io::IsTerminal;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// What was found, in one line.
    pub message: String,
    /// Where; absent when the command line is at fault.
    pub place: Option<Box<Place>>,
    /// What stands under the caret, in a few words.
    pub label: Option<String>,
    /// What would have been allowed.
    pub allowed: Option<String>,
    /// What to do.
    pub hint: Option<String>,
}

/// A place in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file, as it was given.
    pub file: PathBuf,
    /// Its text and the bytes of it that are meant; absent when the file as a whole is at fault.
    pub excerpt: Option<(Arc<str>, Range<usize>)>,
}

impl Diagnostic {
    /// Something wrong that has no place in a file.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            place: None,
            label: None,
            allowed: None,
            hint: None,
        }
    }

    /// Something wrong with a file as a whole.
    pub fn in_file(file: &Path, message: impl Into<String>) -> Self {
        Self {
            place: Some(Box::new(Place {
                file: file.to_owned(),
                excerpt: None,
            })),
            ..Self::new(message)
        }
    }

    /// Something wrong at these bytes of a file.
    pub fn at(file: &Path, text: &Arc<str>, bytes: Range<usize>, message: impl Into<String>) -> Self {
        Self {
            place: Some(Box::new(Place {
                file: file.to_owned(),
                excerpt: Some((text.clone(), clamp(text, bytes))),
            })),
            ..Self::new(message)
        }
    }

    /// Says what stands under the caret.
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// Says what would have been allowed.
    pub fn allowed(mut self, allowed: impl Into<String>) -> Self {
        self.allowed = Some(allowed.into());
        self
    }

    /// Says what to do.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Changes all that is said; the excerpt stays.
    pub fn map(self, change: impl Fn(String) -> String) -> Self {
        Self {
            message: change(self.message),
            place: self.place,
            label: self.label.map(&change),
            allowed: self.allowed.map(&change),
            hint: self.hint.map(&change),
        }
    }

    /// Where in the file it begins, in bytes.
    pub fn start(&self) -> Option<usize> {
        let (_, bytes) = self.place.as_ref()?.excerpt.as_ref()?;
        Some(bytes.start)
    }

    /// The line, from 1.
    pub fn line(&self) -> Option<usize> {
        let (text, bytes) = self.place.as_ref()?.excerpt.as_ref()?;
        Some(text[..bytes.start].matches('\n').count() + 1)
    }

    /// The column in characters, from 1.
    pub fn column(&self) -> Option<usize> {
        let (text, bytes) = self.place.as_ref()?.excerpt.as_ref()?;
        let before = &text[..bytes.start];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Some(before[line_start..].chars().count() + 1)
    }

    /// The whole message, several lines, without a line break at its end.
    pub fn render(&self, colour: bool) -> String {
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
        renderer.render(&[self.group()])
    }

    fn group(&self) -> Group<'_> {
        let mut group = match self.place.as_deref() {
            None => Group::with_title(Level::ERROR.primary_title(self.message.as_str())),
            Some(Place { file, excerpt: None }) => Level::ERROR
                .primary_title(self.message.as_str())
                .element(Origin::path(file.display().to_string())),
            Some(Place {
                file,
                excerpt: Some((text, bytes)),
            }) => Level::ERROR.primary_title(self.message.as_str()).element(
                Snippet::source(&**text)
                    .path(file.display().to_string())
                    .annotation(AnnotationKind::Primary.span(bytes.clone()).label(self.label.as_deref())),
            ),
        };
        if let Some(allowed) = &self.allowed {
            group = group.element(Level::NOTE.with_name("allowed").message(allowed.as_str()));
        }
        if let Some(hint) = &self.hint {
            group = group.element(Level::HELP.with_name("hint").message(hint.as_str()));
        }
        group
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Diagnostic {}

/// Everything that is wrong, in the order of the files' lines. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostics(Vec<Diagnostic>);

impl Diagnostics {
    /// `Err` if anything was found.
    pub fn check(mut found: Vec<Diagnostic>) -> Result<(), Self> {
        if found.is_empty() {
            return Ok(());
        }
        found.sort_by_key(|diagnostic| {
            let place = diagnostic.place.as_ref();
            let start = place.and_then(|place| place.excerpt.as_ref().map(|(_, bytes)| bytes.start));
            (place.map(|place| place.file.clone()), start)
        });
        found.dedup();
        Err(Self(found))
    }

    /// Changes all that is said; excerpts stay.
    pub fn map(self, change: impl Fn(String) -> String) -> Self {
        Self(self.0.into_iter().map(|diagnostic| diagnostic.map(&change)).collect())
    }

    /// Says of each under which circumstances it is so: `message (under ...)`.
    pub fn under(mut self, circumstances: &str) -> Self {
        for diagnostic in &mut self.0 {
            diagnostic.message = format!("{} ({circumstances})", diagnostic.message);
        }
        self
    }

    /// Each of them.
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.0.iter()
    }

    /// How many.
    #[allow(clippy::len_without_is_empty, reason = "never empty")]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// All messages, an empty line between them.
    pub fn render(&self, colour: bool) -> String {
        let rendered: Vec<String> = self.iter().map(|diagnostic| diagnostic.render(colour)).collect();
        rendered.join("\n\n")
    }
}

impl From<Diagnostic> for Diagnostics {
    fn from(diagnostic: Diagnostic) -> Self {
        Self(vec![diagnostic])
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Diagnostics {}

/// Whether messages on standard error should be coloured: only on a terminal, and not if `NO_COLOR` is set (see
/// <https://no-color.org>).
pub fn colour_on_stderr() -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    !refused && std::io::stderr().is_terminal()
}

/// The name closest to `wanted`, if one is close enough to be meant.
pub fn did_you_mean<'a>(wanted: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wanted = wanted.to_lowercase();
    let similarity = |name: &str| {
        let name = name.to_lowercase();
        // The first is good at long names, the second at short ones.
        strsim::jaro_winkler(&wanted, &name).max(strsim::normalized_damerau_levenshtein(&wanted, &name) + 0.15)
    };
    known
        .into_iter()
        .map(|name| (similarity(name), name))
        .filter(|(similarity, _)| *similarity > 0.8)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, name)| name)
}

/// Names for a message: `a, b, c`, or `none`.
pub fn list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.into_iter().collect();
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}

/// Moves a range into the text and onto character boundaries, and leaves out white space at its end: a parser's spans
/// are not to be trusted so far that a message panics.
fn clamp(text: &str, bytes: Range<usize>) -> Range<usize> {
    let bytes = whole_chars(text, bytes);
    let first_line = text[bytes.clone()].lines().next().unwrap_or_default().trim_end();
    bytes.start..bytes.start + first_line.len()
}

/// The range, within the text and with no character cut in two.
pub(crate) fn whole_chars(text: &str, bytes: Range<usize>) -> Range<usize> {
    let start = (0..=bytes.start.min(text.len()))
        .rev()
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or_default();
    let end = (bytes.end.clamp(start, text.len())..=text.len())
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(text.len());
    start..end
}

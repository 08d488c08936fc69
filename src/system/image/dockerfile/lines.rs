//! A Dockerfile as a list of instructions, continued lines joined.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::diagnostic::Diagnostic;
use crate::system::image::ImageError;

/// The text of a Dockerfile, and where it is from.
#[derive(Debug, Clone)]
pub(super) struct Source {
    pub(super) path: PathBuf,
    pub(super) text: Arc<str>,
    /// What escapes: a backslash, or what the directive `# escape=` says.
    pub(super) escape: char,
}

/// An instruction before its arguments are understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    /// In capitals.
    pub(super) keyword: String,
    /// What follows it, continued lines joined.
    pub(super) rest: String,
    /// Where it stands: its first line.
    pub(super) bytes: Range<usize>,
}

impl Source {
    pub(super) fn read(path: &Path) -> Result<Self, ImageError> {
        let text = std::fs::read_to_string(path).map_err(|error| ImageError::io(path, &error))?;
        Self::new(path, &text)
    }

    pub(super) fn new(path: &Path, text: &str) -> Result<Self, ImageError> {
        let mut source = Self {
            path: path.to_owned(),
            text: text.into(),
            escape: '\\',
        };
        // Directives stand before everything else.
        for line in text.lines().map(str::trim) {
            let Some((name, value)) = line.strip_prefix('#').and_then(|line| line.split_once('=')) else {
                break;
            };
            match (name.trim().to_ascii_lowercase().as_str(), value.trim()) {
                ("escape", "\\") => {}
                ("escape", "`") => source.escape = '`',
                ("escape", other) => {
                    let wrong = format!("`{other}` cannot be the escape character");
                    let at = text.find(line).unwrap_or_default();
                    let wrong = Diagnostic::at(path, &source.text, at..at + line.len(), wrong);
                    return Err(error(&wrong.allowed("\\ or `")));
                }
                ("syntax" | "check", _) => {}
                _ => break,
            }
        }
        Ok(source)
    }

    /// A failure of an instruction.
    pub(super) fn wrong(&self, line: &Line, message: impl Into<String>) -> Diagnostic {
        Diagnostic::at(&self.path, &self.text, line.bytes.clone(), message)
    }

    /// Every instruction, in order.
    pub(super) fn lines(&self) -> Vec<Line> {
        let mut lines = Vec::new();
        let mut open: Option<(String, usize)> = None;
        let mut at = 0;
        for raw in self.text.split_inclusive('\n') {
            let start = at + (raw.len() - raw.trim_start().len());
            at += raw.len();
            let text = raw.trim();
            // Comments and empty lines do not end an instruction that goes on.
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            let body = if open.is_some() { raw.trim_end() } else { text };
            let (mut joined, began) = open.take().unwrap_or((String::new(), start));
            // An escape that is itself escaped continues nothing.
            match body
                .strip_suffix(self.escape)
                .filter(|body| !body.ends_with(self.escape))
            {
                Some(body) => {
                    joined += body;
                    open = Some((joined, began));
                }
                None => lines.push(self.line(&(joined + body), began)),
            }
        }
        // An escape on the last line of all continues nothing.
        lines.extend(open.map(|(joined, began)| self.line(&joined, began)));
        lines
    }

    fn line(&self, joined: &str, began: usize) -> Line {
        let end = joined.find(char::is_whitespace).unwrap_or(joined.len());
        let length = self.text[began..].lines().next().unwrap_or_default().len();
        Line {
            keyword: joined[..end].to_ascii_uppercase(),
            rest: joined[end..].trim().to_owned(),
            bytes: began..began + length,
        }
    }
}

/// A diagnostic as the reason of a failure.
pub(super) fn error(wrong: &Diagnostic) -> ImageError {
    let said = wrong.to_string();
    ImageError::new(said.strip_prefix("error: ").unwrap_or(&said))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<(String, String)> {
        let source = Source::new(Path::new("Dockerfile"), text).unwrap();
        let lines = source.lines().into_iter();
        lines.map(|line| (line.keyword, line.rest)).collect()
    }

    #[test]
    fn continued_lines_are_joined_over_comments_and_empty_lines() {
        let found =
            lines("# syntax=docker/dockerfile:1\n\nfrom a\nRUN one && \\\n  # a note\n\n  two\nCMD x\\\\\nCMD x\\\n");
        let expected = [("FROM", "a"), ("RUN", "one &&   two"), ("CMD", "x\\\\"), ("CMD", "x")];
        assert_eq!(
            found,
            expected.map(|(keyword, rest)| (keyword.to_owned(), rest.to_owned()))
        );
    }

    #[test]
    fn the_escape_character_can_be_another() {
        let found = lines("# escape=`\nRUN dir c:\\\nRUN a `\n b\n");
        assert_eq!(found[0].1, "dir c:\\");
        assert_eq!(found[1].1, "a  b");
        assert!(Source::new(Path::new("Dockerfile"), "#escape=x\n").is_err());
    }
}

//! What a stream can show: colour, Unicode, a width.

use std::env;
use std::io::IsTerminal;

use console::{Term, measure_text_width};

use crate::verdict::Judgement;

/// What a stream can show.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Style {
    /// Whether ANSI colours may be used.
    pub colour: bool,
    /// Whether it shows Unicode; ASCII otherwise.
    pub unicode: bool,
    /// Columns of a terminal; absent where lines have no end.
    pub width: Option<usize>,
}

/// How a piece of text is painted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Paint {
    Bold,
    Dim,
    Pass,
    Fail,
    Doubt,
    Fault,
}

impl Paint {
    /// The colour of a judgement.
    pub fn of(judgement: Judgement) -> Self {
        match judgement {
            Judgement::Pass => Self::Pass,
            Judgement::Inconclusive => Self::Doubt,
            Judgement::Fail => Self::Fail,
        }
    }

    fn code(self) -> &'static str {
        match self {
            Self::Bold => "1",
            Self::Dim => "2",
            Self::Pass => "32",
            Self::Fail => "1;31",
            Self::Doubt => "33",
            Self::Fault => "35",
        }
    }
}

impl Style {
    /// What the standard output shows.
    pub fn of_stdout() -> Self {
        Self::detect(&Term::stdout(), std::io::stdout().is_terminal())
    }

    /// What the standard error shows.
    pub fn of_stderr() -> Self {
        Self::detect(&Term::stderr(), std::io::stderr().is_terminal())
    }

    fn detect(term: &Term, is_terminal: bool) -> Self {
        let set = |name: &str| env::var_os(name).is_some_and(|value| !value.is_empty());
        let is_dumb = env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self {
            colour: is_terminal && !is_dumb && !set("NO_COLOR") && !set("CI"),
            unicode: locale_is_unicode(|name| env::var(name).ok()),
            width: is_terminal
                .then(|| term.size_checked())
                .flatten()
                .map(|(_, columns)| usize::from(columns)),
        }
    }

    pub(super) fn paint(&self, paint: Paint, text: &str) -> String {
        match self.colour {
            true => format!("\x1b[{}m{text}\x1b[0m", paint.code()),
            false => text.to_owned(),
        }
    }

    /// A line with an indent, and the same indent plus `hang` where it has to be broken.
    pub(super) fn wrap(&self, indent: usize, hang: usize, text: &str) -> String {
        let Some(width) = self.width else {
            return format!("{:indent$}{text}\n", "");
        };
        // Narrower than this, breaking lines makes them no easier to read.
        let width = width.max(indent + hang + 20);
        let mut wrapped = String::new();
        let mut line = " ".repeat(indent);
        let mut is_empty = true;
        for word in text.split(' ') {
            if !is_empty && measure_text_width(&line) + 1 + measure_text_width(word) > width {
                wrapped.push_str(line.trim_end());
                wrapped.push('\n');
                line = " ".repeat(indent + hang);
                is_empty = true;
            }
            if !is_empty {
                line.push(' ');
            }
            line.push_str(word);
            is_empty = false;
        }
        wrapped.push_str(line.trim_end());
        wrapped.push('\n');
        wrapped
    }

    /// The ellipsis.
    pub(super) fn ellipsis(&self) -> &'static str {
        if self.unicode { "…" } else { "..." }
    }
}

/// The first of the locale's variables that is set decides, as POSIX has it.
fn locale_is_unicode(variable: impl Fn(&str) -> Option<String>) -> bool {
    ["LC_ALL", "LC_CTYPE", "LANG"]
        .into_iter()
        .find_map(|name| variable(name).filter(|value| !value.is_empty()))
        .is_some_and(|locale| {
            let locale = locale.to_lowercase();
            locale.contains("utf-8") || locale.contains("utf8")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_locale_decides_on_unicode() {
        let with = |set: &'static [(&str, &str)]| {
            locale_is_unicode(|name| {
                set.iter()
                    .find(|(known, _)| *known == name)
                    .map(|(_, value)| (*value).to_owned())
            })
        };
        assert!(with(&[("LANG", "en_GB.UTF-8")]));
        assert!(with(&[("LC_ALL", ""), ("LC_CTYPE", "C.utf8")]));
        assert!(!with(&[("LC_ALL", "C"), ("LANG", "en_GB.UTF-8")]));
        assert!(!with(&[]));
    }

    #[test]
    fn long_lines_break_at_words_under_their_indent() {
        let style = Style {
            width: Some(34),
            ..Style::default()
        };
        assert_eq!(
            style.wrap(2, 2, "one two three four five six seven eight"),
            "  one two three four five six\n    seven eight\n"
        );
        assert_eq!(Style::default().wrap(2, 2, "one two"), "  one two\n");
    }
}

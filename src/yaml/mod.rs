//! YAML files with positions: a file becomes a tree whose every key and value knows its bytes, and the tree becomes
//! plain types, so that each message about a file can point at what it means.
//!
//! `serde-saphyr` parses; [`Document`] keeps its result; [`read`] types it and reports every unknown key and every wrong
//! value of a file at once; [`Place`] leads from a name such as `method[0].for` back to its bytes.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::diagnostic::{Diagnostic, did_you_mean, list};
use node::Node;
use place::Place;

pub mod list;
pub mod named;
pub mod node;
pub mod place;
pub mod read;
pub mod syntax;

/// A YAML file, parsed but not yet typed.
#[derive(Debug, Clone)]
pub struct Document {
    /// The file, as it was given.
    pub path: PathBuf,
    /// Its text.
    pub text: Arc<str>,
    /// Its only document.
    pub root: Node,
}

impl Document {
    /// Reads and parses a file.
    pub fn load(path: &Path) -> Result<Self, Diagnostic> {
        let bytes = syntax::read_bounded(path)?;
        Self::parse(path, &bytes)
    }

    /// Parses a file's bytes.
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Self, Diagnostic> {
        let text = syntax::decode(path, bytes)?;
        let root = syntax::parse(path, &text)?;
        Ok(Self {
            path: path.to_owned(),
            text,
            root,
        })
    }

    /// Something wrong at these bytes.
    pub fn diagnostic(&self, bytes: Range<usize>, message: impl Into<String>) -> Diagnostic {
        Diagnostic::at(&self.path, &self.text, bytes, message)
    }

    /// Something wrong with the value at a place (or with the nearest one above it that exists).
    pub fn at_value(&self, place: &Place, message: impl Into<String>) -> Diagnostic {
        self.diagnostic(place.find(&self.root).bytes(), message)
    }

    /// Something wrong with the key at a place (or with the nearest one above it that exists).
    pub fn at_key(&self, place: &Place, message: impl Into<String>) -> Diagnostic {
        let found = place.find(&self.root);
        self.diagnostic(found.key.unwrap_or_else(|| found.value.head()), message)
    }

    /// A name at a place that refers to nothing known.
    pub fn unknown<'a>(
        &self,
        place: &Place,
        what: &str,
        name: &str,
        known: impl IntoIterator<Item = &'a str> + Clone,
    ) -> Diagnostic {
        let mut diagnostic = self
            .at_value(place, format!("unknown {what} `{name}`"))
            .label(format!("no such {what}"))
            .allowed(list(known.clone()));
        diagnostic.hint = Some(match did_you_mean(name, known) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => "name one of these".to_owned(),
        });
        diagnostic
    }
}

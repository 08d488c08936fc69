//! A parsed YAML value that knows where it stands.

use std::fmt;
use std::ops::Range;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, Spanned};

/// A value and its bytes in the text.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// The value.
    pub value: Value,
    /// Where it stands: a scalar whole, of a list or map the first byte.
    pub span: Range<usize>,
}

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Nothing after the colon, or `null`.
    Null,
    /// A number, text, or boolean.
    Scalar(Scalar),
    /// A list.
    List(Vec<Node>),
    /// Keys and values, in the order of the file.
    Map(Vec<Entry>),
}

/// A key and its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Where the key stands.
    pub key_span: Range<usize>,
    /// The value.
    pub node: Node,
}

/// A scalar: its text, and what it is by YAML's rules.
#[derive(Debug, Clone, PartialEq)]
pub struct Scalar {
    /// As written, without quotes.
    pub text: String,
    /// What it is.
    pub kind: Kind,
}

/// What a scalar is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `true` or `false`.
    Bool,
    /// A whole number.
    Int,
    /// Another number.
    Float,
    /// Everything else, and everything in quotes.
    Text,
}

impl Scalar {
    /// What an unquoted scalar of this text is: for text that took its final form by substitution.
    pub fn resolve(text: String) -> Self {
        let kind = match text.as_str() {
            "true" | "false" => Kind::Bool,
            // Digits with a leading zero are names (of accounts, say), as in the parser's settings.
            _ if text.parse::<i64>().is_ok() && !leading_zero(&text) => Kind::Int,
            _ if text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c))
                && text.parse::<f64>().is_ok_and(f64::is_finite)
                && !leading_zero(&text) =>
            {
                Kind::Float
            }
            _ => Kind::Text,
        };
        Self { text, kind }
    }
}

fn leading_zero(text: &str) -> bool {
    let digits = text.trim_start_matches(['+', '-']);
    digits.len() > 1 && digits.starts_with('0') && digits.bytes().all(|byte| byte.is_ascii_digit())
}

impl Node {
    /// The entries of a map; none of anything else.
    pub fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The value under a key of a map.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entries()
            .iter()
            .find(|entry| entry.key == key)
            .map(|entry| &entry.node)
    }

    /// The elements of a list; none of anything else.
    pub fn elements(&self) -> &[Node] {
        match &self.value {
            Value::List(elements) => elements,
            _ => &[],
        }
    }

    /// Every byte from its beginning to the end of the last value in it.
    pub fn extent(&self) -> Range<usize> {
        let inner = match &self.value {
            Value::List(elements) => elements.last(),
            Value::Map(entries) => entries.last().map(|entry| &entry.node),
            Value::Null | Value::Scalar(_) => None,
        };
        let end = inner.map_or(self.span.end, |last| last.extent().end);
        self.span.start..end.max(self.span.end)
    }

    /// The bytes to point at when the value as a whole is meant: of a map its first key.
    pub fn head(&self) -> Range<usize> {
        match &self.value {
            Value::Map(entries) => entries
                .first()
                .map_or(self.span.clone(), |entry| entry.key_span.clone()),
            _ => self.span.clone(),
        }
    }

    /// What it is, for messages: ``the number `10` ``.
    pub fn describe(&self) -> String {
        match &self.value {
            Value::Null => "nothing".to_owned(),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "keys and values".to_owned(),
            Value::Scalar(Scalar { text, kind }) => {
                let text = shorten(text);
                match kind {
                    Kind::Bool => format!("`{text}`"),
                    Kind::Int | Kind::Float => format!("the number `{text}`"),
                    Kind::Text => format!("the text `{text}`"),
                }
            }
        }
    }
}

fn shorten(text: &str) -> String {
    const CHARS_MAX: usize = 40;
    let line = text.lines().next().unwrap_or_default();
    if line.chars().count() > CHARS_MAX || line.len() < text.trim_end().len() {
        let start: String = line.chars().take(CHARS_MAX).collect();
        format!("{start}...")
    } else {
        line.to_owned()
    }
}

/// The parser's view of a node. Spans of numbers and booleans lead back to how they were written, which
/// [`Unplaced::place`] looks up.
pub(super) enum Unplaced {
    Null,
    Bool,
    Int(String),
    Float(String),
    Text(String),
    List(Vec<Spanned<Unplaced>>),
    Map(Vec<(Spanned<String>, Spanned<Unplaced>)>),
}

impl Unplaced {
    pub(super) fn place(this: Spanned<Self>, text: &str) -> Node {
        let span = bytes(&this.referenced, text);
        // Of an alias, the text as written stands at the anchor.
        let written = |otherwise: String| {
            let written = text[bytes(&this.defined, text)].trim();
            if written.is_empty() {
                otherwise
            } else {
                written.to_owned()
            }
        };
        let scalar = |text, kind| Value::Scalar(Scalar { text, kind });
        let value = match this.value {
            Self::Null => Value::Null,
            Self::Bool => scalar(written("true".to_owned()).to_lowercase(), Kind::Bool),
            Self::Int(number) => scalar(number, Kind::Int),
            Self::Float(number) => scalar(written(number), Kind::Float),
            Self::Text(text) => scalar(text, Kind::Text),
            Self::List(elements) => Value::List(elements.into_iter().map(|e| Self::place(e, text)).collect()),
            Self::Map(entries) => Value::Map(
                entries
                    .into_iter()
                    .map(|(key, value)| Entry {
                        key_span: bytes(&key.referenced, text),
                        key: key.value,
                        node: Self::place(value, text),
                    })
                    .collect(),
            ),
        };
        Node { value, span }
    }
}

/// The bytes of a location, within the text and on character boundaries whatever the parser says.
pub(super) fn bytes(location: &Location, text: &str) -> Range<usize> {
    let span = location.span();
    let start = span.byte_offset().map_or(0, |at| at as usize);
    let len = span.byte_len().map_or(0, |len| len as usize);
    crate::diagnostic::whole_chars(text, start..start.saturating_add(len))
}

impl<'de> Deserialize<'de> for Unplaced {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UnplacedVisitor)
    }
}

struct UnplacedVisitor;

impl<'de> Visitor<'de> for UnplacedVisitor {
    type Value = Unplaced;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Unplaced, E> {
        Ok(Unplaced::Null)
    }

    fn visit_none<E>(self) -> Result<Unplaced, E> {
        Ok(Unplaced::Null)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Unplaced, E> {
        Ok(Unplaced::Bool)
    }

    fn visit_i64<E>(self, value: i64) -> Result<Unplaced, E> {
        Ok(Unplaced::Int(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Unplaced, E> {
        Ok(Unplaced::Int(value.to_string()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Unplaced, E> {
        Ok(Unplaced::Int(value.to_string()))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Unplaced, E> {
        Ok(Unplaced::Int(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Unplaced, E> {
        Ok(Unplaced::Float(value.to_string()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Unplaced, E> {
        Ok(Unplaced::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Unplaced, E> {
        Ok(Unplaced::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Unplaced, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = seq.next_element()? {
            elements.push(element);
        }
        Ok(Unplaced::List(elements))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Unplaced, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Unplaced::Map(entries))
    }
}

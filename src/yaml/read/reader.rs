//! The deserializer of one node.

use std::ops::Range;

use serde::de::{self, Visitor};
use serde::forward_to_deserialize_any;

use super::access::{ElementsAccess, EntriesAccess, VariantAccess};
use super::{Reading, Subject, Wrong};
use crate::diagnostic::{Diagnostic, did_you_mean, list};
use crate::yaml::named::NAMED;
use crate::yaml::node::{Entry, Kind, Node, Scalar, Value};

/// Reads one node.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    pub(super) node: &'a Node,
    pub(super) subject: Subject<'a>,
    pub(super) reading: &'a Reading<'a>,
    /// The keys allowed here, once it is known that a struct is wanted.
    pub(super) fields: &'static [&'static str],
}

impl<'a> Reader<'a> {
    pub(super) fn new(node: &'a Node, subject: Subject<'a>, reading: &'a Reading<'a>) -> Self {
        Self {
            node,
            subject,
            reading,
            fields: &[],
        }
    }

    pub(super) fn is_known(&self, key: &str) -> bool {
        self.fields.contains(&key)
    }

    /// The bytes to point at: a scalar itself, of anything else its key.
    pub(super) fn bytes(&self) -> Range<usize> {
        match (&self.node.value, self.subject) {
            (Value::Scalar(_), _) => self.node.span.clone(),
            (_, Subject::Key(entry)) => entry.key_span.clone(),
            _ => self.node.head(),
        }
    }

    fn scalar(&self, expected: &str) -> Result<&'a Scalar, Wrong> {
        match &self.node.value {
            Value::Scalar(scalar) => Ok(scalar),
            _ => Err(Wrong::kind(self, expected)),
        }
    }

    fn entries(&self, allowed: Option<&[&'static str]>) -> Result<&'a [Entry], Wrong> {
        match &self.node.value {
            Value::Map(entries) => Ok(entries),
            _ => {
                let wrong = Wrong::kind(self, "keys and values");
                Err(match allowed {
                    Some(fields) => wrong.allowed(list(fields.iter().copied())),
                    None => wrong,
                })
            }
        }
    }

    /// Reads keys and values into a struct: unknown keys are noted and passed over.
    pub(super) fn read_struct<V: Visitor<'a>>(
        mut self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        let entries = self.entries(Some(fields))?;
        self.fields = fields;
        for entry in entries.iter().filter(|entry| !self.is_known(&entry.key)) {
            self.reading.note(self.unknown_key(entry));
        }
        let known = entries.iter().filter(|entry| fields.contains(&entry.key.as_str()));
        visitor
            .visit_map(EntriesAccess::new(known.collect(), self.reading))
            .map_err(|wrong| wrong.at(&self))
    }

    fn unknown_key(&self, entry: &Entry) -> Diagnostic {
        let holder = match self.subject {
            Subject::Root => String::new(),
            Subject::Key(holder) => format!(" in `{}`", holder.key),
            Subject::Element(Some(of)) => format!(" in an element of `{of}`"),
            Subject::Element(None) => String::new(),
        };
        let meant = did_you_mean(&entry.key, self.fields.iter().copied());
        self.reading
            .document
            .diagnostic(entry.key_span.clone(), format!("unknown key `{}`{holder}", entry.key))
            .label("not a key of this place")
            .allowed(list(self.fields.iter().copied()))
            .hint(match meant {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => "remove it, or check the indentation".to_owned(),
            })
    }

    /// Splits the tag of an enum from its content.
    fn tag(&self, variants: &'static [&'static str]) -> Result<(&'a str, Range<usize>, Option<&'a Entry>), Wrong> {
        let allowed = list(variants.iter().copied());
        match &self.node.value {
            Value::Scalar(Scalar { text, .. }) => Ok((text, self.node.span.clone(), None)),
            Value::Map(entries) if entries.len() == 1 => {
                Ok((&entries[0].key, entries[0].key_span.clone(), Some(&entries[0])))
            }
            Value::Map(entries) => {
                let wrong = Wrong::kind(self, "exactly one key");
                let keys = list(entries.iter().map(|entry| entry.key.as_str()));
                Err(wrong
                    .reworded(format!(
                        "{} has {} keys where one is wanted: {keys}",
                        self.subject,
                        entries.len()
                    ))
                    .allowed(format!("one of {allowed}"))
                    .hint(Some("split it, or check the indentation".to_owned())))
            }
            _ => Err(Wrong::kind(self, "one key with its value").allowed(allowed)),
        }
    }
}

/// Numbers: the text of the scalar, whatever its kind, so that substituted values work.
macro_rules! numbers {
    ($($method:ident $visit:ident $type:ty, $expected:expr;)+) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
            let scalar = self.scalar($expected)?;
            let number: $type = match scalar.kind {
                Kind::Int | Kind::Float => scalar.text.parse().ok(),
                Kind::Bool | Kind::Text => None,
            }
            .ok_or_else(|| Wrong::kind(&self, $expected))?;
            visitor.$visit(number).map_err(|wrong: Wrong| wrong.at(&self))
        })+
    };
}

impl<'de> de::Deserializer<'de> for Reader<'de> {
    type Error = Wrong;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        let result = match &self.node.value {
            Value::Null => visitor.visit_unit(),
            Value::List(_) => return self.deserialize_seq(visitor),
            Value::Map(_) => return self.deserialize_map(visitor),
            Value::Scalar(Scalar { text, kind }) => match kind {
                Kind::Bool => visitor.visit_bool(text == "true"),
                Kind::Text => visitor.visit_borrowed_str(text),
                Kind::Int | Kind::Float => match (text.parse::<i64>(), text.parse::<u64>(), text.parse::<f64>()) {
                    (Ok(number), _, _) => visitor.visit_i64(number),
                    (_, Ok(number), _) => visitor.visit_u64(number),
                    (_, _, Ok(number)) => visitor.visit_f64(number),
                    _ => visitor.visit_borrowed_str(text),
                },
            },
        };
        result.map_err(|wrong: Wrong| wrong.at(&self))
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        let scalar = self.scalar("true or false")?;
        match scalar.kind {
            Kind::Bool => visitor.visit_bool(scalar.text == "true"),
            _ => Err(Wrong::kind(&self, "true or false")),
        }
    }

    numbers! {
        deserialize_i8 visit_i8 i8, "a whole number";
        deserialize_i16 visit_i16 i16, "a whole number";
        deserialize_i32 visit_i32 i32, "a whole number";
        deserialize_i64 visit_i64 i64, "a whole number";
        deserialize_u8 visit_u8 u8, "a whole number from 0 to 255";
        deserialize_u16 visit_u16 u16, "a whole number from 0 to 65535";
        deserialize_u32 visit_u32 u32, "a whole number, 0 or more";
        deserialize_u64 visit_u64 u64, "a whole number, 0 or more";
        deserialize_f32 visit_f32 f32, "a number";
        deserialize_f64 visit_f64 f64, "a number";
    }

    /// Text; a number or boolean is taken as it was written.
    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        let scalar = self.scalar("text")?;
        visitor
            .visit_borrowed_str(&scalar.text)
            .map_err(|wrong: Wrong| wrong.at(&self))
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        self.deserialize_str(visitor)
    }

    /// A key without a value is more likely a mistake than a wish for the default.
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match &self.node.value {
            Value::Null => {
                Err(Wrong::kind(&self, "a value").hint(Some("remove the key, or give it a value".to_owned())))
            }
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, Wrong> {
        match &self.node.value {
            Value::Scalar(scalar) if name == NAMED => visitor.visit_borrowed_str(&scalar.text),
            _ => visitor.visit_newtype_struct(self),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        let Value::List(elements) = &self.node.value else {
            let hint = match &self.node.value {
                Value::Scalar(scalar) => format!("put it into brackets: `[{}]`", scalar.text),
                _ => "write `[a, b]`, or lines that begin with `- `".to_owned(),
            };
            return Err(Wrong::kind(&self, "a list").hint(Some(hint)));
        };
        let of = match self.subject {
            Subject::Key(entry) => Some(entry.key.as_str()),
            _ => None,
        };
        visitor
            .visit_seq(ElementsAccess::new(elements, of, self.reading))
            .map_err(|wrong| wrong.at(&self))
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        let entries = self.entries(None)?;
        visitor
            .visit_map(EntriesAccess::new(entries.iter().collect(), self.reading))
            .map_err(|wrong| wrong.at(&self))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        self.read_struct(fields, visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        let (tag, bytes, content) = self.tag(variants)?;
        if !variants.contains(&tag) {
            let hint = match did_you_mean(tag, variants.iter().copied()) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => "choose one of these".to_owned(),
            };
            return Err(Wrong::kind(&self, "")
                .reworded(format!("{} cannot be `{tag}`", self.subject))
                .pointing(bytes)
                .allowed(list(variants.iter().copied()))
                .hint(Some(hint)));
        }
        if content.is_some_and(|entry| self.reading.is_left_out(&entry.node)) {
            return Err(Wrong::consequence(&self));
        }
        visitor
            .visit_enum(VariantAccess::new(tag, content, self))
            .map_err(|wrong| wrong.at(&self))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        i128 u128 char bytes byte_buf unit unit_struct tuple tuple_struct identifier
    }
}

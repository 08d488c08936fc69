//! Values and fields of operations and items.

use std::borrow::Cow;
use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::line::Cursor;

/// A value an operation or an item carries: money in the smallest unit, names, flags.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value<'a> {
    /// A whole number.
    Int(i64),
    /// A number.
    Float(f64),
    /// True or false.
    Bool(bool),
    /// Text.
    #[serde(borrow)]
    Text(Cow<'a, str>),
    /// Absent.
    Null,
}

impl Value<'_> {
    /// The whole number that this is, or that it spells: answers that are lines of text have no types.
    pub fn as_int(&self) -> Option<i64> {
        // Beyond 2^53 a float does not say which whole number it is.
        const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
        match self {
            Self::Int(int) => Some(*int),
            Self::Float(float) if float.fract() == 0.0 && float.abs() < EXACT_MAX => Some(*float as i64),
            Self::Text(text) => text.parse().ok(),
            _ => None,
        }
    }

    /// Whether both say the same, whichever way a number is written.
    pub fn same(&self, other: &Value<'_>) -> bool {
        match (self, other) {
            (Self::Text(one), Value::Text(two)) => one == two,
            (Self::Bool(flag), Value::Text(text)) | (Self::Text(text), Value::Bool(flag)) => *text == flag.to_string(),
            _ => match (self.as_int(), other.as_int()) {
                (Some(one), Some(two)) => one == two,
                _ => self == other,
            },
        }
    }

    fn borrowed(&self) -> Value<'_> {
        match self {
            Self::Int(int) => Value::Int(*int),
            Self::Float(float) => Value::Float(*float),
            Self::Bool(flag) => Value::Bool(*flag),
            Self::Text(text) => Value::Text(Cow::Borrowed(text)),
            Self::Null => Value::Null,
        }
    }
}

impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(int) => write!(f, "{int}"),
            Self::Float(float) => write!(f, "{float}"),
            Self::Bool(flag) => write!(f, "{flag}"),
            Self::Text(text) => write!(f, "`{text}`"),
            Self::Null => f.write_str("nothing"),
        }
    }
}

/// Fields by name, a JSON object on disk.
///
/// A saved history keeps them as the text they were read from: a million of them must fit in memory, and most are never
/// looked at.
#[derive(Clone)]
pub struct Fields<'a>(Form<'a>);

#[derive(Clone)]
enum Form<'a> {
    List(Box<[(Cow<'a, str>, Value<'a>)]>),
    /// A JSON object that [`Cursor::plain_object`] has passed.
    Text(&'a str),
}

impl<'a> Fields<'a> {
    /// Fields that stay text. `object` has been passed by [`Cursor::plain_object`].
    pub(super) fn from_text(object: &'a str) -> Self {
        Self(Form::Text(object))
    }

    /// The value of that name.
    pub fn get(&self, name: &str) -> Option<Value<'_>> {
        self.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// Every field.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Value<'_>)> {
        let (list, text): (&[_], _) = match &self.0 {
            Form::List(list) => (list, "{}"),
            Form::Text(text) => (&[], *text),
        };
        let listed = list.iter().map(|(name, value)| (&**name, value.borrowed()));
        listed.chain(Cursor::new(text).into_members())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }
}

impl Default for Fields<'_> {
    fn default() -> Self {
        Self(Form::Text("{}"))
    }
}

impl PartialEq for Fields<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl fmt::Debug for Fields<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<'a> FromIterator<(Cow<'a, str>, Value<'a>)> for Fields<'a> {
    fn from_iter<I: IntoIterator<Item = (Cow<'a, str>, Value<'a>)>>(fields: I) -> Self {
        Self(Form::List(fields.into_iter().collect()))
    }
}

impl Serialize for Fields<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FieldsVisitor;

        impl<'de> Visitor<'de> for FieldsVisitor {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of plain values")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::with_capacity(map.size_hint().unwrap_or(2));
                while let Some((Name(name), value)) = map.next_entry::<Name<'de>, Value<'de>>()? {
                    fields.push((name, value));
                }
                Ok(fields.into_iter().collect())
            }
        }

        deserializer.deserialize_map(FieldsVisitor)
    }
}

/// A name that borrows from the line where it can.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

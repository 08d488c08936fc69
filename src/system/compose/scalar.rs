//! Single values that Compose writes in notations of its own.

use std::fmt;
use std::time::Duration;

use serde::de::{self, Deserialize, Deserializer, Visitor};

use super::words;

/// Text, a number or a boolean, as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Text(pub String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The parser hands out a plain scalar as it is written: `010` stays `010`.
        String::deserialize(deserializer).map(Self)
    }
}

/// A duration.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seconds(pub Duration);

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        words::duration(&text).map(Self).map_err(de::Error::custom)
    }
}

/// A size in bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bytes(pub u64);

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        words::bytes(&text).map(Self).map_err(de::Error::custom)
    }
}

/// Anything, for keys that are accepted and have no effect.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ignored;

impl<'de> Deserialize<'de> for Ignored {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        de::IgnoredAny::deserialize(deserializer).map(|_| Self)
    }
}

/// A limit: one number, or `{soft, hard}`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limit {
    pub soft: i64,
    pub hard: i64,
}

impl<'de> Deserialize<'de> for Limit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Both {
            soft: i64,
            hard: i64,
        }

        struct LimitVisitor;

        impl<'de> Visitor<'de> for LimitVisitor {
            type Value = Limit;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number, or `soft` and `hard`")
            }

            fn visit_i64<E>(self, both: i64) -> Result<Limit, E> {
                Ok(Limit { soft: both, hard: both })
            }

            fn visit_u64<E: de::Error>(self, both: u64) -> Result<Limit, E> {
                self.visit_i64(i64::try_from(both).map_err(E::custom)?)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Limit, E> {
                let both = text
                    .parse()
                    .map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))?;
                self.visit_i64(both)
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Limit, A::Error> {
                let Both { soft, hard } = Both::deserialize(de::value::MapAccessDeserializer::new(map))?;
                Ok(Limit { soft, hard })
            }
        }

        deserializer.deserialize_any(LimitVisitor)
    }
}

//! Sizes as people write them: `500KB`, `16MB`, `1GB`.

use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A number of bytes, written with a unit of a thousand, a million or a thousand million of them: `500KB`, `16MB`, `1GB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

const UNITS: [(&str, u64); 3] = [("GB", 1_000_000_000), ("MB", 1_000_000), ("KB", 1_000)];

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The largest unit in which a tenth is exact.
        match UNITS
            .iter()
            .find(|(_, unit)| self.0 >= *unit && self.0.is_multiple_of(unit / 10))
        {
            Some((name, unit)) => write!(f, "{}{name}", self.0 as f64 / *unit as f64),
            None => write!(f, "{}KB", self.0 as f64 / 1_000.0),
        }
    }
}

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no size; write for example `500KB`, `16MB` or `1GB`");
        let (name, unit) = UNITS.iter().find(|(name, _)| text.ends_with(name)).ok_or_else(wrong)?;
        let number = text[..text.len() - name.len()].trim_end();
        let is_plain = number.starts_with(|c: char| c.is_ascii_digit());
        let number: f64 = number.parse().map_err(|_| wrong())?;
        let bytes = number * *unit as f64;
        match is_plain && (1.0..=1e15).contains(&bytes) {
            true => Ok(Self(bytes.round() as u64)),
            false => Err(wrong()),
        }
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for ByteSize {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ByteSize".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?(KB|MB|GB)$", "examples": ["16MB", "1GB"]})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_print_as_they_are_read() {
        for (text, bytes) in [
            ("500KB", 500_000),
            ("16MB", 16_000_000),
            ("1.5MB", 1_500_000),
            ("1GB", 1_000_000_000),
            ("1.25MB", 1_250_000),
        ] {
            let parsed: ByteSize = text.parse().unwrap();
            assert_eq!(parsed, ByteSize(bytes));
            assert_eq!(parsed.to_string().parse(), Ok(parsed), "{text}");
        }
        assert_eq!(ByteSize(16_000_000).to_string(), "16MB");
        for wrong in ["16", "16mb", "MB", "-1MB", "0MB", "16MiB", "infMB", "1e99GB"] {
            assert!(wrong.parse::<ByteSize>().is_err(), "{wrong}");
        }
    }
}

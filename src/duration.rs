//! Durations, offsets and rates as people write them: `250ms`, `10s`, `2m`, `-10m`, `40/s`, `100KB/s`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A duration in whole milliseconds, written with a unit: `250ms`, `1.5s`, `2m`, `1h`.
///
/// A bare number is an error, since nobody can tell what `10` means.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DurationMs(pub u64);

impl DurationMs {
    /// As the standard library's duration.
    pub fn as_duration(self) -> Duration {
        Duration::from_millis(self.0)
    }

    /// As microseconds, the unit of histories.
    pub fn as_us(self) -> u64 {
        self.0 * 1_000
    }
}

impl fmt::Display for DurationMs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            ms if ms >= 60_000 && ms.is_multiple_of(60_000) => write!(f, "{}m", ms / 60_000),
            ms if ms >= 1_000 && ms.is_multiple_of(100) => write!(f, "{}s", ms as f64 / 1_000.0),
            ms => write!(f, "{ms}ms"),
        }
    }
}

impl FromStr for DurationMs {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (number, unit) = split_unit(text);
        let factor = match unit {
            "ms" => 1.0,
            "s" => 1_000.0,
            "m" => 60_000.0,
            "h" => 3_600_000.0,
            "" => {
                return Err(format!(
                    "duration `{text}` has no unit; write for example `{text}s` or `{text}ms`"
                ));
            }
            _ => {
                return Err(format!(
                    "`{text}` is not a duration; the units are ms, s, m and h, for example `250ms` or `10s`"
                ));
            }
        };
        let number: f64 = number
            .parse()
            .map_err(|_| format!("`{text}` is not a duration; write for example `250ms` or `10s`"))?;
        let ms = number * factor;
        if !(0.0..=86_400_000.0).contains(&ms) {
            return Err(format!("duration `{text}` is outside 0 to 24h"));
        }
        Ok(Self(ms.round() as u64))
    }
}

impl<'de> Deserialize<'de> for DurationMs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

impl Serialize for DurationMs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for DurationMs {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?(ms|s|m|h)$", "examples": ["250ms", "10s", "2m"]})
    }
}

/// How far a clock is ahead, or with a minus behind, in whole milliseconds: `2h`, `-10m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct OffsetMs(pub i64);

impl fmt::Display for OffsetMs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        write!(f, "{sign}{}", DurationMs(self.0.unsigned_abs()))
    }
}

impl FromStr for OffsetMs {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (sign, duration) = match text.strip_prefix('-') {
            Some(duration) => (-1, duration),
            None => (1, text.strip_prefix('+').unwrap_or(text)),
        };
        let DurationMs(ms) = duration.parse()?;
        let ms = i64::try_from(ms).map_err(|_| format!("offset `{text}` is outside -24h to 24h"))?;
        Ok(Self(sign * ms))
    }
}

impl<'de> Deserialize<'de> for OffsetMs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

impl Serialize for OffsetMs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for OffsetMs {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Offset".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": r"^[+-]?[0-9]+(\.[0-9]+)?(ms|s|m|h)$", "examples": ["2h", "-10m"]})
    }
}

/// Arrivals per second, written `40/s` or `30/m`.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Rate(pub f64);

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/s", self.0)
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match arrivals_per_s(text)? {
            per_s if per_s > 0.0 && per_s <= RATE_MAX_PER_S => Ok(Self(per_s)),
            _ => Err(format!("rate `{text}` is outside 0 (excluded) to {RATE_MAX_PER_S}/s")),
        }
    }
}

/// The highest rate of arrivals that can be written.
const RATE_MAX_PER_S: f64 = 100_000.0;

/// The number of `40/s` or `30/m`, whatever it is.
fn arrivals_per_s(text: &str) -> Result<f64, String> {
    let wrong = || format!("`{text}` is not a rate; write for example `40/s` or `30/m`");
    let (number, unit) = text.split_once('/').ok_or_else(wrong)?;
    let number: f64 = number.trim().parse().map_err(|_| wrong())?;
    match unit.trim() {
        "s" => Ok(number),
        "m" => Ok(number / 60.0),
        "h" => Ok(number / 3_600.0),
        _ => Err(wrong()),
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

impl Serialize for Rate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for Rate {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Rate".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?/(s|m|h)$", "examples": ["40/s", "30/m"]})
    }
}

/// Arrivals per second at one of several instants, written as a [`Rate`] is: `0/s` is allowed.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct RateOrZero(pub f64);

impl FromStr for RateOrZero {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match arrivals_per_s(text)? {
            per_s if (0.0..=RATE_MAX_PER_S).contains(&per_s) => Ok(Self(per_s)),
            _ => Err(format!(
                "rate `{text}` is outside 0 to {RATE_MAX_PER_S}/s; write for example `40/s`"
            )),
        }
    }
}

impl<'de> Deserialize<'de> for RateOrZero {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

impl Serialize for RateOrZero {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&Rate(self.0))
    }
}

impl JsonSchema for RateOrZero {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        Rate::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Rate::json_schema(generator)
    }
}

/// Bytes per second in whole kilobytes (1,000 bytes), written `100KB/s` or `1.5MB/s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteRate {
    /// Kilobytes per second.
    pub kb_per_s: u64,
}

impl fmt::Display for ByteRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kb_per_s {
            kb if kb >= 1_000 && kb.is_multiple_of(100) => write!(f, "{}MB/s", kb as f64 / 1_000.0),
            kb => write!(f, "{kb}KB/s"),
        }
    }
}

impl FromStr for ByteRate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no rate of bytes; write for example `100KB/s` or `1MB/s`");
        let (number, unit) = split_unit(text);
        let factor = match unit {
            "KB/s" => 1.0,
            "MB/s" => 1_000.0,
            _ => return Err(wrong()),
        };
        let kb_per_s = number.parse::<f64>().map_err(|_| wrong())? * factor;
        if !(1.0..=100_000_000.0).contains(&kb_per_s) {
            return Err(format!("rate `{text}` is outside 1KB/s to 100000MB/s"));
        }
        Ok(Self {
            kb_per_s: kb_per_s.round() as u64,
        })
    }
}

impl<'de> Deserialize<'de> for ByteRate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

impl Serialize for ByteRate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for ByteRate {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ByteRate".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?(KB|MB)/s$", "examples": ["100KB/s", "1MB/s"]})
    }
}

fn split_unit(text: &str) -> (&str, &str) {
    let at = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.'))
        .unwrap_or(text.len());
    (&text[..at], text[at..].trim_start())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit() {
        assert_eq!("1.5s".parse(), Ok(DurationMs(1_500)));
        assert_eq!("250ms".parse(), Ok(DurationMs(250)));
        assert!("10".parse::<DurationMs>().unwrap_err().contains("no unit"));
        assert!("10 parsecs".parse::<DurationMs>().is_err());
        assert!("-1s".parse::<DurationMs>().is_err());
        assert!("25h".parse::<DurationMs>().is_err());
    }

    #[test]
    fn durations_print_as_they_are_read() {
        for text in ["250ms", "1.5s", "10s", "2m", "1100ms", "0ms"] {
            let parsed: DurationMs = text.parse().unwrap();
            assert_eq!(parsed.to_string().parse(), Ok(parsed), "{text}");
        }
    }

    #[test]
    fn offsets_go_either_way_and_print_as_they_are_read() {
        for (text, ms) in [
            ("2h", 7_200_000),
            ("-10m", -600_000),
            ("+1.5s", 1_500),
            ("-250ms", -250),
        ] {
            let parsed: OffsetMs = text.parse().unwrap();
            assert_eq!(parsed, OffsetMs(ms));
            assert_eq!(parsed.to_string().parse(), Ok(parsed), "{text}");
        }
        for wrong in ["10", "--1s", "-", "25h", "-25h"] {
            assert!(wrong.parse::<OffsetMs>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn rates_of_bytes_print_as_they_are_read() {
        for (text, kb_per_s) in [("100KB/s", 100), ("1.5MB/s", 1_500), ("2MB/s", 2_000)] {
            let parsed: ByteRate = text.parse().unwrap();
            assert_eq!((parsed.kb_per_s, parsed.to_string().as_str()), (kb_per_s, text));
        }
        for wrong in ["100", "100kb/s", "0KB/s", "10/s", "1GB/s"] {
            assert!(wrong.parse::<ByteRate>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn rates_are_positive() {
        assert_eq!("30/m".parse(), Ok(Rate(0.5)));
        assert!("0/s".parse::<Rate>().is_err());
        assert!("40".parse::<Rate>().is_err());
        assert_eq!("0/m".parse(), Ok(RateOrZero(0.0)));
        assert!("-1/s".parse::<RateOrZero>().is_err());
    }
}

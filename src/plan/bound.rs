//! Bounds: a comparison with a value, written with its unit (`>= 99.5%`, `<= 500ms`, `== 0`).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::duration::DurationMs;
use crate::system::definition::Unit;

/// A comparison.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Bound {
    /// How to compare.
    pub compare: Compare,
    /// In the measure's unit: percent, milliseconds, or the gauge's own.
    pub value: f64,
}

/// How a measured number is compared with a bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Compare {
    /// At least.
    #[serde(rename = ">=")]
    AtLeast,
    /// At most.
    #[serde(rename = "<=")]
    AtMost,
    /// More than.
    #[serde(rename = ">")]
    MoreThan,
    /// Less than.
    #[serde(rename = "<")]
    LessThan,
    /// Exactly.
    #[serde(rename = "==")]
    Equal,
}

/// The unit that a bound is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BoundUnit {
    /// A share, from 0 % to 100 %.
    Percent,
    /// A duration; its value counts milliseconds.
    Duration,
    /// A plain number.
    Count,
}

/// Why a text is no bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoBound {
    /// What is wrong with it.
    pub message: String,
    /// What to write instead.
    pub hint: String,
}

impl BoundUnit {
    /// What a bound in this unit may look like.
    pub fn allowed(self) -> &'static str {
        match self {
            Self::Percent => "a comparison (>= > <= < ==) with a percentage, for example \">= 99.5%\"",
            Self::Duration => "a comparison (>= > <= < ==) with a duration, for example \"<= 500ms\"",
            Self::Count => "a comparison (>= > <= < ==) with a number, for example \"<= 5\"",
        }
    }

    /// The unit of a value as written: without one a bound counts.
    pub fn of(text: &str) -> Self {
        let value = text.trim_start_matches(['>', '<', '=', ' ']);
        match (value.ends_with('%'), value.parse::<DurationMs>()) {
            (true, _) => Self::Percent,
            (false, Ok(_)) => Self::Duration,
            (false, Err(_)) => Self::Count,
        }
    }
}

impl From<Unit> for BoundUnit {
    fn from(unit: Unit) -> Self {
        match unit {
            Unit::Count => Self::Count,
            Unit::Ms => Self::Duration,
        }
    }
}

impl Bound {
    /// Reads a bound such as `>= 99.5%`.
    pub fn parse(text: &str, unit: BoundUnit) -> Result<Self, NoBound> {
        let text = text.trim();
        let signs = [
            (">=", Compare::AtLeast),
            ("<=", Compare::AtMost),
            ("==", Compare::Equal),
            (">", Compare::MoreThan),
            ("<", Compare::LessThan),
        ];
        let found = signs
            .into_iter()
            .find_map(|(sign, compare)| text.strip_prefix(sign).map(|value| (compare, value.trim())));
        let Some((compare, value)) = found else {
            let sign = if unit == BoundUnit::Percent { ">=" } else { "<=" };
            return Err(NoBound {
                message: format!("`{text}` does not say how to compare"),
                hint: format!("write for example \"{sign} {text}\""),
            });
        };
        let value = value_in(unit, value)?;
        Ok(Self { compare, value })
    }

    /// Whether `measured` keeps the bound.
    pub fn holds(&self, measured: f64) -> bool {
        match self.compare {
            Compare::AtLeast => measured >= self.value,
            Compare::AtMost => measured <= self.value,
            Compare::MoreThan => measured > self.value,
            Compare::LessThan => measured < self.value,
            Compare::Equal => measured == self.value,
        }
    }
}

/// A number that is one: finite, and not below zero.
fn number(value: &str) -> Option<f64> {
    value
        .parse()
        .ok()
        .filter(|number: &f64| number.is_finite() && *number >= 0.0)
}

fn value_in(unit: BoundUnit, value: &str) -> Result<f64, NoBound> {
    let is_number = number(value).is_some();
    let wrong = |needs: &str, hint: String| {
        let has = match (value.ends_with('%'), value.parse::<DurationMs>().is_ok(), is_number) {
            (true, ..) => "a percentage",
            (_, true, _) => "a duration",
            (.., true) => "a number without a unit",
            _ => "neither a number, a percentage nor a duration",
        };
        NoBound {
            message: format!("this needs {needs}, and `{value}` is {has}"),
            hint,
        }
    };
    match unit {
        BoundUnit::Percent => match value.strip_suffix('%').and_then(|number| number.trim().parse().ok()) {
            Some(percent) if (0.0..=100.0).contains(&percent) => Ok(percent),
            Some(_) => Err(NoBound {
                message: format!("`{value}` is outside 0% to 100%"),
                hint: "write for example \">= 99.5%\"".into(),
            }),
            None if is_number => Err(wrong("a percentage", format!("write `{value}%`"))),
            None => Err(wrong(
                "a percentage",
                "a success rate is a percentage, for example \">= 99.5%\"".into(),
            )),
        },
        BoundUnit::Duration => match value.parse::<DurationMs>() {
            Ok(duration) => Ok(duration.0 as f64),
            Err(_) if is_number => Err(wrong("a duration", format!("write `{value}ms` or `{value}s`"))),
            Err(_) => Err(wrong(
                "a duration",
                "a latency is a duration, for example \"<= 500ms\"".into(),
            )),
        },
        BoundUnit::Count => number(value).ok_or_else(|| {
            wrong(
                "a plain number",
                "this metric counts things; for times its `unit` would be ms".into(),
            )
        }),
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self.compare {
            Compare::AtLeast => ">=",
            Compare::AtMost => "<=",
            Compare::MoreThan => ">",
            Compare::LessThan => "<",
            Compare::Equal => "==",
        };
        write!(f, "{sign} {}", self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_need_their_unit() {
        let at_least = Bound::parse(">= 99.5 %", BoundUnit::Percent).unwrap();
        assert_eq!((at_least.compare, at_least.value), (Compare::AtLeast, 99.5));
        assert_eq!(Bound::parse("<2s", BoundUnit::Duration).unwrap().value, 2_000.0);
        assert_eq!(Bound::parse("== 0", BoundUnit::Count).unwrap().compare, Compare::Equal);
        for (text, unit) in [
            (">= 99.5", BoundUnit::Percent),
            (">= 101%", BoundUnit::Percent),
            (">= 2s", BoundUnit::Percent),
            ("<= 2", BoundUnit::Duration),
            ("<= 2%", BoundUnit::Duration),
            ("2s", BoundUnit::Duration),
            ("<= 5s", BoundUnit::Count),
            ("<= -1", BoundUnit::Count),
            ("<= NaN", BoundUnit::Count),
            ("<= inf", BoundUnit::Count),
            ("", BoundUnit::Count),
        ] {
            assert!(Bound::parse(text, unit).is_err(), "{text}");
        }
    }

    #[test]
    fn a_unit_is_seen_in_what_is_written() {
        for (text, unit) in [
            (">= 99.5%", BoundUnit::Percent),
            ("<=500ms", BoundUnit::Duration),
            ("== 0", BoundUnit::Count),
            ("nonsense", BoundUnit::Count),
        ] {
            assert_eq!(BoundUnit::of(text), unit, "{text}");
        }
    }
}

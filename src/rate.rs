//! How often an operation arrives, as people write it: `40/s`, or a list of points between which the rate goes straight.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

use crate::duration::{DurationMs, Rate, RateOrZero};
use crate::plan::rate::{RatePlan, RatePoint};

/// A rate: `40/s`, or `[{at: 0s, rate: 10/s}, {at: 8s, rate: 40/s}]`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum RateSpec {
    /// The same all the time.
    Steady(Rate),
    /// Straight from one point to the next, and constant before the first and after the last.
    Changing(Vec<PointSpec>),
}

/// The rate at an instant.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct PointSpec {
    /// Counted from the start of the load, warm-up included.
    pub at: DurationMs,
    /// Arrivals per second or minute; `0/s` is none.
    pub rate: RateOrZero,
}

/// Why a list of points is no rate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The point, counted from 0; none if it is the list as a whole.
    pub point: Option<usize>,
    /// What was found.
    pub message: String,
    /// What is allowed.
    pub allowed: &'static str,
    /// What to do.
    pub hint: String,
}

impl RateSpec {
    /// What is wrong with the points, if anything is.
    pub fn mistake(&self) -> Option<Mistake> {
        let Self::Changing(points) = self else {
            return None;
        };
        let late = points.windows(2).position(|pair| pair[0].at >= pair[1].at);
        if let Some(before) = late {
            let (one, next) = (points[before].at, points[before + 1].at);
            return Some(Mistake {
                point: Some(before + 1),
                message: format!("this point is at {next}, and the one before it at {one}"),
                allowed: "points in the order of time, each later than the one before",
                hint: "for a jump put two points a millisecond apart".to_owned(),
            });
        }
        points.iter().all(|point| point.rate.0 == 0.0).then(|| Mistake {
            point: None,
            message: match points.is_empty() {
                true => "this rate has no points".to_owned(),
                false => "with this rate nothing ever arrives".to_owned(),
            },
            allowed: "at least one point with a rate above zero",
            hint: "write for example `rate: [{at: 0s, rate: 10/s}, {at: 8s, rate: 40/s}]`".to_owned(),
        })
    }

    /// As the plan holds it.
    pub fn plan(&self) -> RatePlan {
        match self {
            Self::Steady(rate) => RatePlan::Steady(rate.0),
            Self::Changing(points) => {
                let points = points.iter().map(|point| RatePoint {
                    at_ms: point.at.0,
                    per_s: point.rate.0,
                });
                RatePlan::Changing(points.collect())
            }
        }
    }
}

impl JsonSchema for RateSpec {
    fn schema_name() -> Cow<'static, str> {
        "RateOrPoints".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let (steady, point) = (
            generator.subschema_for::<Rate>(),
            generator.subschema_for::<PointSpec>(),
        );
        json_schema!({"anyOf": [steady, {"type": "array", "items": point, "minItems": 1}]})
    }
}

impl<'de> Deserialize<'de> for RateSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct RateVisitor;

        impl<'de> Visitor<'de> for RateVisitor {
            type Value = RateSpec;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a rate such as `40/s`, or a list of points")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<RateSpec, E> {
                text.parse().map(RateSpec::Steady).map_err(E::custom)
            }

            // A number has no unit, and the parser of rates says so.
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<RateSpec, E> {
                self.visit_str(&number.to_string())
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<RateSpec, E> {
                self.visit_str(&number.to_string())
            }

            fn visit_f64<E: de::Error>(self, number: f64) -> Result<RateSpec, E> {
                self.visit_str(&number.to_string())
            }

            fn visit_unit<E: de::Error>(self) -> Result<RateSpec, E> {
                Err(E::custom("it has no value; write for example `40/s` or `30/m`"))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<RateSpec, A::Error> {
                let mut points = Vec::new();
                while let Some(point) = list.next_element()? {
                    points.push(point);
                }
                Ok(RateSpec::Changing(points))
            }

            fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<RateSpec, A::Error> {
                let brackets = "a point alone is no list; put it into brackets: `[{at: 0s, rate: 10/s}, ...]`";
                Err(de::Error::custom(brackets))
            }
        }

        deserializer.deserialize_any(RateVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(json: &str) -> RateSpec {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn rates_are_written_as_they_are_read() {
        for (json, plan) in [
            (r#""30/m""#, "0.5/s"),
            (
                r#"[{"at":"2s","rate":"0/s"},{"at":"8s","rate":"40/s"}]"#,
                "0/s until 2s, 40/s from 8s on",
            ),
        ] {
            let read = rate(json);
            assert_eq!(read.mistake(), None);
            assert_eq!(read.plan().to_string(), plan);
            assert_eq!(
                rate(&serde_json::to_string(&read).unwrap()),
                read,
                "in a plan's system, too"
            );
        }
        for wrong in [
            "40",
            "\"0/s\"",
            "null",
            "{}",
            r#"[{"at": "2s"}]"#,
            r#"[{"at": "2s", "rate": "-1/s"}]"#,
        ] {
            assert!(serde_json::from_str::<RateSpec>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn points_that_are_no_rate_say_which_and_why() {
        for (json, point, message) in [
            (r#"[]"#, None, "no points"),
            (
                r#"[{"at":"0s","rate":"0/s"},{"at":"1s","rate":"0/m"}]"#,
                None,
                "nothing ever arrives",
            ),
            (
                r#"[{"at":"0s","rate":"1/s"},{"at":"2s","rate":"2/s"},{"at":"2s","rate":"3/s"}]"#,
                Some(2),
                "at 2s, and the one before it at 2s",
            ),
        ] {
            let mistake = rate(json).mistake().unwrap();
            assert_eq!(mistake.point, point);
            assert!(mistake.message.contains(message), "{}", mistake.message);
        }
    }
}

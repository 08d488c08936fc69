//! What is asked, as Toxiproxy reads it: paths with escapes, and JSON as Go's library takes it.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::ApiError;
use crate::control::Asked;

/// The parts of a path, without escapes. `None` where one is empty, which is nobody's path.
pub(super) fn segments(path: &str) -> Option<Vec<String>> {
    // The path is split without its escapes, so that an escaped slash is one like any other: no name holds a slash.
    let path = unescaped(path);
    let segments: Vec<String> = path.strip_prefix('/')?.split('/').map(str::to_owned).collect();
    segments.iter().all(|segment| !segment.is_empty()).then_some(segments)
}

/// `my%20proxy` without escapes. What is no escape stays as it is.
fn unescaped(path: &str) -> String {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let escaped = match after {
            [high, low, ..] if *first == b'%' => hex(*high).zip(hex(*low)),
            _ => None,
        };
        match escaped {
            Some((high, low)) => {
                bytes.push(high * 16 + low);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

/// A body that is JSON, of which Toxiproxy reads the first value.
pub(super) fn body<'a, T: Deserialize<'a>>(asked: &'a Asked) -> Result<T, ApiError> {
    let body = asked.body.as_ref().map_err(ApiError::bad_body)?;
    let mut values = serde_json::Deserializer::from_slice(body).into_iter();
    match values.next() {
        Some(Ok(value)) => Ok(value),
        Some(Err(error)) => Err(ApiError::bad_body(error)),
        None => Err(ApiError::bad_body("EOF")),
    }
}

/// An object of JSON: a list with the same values in order is none, though serde would take it for one. `null` is as good
/// as an empty one.
#[derive(Debug, Default, Deserialize)]
#[serde(transparent)]
pub(super) struct Object(Option<Map<String, Value>>);

impl Object {
    pub(super) fn read<T: DeserializeOwned>(self) -> Result<T, ApiError> {
        let small = small_letters(self.0.unwrap_or_default());
        serde_json::from_value(Value::Object(small)).map_err(ApiError::bad_body)
    }
}

/// The attributes of a toxic, likewise.
pub(super) fn attributes(attributes: Value) -> Value {
    match attributes {
        Value::Object(attributes) => Value::Object(small_letters(attributes)),
        other => other,
    }
}

/// Keys in small letters: Go takes `Name` for `name`, and there are clients that send it.
fn small_letters(object: Map<String, Value>) -> Map<String, Value> {
    object
        .into_iter()
        .map(|(key, value)| (key.to_ascii_lowercase(), value))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::segments;

    #[test]
    fn a_path_is_split_without_its_escapes() {
        let parts = |path| segments(path).unwrap_or_default();
        assert_eq!(parts("/proxies/my%20proxy"), ["proxies", "my proxy"]);
        assert_eq!(parts("/proxies/p%C3%B6st%2fx"), ["proxies", "pöst", "x"]);
        assert_eq!(parts("/proxies/100%/%zz"), ["proxies", "100%", "%zz"]);
        for path in ["", "/", "//", "/proxies/", "/proxies//toxics"] {
            assert_eq!(segments(path), None, "{path}");
        }
    }
}

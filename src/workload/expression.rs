//! CEL expressions over an answer: `status` (int), `headers` (map, lower-case names) and `body` (JSON, or text).

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, OnceLock};

use bytes::Bytes;
use cel::objects::{Key, Map};
use cel::{Context, Program, Value};
use hyper::HeaderMap;
use regex::Regex;

use super::mistake::{Mistake, is_function, is_operator};

/// The names an expression may use.
const NAMES: [&str; 3] = ["status", "headers", "body"];

/// Names of CEL's types, which stand in expressions like variables.
const TYPES: [&str; 9] = [
    "int",
    "uint",
    "double",
    "string",
    "bool",
    "bytes",
    "list",
    "map",
    "null_type",
];

/// Making one costs more than evaluating most expressions, so all evaluations share it.
static ROOT: LazyLock<Context<'static, 'static>> = LazyLock::new(Context::default);

/// Macros that bind a name: `body.items.exists(item, item.id == 1)`.
static BINDERS: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"\.\s*(?:all|exists|exists_one|map|filter)\s*\(\s*([A-Za-z_][A-Za-z0-9_]*)\s*,")
        .expect("a constant expression")
});

/// What a system answered.
#[derive(Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, whole.
    pub body: Bytes,
    headers_cel: OnceLock<Value>,
    body_cel: OnceLock<Value>,
}

impl Answer {
    /// An answer.
    pub fn new(status: u16, headers: HeaderMap, body: Bytes) -> Self {
        Self {
            status,
            headers,
            body,
            headers_cel: OnceLock::new(),
            body_cel: OnceLock::new(),
        }
    }

    /// The beginning of the body, on one line, for messages.
    pub fn excerpt(&self) -> String {
        const CHARACTERS: usize = 300;
        let text = String::from_utf8_lossy(&self.body);
        let mut excerpt: String = text
            .chars()
            .take(CHARACTERS)
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        if text.chars().nth(CHARACTERS).is_some() {
            excerpt.push('…');
        }
        excerpt
    }

    fn headers_cel(&self) -> Value {
        let convert = || {
            let mut map: HashMap<Key, Value> = HashMap::new();
            for name in self.headers.keys() {
                let values: Vec<_> = self
                    .headers
                    .get_all(name)
                    .iter()
                    .map(|value| value.as_bytes())
                    .collect();
                let joined = String::from_utf8_lossy(&values.join(&b", "[..])).into_owned();
                map.insert(name.as_str().into(), joined.into());
            }
            Value::Map(Map { map: Arc::new(map) })
        };
        self.headers_cel.get_or_init(convert).clone()
    }

    fn body_cel(&self) -> Value {
        let convert = || match serde_json::from_slice(&self.body) {
            Ok(json) => to_cel(json),
            Err(_) => String::from_utf8_lossy(&self.body).into_owned().into(),
        };
        self.body_cel.get_or_init(convert).clone()
    }
}

/// Integers become `int` wherever they fit, not `uint`: CEL has no `uint + int`, and JSON does not tell them apart.
fn to_cel(json: serde_json::Value) -> Value {
    match json {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(flag) => Value::Bool(flag),
        serde_json::Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(int), _) => Value::Int(int),
            (None, Some(uint)) => Value::UInt(uint),
            (None, None) => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        serde_json::Value::String(text) => text.into(),
        serde_json::Value::Array(items) => Value::List(Arc::new(items.into_iter().map(to_cel).collect())),
        serde_json::Value::Object(members) => {
            let map = members
                .into_iter()
                .map(|(name, value)| (Key::from(name), to_cel(value)))
                .collect();
            Value::Map(Map { map: Arc::new(map) })
        }
    }
}

/// An expression, compiled once.
#[derive(Debug)]
pub struct Expression {
    program: Program,
    uses_headers: bool,
    uses_body: bool,
}

impl Expression {
    /// Compiles `source`. A name that no answer has, or a function that CEL does not have, is an error here, since it
    /// would only fail while a run lasts.
    pub fn compile(source: &str) -> Result<Self, Mistake> {
        let program =
            Program::compile(source).map_err(|err| Mistake::new(format!("`{source}` is no CEL expression: {err}")))?;
        let references = program.references();
        let bound: Vec<_> = BINDERS
            .captures_iter(source)
            .filter_map(|found| found.get(1).map(|name| name.as_str()))
            .collect();
        let unknown = references
            .variables()
            .into_iter()
            .filter(|name| !NAMES.contains(name) && !TYPES.contains(name) && !bound.contains(name))
            .min();
        if let Some(name) = unknown {
            return Err(Mistake::new(format!(
                "`{source}` names `{name}`; an expression sees `status`, `headers` and `body`"
            )));
        }
        let called = references.functions().into_iter();
        if let Some(name) = called.filter(|name| !is_operator(name) && !is_function(name)).min() {
            return Err(Mistake::of_call(source, name));
        }
        let (uses_headers, uses_body) = (references.has_variable("headers"), references.has_variable("body"));
        Ok(Self {
            program,
            uses_headers,
            uses_body,
        })
    }

    fn evaluate(&self, answer: &Answer) -> Result<Value, String> {
        let mut scope = ROOT.new_inner_scope();
        scope.add_variable_from_value("status", i64::from(answer.status));
        if self.uses_headers {
            scope.add_variable_from_value("headers", answer.headers_cel());
        }
        if self.uses_body {
            scope.add_variable_from_value("body", answer.body_cel());
        }
        self.program.execute(&scope).map_err(|err| err.to_string())
    }

    /// Whether it holds. An expression that does not come to true or false is an error.
    pub fn holds(&self, answer: &Answer) -> Result<bool, String> {
        match self.evaluate(answer)? {
            Value::Bool(holds) => Ok(holds),
            other => Err(format!("gave {}, neither true nor false", kind(&other))),
        }
    }

    /// The number it comes to.
    pub fn number(&self, answer: &Answer) -> Result<f64, String> {
        let number = match self.evaluate(answer)? {
            Value::Int(int) => int as f64,
            Value::UInt(uint) => uint as f64,
            Value::Float(float) => float,
            other => return Err(format!("gave {}, not a number", kind(&other))),
        };
        if number.is_finite() {
            Ok(number)
        } else {
            Err("gave a number that is not finite".to_owned())
        }
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Int(_) | Value::UInt(_) | Value::Float(_) => "a number",
        Value::String(_) => "text",
        Value::Bool(_) => "true or false",
        Value::List(_) => "a list",
        Value::Map(_) => "a map",
        Value::Null => "null",
        _ => "something else",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        let mut headers = HeaderMap::new();
        headers.insert("retry-after", "3".parse().unwrap());
        headers.append("vary", "a".parse().unwrap());
        headers.append("vary", "b".parse().unwrap());
        Answer::new(status, headers, Bytes::copy_from_slice(body.as_bytes()))
    }

    fn holds(source: &str, answer: &Answer) -> Result<bool, String> {
        Expression::compile(source)
            .map_err(|mistake| mistake.message)?
            .holds(answer)
    }

    #[test]
    fn expressions_see_status_headers_and_body() {
        let answer = answer(409, r#"{"code": "duplicate", "balance": 7, "items": [{"id": 3}]}"#);
        for source in [
            "status == 409",
            "status in [409, 422]",
            "status == 409 && body.code == 'duplicate'",
            "headers['retry-after'] == '3'",
            "headers.vary == 'a, b'",
            "body.balance + 1 == 8",
            "body.items.exists(item, item.id == 3)",
            "has(body.code) && !has(body.detail)",
            "type(body.balance) == int",
            "body.code.matches('^dup')",
        ] {
            assert_eq!(holds(source, &answer), Ok(true), "{source}");
        }
    }

    #[test]
    fn a_body_that_is_no_json_is_text() {
        assert_eq!(holds("body.startsWith('queue ')", &answer(200, "queue 17")), Ok(true));
    }

    #[test]
    fn what_cannot_be_judged_is_an_error() {
        let answer = answer(200, r#"{"state": null}"#);
        assert!(holds("body.missing == 1", &answer).is_err());
        assert!(holds("status + 1", &answer).unwrap_err().contains("a number"));
        assert!(Expression::compile("body.state").unwrap().number(&answer).is_err());
    }

    #[test]
    fn unknown_names_and_syntax_are_found_before_the_run() {
        let err = Expression::compile("statuss == 200").unwrap_err().message;
        assert!(err.contains("`statuss`") && err.contains("`status`"), "{err}");
        assert!(Expression::compile("status ==").unwrap_err().message.contains("no CEL"));
    }

    #[test]
    fn unknown_functions_are_found_before_the_run_with_what_was_meant() {
        for (source, name, hint) in [
            ("body.beginsWith('x')", "beginsWith", "did you mean `startsWith`?"),
            (
                "body.items.all(item, item.startWith('x'))",
                "startWith",
                "did you mean `startsWith`?",
            ),
            ("status == 200 && frobnicate(body)", "frobnicate", "call one of these"),
        ] {
            let mistake = Expression::compile(source).unwrap_err();
            assert!(mistake.message.contains(&format!("calls `{name}`")), "{mistake:?}");
            assert_eq!(mistake.hint, hint);
        }
        let mistake = Expression::compile("has(body.a) && body.items.exists(status)").unwrap_err();
        assert!(mistake.message.contains("`exists` with arguments"), "{mistake:?}");
    }

    #[test]
    fn numbers_of_every_kind_are_readings() {
        let answer = answer(200, r#"{"int": -3, "big": 18446744073709551615, "float": 2.5}"#);
        for (source, expected) in [
            ("body.int", -3.0),
            ("body.big", 18446744073709551615.0),
            ("body.float", 2.5),
        ] {
            assert_eq!(Expression::compile(source).unwrap().number(&answer), Ok(expected));
        }
    }
}

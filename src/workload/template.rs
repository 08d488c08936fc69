//! Request templates: minijinja in paths, headers and bodies, compiled once, strict about unknown names.

use std::collections::BTreeMap;

use bytes::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{HeaderMap, Method, Uri};
use minijinja::value::Value;
use minijinja::{AutoEscape, Environment, UndefinedBehavior};
use std::time::Duration;

use super::Problem;
use crate::system::definition::RequestTemplate;

/// The variables of one rendering.
pub type Variables = BTreeMap<String, Value>;

/// Variable names are identifiers, names in `system.yaml` may hold hyphens: those become underscores.
pub fn variable_name(name: &str) -> String {
    name.replace('-', "_")
}

/// The number of a replica that a text is.
pub fn replica_number(text: &str) -> Option<u32> {
    text.trim().parse().ok().filter(|number| *number >= 1)
}

/// A request with its templates compiled.
#[derive(Debug)]
pub struct Request {
    /// The Compose service.
    pub service: String,
    /// The container's port.
    pub port: u16,
    /// How long an attempt may take.
    pub timeout: Duration,
    replica: Option<Text>,
    method: Method,
    path: Text,
    headers: Vec<(HeaderName, Text)>,
    body: Body,
    environment: Environment<'static>,
}

/// A request ready to send, to any replica and any number of times.
#[derive(Debug, Clone)]
pub struct Rendered {
    /// The number of the replica that it is for; any of the service's will do without.
    pub replica: Option<u32>,
    /// The method.
    pub method: Method,
    /// Path and query.
    pub uri: Uri,
    /// The headers, without `host` unless the definition sets it.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

/// A string of the definition.
#[derive(Debug)]
enum Text {
    /// Without any template syntax.
    Fixed(String),
    /// A template of the environment, by name.
    Template(String),
}

#[derive(Debug)]
enum Body {
    Empty,
    Text(Text),
    Json(Json),
}

/// A JSON value whose strings are templates.
#[derive(Debug)]
enum Json {
    Fixed(serde_json::Value),
    Text(Text),
    /// One whole expression, by the name of the template that assigns it to [`WHOLE`].
    Whole(String),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

/// Variable to which the template of a whole expression assigns its value, since templates themselves give only text.
const WHOLE: &str = "whole";

impl Request {
    /// Compiles `template`, which stands at `at` and may use the variables `known`.
    pub fn compile(template: &RequestTemplate, at: &str, known: &[String]) -> Result<Self, Problem> {
        let mut compiler = Compiler::new(known);
        let method = template.method.parse();
        let method = method.map_err(|_| {
            Problem::new(
                format!("{at}.method"),
                format!("`{}` is no HTTP method", template.method),
            )
        })?;
        let path = compiler.text(&template.path, &format!("{at}.path"))?;
        if !template.path.starts_with('/') && !template.path.starts_with('{') {
            return Err(Problem::new(
                format!("{at}.path"),
                "a path starts with a slash".to_owned(),
            ));
        }
        let replica = match &template.replica {
            None => None,
            Some(replica) => Some(compiler.text(replica, &format!("{at}.replica"))?),
        };
        let mut headers = Vec::new();
        for (name, value) in &template.headers {
            let at = format!("{at}.headers.{name}");
            let parsed = name
                .parse()
                .map_err(|_| Problem::new(at.clone(), format!("`{name}` is no header name")))?;
            headers.push((parsed, compiler.text(value, &at)?));
        }
        let body = match (&template.body, &template.json) {
            (None, None) => Body::Empty,
            (Some(text), None) => Body::Text(compiler.text(text, &format!("{at}.body"))?),
            (None, Some(json)) => Body::Json(compiler.json(json, &format!("{at}.json"))?),
            (Some(_), Some(_)) => {
                return Err(Problem::new(
                    at.to_owned(),
                    "a request has either `body` or `json`".to_owned(),
                ));
            }
        };
        Ok(Self {
            service: template.service.clone(),
            port: template.port,
            timeout: template.timeout.as_duration(),
            replica,
            method,
            path,
            headers,
            body,
            environment: compiler.environment,
        })
    }

    /// Fills in the variables. What fails here is a definition that suits some values and not others.
    pub fn render(&self, variables: Variables) -> Result<Rendered, String> {
        let context = Value::from(variables);
        let path = self.text(&self.path, &context)?;
        if !path.starts_with('/') {
            return Err(format!("`{path}` is no path: it does not start with a slash"));
        }
        let uri = path
            .parse()
            .map_err(|err| format!("`{path}` is no path ({err}); the filter `urlencode` may help"))?;
        let mut headers = HeaderMap::with_capacity(self.headers.len() + 2);
        let body = match &self.body {
            Body::Empty => Bytes::new(),
            Body::Text(text) => self.text(text, &context)?.into(),
            Body::Json(json) => {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
                self.json(json, &context)?.to_string().into()
            }
        };
        for (name, text) in &self.headers {
            let value = self.text(text, &context)?;
            let value = value
                .parse()
                .map_err(|_| format!("`{value}` cannot stand in the header `{name}`"))?;
            headers.insert(name.clone(), value);
        }
        let replica = self.replica.as_ref().map(|text| self.number(text, &context));
        Ok(Rendered {
            replica: replica.transpose()?,
            method: self.method.clone(),
            uri,
            headers,
            body,
        })
    }

    fn text(&self, text: &Text, context: &Value) -> Result<String, String> {
        match text {
            Text::Fixed(text) => Ok(text.clone()),
            Text::Template(name) => self
                .environment
                .get_template(name)
                .and_then(|template| template.render(context.clone()))
                .map_err(|err| err.to_string()),
        }
    }

    fn number(&self, replica: &Text, context: &Value) -> Result<u32, String> {
        let text = self.text(replica, context)?;
        replica_number(&text).ok_or_else(|| format!("`replica` gives `{text}`, which is no number of a replica"))
    }

    fn json(&self, json: &Json, context: &Value) -> Result<serde_json::Value, String> {
        Ok(match json {
            Json::Fixed(value) => value.clone(),
            Json::Text(text) => self.text(text, context)?.into(),
            Json::Whole(name) => self.whole(name, context)?,
            Json::Array(items) => items
                .iter()
                .map(|item| self.json(item, context))
                .collect::<Result<_, _>>()?,
            Json::Object(members) => members
                .iter()
                .map(|(name, member)| Ok((name.clone(), self.json(member, context)?)))
                .collect::<Result<serde_json::Map<_, _>, String>>()?
                .into(),
        })
    }

    fn whole(&self, name: &str, context: &Value) -> Result<serde_json::Value, String> {
        let captured = self
            .environment
            .get_template(name)
            .and_then(|template| template.render_captured(context.clone()))
            .map_err(|err| err.to_string())?;
        match captured.state().lookup(WHOLE) {
            Some(value) if !value.is_undefined() => serde_json::to_value(value).map_err(|err| err.to_string()),
            _ => Err(format!("the expression at `{name}` has no value")),
        }
    }
}

/// Collects the templates of one request.
struct Compiler<'a> {
    environment: Environment<'static>,
    known: &'a [String],
}

impl<'a> Compiler<'a> {
    fn new(known: &'a [String]) -> Self {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.add_filter("urlencode", |text: String| urlencode(&text));
        Self { environment, known }
    }

    fn text(&mut self, source: &str, at: &str) -> Result<Text, Problem> {
        if !source.contains('{') {
            return Ok(Text::Fixed(source.to_owned()));
        }
        self.add(source.to_owned(), at)?;
        Ok(Text::Template(at.to_owned()))
    }

    fn json(&mut self, value: &serde_json::Value, at: &str) -> Result<Json, Problem> {
        Ok(match value {
            serde_json::Value::String(source) => match self.whole_expression(source) {
                Some(expression) => {
                    self.add(format!("{{% set {WHOLE} = ({expression}) %}}"), at)?;
                    Json::Whole(at.to_owned())
                }
                None => Json::Text(self.text(source, at)?),
            },
            serde_json::Value::Array(items) => Json::Array(
                items
                    .iter()
                    .enumerate()
                    .map(|(index, item)| self.json(item, &format!("{at}[{index}]")))
                    .collect::<Result<_, _>>()?,
            ),
            serde_json::Value::Object(members) => Json::Object(
                members
                    .iter()
                    .map(|(name, member)| Ok((name.clone(), self.json(member, &format!("{at}.{name}"))?)))
                    .collect::<Result<_, _>>()?,
            ),
            other => Json::Fixed(other.clone()),
        })
    }

    /// The expression of a string that is nothing else. `{{ a }}-{{ b }}` begins and ends alike, but what stands
    /// between is no expression.
    fn whole_expression<'s>(&self, source: &'s str) -> Option<&'s str> {
        let inner = source.strip_prefix("{{")?.strip_suffix("}}")?;
        self.environment.compile_expression(inner).is_ok().then_some(inner)
    }

    /// Adds a template under the name of the place where it stands, so that messages of the run name it too.
    fn add(&mut self, source: String, at: &str) -> Result<(), Problem> {
        let added = self.environment.add_template_owned(at.to_owned(), source);
        added.map_err(|err| Problem::new(at.to_owned(), format!("not a template: {err}")))?;
        let template = self.environment.get_template(at);
        let template = template.map_err(|err| Problem::new(at.to_owned(), err.to_string()))?;
        let undeclared = template.undeclared_variables(false);
        let unknown = undeclared
            .iter()
            .filter(|name| !self.known.contains(name) && !self.environment.globals().any(|(known, _)| known == *name))
            .min();
        match unknown {
            None => Ok(()),
            Some(name) => Err(Problem::new(
                at.to_owned(),
                format!("unknown name `{name}`; known here: {}", known_names(self.known)),
            )),
        }
    }
}

fn known_names(known: &[String]) -> String {
    match known {
        [] => "none".to_owned(),
        known => known
            .iter()
            .map(|name| format!("`{name}`"))
            .collect::<Vec<_>>()
            .join(", "),
    }
}

/// Percent-encodes everything but RFC 3986's unreserved characters.
fn urlencode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(char::from(byte)),
            other => encoded.push_str(&format!("%{other:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn template(fields: serde_json::Value) -> RequestTemplate {
        let mut request = json!({"service": "api", "port": 80, "path": "/"});
        for (name, value) in fields.as_object().unwrap() {
            request[name] = value.clone();
        }
        serde_json::from_value(request).unwrap()
    }

    fn compile(fields: serde_json::Value) -> Result<Request, Problem> {
        let known = ["key".to_owned(), "amount".to_owned(), "account".to_owned()];
        Request::compile(&template(fields), "operations.buy.request", &known)
    }

    fn variables() -> Variables {
        Variables::from([
            ("key".to_owned(), Value::from("buy-1")),
            ("amount".to_owned(), Value::from(85)),
            ("account".to_owned(), Value::from("a/b <&>")),
        ])
    }

    #[test]
    fn whole_expressions_keep_their_type_and_others_are_text() {
        let request = compile(json!({"method": "POST", "json": {
            "amount": "{{ amount }}",
            "double": "{{ amount * 2 }}",
            "text": "{{ amount }} pence",
            "two": "{{ amount }}-{{ amount }}",
            "account": "{{account}}",
            "list": ["{{ amount > 80 }}", 1, null],
            "fixed": {"deep": true}
        }}))
        .unwrap();
        let rendered = request.render(variables()).unwrap();
        let body: serde_json::Value = serde_json::from_slice(&rendered.body).unwrap();
        assert_eq!(
            body,
            json!({
                "amount": 85, "double": 170, "text": "85 pence", "two": "85-85", "account": "a/b <&>",
                "list": [true, 1, null], "fixed": {"deep": true}
            })
        );
        assert_eq!(rendered.headers["content-type"], "application/json");
        assert_eq!(rendered.method, Method::POST);
    }

    #[test]
    fn paths_headers_and_text_bodies_are_filled_in() {
        let request = compile(json!({
            "path": "/accounts/{{ account | urlencode }}?n={{ amount }}",
            "headers": {"Idempotency-Key": "{{ key }}", "accept": "*/*"},
            "body": "pay {{ amount }} to {{ account }}"
        }))
        .unwrap();
        let rendered = request.render(variables()).unwrap();
        assert_eq!(rendered.uri, "/accounts/a%2Fb%20%3C%26%3E?n=85");
        assert_eq!(rendered.headers["idempotency-key"], "buy-1");
        assert_eq!(rendered.headers["accept"], "*/*");
        assert_eq!(rendered.body, "pay 85 to a/b <&>");
    }

    #[test]
    fn mistakes_are_found_before_the_run_and_say_where() {
        for (fields, at, message) in [
            (
                json!({"path": "/{{ amuont }}"}),
                "operations.buy.request.path",
                "unknown name `amuont`; known here: `key`, `amount`, `account`",
            ),
            (
                json!({"json": {"a": ["{{ cursor }}"]}}),
                "operations.buy.request.json.a[0]",
                "unknown name `cursor`",
            ),
            (
                json!({"body": "{{ amount"}),
                "operations.buy.request.body",
                "not a template",
            ),
            (
                json!({"body": "x", "json": 1}),
                "operations.buy.request",
                "either `body` or `json`",
            ),
            (
                json!({"path": "orders"}),
                "operations.buy.request.path",
                "starts with a slash",
            ),
            (
                json!({"method": "GE T"}),
                "operations.buy.request.method",
                "no HTTP method",
            ),
            (
                json!({"headers": {"a b": "x"}}),
                "operations.buy.request.headers.a b",
                "no header name",
            ),
        ] {
            let problem = compile(fields).unwrap_err();
            assert_eq!(problem.at, at);
            assert!(problem.message.contains(message), "{}", problem.message);
        }
    }

    #[test]
    fn a_request_may_be_for_one_replica() {
        let replica = |fields| {
            compile(fields)
                .unwrap()
                .render(variables())
                .map(|rendered| rendered.replica)
        };
        assert_eq!(replica(json!({})), Ok(None));
        assert_eq!(replica(json!({"replica": "2"})), Ok(Some(2)));
        assert_eq!(replica(json!({"replica": "{{ amount - 84 }}"})), Ok(Some(1)));
        for wrong in [
            "0",
            "-1",
            "1.5",
            "{{ key }}",
            "{{ amount / 2 }}",
            "",
            "{{ amount * 99999999999 }}",
        ] {
            let error = replica(json!({"replica": wrong})).unwrap_err();
            assert!(error.contains("no number of a replica"), "{wrong}: {error}");
        }
        let problem = compile(json!({"replica": "{{ branch }}"})).unwrap_err();
        assert_eq!(problem.at, "operations.buy.request.replica");
    }

    #[test]
    fn a_value_that_does_not_fit_is_an_error_not_a_request() {
        let request = compile(json!({"path": "/{{ account }}"})).unwrap();
        assert!(request.render(variables()).unwrap_err().contains("urlencode"));
        let request = compile(json!({"path": "{{ account }}"})).unwrap();
        assert!(request.render(variables()).unwrap_err().contains("slash"));
        let request = compile(json!({"body": "{{ key }}"})).unwrap();
        assert!(request.render(Variables::new()).is_err(), "a missing variable");
    }
}

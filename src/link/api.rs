//! The control interface: Toxiproxy's HTTP API, with its paths, bodies, statuses and errors, so that its clients work.
//!
//! What Toxiproxy lacks is added: further types of toxics, `distribution` for `latency`, and `per` beside `toxicity`.
//! What differs, differs on purpose, so that a mistake is told and no toxic is one in name only:
//!
//! - An attribute that a toxic does not have is refused, where Toxiproxy says nothing and does nothing. So is what makes
//!   no sense: a toxicity beyond 0 to 1, a time or size below zero, a latency above a day, a slicer without a size. What
//!   is refused has `bad request body: ` and words of our own.
//! - `noop`, which does nothing, is no type here.
//! - `/populate` refuses a list that has a name twice, and answers with proxies as they are, also with those that it left
//!   alone; of none it makes `[]`, not `null`.
//! - Unless all may listen anywhere, a proxy without a host listens on loopback, and one with another is refused.
//! - A connection that cannot be made beyond the proxy is reset. Toxiproxy closes it.
//! - `/metrics` is always there. Requests get no id.

use std::io;

use bytes::Bytes;
use hyper::header::USER_AGENT;
use hyper::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::chain::{Applied, Direction, Per, Toxic};
use super::proxies::{AddError, Proxies};
use super::proxy::Proxy;
use super::state::ToxicError;
use super::toxic::Kind;
use crate::control::{Answer, Asked, JSON};

mod metrics;
mod read;

use read::Object;

/// The version of Toxiproxy whose interface this is. Its clients look at it.
pub const TOXIPROXY_VERSION: &str = "2.12.0";

/// An error as Toxiproxy words it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    status: StatusCode,
    /// What is wrong.
    pub error: String,
    /// Whether nothing is wrong with what was asked, and this machine refuses it.
    pub by_machine: bool,
}

impl ApiError {
    fn new(status: StatusCode, error: impl Into<String>) -> Self {
        Self {
            status,
            error: error.into(),
            by_machine: false,
        }
    }

    fn bad_body(reason: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::BAD_REQUEST, format!("bad request body: {reason}"))
    }

    fn missing(field: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, format!("missing required field: {field}"))
    }

    fn written(&self) -> Value {
        json!({"error": self.error, "status": self.status.as_u16()})
    }
}

impl From<ToxicError> for ApiError {
    fn from(error: ToxicError) -> Self {
        let status = match error {
            ToxicError::Exists => StatusCode::CONFLICT,
            ToxicError::NotFound => StatusCode::NOT_FOUND,
        };
        Self::new(status, error.to_string())
    }
}

impl From<AddError> for ApiError {
    fn from(error: AddError) -> Self {
        let status = match error {
            AddError::Exists => StatusCode::CONFLICT,
            AddError::TooMany => StatusCode::BAD_REQUEST,
            AddError::Io(error) => return error.into(),
        };
        Self::new(status, error.to_string())
    }
}

impl From<io::Error> for ApiError {
    fn from(error: io::Error) -> Self {
        Self {
            by_machine: error.kind() != io::ErrorKind::InvalidInput,
            ..Self::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
        }
    }
}

/// Answers a request.
pub async fn answer(proxies: &Proxies, asked: &Asked) -> Answer {
    let agent = asked.headers.get(USER_AGENT).and_then(|agent| agent.to_str().ok());
    if agent.is_some_and(|agent| agent.starts_with("Mozilla/")) {
        // A page that a browser shows has no business here.
        return plain(StatusCode::FORBIDDEN, "User agent not allowed\n");
    }
    match route(proxies, asked).await {
        Ok(answer) => answer,
        // JSON under the name of text, as Toxiproxy's errors are.
        Err(error) => plain(error.status, format!("{}\n", error.written())),
    }
}

fn plain(status: StatusCode, text: impl Into<String>) -> Answer {
    text_of(status, "text/plain; charset=utf-8", text)
}

fn text_of(status: StatusCode, content_type: &'static str, text: impl Into<String>) -> Answer {
    Answer {
        status,
        content_type,
        body: Bytes::from(text.into()),
    }
}

fn json_of(status: StatusCode, value: &Value) -> Answer {
    Answer {
        status,
        content_type: JSON,
        body: Bytes::from(value.to_string()),
    }
}

fn ok(value: &Value) -> Result<Answer, ApiError> {
    Ok(json_of(StatusCode::OK, value))
}

fn no_content() -> Result<Answer, ApiError> {
    Ok(plain(StatusCode::NO_CONTENT, ""))
}

async fn route(proxies: &Proxies, asked: &Asked) -> Result<Answer, ApiError> {
    let segments = read::segments(&asked.path).unwrap_or_default();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let proxy = |name: &str| {
        proxies
            .get(name)
            .ok_or_else(|| ApiError::new(StatusCode::NOT_FOUND, "proxy not found"))
    };
    let post = asked.method == Method::POST;
    let get = asked.method == Method::GET;
    let delete = asked.method == Method::DELETE;
    let change = post || asked.method == Method::PATCH;
    match segments.as_slice() {
        ["version"] if get => Ok(text_of(
            StatusCode::OK,
            "application/json;charset=utf-8",
            format!("{{\"version\": \"{TOXIPROXY_VERSION}\"}}\n"),
        )),
        ["metrics"] if get => Ok(text_of(
            StatusCode::OK,
            "text/plain; version=0.0.4; charset=utf-8",
            metrics::written(proxies),
        )),
        ["reset"] if post => reset(proxies).await,
        ["populate"] if post => Ok(populate(proxies, asked).await),
        ["proxies"] if get => {
            let all = proxies
                .all()
                .into_iter()
                .map(|proxy| (proxy.name.clone(), shown(&proxy)));
            ok(&Value::Object(all.collect()))
        }
        ["proxies"] if post => create(proxies, asked).await,
        ["proxies", name] if get => ok(&shown(&*proxy(name)?)),
        ["proxies", name] if change => update(&*proxy(name)?, asked).await,
        ["proxies", name] if delete => {
            if proxy(name)?.is_handed_over() {
                let error = format!("{name} is a link of its replica: it can be disabled, and not removed");
                return Err(ApiError::new(StatusCode::BAD_REQUEST, error));
            }
            proxies.remove(name).await;
            no_content()
        }
        ["proxies", name, "toxics"] if get => ok(&toxics(&*proxy(name)?)),
        ["proxies", name, "toxics"] if post => add_toxic(&*proxy(name)?, asked).await,
        ["proxies", name, "toxics", toxic] if get => ok(&shown_toxic(&*find(&*proxy(name)?, toxic)?)),
        ["proxies", name, "toxics", toxic] if change => update_toxic(&*proxy(name)?, toxic, asked).await,
        ["proxies", name, "toxics", toxic] if delete => {
            proxy(name)?.link.remove(toxic).await?;
            no_content()
        }
        ["version" | "metrics" | "reset" | "populate" | "proxies"]
        | ["proxies", _]
        | ["proxies", _, "toxics"]
        | ["proxies", _, "toxics", _] => Ok(plain(StatusCode::METHOD_NOT_ALLOWED, "")),
        _ => Ok(plain(StatusCode::NOT_FOUND, "404 page not found\n")),
    }
}

/// A proxy as it is asked for. `null` is as good as nothing.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Wanted {
    name: Option<String>,
    listen: Option<String>,
    upstream: Option<String>,
    enabled: Option<bool>,
}

impl Wanted {
    fn name(&self) -> Option<&str> {
        self.name.as_deref().filter(|name| !name.is_empty())
    }

    fn upstream(&self) -> Option<&str> {
        self.upstream.as_deref().filter(|upstream| !upstream.is_empty())
    }
}

async fn create(proxies: &Proxies, asked: &Asked) -> Result<Answer, ApiError> {
    let wanted: Wanted = read::body::<Object>(asked)?.read()?;
    let name = wanted.name().ok_or_else(|| ApiError::missing("name"))?.to_owned();
    let upstream = wanted
        .upstream()
        .ok_or_else(|| ApiError::missing("upstream"))?
        .to_owned();
    let listen = wanted.listen.unwrap_or_default();
    let proxy = proxies
        .add(name, listen, upstream, wanted.enabled.unwrap_or(true))
        .await?;
    Ok(json_of(StatusCode::CREATED, &shown(&proxy)))
}

async fn update(proxy: &Proxy, asked: &Asked) -> Result<Answer, ApiError> {
    let wanted: Wanted = read::body::<Object>(asked)?.read()?;
    let now = proxy.described();
    let listen = wanted.listen.unwrap_or(now.listen);
    let upstream = wanted.upstream.unwrap_or(now.upstream);
    proxy
        .update(listen, upstream, wanted.enabled.unwrap_or(now.enabled))
        .await?;
    ok(&shown(proxy))
}

/// Creates proxies, and replaces those that are different: an address of theirs, that is. All else is as it was with those
/// that are not, also whether they listen. Everything is looked at before anything is changed.
async fn populate(proxies: &Proxies, asked: &Asked) -> Answer {
    let mut made = Vec::new();
    let populated = match read::body::<Option<Vec<Object>>>(asked) {
        Ok(wanted) => populate_with(proxies, wanted.unwrap_or_default(), &mut made).await,
        Err(error) => Err(error),
    };
    let (status, mut written) = match populated {
        Ok(()) => (StatusCode::CREATED, json!({})),
        Err(error) => (error.status, error.written()),
    };
    written["proxies"] = Value::Array(made);
    json_of(status, &written)
}

/// Why a file's proxies were not made.
#[derive(Debug)]
pub enum FileError {
    /// It is no list of objects in JSON.
    Json(serde_json::Error),
    /// One of them cannot be made.
    Proxy(ApiError),
}

/// Does the same with a file's text.
pub async fn populate_from(proxies: &Proxies, text: &[u8]) -> Result<(), FileError> {
    let wanted = serde_json::from_slice(text).map_err(FileError::Json)?;
    let made = populate_with(proxies, wanted, &mut Vec::new()).await;
    made.map_err(FileError::Proxy)
}

async fn populate_with(proxies: &Proxies, wanted: Vec<Object>, made: &mut Vec<Value>) -> Result<(), ApiError> {
    let wanted: Vec<Wanted> = wanted.into_iter().map(Object::read).collect::<Result<_, _>>()?;
    let mut names = std::collections::BTreeSet::new();
    for (position, wanted) in (1..).zip(&wanted) {
        let missing = |field: &str| ApiError::missing(&format!("{field} at proxy {position}"));
        let name = wanted.name().ok_or_else(|| missing("name"))?;
        wanted.upstream().ok_or_else(|| missing("upstream"))?;
        if !names.insert(name) {
            return Err(ApiError::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                format!("duplicate proxy name {name:?}"),
            ));
        }
    }
    for wanted in wanted {
        let name = wanted.name.unwrap_or_default();
        let listen = wanted.listen.unwrap_or_default();
        let upstream = wanted.upstream.unwrap_or_default();
        let enabled = wanted.enabled.unwrap_or(true);
        let proxy = match proxies.get(&name) {
            Some(proxy) => {
                if proxy.differs(&listen, &upstream).await? {
                    // Another proxy takes its place, which has no toxics.
                    proxy.link.clear().await;
                    proxy.update(listen, upstream, enabled).await?;
                }
                proxy
            }
            None => proxies.add(name, listen, upstream, enabled).await?,
        };
        made.push(shown(&proxy));
    }
    Ok(())
}

async fn reset(proxies: &Proxies) -> Result<Answer, ApiError> {
    for proxy in proxies.all() {
        proxy.start().await?;
        proxy.link.clear().await;
    }
    no_content()
}

/// A toxic as it is asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct WantedToxic {
    name: Option<String>,
    r#type: Option<String>,
    stream: Option<String>,
    toxicity: Option<f64>,
    per: Option<Per>,
    attributes: Value,
}

async fn add_toxic(proxy: &Proxy, asked: &Asked) -> Result<Answer, ApiError> {
    let wanted: WantedToxic = read::body::<Object>(asked)?.read()?;
    let stream_name = wanted.stream.as_deref().unwrap_or("downstream");
    let stream = match &*stream_name.to_ascii_lowercase() {
        "downstream" => Direction::Downstream,
        "upstream" => Direction::Upstream,
        _ => {
            let error = "stream was invalid, can be either upstream or downstream";
            return Err(ApiError::new(StatusCode::BAD_REQUEST, error));
        }
    };
    let r#type = wanted.r#type.unwrap_or_default();
    let name = wanted
        .name
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| format!("{type}_{stream_name}"));
    let kind = Kind::read(&r#type, read::attributes(wanted.attributes), None)
        .ok_or_else(|| ApiError::new(StatusCode::BAD_REQUEST, "invalid toxic type"))?;
    if proxy.link.chain().find(&name).is_some() {
        return Err(ToxicError::Exists.into());
    }
    let toxic = Toxic {
        name,
        kind: kind.map_err(ApiError::bad_body)?,
        stream,
        toxicity: wanted.toxicity.unwrap_or(1.0),
        per: wanted.per.unwrap_or_default(),
    };
    check(&toxic)?;
    let written = shown_toxic_of(&toxic);
    proxy.link.add(toxic).await?;
    ok(&written)
}

async fn update_toxic(proxy: &Proxy, name: &str, asked: &Asked) -> Result<Answer, ApiError> {
    let now = find(proxy, name)?;
    let wanted: WantedToxic = read::body::<Object>(asked)?.read()?;
    let attributes = read::attributes(wanted.attributes);
    let kind = Kind::read(now.toxic.kind.name(), attributes, Some(&now.toxic.kind))
        .ok_or_else(|| ApiError::new(StatusCode::BAD_REQUEST, "invalid toxic type"))?
        .map_err(ApiError::bad_body)?;
    let toxic = Toxic {
        kind,
        toxicity: wanted.toxicity.unwrap_or(now.toxic.toxicity),
        per: wanted.per.unwrap_or(now.toxic.per),
        ..now.toxic.clone()
    };
    check(&toxic)?;
    let written = shown_toxic_of(&toxic);
    proxy.link.update(toxic).await?;
    ok(&written)
}

fn check(toxic: &Toxic) -> Result<(), ApiError> {
    if !(0.0..=1.0).contains(&toxic.toxicity) {
        return Err(ApiError::bad_body("`toxicity` must be from 0 to 1"));
    }
    match toxic.kind.behaviour().problem() {
        Some(problem) => Err(ApiError::bad_body(problem)),
        None => Ok(()),
    }
}

fn find(proxy: &Proxy, name: &str) -> Result<std::sync::Arc<Applied>, ApiError> {
    Ok(proxy.link.chain().find(name).cloned().ok_or(ToxicError::NotFound)?)
}

fn shown(proxy: &Proxy) -> Value {
    let described = proxy.described();
    json!({
        "name": proxy.name,
        "listen": described.listen,
        "upstream": described.upstream,
        "enabled": described.enabled,
        "toxics": toxics(proxy),
    })
}

/// Upstream first, as Toxiproxy lists them.
fn toxics(proxy: &Proxy) -> Value {
    let chain = proxy.link.chain();
    let of = |stream| {
        let toxics = chain
            .toxics
            .iter()
            .filter(move |applied| applied.toxic.stream == stream);
        toxics.map(|applied| shown_toxic(applied))
    };
    of(Direction::Upstream).chain(of(Direction::Downstream)).collect()
}

fn shown_toxic(applied: &Applied) -> Value {
    shown_toxic_of(&applied.toxic)
}

fn shown_toxic_of(toxic: &Toxic) -> Value {
    let mut value = json!({
        "name": toxic.name,
        "stream": toxic.stream,
        "toxicity": toxic.toxicity,
    });
    let kind = serde_json::to_value(&toxic.kind).unwrap_or_default();
    if let (Value::Object(value), Value::Object(kind)) = (&mut value, kind) {
        value.extend(kind);
        if toxic.per != Per::Connection {
            value.insert("per".to_owned(), json!(toxic.per));
        }
    }
    value
}

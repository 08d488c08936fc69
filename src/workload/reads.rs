//! Final reads: complete lists, page by page, as the evidence of the checkers.
//!
//! A read that cannot be completed is recorded as such: its checkers are then inconclusive, never satisfied.

use std::borrow::Cow;
use std::collections::HashSet;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use minijinja::value::Value;
use regex::Regex;

use super::client::{Addresses, Client};
use super::expression::Answer;
use super::rows::RowsReader;
use super::template::{Request, Variables};
use super::values::plain;
use super::{Problem, WorkloadError};
use crate::history::record::Recorder;
use crate::history::{self, Fields, Item, Read, Record};
use crate::system::definition::{FinalRead, Items, RequestTemplate, SystemDefinition};

/// Between two attempts at a page.
pub(super) const PAUSE: Duration = Duration::from_millis(100);

/// Field of an item that says which replica gave it, where each is read.
pub const REPLICA: &str = "replica";

/// How a final read ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadOutcome {
    /// The final read.
    pub read: String,
    /// How many items it gave.
    pub items: u64,
    /// Why it is incomplete.
    pub error: Option<String>,
}

/// Makes every final read, each within `patience`: a page that fails is asked for again, of the next replica unless each
/// is read. Records every item and the end of each read. The readings are in the recorder's hands when this returns.
pub async fn run(
    system: &SystemDefinition,
    addresses: &Addresses,
    epoch: Instant,
    recorder: &Recorder,
    patience: Duration,
) -> Result<Vec<ReadOutcome>, WorkloadError> {
    let client = Client::new(addresses);
    let mut readers = Vec::with_capacity(system.final_reads.len());
    for (name, definition) in &system.final_reads {
        let reader = Reader::compile(name, definition, system).map_err(WorkloadError::Definition)?;
        reader.require(&client)?;
        readers.push(reader);
    }
    let reads = readers.iter().map(|reader| {
        let client = &client;
        async move {
            let (items, result) = reader.read(client, recorder, Instant::now() + patience).await;
            let error = result.err();
            recorder.record(&Record::Read(Read {
                read: Cow::Borrowed(reader.name()),
                at_us: epoch.elapsed().as_micros() as u64,
                items,
                error: error.as_deref().map(Cow::Borrowed),
            }));
            ReadOutcome {
                read: reader.name().to_owned(),
                items,
                error,
            }
        }
    });
    Ok(join_all(reads).await)
}

/// A final read, compiled.
#[derive(Debug)]
pub(super) enum Reader {
    Pages(Box<Pages>),
    Rows(RowsReader),
}

impl Reader {
    /// Compiles the definition of the final read `name`.
    pub(super) fn compile(name: &str, definition: &FinalRead, system: &SystemDefinition) -> Result<Self, Problem> {
        match (&definition.request, &definition.sql) {
            (Some(request), None) => Ok(Self::Pages(Box::new(Pages::compile(name, request, definition)?))),
            (None, Some(sql)) => RowsReader::compile(name, sql, system).map(Self::Rows),
            _ => {
                let message = "a final read has either `request` or `sql`".to_owned();
                Err(Problem::new(format!("final-reads.{name}"), message))
            }
        }
    }

    fn name(&self) -> &str {
        match self {
            Self::Pages(pages) => &pages.name,
            Self::Rows(rows) => &rows.name,
        }
    }

    /// Whether it is known where to read.
    fn require(&self, client: &Client) -> Result<(), WorkloadError> {
        match self {
            Self::Pages(pages) => client.require(&pages.request.service),
            Self::Rows(rows) => rows.services().try_for_each(|service| client.require(service)),
        }
    }

    /// Gives the number of items recorded, and whether they are all.
    async fn read(&self, client: &Client, recorder: &Recorder, deadline: Instant) -> (u64, Result<(), String>) {
        match self {
            Self::Pages(pages) => pages.read(client, recorder, deadline).await,
            Self::Rows(rows) => rows.read(client, recorder, deadline).await,
        }
    }
}

/// A final read by requests, page by page.
#[derive(Debug)]
pub(super) struct Pages {
    name: String,
    request: Request,
    items: Format,
    every_replica: bool,
}

#[derive(Debug)]
enum Format {
    Json {
        at: String,
        element: String,
        fields: Vec<String>,
        next: Option<String>,
    },
    Lines(Regex),
}

/// A page's items and the cursor of the next page.
#[derive(Debug)]
struct Page {
    items: Vec<PageItem>,
    next: Option<String>,
}

#[derive(Debug)]
struct PageItem {
    element: String,
    fields: Fields<'static>,
}

impl Pages {
    fn compile(name: &str, request: &RequestTemplate, definition: &FinalRead) -> Result<Self, Problem> {
        let at = format!("final-reads.{name}");
        let items = definition.items.as_ref();
        let items = items.ok_or_else(|| Problem::new(format!("{at}.items"), "a request needs `items`".to_owned()))?;
        Ok(Self {
            name: name.to_owned(),
            request: Request::compile(request, &format!("{at}.request"), &["cursor".to_owned()])?,
            items: Format::compile(items).map_err(|message| Problem::new(format!("{at}.items"), message))?,
            every_replica: definition.every_replica,
        })
    }

    /// Gives the number of items recorded, and whether they are all: of a replica, or of each, at once.
    async fn read(&self, client: &Client, recorder: &Recorder, deadline: Instant) -> (u64, Result<(), String>) {
        if !self.every_replica {
            return self.read_of(None, client, recorder, deadline).await;
        }
        let reads = client.numbers(&self.request.service).map(|number| async move {
            let (count, result) = self.read_of(Some(number), client, recorder, deadline).await;
            (count, result.map_err(|error| format!("replica {number}: {error}")))
        });
        let (counts, results): (Vec<u64>, Vec<_>) = join_all(reads).await.into_iter().unzip();
        let errors: Vec<String> = results.into_iter().filter_map(Result::err).collect();
        let result = match errors.is_empty() {
            true => Ok(()),
            false => Err(errors.join("; ")),
        };
        (counts.into_iter().sum(), result)
    }

    /// Reads page by page, of that replica alone or of whichever answers. Items of a replica that is named say so.
    async fn read_of(
        &self,
        replica: Option<u32>,
        client: &Client,
        recorder: &Recorder,
        deadline: Instant,
    ) -> (u64, Result<(), String>) {
        let mut count = 0;
        let mut cursor = String::new();
        let mut seen = HashSet::new();
        loop {
            let page = match self.page(replica, client, &cursor, deadline).await {
                Ok(page) => page,
                Err(error) => return (count, Err(error)),
            };
            for item in page.items {
                count += 1;
                recorder.record(&Record::Item(Item {
                    read: Cow::Borrowed(&self.name),
                    element: Cow::Borrowed(&item.element),
                    fields: match replica {
                        None => item.fields,
                        Some(number) => with_replica(&item.fields, number),
                    },
                }));
            }
            match page.next {
                None => return (count, Ok(())),
                Some(next) if !seen.insert(next.clone()) => {
                    return (count, Err(format!("the cursor `{next}` came twice")));
                }
                Some(next) => cursor = next,
            }
        }
    }

    /// Asks one replica after the other, or the named one again and again, until one answers with a status below 300. What
    /// is then no page stays an error: it would be the same again.
    async fn page(
        &self,
        replica: Option<u32>,
        client: &Client,
        cursor: &str,
        deadline: Instant,
    ) -> Result<Page, String> {
        let variables = Variables::from([("cursor".to_owned(), Value::from(cursor))]);
        let rendered = self.request.render(variables)?;
        let replica = replica.or(rendered.replica);
        let turn = client.turn(&self.request.service, self.request.port, replica)?;
        let mut attempts = 0;
        loop {
            let address = turn.address(attempts);
            attempts += 1;
            let reason = match client.attempt(address, &rendered, self.request.timeout).await {
                Ok(answer) if answer.status < 300 => return self.items.page(&answer),
                Ok(answer) => format!("status {}: {}", answer.status, answer.excerpt()),
                Err(broken) => broken.error.to_owned(),
            };
            if Instant::now() + PAUSE > deadline {
                return Err(format!("after {attempts} attempts, {reason}"));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

impl Format {
    fn compile(items: &Items) -> Result<Self, String> {
        match items {
            Items::Json {
                at,
                element,
                fields,
                next,
            } => {
                let wrong = [Some(at), next.as_ref()]
                    .into_iter()
                    .flatten()
                    .find(|pointer| !pointer.is_empty() && !pointer.starts_with('/'));
                match wrong {
                    Some(pointer) => Err(format!(
                        "`{pointer}` is no JSON pointer; one starts with a slash, for example `/items`"
                    )),
                    None => Ok(Self::Json {
                        at: at.clone(),
                        element: element.clone(),
                        fields: fields.clone(),
                        next: next.clone(),
                    }),
                }
            }
            Items::Lines { matches } => {
                let regex = Regex::new(matches).map_err(|err| format!("`matches` is no regular expression: {err}"))?;
                if !regex.capture_names().flatten().any(|name| name == "element") {
                    return Err("`matches` needs a group named `element`: `(?P<element>...)`".to_owned());
                }
                Ok(Self::Lines(regex))
            }
        }
    }

    fn page(&self, answer: &Answer) -> Result<Page, String> {
        match self {
            Self::Json {
                at,
                element,
                fields,
                next,
            } => {
                let body: serde_json::Value = serde_json::from_slice(&answer.body)
                    .map_err(|err| format!("the answer is no JSON ({err}): {}", answer.excerpt()))?;
                let list = body.pointer(at).and_then(|list| list.as_array());
                let list = list.ok_or_else(|| format!("no list at `{at}`: {}", answer.excerpt()))?;
                let items = list.iter().map(|item| json_item(item, element, fields));
                Ok(Page {
                    items: items.collect::<Result<_, _>>()?,
                    next: next_cursor(&body, next.as_deref())?,
                })
            }
            Self::Lines(matches) => {
                let text = std::str::from_utf8(&answer.body).map_err(|err| format!("the answer is no text: {err}"))?;
                let lines = text.lines().filter(|line| !line.trim().is_empty());
                Ok(Page {
                    items: lines.map(|line| line_item(line, matches)).collect::<Result<_, _>>()?,
                    next: None,
                })
            }
        }
    }
}

fn json_item(item: &serde_json::Value, element: &str, fields: &[String]) -> Result<PageItem, String> {
    let identity = match item.get(element) {
        Some(serde_json::Value::String(text)) => text.clone(),
        Some(serde_json::Value::Number(number)) => number.to_string(),
        _ => return Err(format!("an item has no text or number `{element}`: {item}")),
    };
    let fields = fields.iter().map(|name| {
        let value = item.get(name).unwrap_or(&serde_json::Value::Null);
        match plain(value) {
            Some(value) => Ok((Cow::Owned(name.clone()), owned(value))),
            None => Err(format!("`{name}` of an item is no plain value: {item}")),
        }
    });
    Ok(PageItem {
        element: identity,
        fields: fields.collect::<Result<_, _>>()?,
    })
}

/// The fields of an item, and which replica gave it.
fn with_replica<'f>(fields: &'f Fields<'_>, number: u32) -> Fields<'f> {
    let given = fields.iter().map(|(name, value)| (Cow::Borrowed(name), value));
    given
        .chain([(Cow::Borrowed(REPLICA), history::Value::Int(number.into()))])
        .collect()
}

fn owned(value: history::Value<'_>) -> history::Value<'static> {
    match value {
        history::Value::Int(int) => history::Value::Int(int),
        history::Value::Float(float) => history::Value::Float(float),
        history::Value::Bool(flag) => history::Value::Bool(flag),
        history::Value::Text(text) => history::Value::Text(text.into_owned().into()),
        history::Value::Null => history::Value::Null,
    }
}

fn next_cursor(body: &serde_json::Value, pointer: Option<&str>) -> Result<Option<String>, String> {
    match pointer.and_then(|pointer| body.pointer(pointer)) {
        None | Some(serde_json::Value::Null) => Ok(None),
        Some(serde_json::Value::String(cursor)) => Ok(Some(cursor.clone())),
        Some(serde_json::Value::Number(cursor)) => Ok(Some(cursor.to_string())),
        Some(other) => Err(format!("the cursor {other} is neither text nor a number")),
    }
}

fn line_item(line: &str, matches: &Regex) -> Result<PageItem, String> {
    let captures = matches.captures(line);
    let captures = captures.ok_or_else(|| format!("a line does not match: {line}"))?;
    let group = |name| captures.name(name).map(|found| found.as_str());
    let element = group("element").ok_or_else(|| format!("a line has no `element`: {line}"))?;
    let names = matches.capture_names().flatten().filter(|name| *name != "element");
    let fields = names.filter_map(|name| Some((Cow::Owned(name.to_owned()), text_value(group(name)?))));
    Ok(PageItem {
        element: element.to_owned(),
        fields: fields.collect(),
    })
}

/// Text that is a whole number, written as one writes it, is that number: lines have no types, and sums need them.
fn text_value(text: &str) -> history::Value<'static> {
    match text.parse::<i64>() {
        Ok(int) if int.to_string() == text => history::Value::Int(int),
        _ => history::Value::Text(text.to_owned().into()),
    }
}

//! One operation: the request, its retries under one key, and how they add up to an outcome.

use std::borrow::Cow;
use std::time::Duration;

use minijinja::value::{Serde, Value};

use super::Problem;
use super::client::{Broken, Client, Effect, Turn};
use super::expression::{Answer, Expression};
use super::template::{Rendered, Request, Variables, variable_name};
use super::values::plain;
use crate::history::{Fields, Op, Outcome};
use crate::system::definition::{OperationDefinition, Retry, ValueSource};

/// So much of what is wrong with a rule is recorded, with every operation.
const RULE_ERROR_CHARACTERS: usize = 120;

/// An operation's definition, compiled.
#[derive(Debug)]
pub struct Operation {
    /// Its name.
    pub name: String,
    request: Request,
    ok: Expression,
    fail: Expression,
    never: Option<Expression>,
    retry: Option<CompiledRetry>,
    variables: Vec<String>,
    recorded: Vec<(String, usize)>,
}

#[derive(Debug)]
struct CompiledRetry {
    attempts: u32,
    backoff: Duration,
    when: Expression,
}

/// What came of an operation so far. Read by whoever gives it up, too.
#[derive(Debug, Default)]
pub struct Course {
    /// Attempts made.
    pub attempts: u32,
    /// The status of the last answer.
    pub status: Option<u16>,
    /// What went wrong in the last attempt.
    pub error: Option<Cow<'static, str>>,
    /// The first answer that no customer must get.
    pub forbidden: Option<String>,
}

/// How one attempt ended.
struct Attempted {
    outcome: Outcome,
    retry: bool,
    status: Option<u16>,
    error: Option<Cow<'static, str>>,
    is_forbidden: bool,
}

impl Operation {
    /// Compiles the definition of the operation `name`.
    pub fn compile(name: &str, definition: &OperationDefinition) -> Result<Self, Problem> {
        let at = format!("operations.{name}");
        let variables: Vec<String> = definition.values.keys().map(|value| variable_name(value)).collect();
        if variables.iter().any(|variable| variable == "key") {
            return Err(Problem::new(
                format!("{at}.values.key"),
                "`key` is the operation's own idempotency key; choose another name".to_owned(),
            ));
        }
        let mut known = vec!["key".to_owned()];
        known.extend(variables.iter().cloned());
        let expression = |part: &str, source: &str| {
            Expression::compile(source).map_err(|mistake| Problem::new(format!("{at}.{part}"), mistake.message))
        };
        Ok(Self {
            name: name.to_owned(),
            request: Request::compile(&definition.request, &format!("{at}.request"), &known)?,
            ok: expression("outcome.ok", &definition.outcome.ok)?,
            fail: expression("outcome.fail", &definition.outcome.fail)?,
            never: match &definition.outcome.never {
                Some(never) => Some(expression("outcome.never", never)?),
                None => None,
            },
            retry: match &definition.retry {
                None => None,
                Some(Retry {
                    attempts,
                    backoff,
                    when,
                }) => Some(CompiledRetry {
                    attempts: *attempts,
                    backoff: backoff.as_duration(),
                    when: expression("retry.when", when)?,
                }),
            },
            recorded: recorded(&at, definition)?,
            variables,
        })
    }

    /// The service that its requests go to.
    pub fn service(&self) -> &str {
        &self.request.service
    }

    /// The request of one arrival, the same for all its attempts.
    pub fn render(&self, key: &str, values: &[serde_json::Value]) -> Result<Rendered, String> {
        let mut variables: Variables = self
            .variables
            .iter()
            .cloned()
            .zip(values.iter().map(|value| Value::from(Serde(value))))
            .collect();
        variables.insert("key".to_owned(), key.into());
        self.request.render(variables)
    }

    /// The replicas that the attempts of a request go to.
    pub fn turn(&self, client: &Client, request: &Rendered) -> Result<Turn, String> {
        client.turn(self.service(), self.request.port, request.replica)
    }

    /// The values that the history keeps.
    pub fn recorded<'a>(&'a self, values: &'a [serde_json::Value]) -> Fields<'a> {
        self.recorded
            .iter()
            .filter_map(|(name, position)| Some((Cow::Borrowed(&**name), plain(values.get(*position)?)?)))
            .collect()
    }

    /// Makes the attempts and adds them up: `ok` if any was, `fail` only if all were, else `info`, since a refused
    /// retry says nothing of the attempt before it.
    pub async fn perform(&self, client: &Client, turn: &Turn, request: &Rendered, course: &mut Course) -> Outcome {
        let attempts_max = self.retry.as_ref().map_or(1, |retry| retry.attempts.max(1));
        let mut combined = Outcome::Fail;
        loop {
            let address = turn.address(course.attempts);
            course.attempts += 1;
            let answer = client.attempt(address, request, self.request.timeout).await;
            let attempted = self.classify(answer);
            course.status = attempted.status.or(course.status);
            course.error = attempted.error;
            if attempted.is_forbidden && course.forbidden.is_none() {
                let status = attempted.status.unwrap_or_default();
                course.forbidden = Some(format!("status {status} in attempt {}", course.attempts));
            }
            match attempted.outcome {
                Outcome::Ok => return Outcome::Ok,
                Outcome::Fail => {}
                Outcome::Info => combined = Outcome::Info,
            }
            match &self.retry {
                Some(retry) if attempted.retry && course.attempts < attempts_max => {
                    tokio::time::sleep(retry.backoff).await;
                }
                _ => return combined,
            }
        }
    }

    fn classify(&self, answer: Result<Answer, Broken>) -> Attempted {
        match answer {
            Ok(answer) => self.classify_answer(&answer),
            Err(broken) => Attempted {
                outcome: match broken.effect {
                    Effect::None | Effect::NoneLocal => Outcome::Fail,
                    Effect::Unknown => Outcome::Info,
                },
                retry: true,
                status: None,
                error: Some(match broken.effect {
                    Effect::NoneLocal => Op::LATE.into(),
                    Effect::None | Effect::Unknown => broken.error.into(),
                }),
                is_forbidden: false,
            },
        }
    }

    /// A rule that cannot be evaluated does not hold: `body.state == 'paid'` says nothing of an answer without a body.
    fn classify_answer(&self, answer: &Answer) -> Attempted {
        let mut error = None;
        let mut holds = |rule: &Expression| {
            rule.holds(answer).unwrap_or_else(|message| {
                // The message may quote the answer, whole.
                let message: String = message.chars().take(RULE_ERROR_CHARACTERS).collect();
                error.get_or_insert(Cow::Owned(format!("rule: {message}")));
                false
            })
        };
        let outcome = if holds(&self.ok) {
            Outcome::Ok
        } else if holds(&self.fail) {
            Outcome::Fail
        } else {
            Outcome::Info
        };
        let is_forbidden = self.never.as_ref().is_some_and(&mut holds);
        let retry = outcome != Outcome::Ok && self.retry.as_ref().is_some_and(|retry| holds(&retry.when));
        Attempted {
            outcome,
            retry,
            status: Some(answer.status),
            error: error.filter(|_| outcome == Outcome::Info),
            is_forbidden,
        }
    }
}

/// Which values are recorded, by their position among the values.
fn recorded(at: &str, definition: &OperationDefinition) -> Result<Vec<(String, usize)>, Problem> {
    let find = |(index, name): (usize, &String)| {
        let at = format!("{at}.record[{index}]");
        let Some(position) = definition.values.keys().position(|known| known == name) else {
            let known: Vec<_> = definition.values.keys().map(|known| format!("`{known}`")).collect();
            return Err(Problem::new(
                at,
                format!("`{name}` is none of the values: {}", known.join(", ")),
            ));
        };
        match definition.values.get(name) {
            Some(ValueSource::Constant(value)) if plain(value).is_none() => Err(Problem::new(
                at,
                format!("`{name}` is a list or an object; the history keeps only plain values"),
            )),
            _ => Ok((name.clone(), position)),
        }
    };
    definition.record.iter().enumerate().map(find).collect()
}

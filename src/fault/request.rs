//! `request`: somebody who runs the service sends it a request, such as one that puts up a maintenance page or turns a feature on;
//! the heal sends the one that takes it back.
//!
//! The answer to it counts for nothing. What was asked for is in force once another request, which only reads, is answered as
//! `seen` says, and was answered otherwise before. The reaper sends `undo` when the time-to-live is over, and when the harness
//! dies.

use async_trait::async_trait;
use futures_util::future::join_all;
use hyper::Method;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::measured::{nothing_to_heal, receipt};
use super::process::TARGETS;
use super::{Fault, FaultContext, FaultError, Hold, Problem, Receipt, target};
use crate::plan::Target;
use crate::workload::expression::Expression;

mod asked;

use asked::Asked;

/// What can be sent.
const METHODS: [&str; 4] = ["POST", "PUT", "PATCH", "DELETE"];

/// Parameters of `request`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Request<T> {
    /// The replicas that are asked, each of them: one where all share what is asked for.
    pub targets: Vec<T>,
    /// Their port.
    pub port: u16,
    /// What they are sent.
    pub send: Sent,
    /// What takes it back. Without it nothing does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo: Option<Sent>,
    /// What shows that it is in force.
    pub seen: Seen,
}

/// A request that changes something. Where its method is one that may be repeated (`PUT`, `DELETE`), it is sent until it shows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Sent {
    /// `POST`, `PUT`, `PATCH` or `DELETE`.
    pub method: String,
    /// The path, with its query.
    pub path: String,
    /// The body; nothing unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub json: Option<serde_json::Value>,
}

/// A `GET`, and what its answer says while the request is in force.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Seen {
    /// The path, with its query.
    pub path: String,
    /// A CEL expression over `status`, `headers` and `body`: true while it is in force, false before and after.
    pub when: String,
}

impl<T> Request<T> {
    pub(super) fn map_targets<U, E>(&self, map: &mut dyn FnMut(&str, &T) -> Result<U, E>) -> Result<Request<U>, E> {
        Ok(Request {
            targets: super::map_list(TARGETS, &self.targets, map)?,
            port: self.port,
            send: self.send.clone(),
            undo: self.undo.clone(),
            seen: self.seen.clone(),
        })
    }
}

impl Sent {
    /// The method, if it is one that can be sent.
    fn method(&self) -> Option<Method> {
        let known = METHODS.iter().find(|known| **known == self.method)?;
        known.parse().ok()
    }

    /// `PUT /maintenance`.
    fn words(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    fn problems(&self, at: &str) -> Vec<Problem> {
        let method = self.method().is_none().then(|| Problem {
            path: format!("{at}.method"),
            message: format!("must be one of {}, is `{}`", METHODS.join(", "), self.method),
            hint: "what only reads belongs to `seen`".to_owned(),
        });
        method.into_iter().chain(wrong_path(at, &self.path)).collect()
    }
}

fn wrong_path(at: &str, path: &str) -> Option<Problem> {
    let is_right = path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic());
    (!is_right || path.parse::<hyper::Uri>().is_err()).then(|| Problem {
        path: format!("{at}.path"),
        message: format!("must be a path on the replica, is `{path}`"),
        hint: "begin with a slash, and write what is not ASCII, and blanks, as `%20`".to_owned(),
    })
}

#[async_trait]
impl Fault for Request<Target> {
    fn targets(&self) -> Vec<&Target> {
        self.targets.iter().collect()
    }

    fn holds(&self) -> Option<Hold> {
        Some(Hold::Answer(self.seen.path.clone()))
    }

    fn is_undone(&self) -> bool {
        self.undo.is_some()
    }

    fn describe(&self) -> String {
        format!("send {} to {}", self.send.words(), target::names(&self.targets))
    }

    fn problems(&self) -> Vec<Problem> {
        let mut problems: Vec<Problem> = target::empty_list(TARGETS, &self.targets).into_iter().collect();
        if self.port == 0 {
            problems.push(Problem {
                path: "port".to_owned(),
                message: "must be from 1 to 65535, is 0".to_owned(),
                hint: "write the port that the service listens on".to_owned(),
            });
        }
        problems.extend(self.send.problems("send"));
        problems.extend(self.undo.iter().flat_map(|undo| undo.problems("undo")));
        problems.extend(wrong_path("seen", &self.seen.path));
        problems.extend(Expression::compile(&self.seen.when).err().map(|mistake| Problem {
            path: "seen.when".to_owned(),
            message: format!("cannot be used: {}", mistake.message),
            hint: format!("{}; {}", mistake.allowed, mistake.hint),
        }));
        problems
    }

    async fn inject(&self, context: &FaultContext) -> Result<Receipt, FaultError> {
        let start = Instant::now();
        let replicas = target::resolve(&*context.system, &self.targets).await?;
        let asked = Asked::of_all(context, self, &replicas)?;
        context.acted.remember(TARGETS, &replicas);
        let seen = join_all(asked.iter().map(|asked| asked.send(context, start))).await;
        Ok(receipt(&replicas, seen.into_iter().collect::<Result<_, _>>()?))
    }

    async fn heal(&self, context: &FaultContext) -> Result<Receipt, FaultError> {
        let replicas = context.acted.list(TARGETS);
        if replicas.is_empty() {
            return Ok(nothing_to_heal());
        }
        let asked = Asked::of_all(context, self, &replicas)?;
        let healed = join_all(asked.iter().map(|asked| asked.take_back(context))).await;
        let lapsed = healed.iter().any(|(lapsed, _)| *lapsed);
        let mut receipt = receipt(&replicas, healed.into_iter().map(|(_, measured)| measured).collect());
        receipt.lapsed = lapsed;
        // Where it could not be taken back, whoever keeps the deadline tries again.
        if receipt.confirmed
            && self.undo.is_some()
            && let Err(error) = context.system.disarm_deadline(context.id).await
        {
            receipt.evidence.push(format!(
                "the deadline stays armed, and will find nothing to do: {error}"
            ));
        }
        Ok(receipt)
    }
}

#[cfg(test)]
mod tests;

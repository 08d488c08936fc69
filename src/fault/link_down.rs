//! `link-down`: connections are refused, and those that there are end.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::link::{LinkFault, OnLink};
use super::sign::{Shows, Sign};
use crate::link::chain::{Direction, Per};
use crate::link::toxic::Kind;
use crate::plan::Target;

/// Parameters of `link-down`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LinkDown<T> {
    /// Whose connections: those that these replicas open, and have.
    pub from: Vec<T>,
    /// To whom.
    pub to: Vec<T>,
}

impl<T> LinkDown<T> {
    pub(super) fn map_targets<U, E>(&self, map: &mut dyn FnMut(&str, &T) -> Result<U, E>) -> Result<LinkDown<U>, E> {
        Ok(LinkDown {
            from: super::map_list("from", &self.from, map)?,
            to: super::map_list("to", &self.to, map)?,
        })
    }
}

impl LinkFault for LinkDown<Target> {
    fn on(&self) -> OnLink<'_, Target> {
        OnLink {
            from: &self.from,
            to: &self.to,
            stream: Direction::Upstream,
            toxicity: 1.0,
            per: Per::Connection,
        }
    }

    fn toxic(&self) -> Option<Kind> {
        None
    }

    fn sign(&self) -> Sign {
        Sign::of(Shows::Refused)
    }

    fn words(&self) -> String {
        "refuse connections".to_owned()
    }
}

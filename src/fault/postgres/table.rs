//! The name of a table as an experiment writes it.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::fault::Problem;

/// `orders` or `accounting.orders`, in the letters that the table was made with: it is always quoted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct TableName(pub String);

impl TableName {
    /// What is wrong with it, if anything is.
    pub(in crate::fault) fn problem(&self) -> Option<Problem> {
        let is_plain = |part: &str| {
            let first = part.chars().next();
            first.is_some_and(|first| first.is_alphabetic() || first == '_')
                && part.chars().all(|each| each.is_alphanumeric() || each == '_')
        };
        let parts: Vec<&str> = self.0.split('.').collect();
        if parts.len() <= 2 && parts.iter().all(|part| is_plain(part)) {
            return None;
        }
        Some(Problem {
            path: "table".to_owned(),
            message: format!(
                "must be a table's name, with its schema's and a dot before it or without, is `{}`",
                self.0
            ),
            hint: "letters, digits and `_` are allowed, for example `orders` or `accounting.orders`; leave out quotes"
                .to_owned(),
        })
    }

    /// As SQL: `"accounting"."orders"`. Its parts have no quotes in them.
    pub(in crate::fault) fn quoted(&self) -> String {
        let parts: Vec<String> = self.0.split('.').map(|part| format!("\"{part}\"")).collect();
        parts.join(".")
    }

    /// As a number of the server's catalogue.
    pub(in crate::fault) fn oid(&self) -> String {
        format!("'{}'::regclass", self.quoted())
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_quoted_and_nothing_else_is_a_name() {
        let name = TableName("accounting.Orders".to_owned());
        assert_eq!(name.problem(), None);
        assert_eq!(name.oid(), "'\"accounting\".\"Orders\"'::regclass");
        for bad in [
            "",
            ".orders",
            "a.b.c",
            "1st",
            "orders; drop table x",
            "\"orders\"",
            "o'o",
        ] {
            let problem = TableName(bad.to_owned()).problem().unwrap();
            assert_eq!(problem.path, "table", "{bad}");
        }
    }
}

//! What a campaign came to, as its page says and as it is kept beside its runs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The answer to whether a release may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// Every run passed and left nothing behind, and every business service stayed within its impact tolerance, but for what is
    /// accepted.
    Go,
    /// There is a doubt, or nothing was run.
    NotProven,
    /// A run failed, or a business service exceeded its impact tolerance.
    NoGo,
}

/// What the page of a campaign said when it was written. It is not drawn from the runs again: what was accepted then, and what
/// they were compared with, decided with them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Conclusion {
    /// The answer.
    pub answer: Answer,
    /// What decided it, in a sentence; empty if nothing stood out.
    #[serde(default)]
    pub because: String,
    /// When, in milliseconds since 1970-01-01 UTC.
    pub at_unix_ms: i64,
}

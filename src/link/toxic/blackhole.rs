//! `blackhole`: nothing comes through; when the toxic goes, everything does, and no connection is closed by it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{Head, OutOfRange, Ruling, Stage, Toxic};
use crate::link::random::Random;

/// `blackhole` has no attributes. Toxiproxy does not know it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Blackhole {}

impl Toxic for Blackhole {
    fn problem(&self) -> Option<OutOfRange> {
        None
    }

    fn stage(&self, _now: Instant, _random: Random) -> Box<dyn Stage> {
        Box::new(Keeping)
    }
}

struct Keeping;

impl Stage for Keeping {
    fn judge(&mut self, _now: Instant, _head: &Head<'_>) -> Ruling {
        Ruling::Hold
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::toxic::tests::{Run, ms};

    #[test]
    fn everything_is_kept_and_comes_when_the_toxic_goes() {
        let mut run = Run::of(&Blackhole {});
        run.send(b"kept").end();
        assert_eq!((run.at(ms(1_000_000)).got(), run.ended()), (Vec::new(), false));
        run.removed();
        assert_eq!((run.got(), run.ended(), run.closed()), (b"kept".to_vec(), true, false));
    }
}

//! Exit codes: the tool's interface to pipelines. Listed in README and `--help`.

/// Passed.
pub const PASSED: u8 = 0;
/// Failed: a weakness was found.
pub const FAILED: u8 = 1;
/// Bad usage, or an invalid experiment.
pub const INVALID: u8 = 2;
/// Inconclusive: not steady beforehand, fault not proven, nothing succeeded, a checker's budget spent.
pub const INCONCLUSIVE: u8 = 3;
/// The harness or its set-up broke.
pub const BROKEN: u8 = 4;
/// Judged, but clean-up left something behind.
pub const LEFTOVERS: u8 = 5;

/// The table, for `--help`.
pub const TABLE: &str = "\
Exit codes:
  0         passed
  1         failed: a weakness was found
  2         bad usage, or an invalid experiment
  3         inconclusive: not steady beforehand, a fault not proven, nothing succeeded
  4         the harness or its set-up broke (Docker, namespaces, images, a replica that never got ready)
  5         judged, but clean-up left something behind
  130, 143  interrupted; everything was undone first, leftovers listed
For several experiments the worst counts: 1, then 4, 3, 5, 0.";

/// The table of `diff`, for `--help`.
pub const DIFF_TABLE: &str = "\
Exit codes:
  0  nothing became worse
  1  something regressed, fails that did not, or fails after the day until which that was accepted
  2  bad usage: nothing to compare, a baseline of another system, a mistake in the accepted weaknesses
  3  flaky, inconclusive, or worse with too few runs to tell
  4  a run could not be read; the rest was compared
The worst counts: 1, then 4, 3, 0.";

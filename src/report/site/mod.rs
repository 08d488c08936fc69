//! A static site of many campaigns: an index of experiments, worst first, and the history of each, with links to the pages of runs
//! and of campaigns.
//!
//! [`Site`] is what the pages say, made of runs alone; `index` and `history` render it; `write` puts it where it goes. Like every
//! other page these need no script and nothing from anywhere, and can be opened from `file://`.

mod chart;
mod history;
mod index;
mod model;
mod write;

#[cfg(test)]
mod tests;

pub use model::{Concluded, Experiment, Run, Site};
pub use write::{Refused, Written, write};

/// The site's first page.
pub const INDEX: &str = "index.html";
/// Folder of the experiments' pages within the site.
const EXPERIMENTS: &str = "experiments";
/// Folder of the runs' pages within the site.
const RUNS: &str = "runs";
/// Folder of the campaigns' pages within the site.
const CAMPAIGNS: &str = "campaigns";
/// Runs that an experiment's page shows; older ones are counted.
const RUNS_MAX: usize = 200;
/// Campaigns that the index shows; older ones are counted.
const CAMPAIGNS_MAX: usize = 100;

const STYLE: &str = include_str!("site.css");

//! nightmail: chaos experiments against containerised systems, with verdicts that can be trusted.
//!
//! One noun per stage, and data flows one way:
//!
//! ```text
//! experiment --parse, resolve--> plan --run--> history + events --check--> verdict --render--> report
//! ```
//!
//! Several runs taken together are a `campaign`.
//!
//! Left of `run` everything is pure: a bad file fails before a container starts. Right of `run` everything is pure: a
//! saved run can be judged again, offline, with the same result. Only `run` and what it calls (`system`, `fault`,
//! `workload`, `agent`, `reaper`) touch containers, sockets and clocks.
//!
//! Architecture invariant: `check`, `verdict`, `campaign` and `report` name neither tokio nor bollard.

pub mod agent;
pub mod byte_size;
pub mod campaign;
pub mod check;
pub mod cli;
pub mod control;
pub mod diagnostic;
pub mod duration;
pub mod event;
pub mod experiment;
pub mod fault;
pub mod history;
pub mod kernel;
pub mod link;
pub mod plan;
pub mod rate;
pub mod reaper;
pub mod redact;
pub mod report;
pub mod run;
pub mod system;
pub mod verdict;
pub mod workload;
pub mod yaml;

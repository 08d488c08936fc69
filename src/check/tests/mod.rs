//! Tests of the checkers and of the judgement as a whole: hand-written histories, generated ones, and naive references
//! written straight from the definitions.

mod absent;
pub(super) mod build;
mod checkers;
mod copied;
mod defects;
mod device_log;
mod first;
mod generated;
mod judgement;
mod limit;
mod model;
mod naive;
mod never_answered;
mod one_writer;
mod probes;
mod published;
mod read_your_writes;
mod recoveries;

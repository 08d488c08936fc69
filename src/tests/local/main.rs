//! Whole commands on the engine without Docker, as their users start them: what they say, what they leave, and what becomes
//! of them when they are interrupted or killed. Each is tried in every way in which nightmail can be run on this machine.

mod ends;
mod gate;
mod receipts;
mod refusals;
mod support;
mod together;
#[path = "../ways/mod.rs"]
mod ways;

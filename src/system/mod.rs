//! Systems under test: their definition (`system.yaml`), their topology (`compose.yaml`), their images, and the engine
//! that runs them.
//!
//! Nothing outside `docker` names Docker: everything else speaks to [`engine::Engine`] and [`engine::RunningSystem`].

pub mod cache;
pub mod compose;
pub mod definition;
pub mod docker;
pub mod doctor;
pub mod engine;
pub mod image;
pub mod kept;
pub mod local;
pub(crate) mod owner;
pub mod postgres;
mod process_stat;
pub mod start;
mod subnet;

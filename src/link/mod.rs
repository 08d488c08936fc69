//! Links: TCP connections that are carried from one end to the other, and spoiled on the way by toxics.
//!
//! [`toxic`] are the kinds, [`chain`] those of one link, [`pipeline`] what they do to one direction of one
//! connection; [`state`] is what the connections of a link share, [`relay`] carries one, each way by a `half`, in bulk by
//! `splice`, with waits by a `timer` and a short look before them by `spin`, on the threads of a [`carrier`]; a [`proxy`] is a
//! link that listens. What it all costs, and how exact it is, `cargo bench --bench links` measures.
//!
//! Architecture invariant: nothing here knows of experiments, engines or the agent.

pub mod api;
pub mod carrier;
pub mod chain;
mod half;
pub mod pipeline;
pub mod proxies;
pub mod proxy;
pub mod random;
pub mod relay;
mod spin;
mod splice;
pub mod state;
mod timer;
pub mod toxic;

#[cfg(test)]
mod tests;

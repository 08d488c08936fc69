//! Links: TCP connections that are carried from one end to the other, and spoiled on the way by toxics.
//!
//! [`toxic`] are the kinds, [`chain`] those of one link, [`pipeline`] what they do to one direction of one connection.
//!
//! Architecture invariant: nothing here knows of experiments, engines or the agent.

pub mod chain;
pub mod pipeline;
pub mod random;
pub mod toxic;

//! The workload against stub servers on loopback.

mod evidence;
mod load;
mod outcomes;
mod queries;
mod replicas;
mod stub;

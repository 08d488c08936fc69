//! `nightmail link` as others use it: Toxiproxy's clients, unchanged, and whoever types the command.
//!
//! Each test starts the program itself on ports that are free, with servers of the test's own behind its links, and sees
//! every effect on a connection that goes through one.

mod command;
mod http;
mod python_client;
mod rust_client;
mod support;
mod tls;

#[path = "../python/mod.rs"]
mod python;

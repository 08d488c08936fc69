//! How to reach a PostgreSQL server as a group's `roles` say, and what its driver's errors mean in full.

use std::net::Ipv4Addr;

use tokio_postgres::Config;

use super::definition::Roles;

#[cfg(test)]
pub(crate) mod scratch;

/// How to connect to the server at that address.
pub fn config(roles: &Roles, address: Ipv4Addr) -> Config {
    let Roles::Postgres {
        port,
        user,
        password,
        database,
    } = roles;
    let mut config = Config::new();
    config.host(address.to_string()).port(*port).user(user).dbname(database);
    if let Some(password) = password {
        config.password(password);
    }
    config
}

/// The driver keeps what the server or the kernel said in the source of its errors.
pub fn in_full(error: &tokio_postgres::Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

//! Whether a replica is ready: one try, on a fresh connection.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::system::definition::Ready;

/// A try takes no longer than this; a server that takes longer is not ready.
const TRY_WITHIN: Duration = Duration::from_secs(1);

/// Tries a condition that can be tried from outside. The log's condition is for whoever reads the log. Otherwise says
/// what was tried and what came of it, as the end of a sentence.
pub async fn try_once(ready: &Ready, address: Ipv4Addr) -> Result<(), String> {
    let tried = async {
        match ready {
            Ready::Tcp { port } => connect((address, *port)).await.map(drop),
            Ready::Http { port, path } => match http(address, *port, path).await? {
                ..400 => Ok(()),
                status => Err(format!("status {status}")),
            },
            Ready::Postgres {
                port,
                user,
                password,
                database,
            } => {
                let mut config = tokio_postgres::Config::new();
                config.host(address.to_string()).port(*port).user(user).dbname(database);
                if let Some(password) = password {
                    config.password(password);
                }
                postgres(&config).await.map_err(|error| root_of(&error))
            }
            Ready::Log { .. } => Err("not seen so far".to_owned()),
        }
    };
    let silent = |_| Err(format!("no answer within {} s", TRY_WITHIN.as_secs()));
    let result = timeout(TRY_WITHIN, tried).await.unwrap_or_else(silent);
    result.map_err(|came_of_it| format!("{}: {came_of_it}", trial(ready, address)))
}

/// What is tried, as a person would try it.
fn trial(ready: &Ready, address: Ipv4Addr) -> String {
    match ready {
        Ready::Tcp { port } => format!("connecting to {address}:{port}"),
        Ready::Http { port, path } => format!("GET http://{address}:{port}{path}"),
        Ready::Postgres {
            port, user, database, ..
        } => format!("SELECT 1 at {address}:{port} as {user} in {database}"),
        Ready::Log { matches } => format!("a line of its log that matches `{matches}`"),
    }
}

/// Connects, or says why not.
pub async fn connect(address: impl Into<SocketAddr>) -> Result<TcpStream, String> {
    TcpStream::connect(address.into()).await.map_err(|error| plain(&error))
}

/// The status of the answer.
async fn http(address: Ipv4Addr, port: u16, path: &str) -> Result<u16, String> {
    let mut stream = connect((address, port)).await?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}:{port}\r\nconnection: close\r\n\r\n");
    stream
        .write_all(request.as_bytes())
        .await
        .map_err(|error| plain(&error))?;
    // `HTTP/1.1 200`
    let mut start = [0; 12];
    stream
        .read_exact(&mut start)
        .await
        .map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => "the connection was closed without an answer".to_owned(),
            _ => plain(&error),
        })?;
    let status = std::str::from_utf8(&start)
        .ok()
        .and_then(|start| start.strip_prefix("HTTP/1.")?.get(2..)?.parse().ok());
    status.ok_or_else(|| "the answer is not HTTP".to_owned())
}

/// `connection refused` rather than `Connection refused (os error 111)`.
fn plain(error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::Other | ErrorKind::InvalidData | ErrorKind::InvalidInput => error.to_string(),
        kind => kind.to_string(),
    }
}

/// What is at the bottom of an error, without what the layers above it say.
fn root_of(error: &(dyn std::error::Error + 'static)) -> String {
    let mut root = error;
    while let Some(source) = root.source() {
        root = source;
    }
    match root.downcast_ref::<std::io::Error>() {
        Some(io) => plain(io),
        None => root.to_string(),
    }
}

async fn postgres(config: &tokio_postgres::Config) -> Result<(), tokio_postgres::Error> {
    let (client, connection) = config.connect(tokio_postgres::NoTls).await?;
    let connection = tokio::spawn(connection);
    let answer = client.simple_query("SELECT 1").await;
    connection.abort();
    answer.map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a try of a server that answers so gives, and where it listened.
    async fn served(answer: &'static str) -> (Result<(), String>, u16) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
            // Read what was asked, so that closing does not reset the connection.
            let _ = stream.read(&mut [0; 1024]).await;
        });
        let path = "/ready".to_owned();
        (try_once(&Ready::Http { port, path }, Ipv4Addr::LOCALHOST).await, port)
    }

    #[tokio::test]
    async fn an_answer_below_400_is_ready_and_nothing_else_is() {
        assert_eq!(served("HTTP/1.1 204 No Content\r\n\r\n").await.0, Ok(()));
        for (answer, expected) in [
            ("HTTP/1.1 503 Service Unavailable\r\n\r\n", "status 503"),
            ("SSH-2.0-something\r\n", "the answer is not HTTP"),
            ("", "the connection was closed without an answer"),
        ] {
            let (tried, port) = served(answer).await;
            let expected = format!("GET http://127.0.0.1:{port}/ready: {expected}");
            assert_eq!(tried, Err(expected));
        }
    }

    #[tokio::test]
    async fn a_try_that_fails_says_what_was_tried_and_what_came_of_it() {
        let failed = async |ready| try_once(&ready, Ipv4Addr::LOCALHOST).await.unwrap_err();
        let tcp = failed(Ready::Tcp { port: 1 }).await;
        assert_eq!(tcp, "connecting to 127.0.0.1:1: connection refused");
        let text = |text: &str| text.to_owned();
        let postgres = Ready::Postgres {
            port: 1,
            user: text("shop"),
            password: Some(text("hidden")),
            database: text("orders"),
        };
        let postgres = failed(postgres).await;
        assert_eq!(
            postgres,
            "SELECT 1 at 127.0.0.1:1 as shop in orders: connection refused"
        );
    }

    #[tokio::test]
    async fn a_server_that_takes_the_connection_and_says_nothing_is_told_from_one_that_refuses() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let path = "/".to_owned();
        let tried = try_once(&Ready::Http { port, path }, Ipv4Addr::LOCALHOST).await;
        assert!(tried.unwrap_err().ends_with("/: no answer within 1 s"));
    }
}

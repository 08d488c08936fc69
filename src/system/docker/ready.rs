//! Whether a replica is ready: one try, on a fresh connection.

use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::system::definition::Ready;

/// A try takes no longer than this; a server that takes longer is not ready.
const TRY_WITHIN: Duration = Duration::from_secs(1);

/// Tries a condition that can be tried from outside. The log's condition is for whoever reads the log.
pub(super) async fn try_once(ready: &Ready, address: Ipv4Addr) -> bool {
    let tried = async {
        match ready {
            Ready::Tcp { port } => TcpStream::connect((address, *port)).await.is_ok(),
            Ready::Http { port, path } => http(address, *port, path).await.is_some_and(|status| status < 400),
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
                postgres(&config).await.is_ok()
            }
            Ready::Log { .. } => false,
        }
    };
    timeout(TRY_WITHIN, tried).await.unwrap_or(false)
}

async fn http(address: Ipv4Addr, port: u16, path: &str) -> Option<u16> {
    let mut stream = TcpStream::connect((address, port)).await.ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}:{port}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    // `HTTP/1.1 200`
    let mut start = [0; 12];
    stream.read_exact(&mut start).await.ok()?;
    let start = std::str::from_utf8(&start).ok()?;
    start.strip_prefix("HTTP/1.")?.get(2..)?.parse().ok()
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

    async fn served(answer: &'static str) -> bool {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
            // Read what was asked, so that closing does not reset the connection.
            let _ = stream.read(&mut [0; 1024]).await;
        });
        let path = "/ready".to_owned();
        try_once(&Ready::Http { port, path }, Ipv4Addr::LOCALHOST).await
    }

    #[tokio::test]
    async fn an_answer_below_400_is_ready_and_nothing_else_is() {
        assert!(served("HTTP/1.1 204 No Content\r\n\r\n").await);
        assert!(!served("HTTP/1.1 503 Service Unavailable\r\n\r\n").await);
        assert!(!served("SSH-2.0-something\r\n").await);
        assert!(!served("").await);
        assert!(!try_once(&Ready::Tcp { port: 1 }, Ipv4Addr::LOCALHOST).await);
    }
}

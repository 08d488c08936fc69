//! Servers that speak PostgreSQL's protocol as far as a few questions go, and obey or do not.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::fault::test_double::POSTGRES_PORT;

/// What the double is, and does when it is asked to become another thing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::fault) struct State {
    /// It is a standby.
    pub in_recovery: bool,
    /// It says that it will be promoted, and is not.
    pub stays: bool,
    /// It will not be promoted.
    pub refuses: bool,
    /// It is in no recovery, and accepts no writes all the same.
    pub only_reads: bool,
}

/// A server as a test has it. Sessions are numbered from 1.
pub(in crate::fault) trait Double: Send + 'static {
    /// The columns of one row, or the SQLSTATE and the words of a refusal.
    fn answer(&mut self, session: i32, query: &str) -> Result<Vec<String>, Refusal>;

    /// Somebody connects, under that name.
    fn begun(&mut self, _session: i32, _application: &str) -> Result<(), Refusal> {
        Ok(())
    }

    /// Somebody has gone.
    fn ended(&mut self, _session: i32) {}
}

/// A SQLSTATE and a reason.
pub(in crate::fault) type Refusal = (&'static str, &'static str);

/// Listens at that address for as long as the test lasts.
pub(in crate::fault) async fn listen<D: Double>(address: Ipv4Addr, double: D) -> Arc<Mutex<D>> {
    let listener = TcpListener::bind((address, POSTGRES_PORT)).await.unwrap();
    let double = Arc::new(Mutex::new(double));
    let shared = double.clone();
    tokio::spawn(async move {
        for session in 1.. {
            let Ok((stream, _)) = listener.accept().await else {
                return;
            };
            let double = shared.clone();
            // Whoever asks may go at any time.
            tokio::spawn(async move {
                drop(converse(stream, session, &double).await);
                double.lock().unwrap().ended(session);
            });
        }
    });
    double
}

async fn converse<D: Double>(mut stream: TcpStream, session: i32, double: &Mutex<D>) -> std::io::Result<()> {
    // What it says in two pieces is not to wait for the first to be acknowledged, which takes 40 ms.
    stream.set_nodelay(true)?;
    let length = stream.read_u32().await?;
    let mut startup = vec![0; length as usize - 4];
    stream.read_exact(&mut startup).await?;
    let begun = double.lock().unwrap().begun(session, &application(&startup));
    if let Err(refusal) = begun {
        return stream.write_all(&error("FATAL", refusal)).await;
    }
    // Authenticated, and ready for a query.
    stream.write_all(b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I").await?;
    while let Ok(b'Q') = stream.read_u8().await {
        let length = stream.read_u32().await?;
        let mut query = vec![0; length as usize - 4];
        stream.read_exact(&mut query).await?;
        let query = String::from_utf8_lossy(&query);
        let answer = double.lock().unwrap().answer(session, query.trim_end_matches('\0'));
        let answer = answer.map_or_else(|refusal| error("ERROR", refusal), |values| row(&values));
        stream.write_all(&answer).await?;
        stream.write_all(b"Z\0\0\0\x05I").await?;
    }
    Ok(())
}

/// The name that whoever connects goes by, empty if none.
fn application(startup: &[u8]) -> String {
    let words: Vec<_> = startup.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
    let named = words.windows(2).find(|pair| pair[0] == "application_name");
    named.map_or_else(String::new, |pair| pair[1].to_string())
}

impl Double for State {
    fn answer(&mut self, _session: i32, query: &str) -> Result<Vec<String>, Refusal> {
        const REFUSED: &str = "42501";
        let value = match query {
            "select pg_is_in_recovery()" => {
                if self.in_recovery {
                    "t"
                } else {
                    "f"
                }
            }
            "select pg_promote(false)" if self.refuses => {
                return Err((REFUSED, "permission denied for function pg_promote"));
            }
            "select pg_promote(false)" => {
                self.in_recovery &= self.stays;
                "t"
            }
            "begin read write" if self.in_recovery => {
                return Err((REFUSED, "cannot set transaction read-write mode during recovery"));
            }
            "select txid_current()" if self.only_reads => return Err((REFUSED, "cannot assign TransactionIds")),
            _ => "",
        };
        Ok(vec![value.to_owned()])
    }
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
    [&[kind], length.as_slice(), body].concat()
}

fn row(values: &[String]) -> Vec<u8> {
    let count = u16::try_from(values.len()).unwrap().to_be_bytes().to_vec();
    let (mut columns, mut row) = (count.clone(), count);
    for value in values {
        columns.extend(b"c\0\0\0\0\0\0\0\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\0");
        row.extend(u32::try_from(value.len()).unwrap().to_be_bytes());
        row.extend(value.as_bytes());
    }
    [
        message(b'T', &columns),
        message(b'D', &row),
        message(b'C', b"SELECT 1\0"),
    ]
    .concat()
}

fn error(severity: &str, (code, text): Refusal) -> Vec<u8> {
    let fields = format!("S{severity}\0V{severity}\0C{code}\0M{text}\0\0");
    message(b'E', fields.as_bytes())
}

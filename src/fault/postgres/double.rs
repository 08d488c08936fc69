//! A server that speaks PostgreSQL's protocol as far as a few questions go, and obeys or does not.

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

/// Listens at that address for as long as the test lasts.
pub(in crate::fault) async fn listen(address: Ipv4Addr, state: State) -> Arc<Mutex<State>> {
    let listener = TcpListener::bind((address, POSTGRES_PORT)).await.unwrap();
    let state = Arc::new(Mutex::new(state));
    let shared = state.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let state = shared.clone();
            // Whoever asks may go at any time.
            tokio::spawn(async move { drop(converse(stream, &state).await) });
        }
    });
    state
}

async fn converse(mut stream: TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    let length = stream.read_u32().await?;
    stream.read_exact(&mut vec![0; length as usize - 4]).await?;
    // Authenticated, and ready for a query.
    stream.write_all(b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I").await?;
    while let Ok(b'Q') = stream.read_u8().await {
        let length = stream.read_u32().await?;
        let mut query = vec![0; length as usize - 4];
        stream.read_exact(&mut query).await?;
        let query = String::from_utf8_lossy(&query);
        let answer = answer(query.trim_end_matches('\0'), &mut state.lock().unwrap());
        let answer = answer.map_or_else(|refusal| error(&refusal), |value| row(&value));
        stream.write_all(&answer).await?;
        stream.write_all(b"Z\0\0\0\x05I").await?;
    }
    Ok(())
}

/// One column of one row, or what is refused.
fn answer(query: &str, state: &mut State) -> Result<String, String> {
    match query {
        "select pg_is_in_recovery()" => Ok(if state.in_recovery { "t" } else { "f" }.to_owned()),
        "select pg_promote(false)" if state.refuses => Err("permission denied for function pg_promote".to_owned()),
        "select pg_promote(false)" => {
            state.in_recovery &= state.stays;
            Ok("t".to_owned())
        }
        "begin read write" if state.in_recovery => {
            Err("cannot set transaction read-write mode during recovery".to_owned())
        }
        "select txid_current()" if state.only_reads => Err("cannot assign TransactionIds".to_owned()),
        _ => Ok(String::new()),
    }
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
    [&[kind], length.as_slice(), body].concat()
}

fn row(value: &str) -> Vec<u8> {
    let column = b"\0\x01c\0\0\0\0\0\0\0\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\0";
    let length = u32::try_from(value.len()).unwrap().to_be_bytes();
    let row = [b"\0\x01", length.as_slice(), value.as_bytes()].concat();
    [message(b'T', column), message(b'D', &row), message(b'C', b"SELECT 1\0")].concat()
}

fn error(text: &str) -> Vec<u8> {
    let fields = format!("SERROR\0VERROR\0C42501\0M{text}\0\0");
    message(b'E', fields.as_bytes())
}

//! The generator and the server, an event loop each: on few processors whatever they need is taken from the link.
//!
//! A request is [`REQUEST`] bytes, the first eight of which say how many bytes are wanted back. Each connection takes turns.

use std::cell::RefCell;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::Failure;

/// Length of a request.
pub const REQUEST: usize = 100;
/// Length of an answer that is as small.
pub const SMALL: usize = 100;

/// What is read at once. It is more than a small message has, so that the event loop knows that there is no more.
const BUFFER: usize = 256 * 1024;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; BUFFER]);
}

/// Serves on a thread of its own until the process ends.
pub fn serve() -> Result<SocketAddr, Failure> {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("server".to_owned()).spawn(move || {
        runtime.block_on(async move {
            let listener = TcpListener::from_std(listener).expect("a socket");
            loop {
                let (stream, _from) = listener.accept().await.expect("a connection");
                // Connections end when the generator has measured enough.
                tokio::spawn(answer(stream));
            }
        });
    })?;
    Ok(address)
}

async fn answer(mut stream: TcpStream) -> io::Result<()> {
    static ANSWER: [u8; 64 * 1024] = [7; 64 * 1024];
    stream.set_nodelay(true)?;
    let mut request = Vec::with_capacity(REQUEST);
    loop {
        request.clear();
        while request.len() < REQUEST {
            if read(&mut stream, |bytes| request.extend_from_slice(bytes)).await? == 0 {
                return Ok(());
            }
        }
        let mut wanted = u64::from_be_bytes(request[..8].try_into().unwrap_or_default()) as usize;
        while wanted > 0 {
            let piece = wanted.min(ANSWER.len());
            stream.write_all(&ANSWER[..piece]).await?;
            wanted -= piece;
        }
    }
}

/// Reads what there is into a buffer that all connections of a thread share.
async fn read(stream: &mut TcpStream, mut take: impl FnMut(&[u8])) -> io::Result<usize> {
    loop {
        stream.readable().await?;
        let read = SCRATCH.with_borrow_mut(|scratch| {
            let read = stream.try_read(scratch)?;
            take(&scratch[..read]);
            Ok(read)
        });
        match read {
            Err(error) if io::Error::kind(&error) == io::ErrorKind::WouldBlock => {}
            read => return read,
        }
    }
}

/// A connection to the server, by way of a target or not.
pub struct Connection {
    stream: TcpStream,
}

impl Connection {
    pub async fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream })
    }

    /// Asks for so many bytes, and reads them all. How long it took.
    pub async fn ask(&mut self, wanted: usize) -> io::Result<Duration> {
        let mut request = [b'?'; REQUEST];
        request[..8].copy_from_slice(&(wanted as u64).to_be_bytes());
        let began = Instant::now();
        self.stream.write_all(&request).await?;
        let mut got = 0;
        while got < wanted {
            match read(&mut self.stream, |_bytes| {}).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                more => got += more,
            }
        }
        Ok(began.elapsed())
    }
}

/// Runs a generator to its end.
pub fn block_on<T>(generator: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(generator)
}

/// Opens connections, each of which has been answered once: whoever stands between carries it.
pub async fn open(address: SocketAddr, count: usize) -> Result<Vec<Connection>, Failure> {
    let mut connections = Vec::with_capacity(count);
    for _ in 0..count {
        let mut connection = Connection::open(address).await?;
        connection.ask(SMALL).await?;
        connections.push(connection);
    }
    Ok(connections)
}

/// How long each answer took, in microseconds, when so many connections ask one thing after the other for some time.
pub async fn closed_loop(
    address: SocketAddr,
    connections: usize,
    wanted: usize,
    time: Duration,
) -> Result<Vec<f64>, Failure> {
    let mut asking = JoinSet::new();
    let opened = open(address, connections).await?;
    let until = Instant::now() + time;
    for mut connection in opened {
        asking.spawn(async move {
            let mut took = Vec::new();
            while Instant::now() < until {
                took.push(connection.ask(wanted).await?.as_secs_f64() * 1e6);
            }
            Ok::<_, io::Error>(took)
        });
    }
    all(asking).await
}

/// The same when each connection asks at fixed times, all of them in turn, for so many times.
pub async fn paced(address: SocketAddr, connections: usize, every: Duration, times: u32) -> Result<Vec<f64>, Failure> {
    let mut asking = JoinSet::new();
    let opened = open(address, connections).await?;
    let start = tokio::time::Instant::now();
    for (number, mut connection) in (0..).zip(opened) {
        let first = start + every * number / connections as u32;
        asking.spawn(async move {
            let mut took = Vec::new();
            for time in 0..times {
                tokio::time::sleep_until(first + every * time).await;
                took.push(connection.ask(SMALL).await?.as_secs_f64() * 1e6);
            }
            Ok::<_, io::Error>(took)
        });
    }
    all(asking).await
}

async fn all(mut asking: JoinSet<io::Result<Vec<f64>>>) -> Result<Vec<f64>, Failure> {
    let mut took = Vec::new();
    while let Some(one) = asking.join_next().await {
        took.extend(one??);
    }
    Ok(took)
}

//! Exchanges: requests over fresh connections to another agent, which answers with the same bytes. They take the way that the
//! replica's own connections take, through the link to that peer if there is one, and so show what becomes of those.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout, timeout_at};

use super::api::{End, Exchange, ExchangeRequest, Exchanged};
use crate::control;

/// Connections that are answered at once at most; more are turned away.
const ANSWERED_MAX: usize = 1_024;
/// How long a connection may be silent before it is closed.
const IDLE_MAX: Duration = Duration::from_secs(60);
/// Connections of one request at once at most.
const AT_ONCE_MAX: u32 = 100;
/// The longest that all exchanges of one request may take.
pub const WITHIN_MAX_MS: u64 = 20_000;
/// The most bytes of one request.
pub const BYTES_MAX: u32 = 512 * 1_024;
/// The most exchanges of one request.
pub const EXCHANGES_MAX: u32 = 20_000;

/// Answers every connection with what it sends, for ever.
pub(crate) async fn serve(listener: &TcpListener) {
    let free = Arc::new(Semaphore::new(ANSWERED_MAX));
    loop {
        let stream = control::accept(listener).await;
        let Ok(place) = free.clone().try_acquire_owned() else {
            continue;
        };
        tokio::spawn(async move {
            // However it ends, its other end knows.
            let _ = echo(stream).await;
            drop(place);
        });
    }
}

async fn echo(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; 16 * 1_024];
    loop {
        let got = timeout(IDLE_MAX, stream.read(&mut buffer)).await??;
        if got == 0 {
            return stream.shutdown().await;
        }
        timeout(IDLE_MAX, stream.write_all(&buffer[..got])).await??;
    }
}

/// Makes exchanges with the agent at that address.
pub(crate) async fn make(request: &ExchangeRequest, to: SocketAddr) -> Exchanged {
    let asked = request.exchanges.min(EXCHANGES_MAX);
    let run = Run {
        to,
        left: AtomicU32::new(asked),
        per_connection: request.per_connection.max(1),
        sent: (0..request.bytes.clamp(1, BYTES_MAX))
            .map(|at| (at % 251) as u8)
            .collect(),
        wait: Duration::from_millis(request.wait_ms),
        deadline: Instant::now() + Duration::from_millis(request.within_ms.min(WITHIN_MAX_MS)),
    };
    let connections = asked.div_ceil(run.per_connection).min(AT_ONCE_MAX);
    let lanes = join_all((0..connections).map(|_| run.lane())).await;
    let mut exchanged = Exchanged::default();
    for lane in lanes {
        exchanged.exchanges.extend(lane.exchanges);
        exchanged.closings_us.extend(lane.closings_us);
    }
    exchanged
}

struct Run {
    to: SocketAddr,
    /// Exchanges that nobody has begun.
    left: AtomicU32,
    per_connection: u32,
    sent: Vec<u8>,
    wait: Duration,
    deadline: Instant,
}

impl Run {
    /// One connection after the other, until nothing is left to be done.
    async fn lane(&self) -> Exchanged {
        let mut done = Exchanged::default();
        while self.takes_one() && Instant::now() < self.deadline {
            self.connection(&mut done).await;
        }
        done
    }

    fn takes_one(&self) -> bool {
        self.left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
            .is_ok()
    }

    /// Exchanges over one connection, until one fails or it has had its share; the first has been taken already.
    async fn connection(&self, done: &mut Exchanged) {
        let began = Instant::now();
        let limit = (began + self.wait).min(self.deadline);
        let mut stream = match timeout_at(limit, TcpStream::connect(self.to)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                let end = match error.kind() {
                    ErrorKind::ConnectionRefused => End::Refused,
                    ErrorKind::ConnectionReset => End::Reset,
                    _ => End::Silent,
                };
                return done.exchanges.push(exchange(end, began, 0));
            }
            Err(_) => return done.exchanges.push(exchange(End::Silent, began, 0)),
        };
        // Where the kernel refuses, small pieces come later and nothing is lost.
        let _ = stream.set_nodelay(true);
        for number in 0..self.per_connection {
            if number > 0 && !(Instant::now() < self.deadline && self.takes_one()) {
                break;
            }
            let made = self.exchange(&mut stream).await;
            let over = !matches!(made.end, End::Answered | End::Changed);
            done.exchanges.push(made);
            if over {
                return;
            }
        }
        let began = Instant::now();
        let limit = (began + self.wait).min(self.deadline);
        if stream.shutdown().await.is_ok() && matches!(timeout_at(limit, stream.read(&mut [0])).await, Ok(Ok(0))) {
            done.closings_us.push(us(began));
        }
    }

    async fn exchange(&self, stream: &mut TcpStream) -> Exchange {
        let began = Instant::now();
        let limit = (began + self.wait).min(self.deadline);
        let (mut read, mut write) = stream.split();
        let mut came = Vec::with_capacity(self.sent.len());
        let answer = async {
            let mut buffer = [0; 16 * 1_024];
            while came.len() < self.sent.len() {
                match read.read(&mut buffer).await {
                    Ok(0) => return End::Closed,
                    Ok(got) => came.extend_from_slice(&buffer[..got]),
                    Err(_) => return End::Reset,
                }
            }
            End::Answered
        };
        // Whatever becomes of the asking, what comes back shows it.
        let asked = async {
            let _ = write.write_all(&self.sent).await;
            std::future::pending().await
        };
        let both = async {
            tokio::select! {
                end = answer => end,
                end = asked => end,
            }
        };
        let end = match timeout_at(limit, both).await {
            Err(_) => End::Silent,
            Ok(End::Answered) if came != self.sent => End::Changed,
            Ok(end) => end,
        };
        exchange(end, began, came.len())
    }
}

fn exchange(end: End, began: Instant, bytes: usize) -> Exchange {
    Exchange {
        end,
        us: us(began),
        bytes: bytes.try_into().unwrap_or(u32::MAX),
    }
}

fn us(began: Instant) -> u64 {
    began.elapsed().as_micros().try_into().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    async fn answering() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { serve(&listener).await });
        address
    }

    fn request() -> ExchangeRequest {
        ExchangeRequest {
            to: Ipv4Addr::LOCALHOST,
            exchanges: 7,
            per_connection: 3,
            bytes: 100_000,
            wait_ms: 5_000,
            within_ms: 10_000,
        }
    }

    #[tokio::test]
    async fn every_exchange_is_answered_by_an_agent_and_every_connection_closed() {
        let made = make(&request(), answering().await).await;
        assert_eq!(made.exchanges.len(), 7);
        assert!(
            made.exchanges
                .iter()
                .all(|exchange| exchange.end == End::Answered && exchange.bytes == 100_000),
            "{made:?}"
        );
        assert!(made.closings_us.len() >= 3, "{made:?}");
    }

    /// What an exchange with a peer of that kind comes to.
    async fn with<F: Future<Output = ()> + Send>(peer: impl Fn(TcpStream) -> F + Send + 'static) -> Vec<(End, u32)> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                peer(stream).await;
            }
        });
        let request = ExchangeRequest {
            exchanges: 1,
            bytes: 4,
            wait_ms: 200,
            ..request()
        };
        let made = make(&request, address).await;
        made.exchanges.into_iter().map(|made| (made.end, made.bytes)).collect()
    }

    #[tokio::test]
    async fn each_way_to_fail_is_told_from_the_others() {
        let closing = with(|mut stream| async move {
            let _ = stream.read_exact(&mut [0; 4]).await;
            let _ = stream.write_all(&[0, 1]).await;
        });
        assert_eq!(closing.await, [(End::Closed, 2)]);
        let resetting = with(|mut stream| async move {
            let _ = stream.read_exact(&mut [0; 4]).await;
            let _ = stream.set_zero_linger();
        });
        assert_eq!(resetting.await, [(End::Reset, 0)]);
        let changing = with(|mut stream| async move {
            let _ = stream.read_exact(&mut [0; 4]).await;
            let _ = stream.write_all(&[0, 1, 2, 4]).await;
        });
        assert_eq!(changing.await, [(End::Changed, 4)]);
        let silent = with(|mut stream| async move {
            let _ = stream.read_exact(&mut [0; 4]).await;
            let _ = stream.read(&mut [0]).await;
        });
        assert_eq!(silent.await, [(End::Silent, 0)]);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let nobody = listener.local_addr().unwrap();
        drop(listener);
        let refused = make(&request(), nobody).await;
        assert!(
            refused.exchanges.iter().all(|made| made.end == End::Refused),
            "{refused:?}"
        );
    }
}

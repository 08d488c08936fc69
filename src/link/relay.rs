//! Carrying one connection: bytes from each end to the other, through the toxics of its link.
//!
//! Without toxics bytes go straight through, by way of a buffer that all connections of a thread share: a connection
//! that is idle holds none. Each end is read only as far as the other takes it, so that whoever never reads holds up
//! its own sender and nobody else. An end that is closed for writing is passed on as such, and a reset as a reset.
//!
//! A *request* begins with the first byte from whoever connected after a byte from the other end. In protocols that take
//! turns, such as HTTP without pipelining and PostgreSQL's, it is what it says; elsewhere it is the nearest thing to it.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};

use super::chain::Direction;
use super::pipeline::{Item, Next, Pipeline};
use super::state::Member;

/// Size of the buffer of each thread. Bigger pieces save system calls until they fall out of the processor's cache.
const BUFFER: usize = 256 * 1024;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; BUFFER]);
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Both ends had said all, or it was to be closed.
    Closed,
    /// It was reset, by an end or by a toxic.
    Reset,
}

/// Carries a connection until it ends.
pub(super) async fn carry(member: Member, client: TcpStream, server: TcpStream) -> Ended {
    let mut relay = Relay {
        up: Half::default(),
        down: Half::default(),
        request: 0,
        asking: false,
        timer: None,
        member,
        client,
        server,
    };
    relay.take_over();
    let ended = std::future::poll_fn(|context| relay.poll(context)).await;
    if ended == Ended::Reset {
        // Where the kernel refuses there is nothing left to reset.
        let _ = relay.client.set_zero_linger();
        let _ = relay.server.set_zero_linger();
    }
    ended
}

struct Relay {
    member: Member,
    client: TcpStream,
    server: TcpStream,
    up: Half,
    down: Half,
    /// Number of the newest request.
    request: u64,
    /// Whether the last bytes that came were a request's.
    asking: bool,
    timer: Option<Pin<Box<Sleep>>>,
}

/// One direction.
#[derive(Default)]
struct Half {
    /// There while there are toxics, or something that they held.
    pipeline: Option<Box<Pipeline>>,
    /// What has passed the toxics and not been taken.
    unsent: Bytes,
    /// The sender has said all.
    ended: bool,
    /// The receiver has been told so.
    shut: bool,
}

/// What came of moving bytes one way.
enum Flow {
    /// Nothing can be done until the ends, the time or the toxics move.
    Waits(Next),
    Over(Ended),
}

impl Relay {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Ended> {
        self.member.handle.waker.register(context.waker());
        loop {
            if self.member.is_closing() {
                return Poll::Ready(Ended::Closed);
            }
            if self.member.is_behind() {
                self.take_over();
            }
            let mut due: Option<Instant> = None;
            for direction in [Direction::Upstream, Direction::Downstream] {
                match self.pump(direction, context) {
                    Flow::Over(ended) => return Poll::Ready(ended),
                    Flow::Waits(Next::At(at)) => due = Some(due.map_or(at, |due| due.min(at))),
                    Flow::Waits(Next::Nothing) => {}
                }
            }
            if self.up.shut && self.down.shut {
                return Poll::Ready(Ended::Closed);
            }
            match due {
                None => {
                    self.timer = None;
                    return Poll::Pending;
                }
                Some(due) => ready!(self.poll_timer(due, context)),
            }
        }
    }

    fn poll_timer(&mut self, due: Instant, context: &mut Context<'_>) -> Poll<()> {
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(due)));
        if timer.deadline() != due {
            timer.as_mut().reset(due);
        }
        timer.as_mut().poll(context)
    }

    /// Takes over the newest toxics.
    fn take_over(&mut self) {
        let now = Instant::now();
        let purposes = [Direction::Upstream, Direction::Downstream].map(|direction| self.member.purpose(direction));
        let halves = [&mut self.up, &mut self.down];
        self.member.catch_up(|chain| {
            for ((half, direction), purpose) in halves
                .into_iter()
                .zip([Direction::Upstream, Direction::Downstream])
                .zip(purposes)
            {
                let acts = chain.toxics.iter().any(|applied| applied.toxic.stream == direction);
                if acts && half.pipeline.is_none() {
                    half.pipeline = Some(Box::new(Pipeline::new(purpose)));
                }
                if let Some(pipeline) = &mut half.pipeline {
                    pipeline.apply(&chain.toxics, direction, now);
                }
            }
        });
    }

    /// Moves what can be moved one way.
    fn pump(&mut self, direction: Direction, context: &mut Context<'_>) -> Flow {
        loop {
            let (sender, receiver, half) = match direction {
                Direction::Upstream => (&mut self.client, &mut self.server, &mut self.up),
                Direction::Downstream => (&mut self.server, &mut self.client, &mut self.down),
            };
            let traffic = self.member.link.traffic(direction);
            while !half.unsent.is_empty() {
                match Pin::new(&mut *receiver).poll_write(context, &half.unsent) {
                    Poll::Ready(Ok(sent)) => {
                        traffic.send(sent);
                        let _ = half.unsent.split_to(sent);
                    }
                    Poll::Ready(Err(_)) => return Flow::Over(Ended::Reset),
                    Poll::Pending => return Flow::Waits(Next::Nothing),
                }
            }
            let mut next = Next::Nothing;
            if let Some(pipeline) = &mut half.pipeline {
                next = pipeline.advance(Instant::now());
                match pipeline.pop() {
                    Some(Item::Data(bytes)) => {
                        half.unsent = bytes;
                        continue;
                    }
                    Some(Item::End) => shut(receiver, half, context),
                    Some(Item::Close) => return Flow::Over(Ended::Closed),
                    Some(Item::Reset) => return Flow::Over(Ended::Reset),
                    None if pipeline.is_idle() => half.pipeline = None,
                    None => {}
                }
            }
            if half.ended || half.pipeline.as_ref().is_some_and(|pipeline| !pipeline.has_room()) {
                return Flow::Waits(next);
            }
            let read = SCRATCH.with_borrow_mut(|scratch| {
                let mut buffer = ReadBuf::new(scratch);
                let bytes = match Pin::new(&mut *sender).poll_read(context, &mut buffer) {
                    Poll::Pending => return Read::Nothing,
                    Poll::Ready(Ok(())) => buffer.filled(),
                    Poll::Ready(Err(_)) => return Read::Broken,
                };
                if bytes.is_empty() {
                    return Read::End;
                }
                traffic.receive(bytes.len());
                match direction {
                    Direction::Upstream if !self.asking => {
                        self.asking = true;
                        self.request += 1;
                    }
                    Direction::Upstream => {}
                    Direction::Downstream => self.asking = false,
                }
                if let Some(pipeline) = &mut half.pipeline {
                    pipeline.push(Item::Data(Bytes::copy_from_slice(bytes)), self.request, Instant::now());
                    return Read::Some;
                }
                match send(receiver, bytes, context) {
                    Ok(sent) => {
                        traffic.send(sent);
                        half.unsent = Bytes::copy_from_slice(&bytes[sent..]);
                        Read::Some
                    }
                    Err(_) => Read::Lost,
                }
            });
            match read {
                Read::Some => {}
                Read::Nothing => return Flow::Waits(next),
                Read::Lost => return Flow::Over(Ended::Reset),
                Read::End | Read::Broken => {
                    half.ended = true;
                    let broken = matches!(read, Read::Broken);
                    match &mut half.pipeline {
                        Some(pipeline) => {
                            let item = if broken { Item::Reset } else { Item::End };
                            pipeline.push(item, self.request, Instant::now());
                        }
                        None if broken => return Flow::Over(Ended::Reset),
                        None => shut(receiver, half, context),
                    }
                }
            }
        }
    }
}

/// What reading gave.
enum Read {
    /// Bytes, which are on their way.
    Some,
    Nothing,
    End,
    /// The sender's side broke.
    Broken,
    /// The receiver's side did.
    Lost,
}

/// Sends as much as is taken at once.
fn send(receiver: &mut TcpStream, bytes: &[u8], context: &mut Context<'_>) -> io::Result<usize> {
    let mut sent = 0;
    while sent < bytes.len() {
        match Pin::new(&mut *receiver).poll_write(context, &bytes[sent..]) {
            Poll::Ready(more) => sent += more?,
            Poll::Pending => break,
        }
    }
    Ok(sent)
}

/// Tells the receiver that there is no more. Where it has gone, it knows.
fn shut(receiver: &mut TcpStream, half: &mut Half, context: &mut Context<'_>) {
    let _ = Pin::new(receiver).poll_shutdown(context);
    half.shut = true;
}

//! One direction of a connection: what moves bytes from one end to the other, or to the toxics and from there on.
//!
//! Small messages are read into a buffer that all connections of a thread share, and written from it. When much comes at
//! once, what follows goes by a [`Pipe`] and is copied no more. Only what the receiver does not take is kept, and nothing is
//! read while there is any.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::chain::Direction;
use super::pipeline::{Item, Next, Pipeline};
use super::relay::Ended;
use super::splice::Pipe;
use super::state::Traffic;

/// Size of the buffer of each thread. Bigger pieces save system calls until they fall out of the processor's cache.
const BUFFER: usize = 256 * 1024;
/// So much at once is bulk: a pipe is worth its own system calls.
const BULK_MIN: usize = 64 * 1024;
/// And so little is bulk no more.
const BULK_OVER: usize = 16 * 1024;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; BUFFER]);
}

/// One direction.
#[derive(Default)]
pub(super) struct Half {
    /// There while there are toxics, or something that they held.
    pub(super) pipeline: Option<Box<Pipeline>>,
    /// What has passed the toxics and not been taken.
    unsent: Bytes,
    /// There while it holds bytes that have not been taken.
    pipe: Option<Pipe>,
    /// Whether the last bytes came in bulk.
    bulk: bool,
    /// Whether a small message has passed since this was last looked at.
    pub(super) moved: bool,
    /// The sender has said all.
    ended: bool,
    /// The receiver has been told so.
    pub(super) shut: bool,
}

/// The ends of one direction, and what its connection and its link count.
pub(super) struct Way<'a> {
    pub(super) direction: Direction,
    pub(super) sender: &'a mut TcpStream,
    pub(super) receiver: &'a mut TcpStream,
    pub(super) traffic: &'a Traffic,
    pub(super) turns: &'a mut Turns,
}

/// Whose turn it is to talk, by which requests are told apart.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// Number of the newest request.
    request: u64,
    /// Whether the last bytes that came were a request's.
    asking: bool,
}

impl Turns {
    fn came(&mut self, direction: Direction) {
        let asking = direction == Direction::Upstream;
        if asking && !self.asking {
            self.request += 1;
        }
        self.asking = asking;
    }
}

impl Way<'_> {
    fn came(&mut self, bytes: usize) {
        self.traffic.receive(bytes);
        self.turns.came(self.direction);
    }
}

/// What came of moving bytes one way.
pub(super) enum Flow {
    /// Nothing can be done until the ends, the time or the toxics move.
    Waits(Next),
    Over(Ended),
}

/// What reading gave.
enum Read {
    /// Bytes, which are on their way.
    Some,
    End,
    /// The sender's side broke.
    Broken,
    /// The receiver's side did.
    Lost,
}

impl Half {
    /// Moves what can be moved.
    pub(super) fn pump(&mut self, way: &mut Way<'_>, context: &mut Context<'_>) -> Flow {
        loop {
            match self.poll_flush(way, context) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return Flow::Over(Ended::Reset),
                Poll::Pending => return Flow::Waits(Next::Nothing),
            }
            let mut next = Next::Nothing;
            if let Some(pipeline) = &mut self.pipeline {
                next = pipeline.advance(Instant::now());
                match pipeline.pop() {
                    Some(Item::Data(bytes)) => {
                        self.unsent = bytes;
                        continue;
                    }
                    Some(Item::End) => self.shut(way.receiver, context),
                    Some(Item::Close) => return Flow::Over(Ended::Closed),
                    Some(Item::Reset) => return Flow::Over(Ended::Reset),
                    None if pipeline.is_idle() => self.pipeline = None,
                    None => {}
                }
            }
            if self.ended || self.pipeline.as_ref().is_some_and(|pipeline| !pipeline.has_room()) {
                return Flow::Waits(next);
            }
            let broken = match self.poll_read(way, context) {
                Poll::Pending => return Flow::Waits(next),
                Poll::Ready(Read::Some) => continue,
                Poll::Ready(Read::Lost) => return Flow::Over(Ended::Reset),
                Poll::Ready(Read::End) => false,
                Poll::Ready(Read::Broken) => true,
            };
            self.ended = true;
            match &mut self.pipeline {
                Some(pipeline) => {
                    let item = if broken { Item::Reset } else { Item::End };
                    pipeline.push(item, way.turns.request, Instant::now());
                }
                None if broken => return Flow::Over(Ended::Reset),
                None => self.shut(way.receiver, context),
            }
        }
    }

    /// Sends what is kept.
    fn poll_flush(&mut self, way: &mut Way<'_>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.unsent.is_empty() {
            let sent = ready!(Pin::new(&mut *way.receiver).poll_write(context, &self.unsent))?;
            way.traffic.send(sent);
            let _ = self.unsent.split_to(sent);
        }
        while let Some(pipe) = &mut self.pipe {
            way.traffic.send(ready!(pipe.poll_drain(way.receiver, context))?);
            if pipe.is_empty() {
                self.pipe.take().into_iter().for_each(Pipe::give_back);
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_read(&mut self, way: &mut Way<'_>, context: &mut Context<'_>) -> Poll<Read> {
        if self.bulk
            && self.pipeline.is_none()
            && let Some(pipe) = Pipe::take()
        {
            return self.poll_read_bulk(pipe, way, context);
        }
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            if ready!(Pin::new(&mut *way.sender).poll_read(context, &mut buffer)).is_err() {
                return Poll::Ready(Read::Broken);
            }
            let bytes = buffer.filled();
            if bytes.is_empty() {
                return Poll::Ready(Read::End);
            }
            way.came(bytes.len());
            self.bulk = bytes.len() >= BULK_MIN;
            self.moved = !self.bulk;
            if let Some(pipeline) = &mut self.pipeline {
                pipeline.push(
                    Item::Data(Bytes::copy_from_slice(bytes)),
                    way.turns.request,
                    Instant::now(),
                );
                return Poll::Ready(Read::Some);
            }
            Poll::Ready(match send(way.receiver, bytes, context) {
                Ok(sent) => {
                    way.traffic.send(sent);
                    self.unsent = Bytes::copy_from_slice(&bytes[sent..]);
                    Read::Some
                }
                Err(_) => Read::Lost,
            })
        })
    }

    fn poll_read_bulk(&mut self, mut pipe: Pipe, way: &mut Way<'_>, context: &mut Context<'_>) -> Poll<Read> {
        let filled = match pipe.poll_fill(way.sender, context) {
            Poll::Ready(Ok(bytes)) if bytes > 0 => {
                way.came(bytes);
                self.bulk = bytes >= BULK_OVER;
                self.pipe = Some(pipe);
                return Poll::Ready(Read::Some);
            }
            filled => filled,
        };
        pipe.give_back();
        Poll::Ready(match ready!(filled) {
            Ok(_nothing) => Read::End,
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                // This kernel cannot: reading tells the end and what broke.
                self.bulk = false;
                Read::Some
            }
            Err(_) => Read::Broken,
        })
    }

    /// Tells the receiver that there is no more. Where it has gone, it knows.
    fn shut(&mut self, receiver: &mut TcpStream, context: &mut Context<'_>) {
        let _ = Pin::new(receiver).poll_shutdown(context);
        self.shut = true;
    }
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

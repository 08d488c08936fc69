//! Bulk without copies: bytes go from one socket to the other inside the kernel, by way of a pipe (splice(2)). For small
//! messages, of which there is little to copy, that would be more system calls for nothing.

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::task::{Context, Poll, ready};

use nix::fcntl::{FcntlArg, OFlag, SpliceFFlags, fcntl, splice};
use nix::unistd::pipe2;
use tokio::io::Interest;
use tokio::net::TcpStream;

/// The most that a pipe takes at once, and so the most that is kept of a connection whose receiver does not read.
const AT_ONCE: usize = 256 * 1024;
/// What a pipe is said to hold. The kernel takes it for a number of pages, and a page's place may hold a longer piece.
const CAPACITY: i32 = 256 * 1024;
/// Pipes that a thread keeps for whoever needs one next.
const SPARE_MAX: usize = 4;

thread_local! {
    static SPARE: RefCell<Vec<Pipe>> = const { RefCell::new(Vec::new()) };
}

/// A pipe, with what it holds.
#[derive(Debug)]
pub(super) struct Pipe {
    output: OwnedFd,
    input: OwnedFd,
    holds: usize,
}

impl Pipe {
    /// An empty one. `None` where the kernel gives none, which is no reason to carry nothing.
    pub(super) fn take() -> Option<Self> {
        SPARE.with_borrow_mut(Vec::pop).or_else(|| {
            let (output, input) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK).ok()?;
            // Where that is more than it may be, it stays as it is and takes less at once.
            let _ = fcntl(&input, FcntlArg::F_SETPIPE_SZ(CAPACITY));
            Some(Self {
                output,
                input,
                holds: 0,
            })
        })
    }

    /// Leaves an empty one to others; one that is not is closed, with what it holds.
    pub(super) fn give_back(self) {
        SPARE.with_borrow_mut(|spare| {
            if self.holds == 0 && spare.len() < SPARE_MAX {
                spare.push(self);
            }
        });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.holds == 0
    }

    /// Takes in what the sender has sent; it must be empty. No bytes are the end.
    pub(super) fn poll_fill(&mut self, sender: &TcpStream, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        loop {
            ready!(sender.poll_read_ready(context))?;
            match sender.try_io(Interest::READABLE, || moved(sender, &self.input, AT_ONCE)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                filled => {
                    self.holds = *filled.as_ref().unwrap_or(&0);
                    return Poll::Ready(filled);
                }
            }
        }
    }

    /// Hands on what the receiver takes.
    pub(super) fn poll_drain(&mut self, receiver: &TcpStream, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        loop {
            ready!(receiver.poll_write_ready(context))?;
            match receiver.try_io(Interest::WRITABLE, || moved(&self.output, receiver, self.holds)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(drained) => {
                    self.holds -= drained;
                    return Poll::Ready(Ok(drained));
                }
                failed => return Poll::Ready(failed),
            }
        }
    }
}

fn moved(from: impl AsFd, to: impl AsFd, bytes: usize) -> io::Result<usize> {
    let flags = SpliceFFlags::SPLICE_F_MOVE | SpliceFFlags::SPLICE_F_NONBLOCK;
    Ok(splice(from, None, to, None, bytes, flags)?)
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::os::fd::AsRawFd;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// Both ends of a connection.
    async fn connection() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let dialled = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (dialled, listener.accept().await.unwrap().0)
    }

    #[tokio::test]
    async fn bytes_leave_a_pipe_as_they_came_and_their_end_is_told() {
        let ((mut sender, from), (to, mut receiver)) = (connection().await, connection().await);
        let sent: Vec<u8> = (0..1_000_000_u32).map(|n| (n % 251) as u8).collect();
        let copy = sent.clone();
        let sending = tokio::spawn(async move {
            sender.write_all(&copy).await.unwrap();
        });
        let receiving = tokio::spawn(async move {
            let mut got = Vec::new();
            receiver.read_to_end(&mut got).await.unwrap();
            got
        });
        let mut pipe = Pipe::take().unwrap();
        let mut filled = 0;
        loop {
            let bytes = poll_fn(|context| pipe.poll_fill(&from, context)).await.unwrap();
            if bytes == 0 {
                break;
            }
            filled += bytes;
            while !pipe.is_empty() {
                poll_fn(|context| pipe.poll_drain(&to, context)).await.unwrap();
            }
        }
        drop(to);
        sending.await.unwrap();
        assert_eq!(filled, sent.len());
        assert!(receiving.await.unwrap() == sent);
    }

    #[tokio::test]
    async fn only_an_empty_pipe_is_left_to_others() {
        let ((mut sender, from), mut pipe) = (connection().await, Pipe::take().unwrap());
        sender.write_all(b"not yours").await.unwrap();
        assert_eq!(poll_fn(|context| pipe.poll_fill(&from, context)).await.unwrap(), 9);
        pipe.give_back();
        assert!(SPARE.with_borrow(Vec::is_empty));
        let pipe = Pipe::take().unwrap();
        let descriptor = pipe.output.as_raw_fd();
        pipe.give_back();
        assert_eq!(Pipe::take().unwrap().output.as_raw_fd(), descriptor);
    }

    #[tokio::test]
    async fn a_reset_is_an_error_and_no_end() {
        let ((sender, from), mut pipe) = (connection().await, Pipe::take().unwrap());
        sender.set_zero_linger().unwrap();
        drop(sender);
        let error = poll_fn(|context| pipe.poll_fill(&from, context)).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }
}

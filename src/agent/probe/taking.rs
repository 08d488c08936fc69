//! Taking datagrams from the kernel together with the time at which each came, so that it does not matter how long the agent
//! then had to wait for a processor.

use std::io::{self, IoSliceMut};
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;

use nix::cmsg_space;
use nix::sys::socket::sockopt::{RcvBuf, RcvBufForce, ReceiveTimestampns};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrIn, recvmsg, setsockopt};
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime};
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// Bytes of datagrams that wait to be taken: a few thousand datagrams.
const BUFFER: usize = 4 << 20;

/// A datagram that was taken.
pub(super) struct Taken {
    /// Its length, or that of the buffer if it did not go in.
    pub length: usize,
    pub from: Ipv4Addr,
    /// When the kernel received it, by the clock of [`now_ns`].
    pub arrived_ns: i64,
}

/// Lets the kernel note when datagrams come, and hold as many as a busy machine makes wait.
pub(super) fn prepare(socket: &UdpSocket) -> io::Result<()> {
    // Without the right to have so much, as much as anybody may; and without that, what there is.
    let _ = setsockopt(socket, RcvBufForce, &BUFFER).or_else(|_| setsockopt(socket, RcvBuf, &BUFFER));
    Ok(setsockopt(socket, ReceiveTimestampns, &true)?)
}

/// The next one that waits; an error if there is none.
pub(super) fn take(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<Taken> {
    socket.try_io(Interest::READABLE, || {
        let mut control = cmsg_space!(TimeSpec);
        let mut buffers = [IoSliceMut::new(buffer)];
        let flags = MsgFlags::MSG_DONTWAIT;
        let message = recvmsg::<SockaddrIn>(socket.as_raw_fd(), &mut buffers, Some(&mut control), flags)?;
        let stamp = message.cmsgs()?.find_map(|note| match note {
            ControlMessageOwned::ScmTimestampns(stamp) => Some(nanoseconds(stamp)),
            _ => None,
        });
        // In this order, so that a pause between the two clocks makes it late: a latency must not look shorter than it is.
        let waited_ns = waited_ns(stamp);
        Ok(Taken {
            length: message.bytes,
            from: message.address.map_or(Ipv4Addr::UNSPECIFIED, |from| from.ip()),
            arrived_ns: now_ns() - waited_ns,
        })
    })
}

/// How long a datagram has waited that came at that time by the clock on the wall, which is what the kernel notes; nothing
/// if it noted nothing, or somebody has set that clock back since.
fn waited_ns(stamp: Option<i64>) -> i64 {
    match (stamp, clock_gettime(ClockId::CLOCK_REALTIME)) {
        (Some(stamp), Ok(now)) => (nanoseconds(now) - stamp).max(0),
        _ => 0,
    }
}

/// Nanoseconds of the clock that all network namespaces share, and nobody sets.
pub(super) fn now_ns() -> i64 {
    // Every kernel has this clock; without it no time on the way would make sense, and that is seen.
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, nanoseconds)
}

fn nanoseconds(time: TimeSpec) -> i64 {
    time.tv_sec()
        .saturating_mul(1_000_000_000)
        .saturating_add(time.tv_nsec())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_datagram_came_when_it_came_and_not_when_it_was_taken() {
        const WAIT: Duration = Duration::from_millis(20);
        let receiver = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        prepare(&receiver).unwrap();
        let sender = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let mut buffer = [0; 8];
        assert!(take(&receiver, &mut buffer).is_err(), "there is none");
        // The kernel begins to note times a moment after it was asked to.
        for _ in 0..100 {
            let sent_ns = now_ns();
            sender.send_to(b"hello", receiver.local_addr().unwrap()).await.unwrap();
            tokio::time::sleep(WAIT).await;
            receiver.readable().await.unwrap();
            let taken_ns = now_ns();
            let taken = take(&receiver, &mut buffer).unwrap();
            assert_eq!(
                (&buffer[..taken.length], taken.from),
                (&b"hello"[..], Ipv4Addr::LOCALHOST)
            );
            let before_it_was_taken_ns = taken_ns - taken.arrived_ns;
            if before_it_was_taken_ns >= WAIT.as_nanos() as i64 / 2 && taken.arrived_ns >= sent_ns {
                return;
            }
        }
        panic!("the kernel never noted a time");
    }

    #[test]
    fn a_clock_that_was_set_back_makes_nothing_come_later() {
        let now = nanoseconds(clock_gettime(ClockId::CLOCK_REALTIME).unwrap());
        assert_eq!(waited_ns(Some(now + 3_600_000_000_000)), 0);
        assert_eq!(waited_ns(None), 0);
        assert!(waited_ns(Some(now - 1_000_000)) >= 1_000_000);
    }
}

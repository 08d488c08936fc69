//! Carrying one connection: bytes from each end to the other, through the toxics of its link.
//!
//! Without toxics bytes go straight through: a connection that is idle holds no buffer. Each end is read only as far as the
//! other takes it, so that whoever never reads holds up its own sender and nobody else. An end that is closed for writing
//! is passed on as such, and a reset as a reset.
//!
//! A *request* begins with the first byte from whoever connected after a byte from the other end. In protocols that take
//! turns, such as HTTP without pipelining and PostgreSQL's, it is what it says; elsewhere it is the nearest thing to it.

use std::task::{Context, Poll, ready};

use tokio::net::TcpStream;
use tokio::time::Instant;

use super::chain::Direction;
use super::half::{Flow, Half, Turns, Way};
use super::pipeline::{Next, Pipeline};
use super::spin::Spin;
use super::state::Member;
use super::timer::Timer;

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
        turns: Turns::default(),
        spin: Spin::new(),
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
    turns: Turns,
    spin: Spin,
    /// There from the first wait on, as long as there are toxics.
    timer: Option<Timer>,
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
            let Some(due) = due else {
                if self.up.pipeline.is_none() && self.down.pipeline.is_none() {
                    self.timer = None;
                    self.look_again(context);
                }
                return Poll::Pending;
            };
            let timer = self.timer.get_or_insert_with(|| Timer::new(due));
            ready!(timer.poll(due, context));
        }
    }

    /// Before it waits for bytes that are carried straight through.
    fn look_again(&mut self, context: &mut Context<'_>) {
        let moved = [&mut self.up, &mut self.down].map(|half| std::mem::take(&mut half.moved));
        if moved.contains(&true) {
            self.spin.moved();
        }
        self.spin.look_again(context);
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
        let (sender, receiver, half) = match direction {
            Direction::Upstream => (&mut self.client, &mut self.server, &mut self.up),
            Direction::Downstream => (&mut self.server, &mut self.client, &mut self.down),
        };
        let mut way = Way {
            direction,
            sender,
            receiver,
            traffic: self.member.link.traffic(direction),
            turns: &mut self.turns,
        };
        half.pump(&mut way, context)
    }
}

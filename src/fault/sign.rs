//! Signs: how an exchange over a link looks that a toxic has met, and how many exchanges it takes to tell.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::sample;
use crate::agent::api::{End, Exchange, ExchangeRequest, Exchanged};
use crate::link::chain::Per;

/// Exchanges that show a link whole, or spoiled for everybody.
const EXCHANGES: u32 = 5;
/// Exchanges that show what a round trip takes at best, before anything is done.
const EXCHANGES_BEFORE: u32 = 20;
/// What a busy machine adds to a round trip, before or after, must not count: so much of a delay shows that it is there.
const SHARE_SEEN: f64 = 0.8;
/// Connections over which the agent makes exchanges at the same time.
const AT_ONCE: u32 = 100;
/// A wait longer than this is not waited out: whatever is later than that is late enough.
pub(super) const LATE_ENOUGH: Duration = Duration::from_secs(2);
/// What exchanges take beside what a toxic adds, at most, on a machine that is busy.
const SLACK: Duration = Duration::from_millis(500);
/// The longest that one look at a link may take.
pub(super) const WITHIN: Duration = Duration::from_secs(15);

/// The sign of a toxic.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sign {
    /// What an exchange, or its connection's end, looks like.
    pub shows: Shows,
    /// Bytes of a request that it takes to show.
    pub bytes: u32,
}

/// What an exchange that was met looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shows {
    /// Its answer comes so much later than before, or has not come by then.
    Later(Duration),
    /// No answer comes, and the connection stays.
    Silent,
    /// The connection is closed, no sooner than that, after no more than so many bytes of the answer.
    Closed {
        /// From the request on.
        not_before: Duration,
        /// Of the answer.
        bytes_max: u32,
    },
    /// The connection is reset, no sooner than that.
    Reset {
        /// From the request on.
        not_before: Duration,
    },
    /// The answer is of other bytes.
    Changed,
    /// The connection's end comes so much later.
    LateEnd(Duration),
    /// The connection is refused.
    Refused,
    /// Nothing that can be told from the ends: the link's own counters say that it acted, and the answer is whole.
    Counted,
}

/// What a look at a link found.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Looked {
    /// Exchanges (or ends of connections, where the sign is in these) that were looked at.
    pub of: u32,
    /// Those that show the sign.
    pub met: u32,
    /// Those that were answered whole and in order, and show no sign.
    pub whole: u32,
    /// The shortest round trip of those that were answered; absent if none was.
    pub round_trip: Option<Duration>,
}

impl Sign {
    /// Without a need for more than one byte.
    pub(super) fn of(shows: Shows) -> Self {
        Self { shows, bytes: 16 }
    }

    /// How long an exchange is waited for before it counts as silent.
    pub(super) fn wait(&self) -> Duration {
        let shown_after = match self.shows {
            Shows::Later(by) | Shows::LateEnd(by) => by.min(LATE_ENOUGH) * 2,
            Shows::Closed { not_before, .. } | Shows::Reset { not_before } => not_before,
            Shows::Silent => Duration::ZERO,
            Shows::Changed | Shows::Refused | Shows::Counted => LATE_ENOUGH,
        };
        shown_after + SLACK
    }

    /// How many exchanges show a toxic of that toxicity.
    pub(super) fn exchanges(toxicity: f64) -> u32 {
        match toxicity < 1.0 {
            true => sample::datagrams_for(toxicity * 100.0),
            false => EXCHANGES,
        }
    }

    /// How many of what is looked at must be whole before a link counts as healed: a look that was cut short shows nothing.
    pub(super) fn whole(&self, toxicity: f64) -> u32 {
        match self.shows {
            // Ends of connections, of which there are fewer.
            Shows::LateEnd(_) => EXCHANGES,
            _ => Self::exchanges(toxicity),
        }
    }

    /// How long that may take, where those that are met are waited out.
    pub(super) fn takes(&self, toxicity: f64) -> Duration {
        let met = f64::from(Self::exchanges(toxicity)) * toxicity.min(1.0);
        self.wait().mul_f64((met / f64::from(AT_ONCE)).ceil())
    }

    /// The exchanges to be made with the agent at that address before anything is done.
    pub(super) fn request_before(&self, to: Ipv4Addr) -> ExchangeRequest {
        ExchangeRequest {
            exchanges: EXCHANGES_BEFORE,
            per_connection: EXCHANGES_BEFORE / EXCHANGES,
            ..self.request(to, 1.0, Per::Connection)
        }
    }

    /// The exchanges to be made with the agent at that address.
    pub(super) fn request(&self, to: Ipv4Addr, toxicity: f64, per: Per) -> ExchangeRequest {
        let exchanges = Self::exchanges(toxicity);
        let ms = |duration: Duration| duration.as_millis().try_into().unwrap_or(u64::MAX);
        ExchangeRequest {
            to,
            exchanges,
            per_connection: match per {
                Per::Connection => 1,
                Per::Request => exchanges.div_ceil(AT_ONCE),
            },
            bytes: self.bytes,
            wait_ms: ms(self.wait()),
            within_ms: ms(WITHIN),
        }
    }

    /// Looks at exchanges. `base` is what a round trip took before, at best.
    pub(super) fn look(&self, exchanged: &Exchanged, base: Duration) -> Looked {
        let answered = |exchange: &&Exchange| exchange.end == End::Answered;
        let round_trips = exchanged.exchanges.iter().filter(answered).map(|made| made.us);
        let (of, met) = match self.shows {
            Shows::LateEnd(by) => {
                let late = exchanged
                    .closings_us
                    .iter()
                    .filter(|us| Duration::from_micros(**us) >= by);
                (exchanged.closings_us.len(), late.count())
            }
            _ => {
                let met = exchanged.exchanges.iter().filter(|exchange| self.is_on(exchange, base));
                (exchanged.exchanges.len(), met.count())
            }
        };
        let count = |count: usize| count.try_into().unwrap_or(u32::MAX);
        let unmet = exchanged.exchanges.iter().filter(answered);
        let whole = match self.shows {
            Shows::LateEnd(_) => exchanged.closings_us.len() - met,
            _ => unmet.filter(|exchange| !self.is_on(exchange, base)).count(),
        };
        Looked {
            of: count(of),
            met: count(met),
            whole: count(whole),
            round_trip: round_trips.min().map(Duration::from_micros),
        }
    }

    fn is_on(&self, exchange: &Exchange, base: Duration) -> bool {
        let after = Duration::from_micros(exchange.us);
        match self.shows {
            Shows::Later(by) => {
                matches!(exchange.end, End::Answered | End::Silent)
                    && after >= base + by.min(LATE_ENOUGH).mul_f64(SHARE_SEEN)
            }
            Shows::Silent => exchange.end == End::Silent,
            // The kernel resets a connection that is closed with bytes unread.
            Shows::Closed { not_before, bytes_max } => {
                matches!(exchange.end, End::Closed | End::Reset) && after >= not_before && exchange.bytes <= bytes_max
            }
            Shows::Reset { not_before } => exchange.end == End::Reset && after >= not_before,
            Shows::Changed => exchange.end == End::Changed,
            Shows::Refused => exchange.end == End::Refused,
            Shows::LateEnd(_) | Shows::Counted => false,
        }
    }
}

impl Looked {
    /// Whether a toxic of that toxicity was seen: by everybody, or by a share that fits.
    pub(super) fn shows(&self, toxicity: f64) -> bool {
        match toxicity < 1.0 {
            true => sample::fits(self.met, self.of, toxicity * 100.0),
            false => self.of > 0 && self.met == self.of,
        }
    }

    /// Whether nothing of it was seen, and every one of so many exchanges was answered.
    pub(super) fn is_whole(&self, exchanges: u32) -> bool {
        self.met == 0 && self.of > 0 && self.whole == self.of && self.of >= exchanges
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: Duration = Duration::from_micros(200);

    fn exchanged(ends: &[(End, u64, u32)]) -> Exchanged {
        let exchange = |(end, us, bytes): &(End, u64, u32)| Exchange {
            end: *end,
            us: *us,
            bytes: *bytes,
        };
        Exchanged {
            exchanges: ends.iter().map(exchange).collect(),
            closings_us: Vec::new(),
        }
    }

    fn met(shows: Shows, ends: &[(End, u64, u32)]) -> u32 {
        Sign::of(shows).look(&exchanged(ends), BASE).met
    }

    #[test]
    fn later_is_later_than_before_answered_or_not() {
        let later = Shows::Later(Duration::from_millis(50));
        let ends = [
            (End::Answered, 40_200, 16),
            (End::Answered, 40_199, 16),
            (End::Silent, 900_000, 0),
            (End::Reset, 90_000, 0),
        ];
        assert_eq!(met(later, &ends), 2);
    }

    #[test]
    fn an_end_too_early_or_after_too_many_bytes_is_somebody_elses() {
        let closed = Shows::Closed {
            not_before: Duration::from_millis(10),
            bytes_max: 5,
        };
        let ends = [
            (End::Closed, 10_000, 5),
            (End::Closed, 9_000, 5),
            (End::Closed, 10_000, 6),
            (End::Silent, 10_000, 0),
        ];
        assert_eq!(met(closed, &ends), 1);
        let reset = Shows::Reset {
            not_before: Duration::from_millis(10),
        };
        assert_eq!(met(reset, &[(End::Reset, 10_000, 0), (End::Reset, 1, 0)]), 1);
        assert_eq!(met(Shows::Silent, &[(End::Silent, 1, 0), (End::Answered, 1, 16)]), 1);
    }

    #[test]
    fn a_late_end_is_seen_by_the_ends_of_connections_alone() {
        let sign = Sign::of(Shows::LateEnd(Duration::from_millis(50)));
        let look = |closings_us: &[u64]| {
            let mut exchanged = exchanged(&[(End::Answered, 200, 16); 5]);
            exchanged.closings_us = closings_us.to_vec();
            sign.look(&exchanged, BASE)
        };
        assert!(look(&[50_000; 5]).shows(1.0) && !look(&[50_000; 5]).is_whole(5));
        assert!(!look(&[50_000, 50_000, 50_000, 50_000, 49_999]).shows(1.0));
        assert!(!look(&[]).shows(1.0), "no end was seen, and so no late one");
        assert!(look(&[300; 5]).is_whole(5) && !look(&[300; 4]).is_whole(5));
    }

    #[test]
    fn a_refusal_is_no_reset_and_no_silence() {
        let ends = [
            (End::Refused, 1, 0),
            (End::Reset, 1, 0),
            (End::Silent, 1, 0),
            (End::Answered, 1, 16),
        ];
        assert_eq!(met(Shows::Refused, &ends), 1);
        assert_eq!(met(Shows::Counted, &ends), 0, "only the link itself can say so");
    }

    #[test]
    fn one_that_was_spared_leaves_a_toxic_for_everybody_unseen() {
        let sign = Sign::of(Shows::Changed);
        let all = sign.look(&exchanged(&[(End::Changed, 1, 16); 5]), BASE);
        assert!(all.shows(1.0) && !all.is_whole(5));
        let mut ends = [(End::Changed, 1, 16); 5];
        ends[3].0 = End::Answered;
        assert!(!sign.look(&exchanged(&ends), BASE).shows(1.0));
        assert!(!sign.look(&exchanged(&[]), BASE).shows(1.0), "nothing shows nothing");
    }

    #[test]
    fn a_share_must_fit() {
        let sign = Sign::of(Shows::Reset {
            not_before: Duration::ZERO,
        });
        let count = Sign::exchanges(0.2) as usize;
        let of = |resets: usize| {
            let mut ends = vec![(End::Answered, 200, 16); count];
            ends[..resets].fill((End::Reset, 100, 0));
            sign.look(&exchanged(&ends), BASE).shows(0.2)
        };
        assert!(of(count / 5));
        assert!(!of(0) && !of(count / 2) && !of(count));
    }

    #[test]
    fn a_link_is_whole_when_every_exchange_is() {
        let sign = Sign::of(Shows::Silent);
        let whole = |ends: &[(End, u64, u32)]| sign.look(&exchanged(ends), BASE).is_whole(2);
        assert!(whole(&[(End::Answered, 200, 16); 2]));
        assert!(!whole(&[(End::Answered, 200, 16); 1]), "fewer than asked for");
        assert!(!whole(&[(End::Answered, 200, 16), (End::Closed, 200, 0)]));
        assert!(!whole(&[]));
    }

    #[test]
    fn what_would_take_too_long_to_show_is_known_beforehand() {
        let silent = Sign::of(Shows::Silent);
        assert!(silent.takes(1.0) < WITHIN && silent.takes(0.01) < WITHIN);
        assert!(silent.takes(0.999) > WITHIN);
    }
}

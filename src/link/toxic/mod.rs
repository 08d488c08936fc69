//! Toxics: what spoils a stream of bytes. Names, attributes and meaning of the first seven are Toxiproxy's.
//!
//! A toxic is one file here and one line in [`toxics!`]. The file holds a struct with the attributes, as Toxiproxy's
//! interface writes them, and implements [`Toxic`]: it refuses what makes no sense, and makes a [`Stage`] for each
//! direction of a connection that it acts on. A stage does no input or output and has no clock: it is asked about what
//! stands at the head of its queue, and rules what becomes of it.

use std::time::Duration;

use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::random::Random;

/// Declares the toxics: a module and a variant of [`Kind`] for each, tagged as in Toxiproxy's interface.
macro_rules! toxics {
    ($($variant:ident($module:ident) = $key:literal),+ $(,)?) => {
        $(pub mod $module;)+

        /// What a toxic does, with its attributes: `{"type": "latency", "attributes": {"latency": 50}}`.
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
        #[serde(tag = "type", content = "attributes")]
        pub enum Kind {
            $(
                #[doc = concat!("`", $key, "`, see [`", stringify!($module), "`].")]
                #[serde(rename = $key)]
                $variant($module::$variant),
            )+
        }

        /// The types of all toxics, for messages.
        pub const TYPES: &[&str] = &[$($key),+];

        $(
            impl From<$module::$variant> for Kind {
                fn from(toxic: $module::$variant) -> Self {
                    Self::$variant(toxic)
                }
            }
        )+

        impl Kind {
            /// Its type, as Toxiproxy's interface writes it.
            pub fn name(&self) -> &'static str {
                match self { $(Self::$variant(_) => $key),+ }
            }

            /// Its behaviour.
            pub fn behaviour(&self) -> &dyn Toxic {
                match self { $(Self::$variant(toxic) => toxic),+ }
            }

            /// Reads the attributes of a type. `None` if there is no such type. What `attributes` lacks is as in `base` if
            /// that is of the same type, else zero.
            pub fn read(
                name: &str,
                attributes: serde_json::Value,
                base: Option<&Self>,
            ) -> Option<Result<Self, serde_json::Error>> {
                match name {
                    $($key => {
                        let base = match base {
                            Some(Self::$variant(toxic)) => toxic.clone(),
                            _ => $module::$variant::default(),
                        };
                        Some(merged(&base, attributes).map(Self::$variant))
                    })+
                    _ => None,
                }
            }
        }
    };
}

toxics! {
    Latency(latency) = "latency",
    Bandwidth(bandwidth) = "bandwidth",
    SlowClose(slow_close) = "slow_close",
    Timeout(timeout) = "timeout",
    ResetPeer(reset_peer) = "reset_peer",
    Slicer(slicer) = "slicer",
    LimitData(limit_data) = "limit_data",
    Blackhole(blackhole) = "blackhole",
    Corrupt(corrupt) = "corrupt",
    Stall(stall) = "stall",
}

/// Those that Toxiproxy has too.
pub const TOXIPROXY_TYPES: &[&str] = &[
    "latency",
    "bandwidth",
    "slow_close",
    "timeout",
    "reset_peer",
    "slicer",
    "limit_data",
];

/// The attributes of `base` with those of `over` put over them. `null` or nothing changes nothing, as in Toxiproxy.
fn merged<T>(base: &T, over: serde_json::Value) -> Result<T, serde_json::Error>
where
    T: Serialize + serde::de::DeserializeOwned,
{
    use serde::de::Error;
    let mut whole = serde_json::to_value(base)?;
    match (&mut whole, over) {
        (_, serde_json::Value::Null) => {}
        (serde_json::Value::Object(whole), serde_json::Value::Object(over)) => {
            whole.extend(over.into_iter().filter(|(_, value)| !value.is_null()));
        }
        _ => return Err(serde_json::Error::custom("`attributes` must be an object")),
    }
    serde_json::from_value(whole)
}

/// What a toxic is.
pub trait Toxic: Send + Sync {
    /// What is wrong with its attributes, if anything is.
    fn problem(&self) -> Option<OutOfRange>;

    /// Its part in one direction of one connection. `random` is that part's own, so that nothing else changes its draws.
    fn stage(&self, now: Instant, random: Random) -> Box<dyn Stage>;
}

/// What stands at the head of a stage's queue.
#[derive(Debug, Clone, Copy)]
pub struct Head<'a> {
    /// The bytes; `None` at the end of the stream.
    pub data: Option<&'a Bytes>,
    /// When it came to this stage.
    pub entered: Instant,
    /// The number of the request that it belongs to, from 1; see [`super::relay`].
    pub request: u64,
}

impl Head<'_> {
    /// How many bytes there are.
    pub fn size(&self) -> usize {
        self.data.map_or(0, Bytes::len)
    }

    /// Whether it is the end of the stream.
    pub fn is_end(&self) -> bool {
        self.data.is_none()
    }
}

/// What a stage says of the head of its queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ruling {
    /// It goes on.
    Pass,
    /// So many bytes of it go on, as a piece of their own; at least one, and fewer than there are.
    Split(usize),
    /// Other bytes go on in its place.
    Replace(Bytes),
    /// It stays at least until then.
    HoldUntil(Instant),
    /// It stays as long as the toxic does.
    Hold,
    /// It is lost.
    Discard,
    /// The connection is closed, once what has passed before has been sent.
    Close,
    /// The connection is reset, once what has passed before has been sent.
    Reset,
}

/// A toxic at work in one direction of one connection.
pub trait Stage: Send {
    /// What becomes of the head of the queue at this moment.
    fn judge(&mut self, now: Instant, head: &Head<'_>) -> Ruling;

    /// What happens while the queue is empty: [`Ruling::Close`], [`Ruling::HoldUntil`] to be asked again, or
    /// [`Ruling::Hold`] for nothing.
    fn idle(&mut self, _now: Instant) -> Ruling {
        Ruling::Hold
    }

    /// Whether the connection is closed when the toxic is taken away. What it held goes on otherwise.
    fn closes_when_removed(&self) -> bool {
        false
    }

    /// How many bytes may wait for it before its sender is held up.
    fn room(&self) -> usize {
        64 * 1024
    }
}

/// Milliseconds of Toxiproxy's interface, which takes less than none for none.
fn millis(ms: i64) -> Duration {
    Duration::from_millis(ms.max(0).unsigned_abs())
}

/// An attribute is out of its range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("`{attribute}` must be {allowed}")]
pub struct OutOfRange {
    /// Which.
    pub attribute: &'static str,
    /// What it may be, such as `0 ms or more`.
    pub allowed: &'static str,
}

fn out_of_range(attribute: &'static str, allowed: &'static str) -> Option<OutOfRange> {
    Some(OutOfRange { attribute, allowed })
}

#[cfg(test)]
pub(crate) mod tests;

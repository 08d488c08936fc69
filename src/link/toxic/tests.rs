//! One toxic in a pipeline of its own, with time as the test says.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::{Kind, TOXIPROXY_TYPES, TYPES, Toxic};
use crate::link::chain::{Affected, Applied, Direction, Per};
use crate::link::pipeline::{Item, Pipeline};
use crate::link::random::Purpose;

pub(crate) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A toxic at work.
pub(crate) struct Run {
    start: Instant,
    now: Instant,
    pipeline: Pipeline,
    request: u64,
    pieces: Vec<Vec<u8>>,
    last: Option<Item>,
}

pub(crate) fn applied(name: &str, kind: Kind) -> Arc<Applied> {
    Arc::new(Applied {
        toxic: crate::link::chain::Toxic {
            name: name.to_owned(),
            kind,
            stream: Direction::Downstream,
            toxicity: 1.0,
            per: Per::Connection,
        },
        affected: Affected::default(),
    })
}

impl Run {
    pub(crate) fn of<T: Toxic + Clone>(toxic: &T) -> Self
    where
        Kind: From<T>,
    {
        assert_eq!(toxic.problem(), None);
        Self::with(&[applied("toxic", Kind::from(toxic.clone()))])
    }

    pub(crate) fn with(toxics: &[Arc<Applied>]) -> Self {
        let start = Instant::now();
        let mut pipeline = Pipeline::new(Purpose::new(1));
        pipeline.apply(toxics, Direction::Downstream, start);
        Self {
            start,
            now: start,
            pipeline,
            request: 1,
            pieces: Vec::new(),
            last: None,
        }
    }

    /// Goes on to a time, at each moment at which something was to happen.
    pub(crate) fn at(&mut self, since: Duration) -> &mut Self {
        let then = self.start + since;
        loop {
            match self.advance() {
                Some(due) if due <= then => self.now = self.now.max(due),
                _ => break,
            }
        }
        self.now = self.now.max(then);
        self.advance();
        self
    }

    fn advance(&mut self) -> Option<Instant> {
        let next = self.pipeline.advance(self.now);
        while let Some(item) = self.pipeline.pop() {
            match item {
                Item::Data(bytes) if self.last.is_none() => self.pieces.push(bytes.to_vec()),
                other => self.last = Some(other),
            }
        }
        match next {
            crate::link::pipeline::Next::At(due) => {
                assert!(due > self.now, "what is due is not held");
                Some(due)
            }
            crate::link::pipeline::Next::Nothing => None,
        }
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> &mut Self {
        self.push(Item::Data(Bytes::copy_from_slice(bytes)))
    }

    pub(crate) fn end(&mut self) -> &mut Self {
        self.push(Item::End)
    }

    fn push(&mut self, item: Item) -> &mut Self {
        self.pipeline.push(item, self.request, self.now);
        self.advance();
        self
    }

    pub(crate) fn next_request(&mut self) -> &mut Self {
        self.request += 1;
        self
    }

    /// Replaces the toxics.
    pub(crate) fn apply(&mut self, toxics: &[Arc<Applied>]) -> &mut Self {
        self.pipeline.apply(toxics, Direction::Downstream, self.now);
        self.advance();
        self
    }

    pub(crate) fn removed(&mut self) -> &mut Self {
        self.apply(&[])
    }

    pub(crate) fn got(&self) -> Vec<u8> {
        self.pieces.concat()
    }

    pub(crate) fn pieces(&self) -> &[Vec<u8>] {
        &self.pieces
    }

    pub(crate) fn ended(&self) -> bool {
        self.last == Some(Item::End)
    }

    pub(crate) fn closed(&self) -> bool {
        self.last == Some(Item::Close)
    }

    pub(crate) fn reset(&self) -> bool {
        self.last == Some(Item::Reset)
    }
}

#[test]
fn attributes_are_read_as_toxiproxy_reads_them() {
    let read = |name, attributes, base: Option<&Kind>| Kind::read(name, attributes, base).map(Result::unwrap);
    let none = serde_json::Value::Null;
    let latency = read("latency", serde_json::json!({"latency": 50}), None).unwrap();
    let written = serde_json::to_value(&latency).unwrap();
    assert_eq!(
        written,
        serde_json::json!({"type": "latency", "attributes": {"latency": 50, "jitter": 0}})
    );
    let changed = read(
        "latency",
        serde_json::json!({"jitter": 5, "latency": null}),
        Some(&latency),
    )
    .unwrap();
    assert_eq!(
        changed,
        read("latency", serde_json::json!({"latency": 50, "jitter": 5}), None).unwrap()
    );
    assert_eq!(read("latency", none.clone(), Some(&latency)), Some(latency));
    assert_eq!(read("nonsense", none.clone(), None), None);
    assert!(
        Kind::read("latency", serde_json::json!({"latency": "50"}), None)
            .unwrap()
            .is_err()
    );
    assert!(
        Kind::read("latency", serde_json::json!({"lateness": 50}), None)
            .unwrap()
            .is_err()
    );
    assert!(Kind::read("latency", serde_json::json!([50]), None).unwrap().is_err());
    assert!(TYPES.starts_with(TOXIPROXY_TYPES));
    for name in TYPES {
        assert_eq!(read(name, none.clone(), None).unwrap().name(), *name);
    }
}

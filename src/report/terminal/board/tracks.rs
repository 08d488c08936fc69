//! How operations have fared since the load began, in little room however long that is.
//!
//! What ends between two reports on the load belongs to the time between them: this is the time at which operations ended. (The judge,
//! and every chart of the page, goes by the time at which customers arrived.)

use crate::event::{OperationProgress, Progress};

/// Moments kept at most; with more, two at a time become one.
const MOMENTS_MAX: usize = 512;

/// All operations, on one time axis.
#[derive(Debug, Default)]
pub(super) struct Tracks {
    /// From when to when, in microseconds since the load began.
    moments: Vec<(i64, i64)>,
    operations: Vec<Track>,
    /// Moments closer together than this are joined.
    shortest_us: i64,
}

/// An operation.
#[derive(Debug, Default)]
pub(super) struct Track {
    /// Its last report.
    pub now: OperationProgress,
    /// A part a moment.
    parts: Vec<Part>,
}

/// What an operation came to in some time.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Part {
    /// Ended `ok`.
    pub ok: u64,
    /// Ended.
    pub ended: u64,
    /// The greatest of the 99th percentiles that were reported, each of the second before; absent if none was.
    pub p99_ms: Option<f64>,
}

impl Part {
    fn and(self, other: Self) -> Self {
        let p99s = self.p99_ms.into_iter().chain(other.p99_ms);
        Self {
            ok: self.ok + other.ok,
            ended: self.ended + other.ended,
            p99_ms: p99s.reduce(f64::max),
        }
    }

    /// The share that ended `ok`, in percent; absent if none ended.
    pub fn ok_percent(self) -> Option<f64> {
        (self.ended > 0).then(|| 100.0 * self.ok as f64 / self.ended as f64)
    }
}

impl Track {
    /// How many did not end `ok` so far.
    pub fn not_ok(&self) -> u64 {
        self.now.fail + self.now.info
    }

    /// Least and greatest 99th percentile so far.
    pub fn p99_range_ms(&self) -> Option<(f64, f64)> {
        let p99s = || self.parts.iter().filter_map(|part| part.p99_ms);
        Some((p99s().reduce(f64::min)?, p99s().reduce(f64::max)?))
    }
}

impl Tracks {
    /// Takes a report in. Returns what each operation came to since the last one, and since when.
    pub fn take(&mut self, at_us: i64, progress: &Progress) -> (i64, Vec<(String, Part)>) {
        let since_us = self.moments.last().map_or(0, |(_, to_us)| *to_us).min(at_us);
        self.moments.push((since_us, at_us));
        let mut news = Vec::new();
        for operation in &progress.operations {
            let track = self.track(&operation.operation);
            let ended = |of: &OperationProgress| of.ok + of.fail + of.info;
            let part = Part {
                ok: operation.ok.saturating_sub(track.now.ok),
                ended: ended(operation).saturating_sub(ended(&track.now)),
                p99_ms: operation.p99_ms,
            };
            track.parts.push(part);
            track.now.clone_from(operation);
            news.push((operation.operation.clone(), part));
        }
        // An operation that is not in the report has a part all the same.
        let moments = self.moments.len();
        for track in &mut self.operations {
            track.parts.resize(moments, Part::default());
        }
        self.join();
        (since_us, news)
    }

    fn track(&mut self, operation: &str) -> &mut Track {
        let known = self
            .operations
            .iter()
            .position(|track| track.now.operation == operation);
        let index = known.unwrap_or_else(|| {
            let mut track = Track::default();
            track.now.operation = operation.to_owned();
            track.parts.resize(self.moments.len() - 1, Part::default());
            self.operations.push(track);
            self.operations.len() - 1
        });
        &mut self.operations[index]
    }

    /// Joins the last two moments while they are short, and all of them in twos when there are too many.
    fn join(&mut self) {
        if let [.., (before_us, _), (_, last_us)] = self.moments[..]
            && last_us - before_us <= self.shortest_us
        {
            self.join_at(self.moments.len() - 2);
        }
        if self.moments.len() > MOMENTS_MAX {
            for index in 0..self.moments.len() / 2 {
                self.join_at(index);
            }
            let span_us = |(from_us, to_us): &(i64, i64)| to_us - from_us;
            self.shortest_us = self.moments.iter().map(span_us).max().unwrap_or(0);
        }
    }

    fn join_at(&mut self, index: usize) {
        let (_, to_us) = self.moments.remove(index + 1);
        self.moments[index].1 = to_us;
        for track in &mut self.operations {
            let part = track.parts.remove(index + 1);
            track.parts[index] = track.parts[index].and(part);
        }
    }

    /// Whether nothing was reported yet.
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// The operations, in the order of their first reports.
    pub fn operations(&self) -> &[Track] {
        &self.operations
    }

    /// What an operation came to in each of some spans of time (from, to); absent where nothing was reported.
    pub fn over(&self, track: &Track, spans_us: impl Iterator<Item = (i64, i64)>) -> Vec<Option<Part>> {
        let in_span = |(from_us, to_us): (i64, i64)| {
            let first = self.moments.partition_point(|moment| moment.1 <= from_us);
            let end = self.moments.partition_point(|moment| moment.0 < to_us);
            let parts = track.parts.get(first..end).unwrap_or_default();
            parts.iter().copied().reduce(Part::and)
        };
        spans_us.map(in_span).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(ok: u64, fail: u64, p99_ms: f64) -> Progress {
        Progress {
            operations: vec![OperationProgress {
                operation: "buy".to_owned(),
                ok,
                fail,
                p99_ms: Some(p99_ms),
                ..OperationProgress::default()
            }],
            in_flight: 0,
        }
    }

    #[test]
    fn what_ended_between_two_reports_belongs_to_the_time_between_them() {
        let mut tracks = Tracks::default();
        tracks.take(250_000, &report(10, 0, 5.0));
        let (since_us, news) = tracks.take(500_000, &report(12, 6, 9.0));
        assert_eq!((since_us, news[0].1.ok_percent()), (250_000, Some(25.0)));
        let track = &tracks.operations()[0];
        let over = tracks.over(
            track,
            [(0, 250_000), (250_000, 500_000), (0, 500_000), (500_000, 9_000_000)].into_iter(),
        );
        let found: Vec<_> = over
            .iter()
            .map(|part| part.map(|part| (part.ok, part.ended, part.p99_ms)))
            .collect();
        assert_eq!(
            found,
            [
                Some((10, 10, Some(5.0))),
                Some((2, 8, Some(9.0))),
                Some((12, 18, Some(9.0))),
                None
            ]
        );
        assert_eq!((track.not_ok(), track.p99_range_ms()), (6, Some((5.0, 9.0))));
    }

    #[test]
    fn a_long_load_keeps_little_and_loses_nothing() {
        let mut tracks = Tracks::default();
        let day_s = 86_400;
        for second in 1..=day_s {
            tracks.take(second * 1_000_000, &report(10 * second as u64, 0, 1.0));
        }
        assert!(
            (MOMENTS_MAX / 4..=MOMENTS_MAX).contains(&tracks.moments.len()),
            "{}",
            tracks.moments.len()
        );
        let track = &tracks.operations()[0];
        let whole = tracks.over(track, [(0, day_s * 1_000_000)].into_iter())[0].unwrap();
        assert_eq!(whole.ok, 10 * day_s as u64);
        assert!(
            tracks.moments.windows(2).all(|pair| pair[0].1 == pair[1].0),
            "without gaps"
        );
    }
}

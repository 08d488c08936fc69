//! Sums over time in bounded memory: bins that grow wider as the time grows longer, and latencies in buckets.

/// What can be added up.
pub(super) trait Sum: Default {
    /// Adds what came later.
    fn add(&mut self, later: Self);
}

/// Bins at most, while they are filled.
const BINS_MAX: usize = 256;

/// Width of the first bins, the one that recovery is judged by.
pub(super) const BIN_US_MIN: u64 = 250_000;

/// Sums by time, from 0 on. Whatever comes, there are no more than [`BINS_MAX`] bins.
#[derive(Debug, Clone)]
pub(super) struct Binned<T> {
    width_us: u64,
    bins: Vec<T>,
}

impl<T: Sum> Default for Binned<T> {
    fn default() -> Self {
        Self {
            width_us: BIN_US_MIN,
            bins: Vec::new(),
        }
    }
}

impl<T: Sum> Binned<T> {
    /// The sum of the bin that holds that time.
    pub(super) fn at(&mut self, at_us: u64) -> &mut T {
        while at_us / self.width_us >= BINS_MAX as u64 {
            self.widen();
        }
        let place = (at_us / self.width_us) as usize;
        if place >= self.bins.len() {
            self.bins.resize_with(place + 1, T::default);
        }
        &mut self.bins[place]
    }

    /// Makes bins twice as wide.
    fn widen(&mut self) {
        let narrow = std::mem::take(&mut self.bins);
        let mut wide: Vec<T> = Vec::with_capacity(narrow.len().div_ceil(2));
        for (place, sum) in narrow.into_iter().enumerate() {
            match wide.last_mut() {
                Some(last) if place % 2 == 1 => last.add(sum),
                _ => wide.push(sum),
            }
        }
        self.bins = wide;
        self.width_us *= 2;
    }

    /// Adds the sums of another, bin by bin.
    pub(super) fn join(&mut self, mut later: Self) {
        while self.width_us < later.width_us {
            self.widen();
        }
        while later.width_us < self.width_us {
            later.widen();
        }
        if self.bins.len() < later.bins.len() {
            self.bins.resize_with(later.bins.len(), T::default);
        }
        for (sum, more) in self.bins.iter_mut().zip(later.bins) {
            sum.add(more);
        }
    }

    /// A number of every bin, added up.
    pub(super) fn total(&self, number: impl Fn(&T) -> u64) -> u64 {
        self.bins.iter().map(number).sum()
    }

    /// The bins up to `end_us` or further, with their width in milliseconds, no more than `bins_max` of them, and each as wide
    /// as `is_wide_enough` asks of a width in microseconds.
    pub(super) fn shown(mut self, end_us: u64, bins_max: usize, is_wide_enough: impl Fn(u64) -> bool) -> (u64, Vec<T>) {
        let count = |width_us: u64| end_us.div_ceil(width_us) as usize;
        while count(self.width_us).max(self.bins.len()) > bins_max || !is_wide_enough(self.width_us) {
            self.widen();
        }
        let count = count(self.width_us).max(self.bins.len()).max(1);
        self.bins.resize_with(count, T::default);
        (self.width_us / 1_000, self.bins)
    }
}

/// Latencies in buckets that are 3 % wide at most.
#[derive(Debug, Clone, Default)]
pub(super) struct Spread {
    counts: Vec<u32>,
}

/// Buckets to each doubling, and so many of a microsecond each at the beginning.
const BUCKETS: u64 = 32;

impl Spread {
    /// Notes a latency.
    pub(super) fn note(&mut self, latency_us: u64) {
        let bucket = bucket(latency_us);
        if bucket >= self.counts.len() {
            self.counts.resize(bucket + 1, 0);
        }
        self.counts[bucket] += 1;
    }

    /// How many latencies there are.
    pub(super) fn count(&self) -> u64 {
        self.counts.iter().map(|count| u64::from(*count)).sum()
    }

    /// Those from that latency on, to the width of a bucket.
    pub(super) fn from(&self, least_us: u64) -> Self {
        let from = bucket(least_us);
        let counts = self.counts.iter().enumerate();
        let kept = counts.map(|(bucket, count)| if bucket < from { 0 } else { *count });
        Self { counts: kept.collect() }
    }

    /// The latency at a place in ascending order, from 0; none if there are no more than that.
    pub(super) fn at(&self, place: u64) -> Option<u64> {
        let mut passed = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            passed += u64::from(*count);
            if passed > place {
                return Some(middle_us(bucket));
            }
        }
        None
    }
}

impl Sum for Spread {
    fn add(&mut self, later: Self) {
        if self.counts.len() < later.counts.len() {
            self.counts.resize(later.counts.len(), 0);
        }
        for (count, more) in self.counts.iter_mut().zip(later.counts) {
            *count += more;
        }
    }
}

fn bucket(us: u64) -> usize {
    if us < BUCKETS {
        return us as usize;
    }
    let doublings = u64::from(us.ilog2() - BUCKETS.ilog2());
    (doublings * BUCKETS + (us >> doublings)) as usize
}

fn middle_us(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    let doublings = (bucket / BUCKETS).saturating_sub(1);
    let least = (bucket - doublings * BUCKETS) << doublings;
    least + (1 << doublings) / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Sum for u64 {
        fn add(&mut self, later: Self) {
            *self += later;
        }
    }

    fn counted(times_us: impl Iterator<Item = u64>) -> Binned<u64> {
        let mut binned = Binned::default();
        times_us.for_each(|at_us| *binned.at(at_us) += 1);
        binned
    }

    #[test]
    fn nothing_is_counted_twice_or_lost_while_bins_grow() {
        let every_second = || (0..7_200).map(|second| second * 1_000_000);
        let forwards = counted(every_second());
        let backwards = counted(every_second().rev());
        let mut halves = counted(every_second().take(100));
        halves.join(counted(every_second().skip(100)));
        let mut swapped = counted(every_second().skip(100));
        swapped.join(counted(every_second().take(100)));
        for binned in [forwards, backwards, halves, swapped] {
            let (bin_ms, bins) = binned.shown(7_200_000_000, 128, |_| true);
            assert_eq!((bin_ms, bins.len()), (64_000, 113));
            assert_eq!(bins.iter().sum::<u64>(), 7_200);
            assert!(bins[..112].iter().all(|&count| count == 64));
        }
    }

    #[test]
    fn bins_are_as_wide_as_asked_and_reach_to_the_end() {
        let (bin_ms, bins) = counted([0, 600_000].into_iter()).shown(2_000_000, 96, |_| true);
        assert_eq!((bin_ms, bins), (250, vec![1, 0, 1, 0, 0, 0, 0, 0]));
        let (bin_ms, bins) = counted([0, 600_000].into_iter()).shown(2_000_000, 96, |width_us| width_us >= 1_000_000);
        assert_eq!((bin_ms, bins), (1_000, vec![2, 0]));
        let (_, bins) = counted([u64::MAX].into_iter()).shown(0, 96, |_| true);
        assert!(bins.len() <= 96);
    }

    #[test]
    fn buckets_are_as_narrow_as_promised() {
        for us in (0..40)
            .map(|power| 1_u64 << power)
            .flat_map(|us| [us, us + us / 3, us * 2 - 1])
        {
            let middle = middle_us(bucket(us));
            let off = middle.abs_diff(us) as f64 / us.max(1) as f64;
            assert!(off <= 0.016, "{us} us shows as {middle} us");
        }
        assert!((0..100_000).all(|us| bucket(us) <= bucket(us + 1)));
    }

    #[test]
    fn places_are_found_in_order() {
        let mut spread = Spread::default();
        for us in [7, 3, 5, 900_000] {
            spread.note(us);
        }
        assert_eq!([0, 1, 2].map(|place| spread.at(place)), [Some(3), Some(5), Some(7)]);
        assert!(spread.at(3).is_some_and(|us| us.abs_diff(900_000) < 15_000));
        assert_eq!(spread.at(4), None);
    }
}

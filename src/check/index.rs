//! Numbers for keys, in the order in which they were first met.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasherDefault, Hasher};

/// Builds [`KeyHasher`]s.
pub(super) type KeyHash = BuildHasherDefault<KeyHasher>;

/// Gives each key a number from 0 on. Keys are borrowed: a million of them must be cheap.
#[derive(Default)]
pub(super) struct Index<'a> {
    numbers: HashMap<&'a str, u32, KeyHash>,
}

impl<'a> Index<'a> {
    pub(super) fn with_capacity(keys: usize) -> Self {
        Self {
            numbers: HashMap::with_capacity_and_hasher(keys, KeyHash::default()),
        }
    }

    /// The key's number, and whether it is new.
    pub(super) fn add(&mut self, key: &'a str) -> (usize, bool) {
        let next = u32::try_from(self.numbers.len()).expect("fewer than 2^32 lines fit in memory");
        match self.numbers.entry(key) {
            Entry::Occupied(known) => (*known.get() as usize, false),
            Entry::Vacant(new) => (*new.insert(next) as usize, true),
        }
    }

    /// The key's number, if it has one.
    pub(super) fn get(&self, key: &str) -> Option<usize> {
        self.numbers.get(key).map(|number| *number as usize)
    }
}

/// A multiplicative hash, eight bytes at a time. Keys come from nightmail's own runs, so nobody chooses them to collide,
/// and the standard hasher takes several times as long.
#[derive(Default)]
pub(super) struct KeyHasher(u64);

/// Odd, with bits set all over: 2^64 divided by the golden ratio.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

impl KeyHasher {
    fn mix(&mut self, word: u64) {
        let product = u128::from(self.0 ^ word) * u128::from(SPREAD);
        self.0 = (product as u64) ^ ((product >> 64) as u64);
    }
}

impl Hasher for KeyHasher {
    fn write(&mut self, bytes: &[u8]) {
        let (words, tail) = bytes.as_chunks::<8>();
        words.iter().for_each(|word| self.mix(u64::from_le_bytes(*word)));
        if !tail.is_empty() {
            let mut word = [0; 8];
            word[..tail.len()].copy_from_slice(tail);
            self.mix(u64::from_le_bytes(word));
        }
        // Never 0, or all zero states would stay so whatever came next.
        self.mix(bytes.len() as u64 + 1);
    }

    fn write_u8(&mut self, byte: u8) {
        self.0 ^= u64::from(byte);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_numbered_in_order() {
        let mut index = Index::default();
        assert_eq!(index.add("b"), (0, true));
        assert_eq!(index.add("a"), (1, true));
        assert_eq!(index.add("b"), (0, false));
        assert_eq!((index.get("a"), index.get("c")), (Some(1), None));
    }

    #[test]
    fn keys_that_differ_little_spread() {
        let hash = |key: &str| {
            let mut hasher = KeyHasher::default();
            std::hash::Hash::hash(key, &mut hasher);
            hasher.finish()
        };
        let keys: Vec<String> = (0..100_000).map(|number| format!("buy-postage-x7-{number}")).collect();
        let buckets = |shift: u32| {
            let mut seen: Vec<u64> = keys.iter().map(|key| (hash(key) >> shift) & 0x1_ffff).collect();
            seen.sort_unstable();
            seen.dedup();
            seen.len()
        };
        // 100,000 balls in 131,072 urns: 69,900 urns are hit when balls fall at random.
        for shift in [0, 20, 47] {
            assert!(buckets(shift) > 66_000, "shift {shift}: {}", buckets(shift));
        }
    }
}

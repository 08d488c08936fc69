//! Numbers for keys, in the order in which they were first met.
//!
//! With a million keys the time goes into waiting for memory: for the slot, for the key that it names, for that key's
//! text. So keys are looked up in batches, whose waits overlap, and a slot is eight bytes.

use std::hash::{BuildHasherDefault, Hash, Hasher};

/// Builds [`KeyHasher`]s.
pub(super) type KeyHash = BuildHasherDefault<KeyHasher>;

/// Gives each key a number from 0 on. Keys are borrowed: a million of them must be cheap.
pub(super) struct Index<'a> {
    /// Open addressing, at most half full: the key's hash in the upper half, its number and one in the lower; 0 is free.
    slots: Vec<u64>,
    keys: Vec<&'a str>,
}

/// Keys looked up at a time.
const BATCH: usize = 32;

impl<'a> Index<'a> {
    /// Room for so many keys.
    pub(super) fn with_capacity(keys: usize) -> Self {
        Self {
            slots: vec![0; (keys * 2).next_power_of_two().max(BATCH)],
            keys: Vec::with_capacity(keys),
        }
    }

    /// The keys by number.
    pub(super) fn into_keys(self) -> Vec<&'a str> {
        self.keys
    }

    /// Numbers keys that may be new; tells `each` of them, in order, with whether it was.
    pub(super) fn add_all<T: Copy>(
        &mut self,
        items: impl IntoIterator<Item = T>,
        key: impl Fn(T) -> &'a str,
        mut each: impl FnMut(T, u32, bool),
    ) {
        in_batches(items, |batch| {
            let hashes = self.hash_and_warm(batch, &key);
            for (item, hash) in batch.iter().zip(hashes) {
                let (number, new) = self.add(key(*item), hash);
                each(*item, number, new);
            }
        });
    }

    /// The numbers of keys that are known; `None` for the others.
    pub(super) fn find_all<'k, T: Copy>(
        &self,
        items: impl IntoIterator<Item = T>,
        key: impl Fn(T) -> &'k str,
        mut each: impl FnMut(Option<u32>),
    ) {
        in_batches(items, |batch| {
            let hashes = self.hash_and_warm(batch, &key);
            for (item, hash) in batch.iter().zip(hashes) {
                each(self.find(key(*item), hash).ok());
            }
        });
    }

    /// Hashes a batch, and has all that looking it up will touch brought near, all of it at once.
    fn hash_and_warm<'k, T: Copy>(&self, batch: &[T], key: impl Fn(T) -> &'k str) -> [u64; BATCH] {
        let mut hashes = [0; BATCH];
        let mut named = [""; BATCH];
        let mut slots = [0; BATCH];
        for ((item, hash), slot) in batch.iter().zip(&mut hashes).zip(&mut slots) {
            *hash = hash_of(key(*item));
            *slot = self.slots[self.place(*hash)];
        }
        for ((slot, hash), named) in slots.iter().zip(&hashes).zip(&mut named) {
            if let Some(number) = number_in(*slot, *hash) {
                *named = self.keys[number as usize];
            }
        }
        let touched = named
            .iter()
            .fold(0, |touched, key| touched ^ key.as_bytes().first().copied().unwrap_or(0));
        std::hint::black_box(touched);
        hashes
    }

    fn place(&self, hash: u64) -> usize {
        hash as usize & (self.slots.len() - 1)
    }

    /// The number of a key, or the free slot that it would take.
    fn find(&self, key: &str, hash: u64) -> Result<u32, usize> {
        let mut place = self.place(hash);
        loop {
            match self.slots[place] {
                0 => return Err(place),
                slot => {
                    if let Some(number) = number_in(slot, hash).filter(|number| self.keys[*number as usize] == key) {
                        return Ok(number);
                    }
                }
            }
            place = (place + 1) & (self.slots.len() - 1);
        }
    }

    fn add(&mut self, key: &'a str, hash: u64) -> (u32, bool) {
        let place = match self.find(key, hash) {
            Ok(number) => return (number, false),
            Err(place) => place,
        };
        let number = u32::try_from(self.keys.len()).expect("fewer than 2^32 lines fit in memory");
        self.slots[place] = slot(number, hash);
        self.keys.push(key);
        if self.keys.len() * 2 > self.slots.len() {
            self.grow();
        }
        (number, true)
    }

    fn grow(&mut self) {
        self.slots = vec![0; self.slots.len() * 2];
        for (number, key) in self.keys.iter().enumerate() {
            let hash = hash_of(key);
            let mut place = self.place(hash);
            while self.slots[place] != 0 {
                place = (place + 1) & (self.slots.len() - 1);
            }
            self.slots[place] = slot(number as u32, hash);
        }
    }
}

fn slot(number: u32, hash: u64) -> u64 {
    hash >> 32 << 32 | (u64::from(number) + 1)
}

/// The number in a slot that is taken by a key of this hash.
fn number_in(slot: u64, hash: u64) -> Option<u32> {
    let taken = slot as u32;
    (taken != 0 && slot >> 32 == hash >> 32).then(|| taken - 1)
}

fn in_batches<T: Copy>(items: impl IntoIterator<Item = T>, mut each: impl FnMut(&[T])) {
    let mut batch = Vec::with_capacity(BATCH);
    for item in items {
        batch.push(item);
        if batch.len() == BATCH {
            each(&batch);
            batch.clear();
        }
    }
    each(&batch);
}

fn hash_of(key: &str) -> u64 {
    let mut hasher = KeyHasher::default();
    key.hash(&mut hasher);
    hasher.finish()
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

    /// As simple as it gets.
    fn numbered<'k>(keys: &[&'k str], room: usize) -> (Index<'k>, Vec<(u32, bool)>) {
        let mut index = Index::with_capacity(room);
        let mut numbers = Vec::new();
        index.add_all(
            keys.iter().copied(),
            |key| key,
            |_, number, new| numbers.push((number, new)),
        );
        (index, numbers)
    }

    #[test]
    fn keys_are_numbered_in_order() {
        let (index, numbers) = numbered(&["b", "a", "b", ""], 0);
        assert_eq!(numbers, [(0, true), (1, true), (0, false), (2, true)]);
        let mut found = Vec::new();
        index.find_all(["a", "c", "", "b"], |key| key, |number| found.push(number));
        assert_eq!(found, [Some(1), None, Some(2), Some(0)]);
        assert_eq!(index.into_keys(), ["b", "a", ""]);
    }

    #[test]
    fn keys_of_one_hash_are_told_apart() {
        let mut index = Index::with_capacity(0);
        let hash = hash_of("a");
        assert_eq!(index.add("a", hash), (0, true));
        assert_eq!(index.add("b", hash), (1, true));
        assert_eq!(index.add("a", hash), (0, false));
        assert_eq!((index.find("b", hash), index.find("c", hash).is_err()), (Ok(1), true));
    }

    proptest::proptest! {
        #![proptest_config(proptest::test_runner::Config { failure_persistence: None, ..Default::default() })]

        #[test]
        fn an_index_is_a_map(keys in proptest::collection::vec("[ab]{0,9}", 0..300), asked in proptest::collection::vec("[ab]{0,9}", 0..50), room in 0..100usize) {
            let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
            let (index, numbers) = numbered(&keys, room);
            let mut map = std::collections::HashMap::new();
            for (key, number) in keys.iter().zip(numbers) {
                let next = map.len() as u32;
                let new = !map.contains_key(key);
                proptest::prop_assert_eq!(number, (*map.entry(key).or_insert(next), new));
            }
            let mut found = Vec::new();
            index.find_all(&asked, |key| key.as_str(), |number| found.push(number));
            let expected: Vec<Option<u32>> = asked.iter().map(|key| map.get(&key.as_str()).copied()).collect();
            proptest::prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn keys_that_differ_little_spread() {
        let keys: Vec<String> = (0..100_000).map(|number| format!("buy-postage-x7-{number}")).collect();
        let buckets = |shift: u32| {
            let mut seen: Vec<u64> = keys.iter().map(|key| (hash_of(key) >> shift) & 0x1_ffff).collect();
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

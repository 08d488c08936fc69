//! A subnet for a run that nobody else on this machine uses.

use std::fmt;
use std::net::Ipv4Addr;

use rand::RngExt;

use super::cache;
use super::engine::EngineError;

/// How many are tried before there are none.
const ATTEMPTS: usize = 50;

/// A network by its address and the bits of its mask.
pub(crate) type Block = (Ipv4Addr, u8);

/// `10.a.b.0/24`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Subnet {
    a: u8,
    b: u8,
}

impl Subnet {
    pub(crate) fn address(self, host: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, self.a, self.b, host)
    }

    fn random() -> Self {
        let mut random = rand::rng();
        // The lower ones are what people and other programs choose by hand.
        Self {
            a: random.random_range(64..=255),
            b: random.random_range(0..=255),
        }
    }

    fn meets(self, (address, bits): Block) -> bool {
        let mask = |bits: u8| {
            if bits == 0 {
                0
            } else {
                u32::MAX << (32 - u32::from(bits.min(32)))
            }
        };
        let common = mask(bits.min(24));
        self.address(0).to_bits() & common == address.to_bits() & common
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/24", self.address(0))
    }
}

/// Held while a run chooses its subnet and makes its network: runs that start at the same moment do not choose the same.
pub(crate) async fn turn() -> Result<cache::Lock, EngineError> {
    tokio::task::spawn_blocking(|| cache::lock("subnets"))
        .await
        .map_err(std::io::Error::other)
        .and_then(|lock| lock)
        .map_err(|error| EngineError::Refused {
            action: "taking turns to choose a subnet".to_owned(),
            reason: error.to_string(),
        })
}

/// Subnets at random, one after another, that meet neither what this host has a way to nor what else is taken. They come
/// to an end; then [`none_free`] says so.
pub(crate) fn candidates(mut taken: Vec<Block>) -> impl Iterator<Item = Subnet> {
    taken.extend(of_host());
    std::iter::repeat_with(Subnet::random)
        .take(ATTEMPTS)
        .filter(move |subnet| !taken.iter().any(|other| subnet.meets(*other)))
}

/// No candidate would do. `reason` is what was said of the last, if any was tried.
pub(crate) fn none_free(reason: Option<String>) -> EngineError {
    EngineError::Refused {
        action: "finding a free subnet in 10.64.0.0 to 10.255.255.0".to_owned(),
        reason: reason.unwrap_or_else(|| "every one that was tried is in use".to_owned()),
    }
}

/// Reads `10.64.1.0/24`.
pub(crate) fn parse(subnet: &str) -> Option<Block> {
    let (address, bits) = subnet.split_once('/')?;
    Some((address.parse().ok()?, bits.parse().ok()?))
}

/// Subnets that this host has a way to, such as a company's network. The default route leads everywhere and says nothing.
fn of_host() -> Vec<Block> {
    let routes = std::fs::read_to_string("/proc/net/route").unwrap_or_default();
    let number = |field: &str| u32::from_str_radix(field, 16).ok().map(u32::swap_bytes);
    routes
        .lines()
        .skip(1)
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let (address, mask) = (number(fields.get(1)?)?, number(fields.get(7)?)?);
            (mask != 0).then(|| (Ipv4Addr::from_bits(address), mask.count_ones() as u8))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlap_is_seen_whichever_is_larger() {
        let subnet = Subnet { a: 100, b: 7 };
        assert!(subnet.meets((Ipv4Addr::new(10, 0, 0, 0), 8)));
        assert!(subnet.meets((Ipv4Addr::new(10, 100, 7, 128), 25)));
        assert!(subnet.meets((Ipv4Addr::new(0, 0, 0, 0), 0)));
        assert!(!subnet.meets((Ipv4Addr::new(10, 100, 8, 0), 24)));
        assert!(!subnet.meets((Ipv4Addr::new(172, 17, 0, 0), 16)));
    }

    #[test]
    fn what_is_taken_is_never_chosen() {
        let half = parse("10.128.0.0/9").unwrap();
        assert!(candidates(vec![half]).all(|subnet| subnet.a < 128));
        assert_eq!(candidates(vec![parse("10.0.0.0/8").unwrap()]).next(), None);
    }
}

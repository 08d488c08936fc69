//! The run's own network, on a subnet that nobody else uses.

use std::net::Ipv4Addr;

use rand::RngExt;
use testcontainers::bollard::models::{Ipam, IpamConfig, NetworkCreateRequest};

use super::{Client, labels};
use crate::system::cache;
use crate::system::engine::EngineError;

/// A network that was made.
#[derive(Debug, Clone)]
pub(super) struct Network {
    pub(super) name: String,
    subnet: Subnet,
}

impl Network {
    /// The host's own address on it.
    pub(super) fn gateway(&self) -> Ipv4Addr {
        self.subnet.address(1)
    }

    /// Replicas are spoken to at their own addresses, which takes a bridge of this very machine.
    pub(super) fn check_reachable(&self) -> Result<(), EngineError> {
        match std::net::TcpListener::bind((self.gateway(), 0)) {
            Ok(_) => Ok(()),
            Err(error) => Err(EngineError::Unreachable {
                engine: "docker",
                reason: format!("the network {} is not on this machine ({error})", self.name),
                hint: "run nightmail on the Linux machine on which Docker itself runs, not rootless; with Docker Desktop, \
                       within its virtual machine"
                    .to_owned(),
            }),
        }
    }

    /// The fixed address of the n-th replica, from 0.
    pub(super) fn address(&self, index: u16) -> Ipv4Addr {
        // 1 is the gateway.
        Ipv4Addr::from_bits(self.subnet.address(2).to_bits() + u32::from(index))
    }
}

/// `10.a.b.0/24`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Subnet {
    a: u8,
    b: u8,
}

impl Subnet {
    fn address(self, host: u8) -> Ipv4Addr {
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

    fn meets(self, (address, bits): (Ipv4Addr, u8)) -> bool {
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

/// Makes the run's network. Runs that start at the same moment take turns, so that they do not choose the same subnet.
pub(super) async fn create(client: &Client, run_id: &str, owner: &str) -> Result<Network, EngineError> {
    const ATTEMPTS: u32 = 50;
    let name = format!("nightmail-{run_id}");
    let _turn = tokio::task::spawn_blocking(|| cache::lock("subnets"))
        .await
        .map_err(std::io::Error::other)
        .and_then(|lock| lock)
        .map_err(|error| EngineError::Refused {
            action: "taking turns to choose a subnet".to_owned(),
            reason: error.to_string(),
        })?;
    let mut taken = of_networks(client).await?;
    taken.extend(of_host());
    let mut reason = "every one that was tried is in use".to_owned();
    for _ in 0..ATTEMPTS {
        let subnet = Subnet::random();
        if taken.iter().any(|other| subnet.meets(*other)) {
            continue;
        }
        match client.create_network(request(&name, subnet, run_id, owner)).await {
            Ok(_) => return Ok(Network { name, subnet }),
            // Somebody who knows nothing of our turns was quicker.
            Err(error) if labels::words(&error).contains("overlaps") => reason = labels::words(&error),
            Err(error) => return Err(labels::refused(format!("making the network {name}"))(error)),
        }
    }
    Err(EngineError::Refused {
        action: "finding a free subnet in 10.64.0.0 to 10.255.255.0".to_owned(),
        reason,
    })
}

fn request(name: &str, subnet: Subnet, run_id: &str, owner: &str) -> NetworkCreateRequest {
    NetworkCreateRequest {
        name: name.to_owned(),
        driver: Some("bridge".to_owned()),
        labels: Some(labels::of_run(run_id, owner)),
        ipam: Some(Ipam {
            config: Some(vec![IpamConfig {
                subnet: Some(format!("{}/24", subnet.address(0))),
                gateway: Some(subnet.address(1).to_string()),
                ..IpamConfig::default()
            }]),
            ..Ipam::default()
        }),
        ..NetworkCreateRequest::default()
    }
}

/// Subnets of Docker's networks.
async fn of_networks(client: &Client) -> Result<Vec<(Ipv4Addr, u8)>, EngineError> {
    let networks = client
        .list_networks(None)
        .await
        .map_err(labels::refused("listing networks"))?;
    let configs = networks
        .into_iter()
        .filter_map(|network| network.ipam?.config)
        .flatten();
    Ok(configs.filter_map(|config| parse(&config.subnet?)).collect())
}

fn parse(subnet: &str) -> Option<(Ipv4Addr, u8)> {
    let (address, bits) = subnet.split_once('/')?;
    Some((address.parse().ok()?, bits.parse().ok()?))
}

/// Subnets that this host has a way to, such as a company's network. The default route leads everywhere and says nothing.
fn of_host() -> Vec<(Ipv4Addr, u8)> {
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
}

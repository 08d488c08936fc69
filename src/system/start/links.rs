//! What an agent is told of its replica's links and disks.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::Member;
use crate::plan::ReplicaId;
use crate::system::compose::Service;

/// Every replica's address.
pub(super) type Addresses = BTreeMap<ReplicaId, Ipv4Addr>;

/// The links of one replica.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Links {
    /// Peers by name and address.
    pub peers: Vec<(String, Ipv4Addr)>,
    /// Fixes their draws.
    pub seed: u64,
}

impl Links {
    pub(super) fn of(member: &Member, addresses: &Addresses, seed: u64) -> Self {
        let peers = member.peers.iter().filter_map(|id| {
            let address = addresses.get(id)?;
            Some((id.to_string(), *address))
        });
        Self {
            peers: peers.collect(),
            // Two replicas' links to the same peer draw apart.
            seed: seed.wrapping_add(u64::from(member.index) << 32),
        }
    }

    /// Kernel parameters of the network namespace of a service's replica with these links: its own, and what links need.
    pub fn sysctls(&self, service: &Service) -> BTreeMap<String, String> {
        let mut sysctls = sysctls(service, true);
        if !self.peers.is_empty() {
            // A connection through a link takes a port on either side of it: those of closed ones are needed again soon.
            sysctls
                .entry("net.ipv4.tcp_tw_reuse".to_owned())
                .or_insert_with(|| "1".to_owned());
        }
        sysctls
    }
}

/// A service's kernel parameters: those of the network, or the others.
pub fn sysctls(service: &Service, of_network: bool) -> BTreeMap<String, String> {
    service
        .sysctls
        .iter()
        .filter(|(name, _)| name.starts_with("net.") == of_network)
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// Where an agent has the n-th disk of its replica, from 0.
pub fn disk_folder(index: usize) -> String {
    format!("/disk/{index}")
}

/// The arguments by which nightmail is the agent of a member with these links; only `admit` may speak to it.
pub fn agent_words(admit: Ipv4Addr, member: &Member, links: &Links) -> Vec<String> {
    let mut words = vec!["agent".to_owned(), "--admit".to_owned(), admit.to_string()];
    for (index, disk) in member.disks.iter().enumerate() {
        words.extend(["--disk".to_owned(), format!("{}={}", disk.path, disk_folder(index))]);
    }
    if !member.agent {
        words.push("--no-network".to_owned());
        return words;
    }
    words.extend(["--seed".to_owned(), links.seed.to_string()]);
    for (name, address) in &links.peers {
        words.extend(["--link".to_owned(), format!("{name}={address}")]);
    }
    words
}

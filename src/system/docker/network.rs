//! The run's own network, on a subnet that nobody else uses.

use std::net::Ipv4Addr;

use testcontainers::bollard::models::{Ipam, IpamConfig, NetworkCreateRequest};

use super::{Client, labels};
use crate::system::engine::EngineError;
use crate::system::subnet::{self, Block, Subnet};

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

/// Makes the run's network. Runs that start at the same moment take turns.
pub(super) async fn create(client: &Client, run_id: &str, owner: &str) -> Result<Network, EngineError> {
    let name = format!("nightmail-{run_id}");
    let _turn = subnet::turn().await?;
    let mut reason = None;
    for subnet in subnet::candidates(of_networks(client).await?) {
        match client.create_network(request(&name, subnet, run_id, owner)).await {
            Ok(_) => return Ok(Network { name, subnet }),
            // Somebody who knows nothing of our turns was quicker.
            Err(error) if labels::words(&error).contains("overlaps") => reason = Some(labels::words(&error)),
            Err(error) => return Err(labels::refused(format!("making the network {name}"))(error)),
        }
    }
    Err(subnet::none_free(reason))
}

fn request(name: &str, subnet: Subnet, run_id: &str, owner: &str) -> NetworkCreateRequest {
    NetworkCreateRequest {
        name: name.to_owned(),
        driver: Some("bridge".to_owned()),
        labels: Some(labels::of_run(run_id, owner)),
        ipam: Some(Ipam {
            config: Some(vec![IpamConfig {
                subnet: Some(subnet.to_string()),
                gateway: Some(subnet.address(1).to_string()),
                ..IpamConfig::default()
            }]),
            ..Ipam::default()
        }),
        ..NetworkCreateRequest::default()
    }
}

/// Subnets of Docker's networks.
async fn of_networks(client: &Client) -> Result<Vec<Block>, EngineError> {
    let networks = client
        .list_networks(None)
        .await
        .map_err(labels::refused("listing networks"))?;
    let configs = networks
        .into_iter()
        .filter_map(|network| network.ipam?.config)
        .flatten();
    Ok(configs.filter_map(|config| subnet::parse(&config.subnet?)).collect())
}

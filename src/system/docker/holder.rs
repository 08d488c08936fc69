//! The holder of a pod: it owns the network namespace, and with it the replica's address and names. Where the plan acts on
//! the network it is the agent; otherwise it does nothing, with no capability at all.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use testcontainers::bollard::models::{
    ContainerCreateBody, EndpointIpamConfig, EndpointSettings, HostConfig, NetworkingConfig,
};
use testcontainers::bollard::query_parameters::{CreateContainerOptionsBuilder, StartContainerOptions};

use super::network::Network;
use super::{Client, labels, replica};
use crate::plan::ReplicaId;
use crate::system::compose::Service;
use crate::system::engine::EngineError;

/// What a holder is made from.
pub(super) struct Holder<'a> {
    pub(super) run_id: &'a str,
    pub(super) owner: &'a str,
    pub(super) image: &'a str,
    pub(super) network: &'a Network,
    pub(super) address: Ipv4Addr,
    pub(super) id: &'a ReplicaId,
    pub(super) service: &'a Service,
    /// Whether it is the agent.
    pub(super) agent: bool,
    /// The links of its replica.
    pub(super) links: &'a Links,
}

/// What an agent is told of its replica's links.
#[derive(Debug, Clone, Default)]
pub(super) struct Links {
    /// Peers by name and address.
    pub(super) peers: Vec<(String, Ipv4Addr)>,
    /// Fixes their draws.
    pub(super) seed: u64,
}

impl Links {
    fn words(&self) -> Vec<String> {
        let mut words = vec!["--seed".to_owned(), self.seed.to_string()];
        for (name, address) in &self.peers {
            words.extend(["--link".to_owned(), format!("{name}={address}")]);
        }
        words
    }
}

impl Holder<'_> {
    /// Creates and starts it. Gives its container's id.
    pub(super) async fn start(&self, client: &Client) -> Result<String, EngineError> {
        let name = format!("nightmail-{}-{}-pod", self.run_id, self.id);
        let options = CreateContainerOptionsBuilder::new().name(&name).build();
        let created = client
            .create_container(Some(options), self.body())
            .await
            .map_err(labels::refused(format!("creating the pod of {}", self.id)))?;
        client
            .start_container(&created.id, None::<StartContainerOptions>)
            .await
            .map_err(labels::refused(format!("starting the pod of {}", self.id)))?;
        Ok(created.id)
    }

    fn body(&self) -> ContainerCreateBody {
        let words = |words: &[&str]| Some(words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
        let admit = self.network.gateway().to_string();
        ContainerCreateBody {
            image: Some(self.image.to_owned()),
            cmd: match self.agent {
                true => words(&["agent", "--admit", &admit]).map(|words| [words, self.links.words()].concat()),
                false => words(&["agent", "--hold"]),
            },
            hostname: Some(self.service.hostname.clone().unwrap_or_else(|| self.id.to_string())),
            // Capabilities come with the user root only.
            user: Some(if self.agent { "0:0" } else { "65534:65534" }.to_owned()),
            labels: Some(labels::of_container(self.run_id, self.owner, self.id, "holder")),
            host_config: Some(HostConfig {
                network_mode: Some(self.network.name.clone()),
                cap_drop: words(&["ALL"]),
                cap_add: if self.agent { words(&["NET_ADMIN"]) } else { None },
                security_opt: words(&["no-new-privileges"]),
                readonly_rootfs: Some(true),
                log_config: Some(replica::log_config()),
                // Parameters of the network belong to the namespace's owner.
                sysctls: Some(self.sysctls()),
                ..HostConfig::default()
            }),
            networking_config: Some(NetworkingConfig {
                endpoints_config: Some(HashMap::from([(self.network.name.clone(), self.endpoint())])),
            }),
            ..ContainerCreateBody::default()
        }
    }

    fn sysctls(&self) -> HashMap<String, String> {
        let mut sysctls = sysctls(self.service, true);
        if !self.links.peers.is_empty() {
            // A connection through a link takes a port on either side of it: those of closed ones are needed again soon.
            sysctls
                .entry("net.ipv4.tcp_tw_reuse".to_owned())
                .or_insert_with(|| "1".to_owned());
        }
        sysctls
    }

    fn endpoint(&self) -> EndpointSettings {
        let mut aliases = vec![self.service.name.clone(), self.id.to_string()];
        aliases.extend(self.service.aliases.iter().cloned());
        EndpointSettings {
            aliases: Some(aliases),
            ipam_config: Some(EndpointIpamConfig {
                ipv4_address: Some(self.address.to_string()),
                ..EndpointIpamConfig::default()
            }),
            ..EndpointSettings::default()
        }
    }
}

/// A service's kernel parameters: those of the network, or the others.
pub(super) fn sysctls(service: &Service, of_network: bool) -> HashMap<String, String> {
    service
        .sysctls
        .iter()
        .filter(|(name, _)| name.starts_with("net.") == of_network)
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

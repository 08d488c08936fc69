//! The holder of a pod: it owns the network namespace, and with it the replica's address and names. Where the plan acts on
//! the network it is the agent; where it fills disks only it is an agent with no capability at all, and makes the disks; otherwise
//! it does nothing.

use std::collections::HashMap;

use testcontainers::bollard::models::{
    ContainerCreateBody, EndpointIpamConfig, EndpointSettings, HostConfig, Mount, MountType, MountVolumeOptions,
    MountVolumeOptionsDriverConfig, NetworkingConfig,
};
use testcontainers::bollard::query_parameters::{CreateContainerOptionsBuilder, StartContainerOptions};

use super::network::Network;
use super::{Client, labels, replica};
use crate::system::engine::{Disk, EngineError};
use crate::system::start::{Links, Member, agent_words, disk_folder};

/// What a holder is made from.
pub(super) struct Holder<'a> {
    pub(super) run_id: &'a str,
    pub(super) owner: &'a str,
    pub(super) image: &'a str,
    pub(super) network: &'a Network,
    /// Its replica.
    pub(super) member: &'a Member,
    /// The links of its replica.
    pub(super) links: &'a Links,
}

impl Holder<'_> {
    /// Creates and starts it. Gives its container's id.
    pub(super) async fn start(&self, client: &Client) -> Result<String, EngineError> {
        let name = format!("nightmail-{}-{}-pod", self.run_id, self.member.id);
        let options = CreateContainerOptionsBuilder::new().name(&name).build();
        let created = client
            .create_container(Some(options), self.body())
            .await
            .map_err(labels::refused(format!("creating the pod of {}", self.member.id)))?;
        client
            .start_container(&created.id, None::<StartContainerOptions>)
            .await
            .map_err(labels::refused(format!("starting the pod of {}", self.member.id)))?;
        Ok(created.id)
    }

    fn body(&self) -> ContainerCreateBody {
        let words = |words: &[&str]| Some(words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
        ContainerCreateBody {
            image: Some(self.image.to_owned()),
            cmd: match self.member.has_agent() {
                true => Some(agent_words(self.network.gateway(), self.member, self.links)),
                false => words(&["agent", "--hold"]),
            },
            hostname: Some(self.member.hostname()),
            // Capabilities come with the user root only.
            user: Some(if self.member.agent { "0:0" } else { "65534:65534" }.to_owned()),
            labels: Some(labels::of_container(self.run_id, self.owner, &self.member.id, "holder")),
            host_config: Some(HostConfig {
                network_mode: Some(self.network.name.clone()),
                cap_drop: words(&["ALL"]),
                cap_add: if self.member.agent { words(&["NET_ADMIN"]) } else { None },
                security_opt: words(&["no-new-privileges"]),
                readonly_rootfs: Some(true),
                mounts: Some(self.disks()),
                log_config: Some(replica::log_config()),
                // Parameters of the network belong to the namespace's owner.
                sysctls: Some(self.links.sysctls(&self.member.service).into_iter().collect()),
                ..HostConfig::default()
            }),
            networking_config: Some(NetworkingConfig {
                endpoints_config: Some(HashMap::from([(self.network.name.clone(), self.endpoint())])),
            }),
            ..ContainerCreateBody::default()
        }
    }

    /// Volumes in memory, made with this container. They live as long as any container has them, and this one outlives its replica.
    fn disks(&self) -> Vec<Mount> {
        let options = |disk: &Disk| {
            // Everybody may write in the folder, unless the image says otherwise.
            let mounted = format!("size={},mode=1777,nosuid,nodev", disk.size_bytes);
            let options = [("type", "tmpfs"), ("device", "tmpfs"), ("o", mounted.as_str())];
            MountVolumeOptions {
                labels: Some(labels::of_run(self.run_id, self.owner)),
                no_copy: Some(true),
                driver_config: Some(MountVolumeOptionsDriverConfig {
                    name: Some("local".to_owned()),
                    options: Some(options.map(|(name, value)| (name.to_owned(), value.to_owned())).into()),
                }),
                ..MountVolumeOptions::default()
            }
        };
        let disks = self.member.disks.iter().enumerate().map(|(index, disk)| Mount {
            target: Some(disk_folder(index)),
            source: Some(labels::disk(self.run_id, &self.member.id, index)),
            typ: Some(MountType::VOLUME),
            volume_options: Some(options(disk)),
            ..Mount::default()
        });
        disks.collect()
    }

    fn endpoint(&self) -> EndpointSettings {
        EndpointSettings {
            aliases: Some(self.member.names()),
            ipam_config: Some(EndpointIpamConfig {
                ipv4_address: Some(self.member.address.to_string()),
                ..EndpointIpamConfig::default()
            }),
            ..EndpointSettings::default()
        }
    }
}

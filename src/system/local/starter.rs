//! Starting replicas: what the Compose file and the image say, put together for a launcher.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;

use super::ground::Ground;
use super::images::{Images, Unpacked};
use super::names::Names;
use super::pod::spec::{Agent, Hold, Mount, PATH, Process, Program, Root, Spec};
use super::process::{Held, Launcher};
use super::replica::{self, Plan, Pod};
use crate::system::compose::{MountSource, Service};
use crate::system::engine::EngineError;
use crate::system::start::{Links, LogSink, Member, Starter, agent_words, disk_folder, sysctls};

/// Docker's own default.
const SHM_BYTES: u64 = 64 << 20;

/// Starts the replicas of one run.
#[derive(Clone)]
pub(super) struct LocalStarter {
    pub(super) launcher: Launcher,
    pub(super) ground: Arc<Ground>,
    pub(super) images: Images,
    /// Who can be found, by which names.
    pub(super) names: Arc<Names>,
    /// Whether every user id means something here.
    pub(super) all_users: bool,
}

/// A namespace with its agent's words.
pub(super) struct Holder {
    held: Held,
    words: Arc<std::sync::Mutex<Vec<String>>>,
}

#[async_trait]
impl Starter for LocalStarter {
    type Holder = Holder;
    type Pod = Pod;

    async fn hold(&self, member: &Member, links: &Links) -> Result<Holder, EngineError> {
        let refused = |reason: String| EngineError::Refused {
            action: format!("making the pod of {}", member.id),
            reason,
        };
        let network = &self.ground.network;
        let mut parameters = links.sysctls(&member.service);
        // As Docker does: whoever runs a program need not be root for the sake of its port.
        parameters
            .entry("net.ipv4.ip_unprivileged_port_start".to_owned())
            .or_insert_with(|| "0".to_owned());
        let hold = Hold {
            bridge: network.bridge.clone(),
            wire: network.wire(member.index),
            address: member.address,
            sysctls: parameters,
            agent: self.agent(member, links)?,
            empty: self.ground.folder(format!("{}/agent", member.id))?,
        };
        let (reader, writer) = replica::words().map_err(refused)?;
        let words = Arc::default();
        tokio::spawn(replica::keep_words(reader, Arc::clone(&words)));
        let launcher = self.launcher.clone();
        let hold = async move { launcher.hold(Spec::Hold(hold), writer).await };
        let held = self.ground.launch(hold).await.map_err(refused)?;
        Ok(Holder { held, words })
    }

    async fn launch(&self, member: &Member, holder: Holder, log: Arc<LogSink>) -> Result<Pod, EngineError> {
        let plan = self.plan(member)?;
        let (launcher, ground) = (self.launcher.clone(), self.ground.clone());
        Pod::launch(member, plan, holder.held, holder.words, launcher, ground, log).await
    }

    async fn check_agent(&self, member: &Member, holder: &Holder) -> Result<(), EngineError> {
        replica::check_agent(&member.replica(), &holder.held, &holder.words)
    }
}

impl LocalStarter {
    /// The agent beside a replica, if there is to be one, and the disks that it shares with it.
    fn agent(&self, member: &Member, links: &Links) -> Result<Option<Agent>, EngineError> {
        if !member.has_agent() {
            return Ok(None);
        }
        let made = member.disks.iter().enumerate().map(|(index, disk)| {
            let folder = self.ground.disk(disk_place(member, index), disk.size_bytes)?;
            Ok((folder, disk_folder(index)))
        });
        Ok(Some(Agent {
            // The first word is the command of nightmail, which the launcher has no need of.
            words: agent_words(self.ground.network.gateway(), member, links).split_off(1),
            filters: member.agent,
            disks: made.collect::<Result<_, EngineError>>()?,
        }))
    }

    /// What a member is made from.
    pub(super) fn plan(&self, member: &Member) -> Result<Plan, EngineError> {
        let (service, image) = (&member.service, self.image(member)?);
        let stop_signal = service.stop_signal.as_ref().or(image.settings.stop_signal.as_ref());
        let stop_signal = match stop_signal {
            None => libc::SIGTERM,
            Some(name) => replica::signal(name).ok_or_else(|| EngineError::Refused {
                action: format!("starting {}", member.id),
                reason: format!("there is no signal `{name}`"),
            })?,
        };
        Ok(Plan {
            release: member.release.clone(),
            program: self.program(member, image)?,
            restart: service.restart,
            stop_signal,
            stop_grace: service.stop_grace,
            ready: member.ready.clone(),
            healthcheck: service.healthcheck.clone().filter(|_| member.has_healthcheck()),
        })
    }

    fn image(&self, member: &Member) -> Result<&Unpacked, EngineError> {
        match &member.release.image {
            None => Ok(&self.images.services[&member.id.service]),
            Some(name) => self.images.named.get(name).ok_or_else(|| EngineError::Refused {
                action: format!("starting {}", member.id),
                reason: format!("the image {name} was not made"),
            }),
        }
    }

    fn program(&self, member: &Member, image: &Unpacked) -> Result<Program, EngineError> {
        let service = &member.service;
        let hostname = member.hostname();
        Ok(Program {
            network: None,
            root: Root {
                image: image.root.clone(),
                changes: Some(self.ground.folder(format!("{}/changes", own_place(member)))?),
                merged: self.ground.folder(format!("{}/root", member.id))?,
                all_users: self.all_users,
                read_only: service.read_only,
                tmpfs: service.tmpfs.clone(),
                mounts: self.mounts(member, image)?,
                files: self.files(&hostname, member),
                shm_size_bytes: service.shm_size_bytes.unwrap_or(SHM_BYTES),
            },
            sysctls: sysctls(service, false),
            ulimits: service.ulimits.clone(),
            init: service.init,
            process: Process {
                words: words(service, image),
                environment: environment(member, image, &hostname),
                user: service.user.clone().or_else(|| image.settings.user.clone()),
                working_dir: service
                    .working_dir
                    .clone()
                    .or_else(|| image.settings.working_dir.clone()),
                all_users: self.all_users,
                cap_add: service.cap_add.clone(),
                cap_drop: service.cap_drop.clone(),
            },
            hostname,
        })
    }

    /// Volumes of the Compose file, disks, and volumes of the image that are not mentioned before; what lies higher first.
    fn mounts(&self, member: &Member, image: &Unpacked) -> Result<Vec<Mount>, EngineError> {
        let mut mounts = Vec::new();
        for mount in &member.service.mounts {
            let (source, begins_with_image) = match &mount.source {
                MountSource::Bind(path) => (path.clone(), false),
                MountSource::Volume(name) => (self.ground.folder(format!("volumes/{name}"))?, true),
                MountSource::Anonymous => (self.anonymous(member, &mount.target)?, true),
            };
            mounts.push(Mount {
                source,
                target: mount.target.clone(),
                read_only: mount.read_only,
                begins_with_image,
            });
        }
        for (index, disk) in member.disks.iter().enumerate() {
            mounts.push(Mount {
                source: self.ground.folder(disk_place(member, index))?,
                target: disk.path.clone(),
                read_only: false,
                begins_with_image: true,
            });
        }
        for target in &image.settings.volumes {
            let is_known = mounts.iter().any(|mount| mount.target == *target);
            if !is_known && !member.service.tmpfs.contains_key(target) {
                mounts.push(Mount {
                    source: self.anonymous(member, target)?,
                    target: target.clone(),
                    read_only: false,
                    begins_with_image: true,
                });
            }
        }
        mounts.sort_by_key(|mount| mount.target.matches('/').count());
        Ok(mounts)
    }

    fn anonymous(&self, member: &Member, target: &str) -> Result<PathBuf, EngineError> {
        let name = target.trim_matches('/').replace('/', "-");
        self.ground.folder(format!("{}/volumes/{name}", own_place(member)))
    }

    /// Files of the run: names resolve by the hosts file, and for those who do not look there by the name server.
    fn files(&self, hostname: &str, member: &Member) -> BTreeMap<String, String> {
        let mut hosts = format!("127.0.0.1 localhost\n{} {hostname}\n", member.address);
        let entries = self.names.entries();
        // Each replica has another order, so that those who take the first do not all take the same.
        for at in 0..entries.len() {
            let (address, names) = &entries[(at + usize::from(member.index)) % entries.len()];
            hosts.push_str(&format!("{address} {}\n", names.join(" ")));
        }
        BTreeMap::from([
            ("/etc/hosts".to_owned(), hosts),
            ("/etc/hostname".to_owned(), format!("{hostname}\n")),
            (
                "/etc/resolv.conf".to_owned(),
                format!("nameserver {}\n", self.ground.network.gateway()),
            ),
            // A name may stand on several lines.
            ("/etc/host.conf".to_owned(), "multi on\n".to_owned()),
        ])
    }
}

/// Where the run has what is a replica's own as long as it runs one release.
fn own_place(member: &Member) -> String {
    match member.deployment {
        0 => member.id.to_string(),
        later => format!("{}/deployment-{later}", member.id),
    }
}

/// Where the run has the n-th disk of a replica.
fn disk_place(member: &Member, index: usize) -> String {
    format!("{}/disks/{index}", member.id)
}

/// What runs: as in Docker, an entrypoint of the Compose file leaves nothing of the image's command.
fn words(service: &Service, image: &Unpacked) -> Vec<String> {
    let settings = &image.settings;
    let (entrypoint, command) = match &service.entrypoint {
        Some(entrypoint) => (entrypoint.clone(), service.command.clone().unwrap_or_default()),
        None => {
            let command = service.command.clone();
            (
                settings.entrypoint.clone(),
                command.unwrap_or_else(|| settings.command.clone()),
            )
        }
    };
    [entrypoint, command].concat()
}

fn environment(member: &Member, image: &Unpacked, hostname: &str) -> BTreeMap<String, String> {
    let mut environment = BTreeMap::from([
        ("PATH".to_owned(), PATH.to_owned()),
        ("HOSTNAME".to_owned(), hostname.to_owned()),
    ]);
    environment.extend(image.settings.environment.clone());
    environment.extend(
        member
            .environment
            .iter()
            .map(|(name, value)| (name.clone(), value.clone())),
    );
    environment
}

//! The replica's own container, started through testcontainers within its holder's network namespace.

use std::collections::HashMap;
use std::time::Duration;

use testcontainers::bollard::models::{
    HostConfig, HostConfigLogConfig, Mount, MountType, MountVolumeOptions, ResourcesUlimits, RestartPolicy,
};
use testcontainers::core::Healthcheck;
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerRequest, GenericImage, ImageExt};

use super::labels;
use super::lifecycle::Policy;
use crate::plan::ReplicaId;
use crate::system::compose::{self, MountSource};
use crate::system::engine::EngineError;
use crate::system::start::{Member, sysctls};

/// What a replica's container is made from.
pub(super) struct ReplicaContainer<'a> {
    pub(super) run_id: &'a str,
    pub(super) owner: &'a str,
    pub(super) image: &'a str,
    pub(super) holder_id: &'a str,
    pub(super) member: &'a Member,
}

impl ReplicaContainer<'_> {
    /// Creates and starts it. Gives its container's id.
    pub(super) async fn start(&self) -> Result<String, EngineError> {
        let refused = |reason: String| EngineError::Refused {
            action: format!("starting {}", self.member.id),
            reason,
        };
        let container = self
            .request()
            .map_err(refused)?
            .start()
            .await
            .map_err(|error| refused(error.to_string()))?;
        let id = container.id().to_owned();
        // Its destructor would remove the container behind our back, and wait for that: removal goes by label here.
        std::mem::forget(container);
        Ok(id)
    }

    fn request(&self) -> Result<ContainerRequest<GenericImage>, String> {
        let service = &self.member.service;
        let (name, tag) = self.image.rsplit_once(':').unwrap_or((self.image, "latest"));
        let mut image = GenericImage::new(name, tag);
        let mut command = service.command.clone().unwrap_or_default();
        if let Some(entrypoint) = &service.entrypoint {
            let (first, rest) = entrypoint
                .split_first()
                .ok_or("an empty `entrypoint` is not supported; leave it out to run the image's own")?;
            image = image.with_entrypoint(first);
            command.splice(0..0, rest.iter().cloned());
        } else if service.command.as_ref().is_some_and(Vec::is_empty) {
            return Err("an empty `command` is not supported; leave it out to run the image's own".to_owned());
        }
        let host_config = self.host_config();
        let mut request = image
            .with_container_name(name_of(self.run_id, &self.member.id))
            .with_labels(&service.labels)
            .with_labels(labels::of_container(
                self.run_id,
                self.owner,
                &self.member.id,
                "replica",
            ))
            .with_readonly_rootfs(service.read_only)
            .with_startup_timeout(Duration::from_secs(120))
            .with_host_config_modifier(move |given| {
                *given = HostConfig {
                    readonly_rootfs: given.readonly_rootfs,
                    ..host_config.clone()
                };
            });
        if !command.is_empty() {
            request = request.with_cmd(command);
        }
        for (name, value) in self.member.environment.as_ref() {
            request = request.with_env_var(name, value);
        }
        if let Some(user) = &service.user {
            request = request.with_user(user);
        }
        if let Some(dir) = &service.working_dir {
            request = request.with_working_dir(dir);
        }
        Ok(match (&service.healthcheck, self.member.has_healthcheck()) {
            (Some(check), true) => request.with_health_check(healthcheck(check)),
            // Also one that is baked into the image: it would cost time and answer nobody.
            _ => request.with_health_check(Healthcheck::none()),
        })
    }

    /// Everything of the host configuration; testcontainers' own is replaced, since it publishes every port, which a
    /// container within another's network namespace cannot.
    fn host_config(&self) -> HostConfig {
        let service = &self.member.service;
        let some = |list: &[String]| (!list.is_empty()).then(|| list.to_vec());
        let ulimit = |(name, soft, hard): &(String, i64, i64)| ResourcesUlimits {
            name: Some(name.clone()),
            soft: Some(*soft),
            hard: Some(*hard),
        };
        HostConfig {
            network_mode: Some(format!("container:{}", self.holder_id)),
            cap_add: some(&service.cap_add),
            cap_drop: some(&service.cap_drop),
            security_opt: some(&service.security_opt),
            restart_policy: Some(RestartPolicy::from(Policy::from(service.restart))),
            log_config: Some(log_config()),
            tmpfs: Some(service.tmpfs.clone().into_iter().collect()),
            mounts: Some(self.mounts()),
            ulimits: Some(service.ulimits.iter().map(ulimit).collect()),
            shm_size: service.shm_size_bytes.map(|bytes| bytes as i64),
            sysctls: Some(sysctls(service, false).into_iter().collect()),
            init: service.init.then_some(true),
            ..HostConfig::default()
        }
    }

    /// What the Compose file mounts, and the disks, which the holder has made. Docker copies what the image has there into a
    /// volume that is still empty.
    fn mounts(&self) -> Vec<Mount> {
        let of_service = self.member.service.mounts.iter().map(|mount| self.mount(mount));
        let disks = self.member.disks.iter().enumerate().map(|(index, disk)| Mount {
            target: Some(disk.path.clone()),
            source: Some(labels::disk(self.run_id, &self.member.id, index)),
            typ: Some(MountType::VOLUME),
            volume_options: Some(self.volume_options()),
            ..Mount::default()
        });
        of_service.chain(disks).collect()
    }

    fn volume_options(&self) -> MountVolumeOptions {
        MountVolumeOptions {
            labels: Some(labels::of_run(self.run_id, self.owner)),
            ..MountVolumeOptions::default()
        }
    }

    fn mount(&self, mount: &compose::Mount) -> Mount {
        let labels = self.volume_options();
        let (source, typ, volume_options) = match &mount.source {
            MountSource::Volume(name) => (Some(labels::volume(self.run_id, name)), MountType::VOLUME, Some(labels)),
            MountSource::Anonymous => (None, MountType::VOLUME, Some(labels)),
            MountSource::Bind(path) => (Some(path.display().to_string()), MountType::BIND, None),
        };
        Mount {
            target: Some(mount.target.clone()),
            source,
            typ: Some(typ),
            read_only: Some(mount.read_only),
            volume_options,
            ..Mount::default()
        }
    }
}

/// The name of a replica's container.
pub(super) fn name_of(run_id: &str, replica: &ReplicaId) -> String {
    format!("nightmail-{run_id}-{replica}")
}

/// The driver that lets logs be read back, whatever this Docker's default is.
pub(super) fn log_config() -> HostConfigLogConfig {
    HostConfigLogConfig {
        typ: Some("json-file".to_owned()),
        config: Some(HashMap::new()),
    }
}

fn healthcheck(check: &compose::Healthcheck) -> Healthcheck {
    let command = match check.test.split_first() {
        Some((how, rest)) if how == "CMD-SHELL" => Healthcheck::cmd_shell(rest.join(" ")),
        Some((_, rest)) => Healthcheck::cmd(rest),
        None => Healthcheck::none(),
    };
    command
        .with_interval(check.interval)
        .with_timeout(check.timeout)
        .with_retries(check.retries)
        .with_start_period(check.start_period)
}

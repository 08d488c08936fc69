//! The Compose file as it is written: the keys that nightmail supports, and no other.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;
use serde_saphyr::{PropertySyntax, Spanned};

use super::problem;
use super::scalar::{Bytes, Ignored, Limit, Seconds, Text};
use super::value::{Command, Extensible, Form, Named, OneOrMany, Pairs};
use crate::diagnostic::Diagnostic;
use crate::system::image::Recipe;
use crate::yaml::list::List;

/// A Compose file of more than this is a mistake.
const BYTES_MAX: u64 = 1 << 20;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub name: Option<String>,
    /// Obsolete, and without effect in Compose itself.
    #[serde(rename = "version")]
    pub _version: Option<Ignored>,
    pub services: BTreeMap<String, Spanned<Extensible<Service>>>,
    #[serde(default)]
    pub networks: Option<BTreeMap<String, Option<Extensible<Network>>>>,
    #[serde(default)]
    pub volumes: Option<BTreeMap<String, Option<Extensible<Volume>>>>,
    #[serde(rename = "x-nightmail")]
    pub nightmail: Option<Nightmail>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Nightmail {
    #[serde(default)]
    pub images: BTreeMap<String, Recipe>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Network {
    pub driver: Option<Spanned<String>>,
    pub internal: Option<Spanned<bool>>,
    #[serde(rename = "name")]
    pub _name: Option<Ignored>,
    #[serde(rename = "labels")]
    pub _labels: Option<Ignored>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Volume {
    pub driver: Option<Spanned<String>>,
    #[serde(rename = "name")]
    pub _name: Option<Ignored>,
    #[serde(rename = "labels")]
    pub _labels: Option<Ignored>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Service {
    pub image: Option<String>,
    pub build: Option<Form<Extensible<Build>>>,
    #[serde(default)]
    pub environment: Pairs,
    #[serde(default)]
    pub env_file: List<Form<EnvFile>>,
    pub command: Option<Command>,
    pub entrypoint: Option<Command>,
    #[serde(default)]
    pub depends_on: Named<Extensible<DependsOn>>,
    pub networks: Option<Named<Extensible<Attachment>>>,
    pub tmpfs: Option<OneOrMany>,
    #[serde(default)]
    pub cap_drop: Vec<String>,
    #[serde(default)]
    pub cap_add: Vec<String>,
    pub deploy: Option<Extensible<Deploy>>,
    pub healthcheck: Option<Extensible<Healthcheck>>,
    #[serde(default)]
    pub volumes: Vec<Spanned<Form<Extensible<VolumeMount>>>>,
    pub ports: Option<Ignored>,
    #[serde(rename = "expose")]
    pub _expose: Option<Ignored>,
    pub restart: Option<Spanned<String>>,
    pub user: Option<Text>,
    pub working_dir: Option<String>,
    pub hostname: Option<String>,
    pub stop_signal: Option<Text>,
    pub stop_grace_period: Option<Seconds>,
    pub read_only: Option<bool>,
    #[serde(default)]
    pub security_opt: Vec<String>,
    pub init: Option<bool>,
    #[serde(default)]
    pub labels: Pairs,
    #[serde(default)]
    pub ulimits: BTreeMap<String, Limit>,
    pub shm_size: Option<Bytes>,
    #[serde(default)]
    pub sysctls: Pairs,
    pub container_name: Option<Ignored>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Build {
    pub context: Option<String>,
    pub dockerfile: Option<String>,
    #[serde(default)]
    pub args: Pairs,
    pub target: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EnvFile {
    pub path: String,
    #[serde(default = "yes")]
    pub required: bool,
}

fn yes() -> bool {
    true
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DependsOn {
    pub condition: Option<Condition>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) enum Condition {
    #[serde(rename = "service_started")]
    Started,
    #[serde(rename = "service_healthy")]
    Healthy,
    #[serde(rename = "service_completed_successfully")]
    Completed,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Attachment {
    #[serde(default)]
    pub aliases: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Deploy {
    pub replicas: Option<Spanned<u32>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Healthcheck {
    pub test: Option<Spanned<Command>>,
    pub interval: Option<Seconds>,
    pub timeout: Option<Seconds>,
    pub retries: Option<u32>,
    pub start_period: Option<Seconds>,
    /// Known to newer engines only; nightmail polls more often than that by itself.
    #[serde(rename = "start_interval")]
    pub _start_interval: Option<Seconds>,
    #[serde(default)]
    pub disable: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct VolumeMount {
    #[serde(rename = "type")]
    pub kind: MountKind,
    pub source: Option<String>,
    pub target: String,
    #[serde(default)]
    pub read_only: bool,
    pub tmpfs: Option<Extensible<TmpfsOptions>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum MountKind {
    Volume,
    Bind,
    Tmpfs,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TmpfsOptions {
    pub size: Option<Bytes>,
    pub mode: Option<Text>,
}

/// Reads a file: its text, for messages about it, and what it says.
pub(super) fn read(path: &Path, environment: &BTreeMap<String, String>) -> Result<(Arc<str>, File), Diagnostic> {
    let cannot = |reason: String| Diagnostic::in_file(path, format!("this Compose file cannot be read: {reason}"));
    let size_bytes = std::fs::metadata(path)
        .map_err(|error| cannot(error.to_string()))?
        .len();
    if size_bytes > BYTES_MAX {
        return Err(cannot(format!("it has {size_bytes} bytes, {BYTES_MAX} are allowed")));
    }
    let text: Arc<str> = std::fs::read_to_string(path)
        .map_err(|error| cannot(error.to_string()))?
        .into();
    if text.trim().is_empty() {
        return Err(cannot("it is empty".to_owned()).hint("a Compose file has at least the key `services`"));
    }
    let options = serde_saphyr::options! {
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        with_snippet: false,
        property_syntax: PropertySyntax::DockerCompose,
    }
    .with_properties(environment.clone().into_iter().collect());
    match serde_saphyr::from_str_with_options::<Extensible<File>>(&text, options) {
        Ok(Extensible(file)) => Ok((text, file)),
        Err(error) => Err(problem::diagnose(path, &text, &error)),
    }
}

//! What a service mounts: volumes, files of the host, folders in memory.

use std::collections::BTreeMap;
use std::path::Path;

use serde_saphyr::{Location, Spanned};

use super::resolve::Context;
use super::value::{Extensible, Form, OneOrMany};
use super::{Mount, MountSource, file};
use crate::diagnostic::Diagnostic;

pub(super) type Mounts = (Vec<Mount>, BTreeMap<String, String>);

/// What a service mounts, and its folders in memory.
pub(super) fn mounts(
    context: &Context<'_>,
    raw: Vec<Spanned<Form<Extensible<file::VolumeMount>>>>,
    tmpfs: Option<OneOrMany>,
) -> Result<Mounts, Diagnostic> {
    let mut mounts = Vec::new();
    let mut in_memory: BTreeMap<String, String> = tmpfs
        .unwrap_or_default()
        .values
        .into_iter()
        .map(|entry| match entry.split_once(':') {
            Some((path, options)) => (path.to_owned(), options.to_owned()),
            None => (entry, String::new()),
        })
        .collect();
    for Spanned { value, referenced, .. } in raw {
        match value {
            Form::Short(text) => mounts.push(short_mount(context, &referenced, &text)?),
            Form::Long(Extensible(long)) if long.kind == file::MountKind::Tmpfs => {
                let options = long.tmpfs.unwrap_or_default().0;
                let size = options.size.map(|size| format!("size={}", size.0));
                let mode = options.mode.map(|mode| format!("mode={}", mode.0));
                in_memory.insert(long.target, size.into_iter().chain(mode).collect::<Vec<_>>().join(","));
            }
            Form::Long(Extensible(long)) => {
                let bind = long.kind == file::MountKind::Bind;
                mounts.push(Mount {
                    source: source(context, &referenced, long.source.as_deref(), bind)?,
                    target: long.target,
                    read_only: long.read_only,
                });
            }
        }
    }
    Ok((mounts, in_memory))
}

fn short_mount(context: &Context<'_>, place: &Location, text: &str) -> Result<Mount, Diagnostic> {
    let parts: Vec<&str> = text.split(':').collect();
    let (from, target, options) = match parts[..] {
        [target] => (None, target, ""),
        [from, target] => (Some(from), target, ""),
        [from, target, options] => (Some(from), target, options),
        _ => {
            return Err(context
                .at(place, format!("`{text}` is not a mount"))
                .allowed("SOURCE:TARGET[:ro|rw]"));
        }
    };
    let mut read_only = false;
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option {
            "ro" => read_only = true,
            // `z` and `Z` relabel for SELinux, which the run's engine does not touch.
            "rw" | "z" | "Z" => {}
            _ => {
                return Err(context
                    .at(place, format!("the mount option `{option}` is not supported"))
                    .allowed("ro, rw"));
            }
        }
    }
    let bind = from.is_some_and(|from| from.starts_with(['.', '/', '~']));
    Ok(Mount {
        source: source(context, place, from, bind)?,
        target: target.to_owned(),
        read_only,
    })
}

fn source(context: &Context<'_>, place: &Location, from: Option<&str>, bind: bool) -> Result<MountSource, Diagnostic> {
    match from {
        None if bind => Err(context.at(place, "a bind mount without `source`")),
        None => Ok(MountSource::Anonymous),
        Some(from) if bind => {
            let path = match (from.strip_prefix("~/"), context.environment.get("HOME")) {
                (Some(rest), Some(home)) => Path::new(home).join(rest),
                _ => context.dir.join(from),
            };
            if !path.exists() {
                return Err(context
                    .at(place, format!("{} is to be mounted and is not there", path.display()))
                    .hint("paths count from the Compose file's folder"));
            }
            let path = path
                .canonicalize()
                .map_err(|error| context.at(place, format!("{} cannot be mounted: {error}", path.display())))?;
            Ok(MountSource::Bind(path))
        }
        Some(name) if context.volumes.contains(name) => Ok(MountSource::Volume(name.to_owned())),
        Some(name) => Err(context
            .unknown("volume", name, place, &context.volumes)
            .hint("declare it under the top-level `volumes`; a folder's path begins with `./` or `/`")),
    }
}

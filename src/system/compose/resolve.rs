//! From the file as written to services with every default filled in and every reference checked.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_saphyr::{Location, Spanned};

use super::file::{self, File};
use super::value::{Command, Extensible, Form};
use super::{Build, ComposeFile, Condition, Healthcheck, ImageSource, Restart, Service};
use super::{dotenv, mounts, problem};
use crate::diagnostic::{Diagnostic, did_you_mean, list};

/// A system of more replicas than this does not fit into its subnet.
const REPLICAS_MAX: u32 = 100;

/// What every service's resolution needs to know.
pub(super) struct Context<'a> {
    path: &'a Path,
    text: &'a Arc<str>,
    pub(super) dir: PathBuf,
    pub(super) environment: &'a BTreeMap<String, String>,
    services: BTreeSet<String>,
    networks: BTreeSet<String>,
    pub(super) volumes: BTreeSet<String>,
}

impl Context<'_> {
    pub(super) fn at(&self, location: &Location, message: impl Into<String>) -> Diagnostic {
        Diagnostic::at(self.path, self.text, problem::bytes(location, self.text), message)
    }

    pub(super) fn unknown(&self, what: &str, name: &str, location: &Location, known: &BTreeSet<String>) -> Diagnostic {
        let diagnostic = self
            .at(location, format!("unknown {what} `{name}`"))
            .allowed(list(known.iter().map(String::as_str)));
        match did_you_mean(name, known.iter().map(String::as_str)) {
            Some(meant) => diagnostic.hint(format!("did you mean `{meant}`?")),
            None => diagnostic,
        }
    }
}

/// Resolves a file.
pub(super) fn resolve(
    path: &Path,
    dir: PathBuf,
    text: &Arc<str>,
    file: File,
    environment: &BTreeMap<String, String>,
) -> Result<ComposeFile, Diagnostic> {
    let mut networks: BTreeSet<String> = file.networks.iter().flatten().map(|(name, _)| name.clone()).collect();
    networks.insert("default".to_owned());
    let context = Context {
        path,
        text,
        dir,
        environment,
        services: file.services.keys().cloned().collect(),
        networks,
        volumes: file.volumes.iter().flatten().map(|(name, _)| name.clone()).collect(),
    };
    if context.services.is_empty() {
        return Err(Diagnostic::in_file(path, "this Compose file has no services"));
    }
    check_networks(&context, &file)?;
    let mut notices = Vec::new();
    let mut services = BTreeMap::new();
    for (name, raw) in file.services {
        notices.extend(without_effect(&name, &raw.value.0));
        services.insert(name.clone(), service(&context, name, raw)?);
    }
    check_replicas(path, &services)?;
    check_cycles(path, &services)?;
    Ok(ComposeFile {
        path: path.to_owned(),
        dir: context.dir,
        name: file.name,
        volumes: context.volumes.into_iter().collect(),
        recipes: file.nightmail.unwrap_or_default().images,
        services,
        notices,
    })
}

/// All services stand on the run's one network. That is what the file means as long as they all share their networks.
fn check_networks(context: &Context<'_>, file: &File) -> Result<(), Diagnostic> {
    for network in file
        .networks
        .iter()
        .flatten()
        .filter_map(|(_, network)| network.as_ref())
    {
        if let Some(driver) = network.0.driver.as_ref().filter(|driver| driver.value != "bridge") {
            return Err(context
                .at(
                    &driver.referenced,
                    format!("the network driver `{}` is not supported", driver.value),
                )
                .allowed("bridge"));
        }
        if let Some(internal) = network.0.internal.as_ref().filter(|internal| internal.value) {
            return Err(context
                .at(&internal.referenced, "internal networks are not supported")
                .hint("leave it out: the run's network is its own in any case"));
        }
    }
    for volume in file.volumes.iter().flatten().filter_map(|(_, volume)| volume.as_ref()) {
        if let Some(driver) = volume.0.driver.as_ref().filter(|driver| driver.value != "local") {
            return Err(context
                .at(
                    &driver.referenced,
                    format!("the volume driver `{}` is not supported", driver.value),
                )
                .allowed("local"));
        }
    }
    let mut first: Option<(&str, BTreeSet<&str>)> = None;
    for (name, service) in &file.services {
        let raw = &service.value.0.networks;
        for (network, _) in raw.iter().flat_map(|named| &named.0) {
            if !context.networks.contains(&network.value) {
                return Err(context.unknown("network", &network.value, &network.referenced, &context.networks));
            }
        }
        let own: BTreeSet<&str> = match raw {
            Some(named) => named.0.iter().map(|(network, _)| network.value.as_str()).collect(),
            None => BTreeSet::from(["default"]),
        };
        match &first {
            None => first = Some((name, own)),
            Some((_, networks)) if *networks == own => {}
            Some((other, networks)) => {
                let (own, networks) = (list(own.iter().copied()), list(networks.iter().copied()));
                return Err(context
                    .at(
                        &service.referenced,
                        format!("service `{name}` is on the networks {own}, service `{other}` on {networks}"),
                    )
                    .allowed("the same networks for every service: all replicas stand on the run's one network")
                    .hint("leave `networks` out; to keep two services apart, inject a `partition`"));
            }
        }
    }
    Ok(())
}

/// Keys that are accepted although they change nothing, since leaving them out would only make two files of one.
fn without_effect(name: &str, raw: &file::Service) -> Vec<String> {
    let mut notices = Vec::new();
    if raw.ports.is_some() {
        notices.push(format!(
            "{name}: `ports` are not published: replicas are reached at their own addresses"
        ));
    }
    if raw.container_name.is_some() {
        notices.push(format!(
            "{name}: `container_name` is passed over, since runs at the same time would collide"
        ));
    }
    notices
}

fn service(
    context: &Context<'_>,
    name: String,
    raw: Spanned<Extensible<file::Service>>,
) -> Result<Service, Diagnostic> {
    let place = raw.referenced;
    let Extensible(raw) = raw.value;
    if !is_name(&name) {
        return Err(context
            .at(&place, format!("`{name}` cannot be the name of a service"))
            .allowed("lower-case letters, digits, `-` and `_`, beginning with a letter or digit"));
    }
    let replicas = match raw.deploy.and_then(|Extensible(deploy)| deploy.replicas) {
        None => 1,
        Some(replicas) if (1..=REPLICAS_MAX).contains(&replicas.value) => replicas.value,
        Some(replicas) => {
            return Err(context
                .at(&replicas.referenced, format!("{} replicas", replicas.value))
                .allowed(format!("1 to {REPLICAS_MAX}")));
        }
    };
    let (mounts, tmpfs) = mounts::mounts(context, raw.volumes, raw.tmpfs)?;
    let mut security_opt = raw.security_opt;
    if !security_opt
        .iter()
        .any(|option| option.starts_with("no-new-privileges"))
    {
        security_opt.push("no-new-privileges".to_owned());
    }
    Ok(Service {
        image: image(context, &name, &place, raw.image, raw.build)?,
        environment: environment(context, raw.env_file.0, raw.environment.0)?,
        command: raw.command.map(|command| command.words),
        entrypoint: raw.entrypoint.map(|command| command.words),
        depends_on: depends_on(context, &name, raw.depends_on.0)?,
        aliases: raw
            .networks
            .into_iter()
            .flat_map(|named| named.0)
            .filter_map(|(_, attachment)| attachment)
            .flat_map(|Extensible(attachment)| attachment.aliases)
            .collect(),
        replicas,
        healthcheck: match raw.healthcheck {
            Some(Extensible(check)) => healthcheck(context, &place, check)?,
            None => None,
        },
        mounts,
        tmpfs,
        cap_drop: raw.cap_drop,
        cap_add: raw.cap_add,
        security_opt,
        restart: restart(context, raw.restart)?,
        user: raw.user.map(|user| user.0),
        working_dir: raw.working_dir,
        hostname: raw.hostname,
        stop_signal: raw.stop_signal.map(|signal| signal.0),
        stop_grace: raw.stop_grace_period.map_or(Duration::from_secs(10), |grace| grace.0),
        read_only: raw.read_only.unwrap_or(false),
        init: raw.init.unwrap_or(false),
        labels: pairs(raw.labels.0),
        ulimits: raw
            .ulimits
            .into_iter()
            .map(|(name, limit)| (name, limit.soft, limit.hard))
            .collect(),
        shm_size_bytes: raw.shm_size.map(|size| size.0),
        sysctls: pairs(raw.sysctls.0),
        name,
    })
}

fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_')
}

fn pairs(pairs: Vec<(String, Option<String>)>) -> BTreeMap<String, String> {
    pairs
        .into_iter()
        .map(|(name, value)| (name, value.unwrap_or_default()))
        .collect()
}

fn image(
    context: &Context<'_>,
    name: &str,
    place: &Location,
    image: Option<String>,
    build: Option<Form<Extensible<file::Build>>>,
) -> Result<ImageSource, Diagnostic> {
    let build = match (image, build) {
        (Some(image), None) => return Ok(ImageSource::Named(image)),
        (None, None) => {
            return Err(context
                .at(place, format!("service `{name}` has neither `image` nor `build`"))
                .hint("name an image, or a folder with a Dockerfile"));
        }
        // With both, Compose builds and calls the result by the image's name, which here is made up in any case.
        (_, Some(build)) => build,
    };
    let (folder, dockerfile, args, target) = match build {
        Form::Short(folder) => (folder, None, Vec::new(), None),
        Form::Long(Extensible(build)) => (
            build.context.unwrap_or_else(|| ".".to_owned()),
            build.dockerfile,
            build.args.0,
            build.target,
        ),
    };
    let folder = context.dir.join(folder);
    let dockerfile = dockerfile.unwrap_or_else(|| "Dockerfile".to_owned());
    if !folder.join(&dockerfile).is_file() {
        let wanted = folder.join(&dockerfile);
        return Err(context
            .at(
                place,
                format!(
                    "service `{name}` is built from {}, which is not there",
                    wanted.display()
                ),
            )
            .hint("`context` counts from the Compose file's folder, `dockerfile` from the context"));
    }
    let inherited = |name: &String| context.environment.get(name).cloned();
    Ok(ImageSource::Build(Build {
        context: folder,
        dockerfile,
        args: args
            .into_iter()
            .filter_map(|(name, value)| value.or_else(|| inherited(&name)).map(|value| (name, value)))
            .collect(),
        target,
    }))
}

fn environment(
    context: &Context<'_>,
    files: Vec<Form<file::EnvFile>>,
    own: Vec<(String, Option<String>)>,
) -> Result<BTreeMap<String, String>, Diagnostic> {
    let mut environment = BTreeMap::new();
    for file in files {
        let (path, required) = match file {
            Form::Short(path) => (path, true),
            Form::Long(file) => (file.path, file.required),
        };
        let path = context.dir.join(path);
        if required || path.exists() {
            environment.extend(dotenv::read(&path, context.environment)?);
        }
    }
    for (name, value) in own {
        // A name alone takes its value from where nightmail runs, and is not set if it is not set there.
        match value.or_else(|| context.environment.get(&name).cloned()) {
            Some(value) => environment.insert(name, value),
            None => environment.remove(&name),
        };
    }
    Ok(environment)
}

fn depends_on(
    context: &Context<'_>,
    own: &str,
    raw: Vec<(Spanned<String>, Option<Extensible<file::DependsOn>>)>,
) -> Result<BTreeMap<String, Condition>, Diagnostic> {
    let mut conditions = BTreeMap::new();
    for (service, settings) in raw {
        if !context.services.contains(&service.value) {
            return Err(context.unknown("service", &service.value, &service.referenced, &context.services));
        }
        if service.value == own {
            return Err(context.at(&service.referenced, format!("service `{own}` depends on itself")));
        }
        let condition = match settings.and_then(|Extensible(settings)| settings.condition) {
            None | Some(file::Condition::Started) => Condition::Started,
            Some(file::Condition::Healthy) => Condition::Healthy,
            Some(file::Condition::Completed) => Condition::Completed,
        };
        conditions.insert(service.value, condition);
    }
    Ok(conditions)
}

fn healthcheck(
    context: &Context<'_>,
    place: &Location,
    raw: file::Healthcheck,
) -> Result<Option<Healthcheck>, Diagnostic> {
    let Some(test) = raw.test else {
        return if raw.disable {
            Ok(None)
        } else {
            Err(context
                .at(place, "a health check without `test`")
                .hint("write for example `test: [CMD, program, argument]`, or `disable: true`"))
        };
    };
    let Command { words, line } = test.value;
    let test = match line {
        Some(line) => vec!["CMD-SHELL".to_owned(), line],
        None => match words.first().map(String::as_str) {
            Some("NONE") => return Ok(None),
            Some("CMD" | "CMD-SHELL") if words.len() > 1 => words,
            _ => {
                return Err(context
                    .at(&test.referenced, "a health check's test begins with how it is run")
                    .allowed("[CMD, program, ...], [CMD-SHELL, line], [NONE], or one line of text"));
            }
        },
    };
    if raw.disable {
        return Ok(None);
    }
    Ok(Some(Healthcheck {
        test,
        interval: raw.interval.map(|interval| interval.0),
        timeout: raw.timeout.map(|timeout| timeout.0),
        retries: raw.retries,
        start_period: raw.start_period.map(|period| period.0),
    }))
}

fn restart(context: &Context<'_>, raw: Option<Spanned<String>>) -> Result<Restart, Diagnostic> {
    let Some(Spanned { value, referenced, .. }) = raw else {
        return Ok(Restart::No);
    };
    Ok(match value.as_str() {
        "no" => Restart::No,
        "always" => Restart::Always,
        "unless-stopped" => Restart::UnlessStopped,
        "on-failure" => Restart::OnFailure(0),
        other => match other.strip_prefix("on-failure:").and_then(|times| times.parse().ok()) {
            Some(times) => Restart::OnFailure(times),
            None => {
                return Err(context
                    .at(&referenced, format!("unknown restart policy `{other}`"))
                    .allowed("no, always, unless-stopped, on-failure, on-failure:TIMES"));
            }
        },
    })
}

fn check_replicas(path: &Path, services: &BTreeMap<String, Service>) -> Result<(), Diagnostic> {
    let total: u32 = services.values().map(|service| service.replicas).sum();
    if total > REPLICAS_MAX {
        return Err(Diagnostic::in_file(
            path,
            format!("{total} replicas in all, at most {REPLICAS_MAX} are supported"),
        ));
    }
    Ok(())
}

/// Finds a service that waits for itself by way of others.
fn check_cycles(path: &Path, services: &BTreeMap<String, Service>) -> Result<(), Diagnostic> {
    let mut done: BTreeSet<&str> = BTreeSet::new();
    while done.len() < services.len() {
        let next: Vec<&str> = services
            .values()
            .filter(|service| !done.contains(service.name.as_str()))
            .filter(|service| service.depends_on.keys().all(|on| done.contains(on.as_str())))
            .map(|service| service.name.as_str())
            .collect();
        if next.is_empty() {
            let waiting = services.keys().map(String::as_str).filter(|name| !done.contains(name));
            return Err(Diagnostic::in_file(
                path,
                format!("these services depend on one another in a circle: {}", list(waiting)),
            ));
        }
        done.extend(next);
    }
    Ok(())
}

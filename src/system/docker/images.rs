//! Finding or making every image that a system needs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::future::{try_join, try_join_all};
use testcontainers::bollard::query_parameters::{BuildImageOptionsBuilder, CreateImageOptionsBuilder};

use super::{Client, build, context, labels};
use crate::event::{Event, Events};
use crate::system::cache;
use crate::system::compose::{self, Build, ComposeFile, ImageSource};
use crate::system::engine::EngineError;
use crate::system::image::{self, Image, ImageError, identity, own_binary};

/// A Compose file with all its images there.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) compose: ComposeFile,
    /// Reference of each service's image.
    pub(super) images: BTreeMap<String, String>,
    /// Reference of each image that has a name, by that.
    pub(super) named: BTreeMap<String, String>,
    /// Reference of the agent's image.
    pub(super) agent: String,
}

/// Finding out takes no longer than this without a word to the reader.
const QUIET: Duration = Duration::from_millis(700);

/// Reads a Compose file, and passes on what is to be known of it.
pub(super) fn read(path: &Path, events: &Events) -> Result<ComposeFile, EngineError> {
    let compose = compose::load(path).map_err(|error| EngineError::Compose(error.to_string()))?;
    for notice in &compose.notices {
        events.notice(notice.clone());
    }
    Ok(compose)
}

/// Makes, finds or pulls the images of a Compose file and those of these names beside them, those that do not build on each
/// other at the same time.
pub(super) async fn prepare(
    client: &Client,
    executable: &Path,
    compose: ComposeFile,
    others: &[String],
    events: &Events,
) -> Result<Prepared, EngineError> {
    let maker = Maker { client, events };
    let executable = executable.to_owned();
    let agent = maker.make("nightmail/agent", "packing this program".to_owned(), move || {
        own_binary::collect(&executable)
    });
    let (agent, named) = try_join(agent, maker.named(&compose, others)).await?;
    let builds = compose.services.iter().map(|(service, definition)| {
        let (maker, named, compose) = (&maker, &named, &compose);
        async move {
            let reference = match &definition.image {
                ImageSource::Named(name) => named[name].clone(),
                ImageSource::Build(build) => maker.dockerfile(compose, service, build, named).await?,
            };
            Ok::<_, EngineError>((service.clone(), reference))
        }
    });
    let images = try_join_all(builds).await?.into_iter().collect();
    Ok(Prepared {
        compose,
        images,
        named,
        agent,
    })
}

struct Maker<'a> {
    client: &'a Client,
    events: &'a Events,
}

impl Maker<'_> {
    /// Every image that is named anywhere: by a service, as a base of a Dockerfile, or among the others.
    async fn named(&self, compose: &ComposeFile, others: &[String]) -> Result<BTreeMap<String, String>, EngineError> {
        let mut names: BTreeSet<String> = compose.images().into_iter().map(str::to_owned).collect();
        names.extend(others.iter().cloned());
        for service in compose.services.values() {
            if let ImageSource::Build(build) = &service.image {
                let bases = context::bases(build).map_err(|error| failed(&service.name, error))?;
                // Docker itself finds the bases that are not ours.
                names.extend(bases.into_iter().filter(|base| compose.recipes.contains_key(base)));
            }
        }
        let made = names.into_iter().map(|name| async move {
            let reference = match compose.recipes.get(&name) {
                Some(recipe) => {
                    let (owned, dir) = (recipe.clone(), compose.dir.clone());
                    self.make(&name, recipe.step(), move || owned.collect(&dir)).await?
                }
                None => self.pull(&name).await?,
            };
            Ok::<_, EngineError>((name, reference))
        });
        Ok(try_join_all(made).await?.into_iter().collect())
    }

    /// Finds an image by its inputs, or makes it.
    async fn make(
        &self,
        name: &str,
        step: String,
        collect: impl FnOnce() -> Result<Image, ImageError> + Send + 'static,
    ) -> Result<String, EngineError> {
        let began = Instant::now();
        let mut collecting = tokio::task::spawn_blocking(move || {
            let image = collect()?;
            let digest = identity::digest(&image)?;
            Ok::<_, ImageError>((image, digest))
        });
        let mut announced = false;
        let collected = match tokio::time::timeout(QUIET, &mut collecting).await {
            Ok(collected) => collected,
            Err(_) => {
                announced = true;
                self.announce(name, &step);
                collecting.await
            }
        };
        let (image, digest) = collected
            .map_err(|error| failed(name, ImageError::new(error.to_string())))?
            .map_err(|error| failed(name, error))?;
        let reference = identity::reference(name, &digest);
        if self.exists(&reference).await? {
            self.ready(name, &reference, announced.then_some(began));
            return Ok(reference);
        }
        if !announced {
            self.announce(name, &step);
        }
        let _lock = self.build_lock(&reference).await?;
        // Another run may have made it while this one waited.
        if !self.exists(&reference).await? {
            build::build(self.client, name, &reference, image).await?;
        }
        self.ready(name, &reference, Some(began));
        Ok(reference)
    }

    /// Builds a stranger's Dockerfile.
    async fn dockerfile(
        &self,
        compose: &ComposeFile,
        service: &str,
        build: &Build,
        named: &BTreeMap<String, String>,
    ) -> Result<String, EngineError> {
        let began = Instant::now();
        let name = format!("nightmail/build-{}-{service}", compose.project());
        let (owned, resolved) = (build.clone(), named.clone());
        let context = tokio::task::spawn_blocking(move || context::collect(&owned, &resolved))
            .await
            .map_err(|error| failed(service, ImageError::new(error.to_string())))?
            .map_err(|error| failed(service, error))?;
        let reference = identity::reference(&name, &context.digest);
        if self.exists(&reference).await? {
            self.ready(&name, &reference, None);
            return Ok(reference);
        }
        self.announce(
            &name,
            &format!("building {}", build.context.join(&build.dockerfile).display()),
        );
        let _lock = self.build_lock(&reference).await?;
        if !self.exists(&reference).await? {
            let args = build.args.clone().into_iter().collect();
            let mut options = BuildImageOptionsBuilder::new()
                .dockerfile(image::context::DOCKERFILE)
                .buildargs(&args);
            if let Some(target) = &build.target {
                options = options.target(target);
            }
            build::submit(self.client, &name, &reference, options, context.archive).await?;
        }
        self.ready(&name, &reference, Some(began));
        Ok(reference)
    }

    /// Finds an image of a registry, or pulls it.
    async fn pull(&self, name: &str) -> Result<String, EngineError> {
        let is_tagged = name.contains('@') || name.rfind(':').is_some_and(|at| !name[at..].contains('/'));
        let reference = if is_tagged {
            name.to_owned()
        } else {
            format!("{name}:latest")
        };
        if self.exists(&reference).await? {
            self.ready(name, &reference, None);
            return Ok(reference);
        }
        let began = Instant::now();
        self.announce(name, "pulling");
        let options = CreateImageOptionsBuilder::new().from_image(&reference).build();
        let mut progress = self.client.create_image(Some(options), None, None);
        while let Some(step) = progress.next().await {
            let failure = match step {
                Ok(info) => info.error_detail.and_then(|detail| detail.message),
                Err(error) => Some(labels::words(&error)),
            };
            if let Some(reason) = failure {
                return Err(EngineError::Image {
                    image: name.to_owned(),
                    reason: format!(
                        "it is not on this machine and could not be pulled: {reason}\n  hint: pull or load it \
                         (`docker load`), or say under `x-nightmail: {{images: ...}}` how it is made"
                    ),
                    log: Vec::new(),
                });
            }
        }
        self.ready(name, &reference, Some(began));
        Ok(reference)
    }

    async fn exists(&self, reference: &str) -> Result<bool, EngineError> {
        match self.client.inspect_image(reference).await {
            Ok(_) => Ok(true),
            Err(error) if labels::status(&error) == Some(404) => Ok(false),
            Err(error) => Err(labels::refused(format!("looking for the image {reference}"))(error)),
        }
    }

    /// Runs at the same time do not build the same image twice.
    async fn build_lock(&self, reference: &str) -> Result<cache::Lock, EngineError> {
        let name = format!("image-{reference}");
        tokio::task::spawn_blocking(move || cache::lock(&name))
            .await
            .map_err(std::io::Error::other)
            .and_then(|lock| lock)
            .map_err(|error| failed(reference, ImageError::new(error.to_string())))
    }

    // An events file that cannot be written is found out by whoever owns it.
    fn announce(&self, name: &str, step: &str) {
        let _ = self.events.emit(Event::ImageStarted {
            image: name.to_owned(),
            step: step.to_owned(),
        });
    }

    fn ready(&self, name: &str, reference: &str, began: Option<Instant>) {
        let _ = self.events.emit(Event::ImageReady {
            image: name.to_owned(),
            reference: reference.to_owned(),
            took_ms: began.map_or(0, |began| began.elapsed().as_millis() as u64),
        });
    }
}

fn failed(image: &str, error: ImageError) -> EngineError {
    EngineError::Image {
        image: image.to_owned(),
        reason: error.reason,
        log: error.log,
    }
}

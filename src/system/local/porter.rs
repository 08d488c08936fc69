//! The porter (`nightmail porter`): makes images outside of the stage, where there is a way to the world (Cargo and
//! package managers fetch what they need), as the user that nightmail was started by.
//!
//! It ends when the harness does, and takes with it whatever it has started.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Instant;

use nix::sys::signal::{Signal, killpg};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Pid, dup, setsid};

use super::finish::Finisher;
use super::images::{Images, QUIET, Told, Unpacked, Wanted};
use crate::system::compose::{self, Build, ComposeFile, ImageSource};

use crate::system::image::dockerfile::Dockerfile;
use crate::system::image::store::Found;
use crate::system::image::{ImageError, Recipe, Store, Stored, identity};

/// Runs the porter until nobody asks any more.
pub fn main() -> ExitCode {
    // An image is what its inputs say, whatever new files of this user may be read by.
    umask(Mode::from_bits_truncate(0o022));
    // Whatever it starts is of its process group, and goes with it.
    let _ = setsid();
    let Ok(socket) = dup(std::io::stdin().as_fd()) else {
        return ExitCode::from(2);
    };
    let Ok(nightmail) = std::env::current_exe() else {
        return ExitCode::from(2);
    };
    let socket = UnixStream::from(socket);
    let (orders, ordered) = mpsc::channel();
    let Ok(listening) = socket.try_clone() else {
        return ExitCode::from(2);
    };
    std::thread::spawn(move || {
        for line in BufReader::new(listening).lines() {
            let Ok(line) = line else { break };
            if orders.send(line).is_err() {
                break;
            }
        }
        // The harness is gone, perhaps while something is being made for it.
        let _ = killpg(Pid::from_raw(0), Signal::SIGKILL);
    });
    let teller = Teller(Mutex::new(socket));
    for line in ordered {
        match serde_json::from_str::<Wanted>(&line) {
            Ok(wanted) => answer(&wanted, &nightmail, &teller),
            Err(error) => teller.tell(&Told::Invalid(error.to_string())),
        }
    }
    ExitCode::SUCCESS
}

/// Says what is to be known; from several threads.
struct Teller(Mutex<UnixStream>);

impl Teller {
    fn tell(&self, told: &Told) {
        let mut line = serde_json::to_vec(told).unwrap_or_default();
        line.push(b'\n');
        // Whoever has gone need not be told.
        let _ = self.0.lock().expect("no holder panics").write_all(&line);
    }
}

fn answer(wanted: &Wanted, nightmail: &Path, teller: &Teller) {
    let compose = match compose::load(&wanted.compose) {
        Ok(compose) => compose,
        Err(error) => return teller.tell(&Told::Invalid(error.to_string())),
    };
    for notice in &compose.notices {
        teller.tell(&Told::Notice(notice.clone()));
    }
    let made = Store::open().map_err(|error| (String::new(), error)).and_then(|store| {
        let maker = Maker {
            store,
            finisher: Finisher {
                nightmail: nightmail.to_owned(),
            },
            compose: &compose,
            others: &wanted.others,
            teller,
        };
        maker.all()
    });
    teller.tell(&match made {
        Ok(images) => Told::Done(images),
        Err((image, error)) => Told::Failed {
            image,
            reason: error.reason,
            log: error.log,
        },
    });
}

/// An image's name, and why it could not be made.
type Failed = (String, ImageError);

struct Maker<'a> {
    store: Store,
    finisher: Finisher,
    compose: &'a ComposeFile,
    others: &'a [String],
    teller: &'a Teller,
}

impl Maker<'_> {
    /// Every image of the Compose file, and the others.
    fn all(&self) -> Result<Images, Failed> {
        let named = self.named()?;
        let services = self.compose.services.iter();
        let images = services.map(|(service, definition)| {
            let stored = match &definition.image {
                ImageSource::Named(name) => named[name].clone(),
                ImageSource::Build(build) => self.built(service, build, &named)?,
            };
            Ok((service.clone(), stored.into()))
        });
        Ok(Images {
            services: images.collect::<Result<_, _>>()?,
            named: named.into_iter().map(|(name, stored)| (name, stored.into())).collect(),
        })
    }

    /// Images that services name, those of recipes that Dockerfiles build on, and the others, those that need not wait for each
    /// other at the same time.
    fn named(&self) -> Result<BTreeMap<String, Stored>, Failed> {
        let mut names: BTreeSet<String> = self.compose.images().into_iter().map(str::to_owned).collect();
        names.extend(self.others.iter().cloned());
        for (service, definition) in &self.compose.services {
            if let ImageSource::Build(build) = &definition.image {
                let file = Dockerfile::read(build).map_err(|error| (service.clone(), error))?;
                names.extend(
                    file.bases()
                        .into_iter()
                        .filter(|base| self.compose.recipes.contains_key(base)),
                );
            }
        }
        std::thread::scope(|scope| {
            let makers: Vec<_> = names
                .into_iter()
                .map(|name| scope.spawn(move || self.recipe(&name).map(|stored| (name.clone(), stored))))
                .collect();
            let made = makers.into_iter().map(|maker| {
                let defect = || (String::new(), ImageError::new("making an image panicked"));
                maker.join().unwrap_or_else(|_| Err(defect()))
            });
            made.collect()
        })
    }

    fn recipe(&self, name: &str) -> Result<Stored, Failed> {
        let failed = |error| (name.to_owned(), error);
        let recipe = self
            .compose
            .recipes
            .get(name)
            .ok_or_else(|| failed(of_a_registry(name)))?;
        let making = Making::begin(self.teller, name, recipe.step());
        let found = self.make_recipe(name, recipe, &making).map_err(failed)?;
        making.end(found).map_err(failed)
    }

    fn make_recipe(&self, name: &str, recipe: &Recipe, making: &Making<'_>) -> Result<Found, ImageError> {
        let image = making.quietly(|| recipe.collect(&self.compose.dir))?;
        let reference = identity::reference(name, &identity::digest(&image)?);
        let found = self.store.find(&reference)?;
        if found.stored.is_some() {
            return Ok(found);
        }
        making.announce();
        let made = self.store.make(name, &reference, &image, &self.finisher)?;
        // It may have been there, and not whole.
        let notice = found.notice.or(made.notice);
        Ok(Found { notice, ..made })
    }

    fn built(&self, service: &str, build: &Build, named: &BTreeMap<String, Stored>) -> Result<Stored, Failed> {
        let name = format!("nightmail/build-{}-{service}", self.compose.project());
        let failed = |error| (name.clone(), error);
        let path: PathBuf = build.context.join(&build.dockerfile);
        let making = Making::begin(self.teller, &name, format!("building {}", path.display()));
        let found = self.make_build(&name, build, named, &making).map_err(failed)?;
        making.end(found).map_err(failed)
    }

    fn make_build(
        &self,
        name: &str,
        build: &Build,
        named: &BTreeMap<String, Stored>,
        making: &Making<'_>,
    ) -> Result<Found, ImageError> {
        let file = Dockerfile::read(build)?;
        let ready = file.ready(name, named)?;
        let found = self.store.find(&ready.reference)?;
        if found.stored.is_some() {
            return Ok(found);
        }
        making.announce();
        ready.make(&self.store, &self.finisher)
    }
}

impl From<Stored> for Unpacked {
    fn from(stored: Stored) -> Self {
        let Stored { root, settings, .. } = stored;
        Self { root, settings }
    }
}

fn of_a_registry(name: &str) -> ImageError {
    ImageError::new(format!(
        "{name} is an image of a registry, which only Docker can pull\n  hint: use `--engine docker`, or say under \
         `x-nightmail: {{images: ...}}` how it is made"
    ))
}

/// An image that is being found or made, as the reader hears of it: nothing if it is found at once.
struct Making<'a> {
    teller: &'a Teller,
    image: String,
    step: String,
    began: Instant,
    announced: Mutex<bool>,
}

impl<'a> Making<'a> {
    fn begin(teller: &'a Teller, image: &str, step: String) -> Self {
        Self {
            teller,
            image: image.to_owned(),
            step,
            began: Instant::now(),
            announced: Mutex::new(false),
        }
    }

    /// Tells that it is being made, once.
    fn announce(&self) {
        let mut announced = self.announced.lock().expect("no holder panics");
        if !std::mem::replace(&mut *announced, true) {
            self.teller.tell(&Told::Started {
                image: self.image.clone(),
                step: self.step.clone(),
            });
        }
    }

    /// Does what may take long, and tells if it does.
    fn quietly<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let (done, waiting) = mpsc::channel::<()>();
            scope.spawn(move || {
                if waiting.recv_timeout(QUIET) == Err(RecvTimeoutError::Timeout) {
                    self.announce();
                }
            });
            let result = work();
            drop(done);
            result
        })
    }

    fn end(&self, found: Found) -> Result<Stored, ImageError> {
        if let Some(notice) = found.notice {
            self.teller.tell(&Told::Notice(notice));
        }
        let stored = found
            .stored
            .ok_or_else(|| ImageError::new("it was made and is not there"))?;
        let announced = *self.announced.lock().expect("no holder panics");
        self.teller.tell(&Told::Ready {
            image: self.image.clone(),
            reference: stored.reference.clone(),
            took_ms: if announced {
                self.began.elapsed().as_millis() as u64
            } else {
                0
            },
        });
        Ok(stored)
    }
}

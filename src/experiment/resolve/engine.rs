//! What an experiment asks of the engine that is to run it.

use super::Resolver;
use crate::diagnostic::{Diagnostic, list};
use crate::plan::{ToxiproxyHost, ToxiproxyPlan};
use crate::system::compose::{ImageSource, Service};
use crate::yaml::place::Place;

impl Resolver<'_> {
    /// Refuses what the engine cannot do.
    pub(super) fn within_engine(&mut self, toxiproxy: Option<&ToxiproxyPlan>) {
        let engine = self.capabilities.engine;
        let is_outside = toxiproxy.is_some_and(|toxiproxy| matches!(toxiproxy.host, ToxiproxyHost::Loopback(_)));
        if is_outside && !engine.reaches_loopback {
            let place = Place::root().key("links").key("toxiproxy");
            let message = format!(
                "the engine `{}` has a network of its own, from which no Toxiproxy of this machine can be reached",
                engine.name
            );
            let diagnostic = self.document.at_value(&place, message);
            self.found.push(
                diagnostic
                    .allowed("http://SERVICE:PORT of a service with one replica")
                    .hint("run it with `--engine docker`, or leave `links` out: agents carry links on every engine"),
            );
        }
        let beyond: Vec<Diagnostic> = [self.pulled(), self.granted()].concat();
        self.found.extend(beyond);
    }

    /// Images that only a registry has.
    fn pulled(&self) -> Vec<Diagnostic> {
        let (compose, engine) = (&self.system.compose, self.capabilities.engine);
        if engine.pulls_images {
            return Vec::new();
        }
        let images = compose.images().into_iter();
        images
            .filter(|name| !compose.recipes.contains_key(*name))
            .map(|name| {
                let from_it = |service: &&Service| service.image == ImageSource::Named(name.to_owned());
                let services = compose.services.values().filter(from_it);
                self.of_the_system(
                    format!(
                        "{} runs from `{name}`, an image of a registry, which the engine `{}` cannot pull",
                        list(services.map(|service| service.name.as_str())),
                        engine.name
                    ),
                    "run it with `--engine docker`, or say in the Compose file under `x-nightmail: {images: ...}` how the \
                     image is made",
                )
            })
            .collect()
    }

    /// Rights that would be none.
    fn granted(&self) -> Vec<Diagnostic> {
        let (compose, engine) = (&self.system.compose, self.capabilities.engine);
        if engine.grants_capabilities {
            return Vec::new();
        }
        let services = compose.services.values();
        services
            .filter(|service| !service.cap_add.is_empty())
            .map(|service| {
                self.of_the_system(
                    format!(
                        "{} is given {} by `cap_add`, which on the engine `{}` would reach no further than its own processes",
                        service.name,
                        service.cap_add.join(", "),
                        engine.name
                    ),
                    "run it with `--engine docker`, or leave `cap_add` out of the Compose file",
                )
            })
            .collect()
    }

    fn of_the_system(&self, message: String, hint: &str) -> Diagnostic {
        let place = Place::root().key("system");
        self.document.at_value(&place, message).hint(hint)
    }
}

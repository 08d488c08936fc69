//! Who carries the links: a Toxiproxy, and what can be asked of it.

use std::net::IpAddr;

use super::Resolver;
use crate::diagnostic::Diagnostic;
use crate::experiment::spec::Links;
use crate::plan::{PlannedFault, ProxyPlan, ReplicaId, Target, ToxiproxyHost, ToxiproxyPlan};
use crate::yaml::place::Place;

/// Toxiproxy's own.
const DEFAULT_PORT: u16 = 8474;

impl Resolver<'_> {
    /// The Toxiproxy that the experiment names, if it names one.
    pub(super) fn toxiproxy(&mut self) -> Option<ToxiproxyPlan> {
        let links = self.experiment.links.as_ref()?;
        let place = Place::root().key("links");
        let whereabouts = self.whereabouts(&place.key("toxiproxy"), &links.toxiproxy);
        let proxies = self.proxies(&place.key("proxies"), links);
        let (host, port) = whereabouts?;
        Some(ToxiproxyPlan { host, port, proxies })
    }

    fn whereabouts(&mut self, place: &Place, url: &str) -> Option<(ToxiproxyHost, u16)> {
        let found = parse(url).and_then(|(host, port)| Some((self.host(host)?, port)));
        if found.is_none() {
            let services: Vec<&str> = self.system.replicas.keys().map(String::as_str).collect();
            self.found.push(
                self.document
                    .at_value(place, format!("`{url}` is no Toxiproxy that can be measured"))
                    .allowed(format!(
                        "http://127.0.0.1:PORT, or http://SERVICE:PORT of a service with one replica ({})",
                        services.join(", ")
                    ))
                    .hint(
                        "what it does to a link is measured through it, so it must be on this machine or in the system",
                    ),
            );
        }
        found
    }

    fn host(&self, host: &str) -> Option<ToxiproxyHost> {
        if host == "localhost" {
            return Some(ToxiproxyHost::Loopback(IpAddr::from([127, 0, 0, 1])));
        }
        if let Ok(address) = host.trim_matches(['[', ']']).parse::<IpAddr>() {
            return address.is_loopback().then_some(ToxiproxyHost::Loopback(address));
        }
        (self.system.replicas.get(host) == Some(&1)).then(|| {
            ToxiproxyHost::Replica(ReplicaId {
                service: host.to_owned(),
                index: 1,
            })
        })
    }

    fn proxies(&mut self, place: &Place, links: &Links) -> Vec<ProxyPlan> {
        let known: Vec<String> = self.system.replicas.keys().cloned().collect();
        for (index, proxy) in links.proxies.iter().enumerate() {
            let place = place.index(index);
            for (key, service) in [("from", &proxy.from), ("to", &proxy.to)] {
                if !known.contains(service) {
                    let known = known.iter().map(String::as_str);
                    self.found
                        .push(self.document.unknown(&place.key(key), "service", service, known));
                }
            }
            let odd = |c: char| c.is_whitespace() || ['/', '?', '#', '%'].contains(&c);
            if proxy.proxy.is_empty() || proxy.proxy.contains(odd) {
                self.found.push(
                    self.document
                        .at_value(&place.key("proxy"), "this name cannot be part of an address")
                        .allowed("a name without white space, `/`, `?`, `#` and `%`")
                        .hint("rename the proxy in Toxiproxy"),
                );
            }
        }
        let proxy = |spec: &crate::experiment::spec::LinkProxy| ProxyPlan {
            proxy: spec.proxy.clone(),
            from: spec.from.clone(),
            to: spec.to.clone(),
        };
        links.proxies.iter().map(proxy).collect()
    }

    /// Refuses faults of links that the Toxiproxy lacks, or has no proxy for.
    pub(super) fn within_toxiproxy(&mut self, toxiproxy: Option<&ToxiproxyPlan>, faults: &[PlannedFault]) {
        let Some(toxiproxy) = toxiproxy else { return };
        for fault in faults {
            let behaviour = fault.fault.behaviour();
            let Some((from, to)) = behaviour.links() else {
                continue;
            };
            let step = Place::root().key("method").index(fault.id as usize).key("inject");
            let place = step.key(fault.fault.name());
            if let Some(problem) = behaviour.beyond_toxiproxy() {
                let at = if problem.path.is_empty() {
                    place.clone()
                } else {
                    place.below(&problem.path)
                };
                let diagnostic = self.document.at_key(&at, problem.message);
                self.found.push(diagnostic.hint(problem.hint));
                continue;
            }
            let missing = pairs(from, to).find(|(from, to)| toxiproxy.proxy(from, to).is_none());
            if let Some((from, to)) = missing {
                let diagnostic = self.no_proxy(&place, toxiproxy, from, to);
                self.found.push(diagnostic);
            }
        }
    }

    fn no_proxy(&self, place: &Place, toxiproxy: &ToxiproxyPlan, from: &str, to: &str) -> Diagnostic {
        let known: Vec<String> = toxiproxy
            .proxies
            .iter()
            .map(|proxy| format!("{} -> {}", proxy.from, proxy.to))
            .collect();
        self.document
            .at_key(
                place,
                format!("no proxy of `links` carries connections from {from} to {to}"),
            )
            .allowed(known.join(", "))
            .hint(format!(
                "add {{proxy: NAME, from: {from}, to: {to}}} to `links: {{proxies: ...}}`"
            ))
    }
}

/// The services of every pair that two groups may mean.
fn pairs<'a>(from: &'a [Target], to: &'a [Target]) -> impl Iterator<Item = (&'a str, &'a str)> {
    let services = |targets: &'a [Target]| {
        targets.iter().flat_map(|target| match target {
            Target::Replicas(ids) | Target::Role { members: ids, .. } => ids.iter().map(|id| id.service.as_str()),
        })
    };
    services(from).flat_map(move |one| services(to).map(move |other| (one, other)))
}

/// Host and port of `http://host:port`.
fn parse(url: &str) -> Option<(&str, u16)> {
    let authority = url.strip_prefix("http://")?.trim_end_matches('/');
    match authority.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && !port.ends_with(']') => Some((host, port.parse().ok()?)),
        _ if authority.is_empty() => None,
        _ => Some((authority, DEFAULT_PORT)),
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn an_address_is_a_host_and_a_port() {
        assert_eq!(parse("http://127.0.0.1:9000"), Some(("127.0.0.1", 9_000)));
        assert_eq!(parse("http://toxiproxy/"), Some(("toxiproxy", 8_474)));
        assert_eq!(parse("http://[::1]:9000"), Some(("[::1]", 9_000)));
        for wrong in [
            "https://127.0.0.1:9000",
            "127.0.0.1:9000",
            "http://",
            "http://a:b",
            "http://a:99999",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}

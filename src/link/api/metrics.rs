//! Counters, under Toxiproxy's names.

use std::fmt::Write;

use crate::link::chain::Direction;
use crate::link::proxies::Proxies;

/// In Prometheus' text format.
pub(super) fn written(proxies: &Proxies) -> String {
    let mut text = String::new();
    for (name, help, of) in [
        (
            "toxiproxy_proxy_received_bytes_total",
            "The total number of bytes received on a given proxy link in a given direction",
            (|(received, _sent)| received) as fn((u64, u64)) -> u64,
        ),
        (
            "toxiproxy_proxy_sent_bytes_total",
            "The total number of bytes sent on a given proxy link in a given direction",
            |(_received, sent)| sent,
        ),
    ] {
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} counter");
        for proxy in proxies.all() {
            let described = proxy.described();
            for (direction, label) in [(Direction::Upstream, "upstream"), (Direction::Downstream, "downstream")] {
                let _ = writeln!(
                    text,
                    "{name}{{direction=\"{label}\",listener={:?},proxy={:?},upstream={:?}}} {}",
                    described.listen,
                    proxy.name,
                    described.upstream,
                    of(proxy.link.traffic(direction).bytes())
                );
            }
        }
    }
    text
}

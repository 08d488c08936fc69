//! Faults on a stand-in for Toxiproxy.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::*;
use crate::control;
use crate::fault::FaultSpec;
use crate::fault::test_double::{Disobedience, FakeSystem, targets};
use crate::link::carrier::Carrier;
use crate::link::proxies::Proxies;
use crate::link::proxy::Reach;
use crate::plan::{ProxyPlan, ToxiproxyHost};

/// What stands in for Toxiproxy: nightmail's own links, which speak its interface. One proxy, `api`, leads nowhere.
async fn toxiproxy() -> (Arc<Proxies>, ToxiproxyPlan) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let proxies = Proxies::new(Carrier::here(), 1, Reach::Loopback);
    let added = proxies.add(
        "api".to_owned(),
        "127.0.0.1:0".to_owned(),
        "127.0.0.1:1".to_owned(),
        true,
    );
    added.await.unwrap();
    let served = proxies.clone();
    tokio::spawn(async move {
        let answer = move |asked| {
            let proxies = served.clone();
            async move { crate::link::api::answer(&proxies, &asked).await }
        };
        control::serve(&listener, answer).await;
    });
    let plan = ToxiproxyPlan {
        host: ToxiproxyHost::Loopback(address.ip()),
        port: address.port(),
        proxies: vec![ProxyPlan {
            proxy: "api".to_owned(),
            from: "api".to_owned(),
            to: "api".to_owned(),
        }],
    };
    (proxies, plan)
}

fn fault(key: &str, parameters: Value) -> FaultSpec<Target> {
    let mut parameters = parameters;
    parameters["from"] = json!(targets(&[1]));
    parameters["to"] = json!(targets(&[2]));
    serde_json::from_value(json!({ key: parameters })).unwrap()
}

fn context(system: &Arc<FakeSystem>, plan: &ToxiproxyPlan) -> FaultContext {
    FaultContext {
        toxiproxy: Some(plan.clone()),
        ..system.context()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_toxic_of_toxiproxys_is_seen_and_seen_healed() {
    let (proxies, plan) = toxiproxy().await;
    for (key, parameters) in [
        ("latency", json!({"latency": "50ms", "jitter": "10ms"})),
        ("bandwidth", json!({"rate": "100KB/s"})),
        ("slow-close", json!({"delay": "100ms"})),
        ("timeout", json!({"timeout": "50ms"})),
        ("reset-peer", json!({"timeout": "10ms"})),
        ("slicer", json!({"average-size": 50, "delay": "5ms"})),
        ("limit-data", json!({"bytes": 100})),
        ("link-down", json!({})),
    ] {
        let system = FakeSystem::without_agents(Disobedience::default());
        let context = context(&system, &plan);
        let fault = fault(key, parameters);
        assert_eq!(fault.behaviour().beyond_toxiproxy(), None, "{key}");
        let on = fault.behaviour().inject(&context).await.unwrap();
        assert!(on.confirmed, "{key}: {on:#?}");
        assert!(system.asked()[0].starts_with("call 7 "), "{key}: {:?}", system.asked());
        let off = fault.behaviour().heal(&context).await.unwrap();
        assert!(off.confirmed && !off.lapsed, "{key}: {off:#?}");
        assert!(system.asked().contains(&"disarm 7".to_owned()));
    }
    let left: Vec<String> = proxies.all().iter().map(|proxy| proxy.name.clone()).collect();
    assert_eq!(left, ["api"], "no twin is left behind");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_toxic_that_the_proxy_lost_is_not_confirmed_and_its_heal_says_so() {
    let (proxies, plan) = toxiproxy().await;
    let system = FakeSystem::without_agents(Disobedience::default());
    let context = context(&system, &plan);
    let fault = fault("latency", json!({"latency": "50ms"}));
    assert!(fault.behaviour().inject(&context).await.unwrap().confirmed);
    proxies.get("api").unwrap().link.clear().await;
    let off = fault.behaviour().heal(&context).await.unwrap();
    assert!(off.lapsed, "{off:#?}");

    // On a proxy that is disabled a toxic is accepted, and nothing is spoiled by it.
    proxies.get("api").unwrap().stop().await;
    let on = fault.behaviour().inject(&context).await.unwrap();
    assert!(!on.confirmed && on.evidence[0].contains("does not have it"), "{on:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_toxiproxy_that_is_not_there_or_has_no_such_proxy_says_so() {
    let (_proxies, mut plan) = toxiproxy().await;
    let system = FakeSystem::without_agents(Disobedience::default());
    plan.proxies[0].proxy = "absent".to_owned();
    let fault = fault("latency", json!({"latency": "50ms"}));
    let on = fault.behaviour().inject(&context(&system, &plan)).await.unwrap();
    assert!(!on.confirmed && on.evidence[0].contains("proxy not found"), "{on:#?}");
    plan.port = 1;
    let on = fault.behaviour().inject(&context(&system, &plan)).await.unwrap();
    assert!(!on.confirmed && on.evidence[0].contains("127.0.0.1:1"), "{on:#?}");
}

#[test]
fn what_toxiproxy_lacks_is_known() {
    for (key, parameters, path) in [
        ("blackhole", json!({}), ""),
        ("corrupt", json!({"probability": 0.1}), ""),
        ("stall", json!({"byte": 1}), ""),
        (
            "latency",
            json!({"latency": "50ms", "distribution": "normal"}),
            "distribution",
        ),
        ("reset-peer", json!({"per": "request"}), "per"),
    ] {
        let problem = fault(key, parameters).behaviour().beyond_toxiproxy();
        assert_eq!(problem.map(|problem| problem.path).as_deref(), Some(path), "{key}");
    }
}

//! What a plan keeps of its system's definition.

use super::*;

#[test]
fn requests_for_replicas_that_there_are_load_and_say_no_more_than_was_said() {
    let system = SystemUnderTest::load(&Path::new(FOLDER).join("good-systems/replicas.yaml")).unwrap();
    let json = serde_json::to_value(&system.definition).unwrap();
    assert_eq!(json["operations"]["stand"]["request"]["replica"], "{{ till }}");
    assert_eq!(json["setup"][2]["request"]["replica"], "1");
    assert_eq!(json["metrics"]["unsent"]["over-replicas"], "sum");
    assert_eq!(json["final-reads"]["journals"]["every-replica"], true);
    let read: crate::system::definition::SystemDefinition = serde_json::from_value(json.clone()).unwrap();
    assert_eq!(serde_json::to_value(&read).unwrap(), json);
    // Saved plans know none of these keys.
    let plan = load(&good("everything.yaml"), &seeded(1)).unwrap();
    let saved = serde_json::to_string(&plan.system).unwrap();
    for key in ["replica\":", "every-replica", "over-replicas", "replica-of"] {
        assert!(!saved.contains(key), "{key}");
    }
}

#[test]
fn heartbeats_and_queries_are_saved_where_there_are_any() {
    let system = SystemUnderTest::load(&Path::new(FOLDER).join("good-systems/databases.yaml")).unwrap();
    let json = serde_json::to_value(&system.definition).unwrap();
    assert_eq!(
        json["heartbeats"],
        serde_json::json!({"db": {"every": "20ms", "timeout": "1s"}})
    );
    assert_eq!(json["invariants"]["one-primary"]["one-writer"]["group"], "db");
    let metrics = &json["metrics"];
    assert_eq!(
        metrics["orders"]["sql"],
        serde_json::json!({
            "group": "db", "role": "primary", "query": "select count(*) from orders", "timeout": "2s",
        })
    );
    assert_eq!(metrics["replayed"]["sql"]["role"], "standby");
    assert_eq!(metrics["of-one"]["sql"]["role"]["member"], "db-b");
    assert!(metrics["orders"].get("request").is_none() && metrics["orders"].get("value").is_none());
    assert!(json["final-reads"]["orders"].get("items").is_none());
    let read: crate::system::definition::SystemDefinition = serde_json::from_value(json.clone()).unwrap();
    assert_eq!(serde_json::to_value(&read).unwrap(), json);
    // Plans saved before know nothing of them.
    let plan = load(&good("everything.yaml"), &seeded(1)).unwrap();
    let saved = serde_json::to_string(&plan.system).unwrap();
    assert!(!saved.contains("heartbeats") && !saved.contains("\"sql\""));
}

#[test]
fn a_metric_on_demand_is_in_the_plans_that_name_it() {
    let metrics = |name: &str| {
        let file = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("experiments/postage")
            .join(name);
        let plan = load(&file, &seeded(1)).unwrap();
        let on_demand = plan.system.metrics.iter().filter(|(_, metric)| metric.on_demand);
        let names: Vec<String> = on_demand.map(|(name, _)| name.clone()).collect();
        (names.join(" "), plan.system.metrics.len())
    };
    // One by an invariant, the other by a bound.
    let (named, all) = metrics("standby-falls-behind.yaml");
    assert_eq!(named, "newest-that-is-read read-at-the-standby");
    assert_eq!(metrics("baseline.yaml"), (String::new(), all - 2));
}

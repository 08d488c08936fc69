use std::path::Path;
use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::fault::rollback::Rollback;
use crate::fault::test_double::{Disobedience, FakeSystem, Redeployed, id, targets};
use crate::system::compose;
use crate::system::engine::RunningSystem;

fn deploy(settings: serde_json::Value) -> Deploy<Target> {
    let mut written = json!({"targets": [], "environment": {"RELEASE": "2"}});
    written
        .as_object_mut()
        .unwrap()
        .extend(settings.as_object().unwrap().clone());
    let read: Deploy<String> = serde_json::from_value(written).unwrap();
    Deploy {
        targets: targets(&[1, 2]),
        ..read
            .map_targets(&mut |_, _| Ok::<Target, ()>(targets(&[1])[0].clone()))
            .unwrap()
    }
}

fn obedient() -> Arc<FakeSystem> {
    FakeSystem::without_agents(Disobedience::default())
}

fn release() -> Release {
    deploy(json!({})).release().unwrap()
}

#[tokio::test]
async fn a_release_goes_to_one_after_the_other_and_comes_back() {
    let system = obedient();
    let context = system.context();
    let deploy = deploy(json!({}));
    let on = deploy.inject(&context).await.unwrap();
    assert!(on.confirmed && on.onset_us.is_some(), "{on:?}");
    assert_eq!(on.replicas, ["api-1", "api-2"]);
    assert!(
        on.evidence[0].starts_with("api-1: the first process of api-1 was gone after"),
        "{on:?}"
    );
    assert!(
        on.evidence[1].starts_with("api-1: process 1 runs RELEASE=2, ready"),
        "{on:?}"
    );
    assert_eq!(system.release(&id(2)), Some(release()));
    let off = deploy.heal(&context).await.unwrap();
    assert!(off.confirmed && !off.lapsed && off.onset_us.is_some(), "{off:?}");
    assert_eq!(system.release(&id(1)), Some(Release::default()));
    assert_eq!(
        system.asked(),
        [
            "redeploy api-1 RELEASE=2",
            "redeploy api-2 RELEASE=2",
            "redeploy api-1",
            "redeploy api-2"
        ]
    );
}

#[tokio::test]
async fn what_was_deployed_over_another_release_goes_back_to_that() {
    let system = obedient();
    let first = deploy(json!({"environment": {"RELEASE": "1.5"}, "stays": true}));
    let context = system.context();
    assert!(first.inject(&context).await.unwrap().confirmed);
    assert!(first.heal(&context).await.unwrap().confirmed);
    let (second, context) = (deploy(json!({})), system.context());
    assert!(second.inject(&context).await.unwrap().confirmed);
    assert!(second.heal(&context).await.unwrap().confirmed);
    assert_eq!(system.release(&id(2)), first.release());
}

#[tokio::test]
async fn a_rollout_stops_at_the_first_that_does_not_become_what_it_should() {
    for (redeployed, because) in [
        (Redeployed::KeepsOld, "api-1: the first process of api-1 still runs"),
        (Redeployed::WithOldEnvironment, "has another RELEASE in its environment"),
    ] {
        let system = obedient();
        system.redeployed(&id(1), redeployed);
        let context = system.context();
        let on = deploy(json!({})).inject(&context).await.unwrap();
        assert!(!on.confirmed && on.onset_us.is_none(), "{on:?}");
        assert!(on.evidence.iter().any(|line| line.contains(because)), "{on:?}");
        assert!(
            on.evidence.iter().any(|line| line.contains("api-2: left as it was")),
            "{on:?}"
        );
        assert_eq!(system.asked(), ["redeploy api-1 RELEASE=2"]);
        system.redeployed(&id(1), Redeployed::Obeys);
        let off = deploy(json!({})).heal(&context).await.unwrap();
        assert_eq!(off.replicas, ["api-1"], "nobody else was touched");
        assert!(off.confirmed, "{off:?}");
    }
}

#[tokio::test]
async fn one_that_never_gets_ready_is_not_confirmed_on_or_off() {
    let system = FakeSystem::without_agents(Disobedience {
        never_ready: true,
        ..Disobedience::default()
    });
    let context = system.context();
    for order in ["one-at-a-time", "all-at-once"] {
        let deploy = deploy(json!({"order": order}));
        let on = deploy.inject(&context).await.unwrap();
        assert!(!on.confirmed, "{on:?}");
        assert!(on.evidence.iter().any(|line| line.contains("is not ready")), "{on:?}");
        let off = deploy.heal(&context).await.unwrap();
        assert!(!off.confirmed, "{off:?}");
        assert_eq!(system.release(&id(1)), Some(Release::default()));
    }
}

#[tokio::test]
async fn whoever_does_not_wait_replaces_all_and_looks_afterwards() {
    let system = FakeSystem::without_agents(Disobedience {
        never_ready: true,
        ..Disobedience::default()
    });
    let context = system.context();
    let careless = deploy(json!({"wait-ready": false}));
    assert!(!careless.inject(&context).await.unwrap().confirmed);
    assert_eq!(system.asked(), ["redeploy api-1 RELEASE=2", "redeploy api-2 RELEASE=2"]);
    let system = obedient();
    assert!(careless.inject(&system.context()).await.unwrap().confirmed);
}

#[tokio::test]
async fn a_process_whose_environment_cannot_be_seen_counts_as_it_was_started() {
    let system = obedient();
    system.redeployed(&id(2), Redeployed::Unseen);
    let on = deploy(json!({})).inject(&system.context()).await.unwrap();
    assert!(on.confirmed, "{on:?}");
    assert!(on.evidence[3].contains("its environment cannot be seen"), "{on:?}");
}

#[tokio::test]
async fn an_engine_that_fails_is_an_error_and_the_rollback_still_acts() {
    let system = obedient();
    system.redeployed(&id(1), Redeployed::Fails);
    let context = system.context();
    let deploy = deploy(json!({}));
    assert!(deploy.inject(&context).await.is_err());
    assert_eq!(system.release(&id(1)), None);
    system.redeployed(&id(1), Redeployed::Obeys);
    let off = deploy.heal(&context).await.unwrap();
    assert!(off.confirmed, "{off:?}");
    assert_eq!(system.release(&id(1)), Some(Release::default()));
}

#[tokio::test]
async fn one_that_cannot_be_rolled_back_does_not_keep_the_others_from_it() {
    let system = obedient();
    let context = system.context();
    let deploy = deploy(json!({}));
    deploy.inject(&context).await.unwrap();
    system.redeployed(&id(1), Redeployed::Fails);
    assert!(deploy.heal(&context).await.is_err());
    assert_eq!(system.release(&id(2)), Some(Release::default()));
}

#[tokio::test]
async fn what_was_rolled_back_before_the_heal_did_not_last() {
    let system = obedient();
    let context = system.context();
    let deploy = deploy(json!({}));
    deploy.inject(&context).await.unwrap();
    let rollback = Rollback {
        targets: targets(&[1]),
        order: Order::default(),
        pause: DurationMs(0),
        wait_ready: true,
    };
    let other = system.context();
    assert!(rollback.inject(&other).await.unwrap().confirmed);
    assert!(rollback.heal(&other).await.unwrap().confirmed);
    let off = deploy.heal(&context).await.unwrap();
    assert!(off.confirmed && off.lapsed, "{off:?}");
    assert!(
        off.evidence[0].contains("ran another release before the heal"),
        "{off:?}"
    );
}

#[tokio::test]
async fn what_stays_is_not_undone_and_is_looked_at() {
    let system = obedient();
    let context = system.context();
    let deploy = deploy(json!({"stays": true}));
    assert!(!deploy.is_undone());
    deploy.inject(&context).await.unwrap();
    let off = deploy.heal(&context).await.unwrap();
    assert!(off.confirmed, "{off:?}");
    assert!(
        off.evidence[0].contains("nothing is undone; process 1 runs RELEASE=2, and is ready"),
        "{off:?}"
    );
    assert_eq!(system.release(&id(1)), deploy.release());
    system.redeploy(&id(1), &Release::default()).await.unwrap();
    let off = deploy.heal(&context).await.unwrap();
    assert!(
        !off.confirmed && off.evidence[0].contains("runs another release"),
        "{off:?}"
    );
}

#[tokio::test]
async fn what_stays_may_be_too_busy_to_be_ready() {
    let system = obedient();
    let context = system.context();
    let deploy = deploy(json!({"stays": true}));
    deploy.inject(&context).await.unwrap();
    system.busy();
    let off = deploy.heal(&context).await.unwrap();
    assert!(off.confirmed, "{off:?}");
    assert!(off.evidence[0].ends_with("though it is not ready"), "{off:?}");
}

#[tokio::test]
async fn a_release_that_runs_already_proves_nothing() {
    let system = obedient();
    let rollback = Rollback {
        targets: targets(&[1]),
        order: Order::default(),
        pause: DurationMs(0),
        wait_ready: true,
    };
    let on = rollback.inject(&system.context()).await.unwrap();
    assert!(!on.confirmed, "{on:?}");
    assert!(
        on.evidence[0].contains("ran what the Compose file says before"),
        "{on:?}"
    );
    assert!(system.asked().is_empty());
    assert!(rollback.heal(&system.context()).await.unwrap().confirmed);
}

#[test]
fn a_release_must_change_something_that_can_be_changed() {
    let nothing = deploy(json!({"environment": {}}));
    assert_eq!(nothing.problems()[0].path, "environment");
    assert_eq!(deploy(json!({"command": []})).problems()[0].path, "command");
    assert_eq!(
        deploy(json!({"environment": {"A=B": "1"}})).problems()[0].path,
        "environment.A=B"
    );
    let at_once = deploy(json!({"order": "all-at-once", "pause": "1s", "wait-ready": false}));
    let paths: Vec<String> = at_once.problems().into_iter().map(|problem| problem.path).collect();
    assert_eq!(paths, ["pause", "wait-ready"]);
    assert_eq!(deploy(json!({})).problems(), []);
    assert_eq!(deploy(json!({"environment": {}, "image": "shop:2"})).problems(), []);
}

#[test]
fn images_are_the_compose_files_and_databases_keep_their_data() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/postage/compose.yaml");
    let compose = compose::load(&path).unwrap();
    let definition: SystemDefinition = serde_json::from_value(json!({
        "name": "postage", "title": "Postage", "operations": {},
        "groups": {"database": {"services": ["database-1"], "roles": {"postgres": {
            "port": 5432, "user": "postgres", "password": null, "database": "postgres",
        }}}},
    }))
    .unwrap();
    let of = |service: &str, image: Option<&str>| {
        let id = ReplicaId {
            service: service.to_owned(),
            index: 1,
        };
        let deploy = Deploy {
            targets: vec![Target::Replicas(vec![id])],
            image: image.map(str::to_owned),
            ..deploy(json!({}))
        };
        deploy.problems_in(&definition, &compose)
    };
    assert_eq!(of("postage-api", Some("nightmail/replicas")), []);
    let unknown = of("postage-api", Some("nightmail/replica"));
    assert!(
        unknown[0].hint.contains("nightmail/postgres:15, nightmail/replicas"),
        "{unknown:?}"
    );
    let forgetful = of("database-1", None);
    assert!(forgetful[0].message.contains("would lose its data"), "{forgetful:?}");
}

//! Replicas that are given another release: what changes, what stays, and what is left of the one before.

use nightmail::plan::ReplicaId;
use nightmail::system::engine::{ProcessState, Release, RunningSystem, SystemRequest};

use crate::support::{
    Under, WITHIN, address, ask, asked, down, events, eventually, log, replica, request_with, times_logged, until,
    until_logged,
};

on_both_engines!(
    another_release_takes_a_replicas_place_and_the_first_comes_back,
    another_image_and_command_take_their_place_too,
    a_release_that_does_not_start_is_replaced_again,
);

const COMPOSE: &str = "
services:
  app:
    image: probe
    command: serve
    user: root
    restart: always
    stop_grace_period: 1s
    environment: {COLOUR: red, SIZE: small}
    volumes: [data:/data, /own]
  peer: {image: probe, command: serve}
volumes: {data: }
";

/// A request for that system, which also has the image `other`.
fn with_another_image(name: &str) -> SystemRequest {
    let other = "    other: {cargo-binary: {package: probe, binary: probe, path: /other}}\n";
    let mut request = request_with(name, COMPOSE, other, &["app", "peer"]);
    request.images = vec!["other".to_owned()];
    request
}

fn coloured(colour: &str) -> Release {
    Release {
        environment: [("COLOUR".to_owned(), colour.to_owned())].into(),
        ..Release::default()
    }
}

async fn answers(system: &dyn RunningSystem) {
    let at = address(system, "app");
    eventually("it answers at its address", WITHIN, || ask(at, "/").is_ok()).await;
}

async fn another_release_takes_a_replicas_place_and_the_first_comes_back(engine: Under) {
    let request = with_another_image("release");
    let system = engine.up(&request, &events()).await.unwrap();
    let id = replica("app", 1);
    let first = system.running(&id).await.unwrap().expect("it runs");
    assert_eq!(first.release, Release::default());
    for path in ["/put/mark", "/put/data/kept", "/put/own/mark"] {
        assert_eq!(asked(&*system, "app", path), "written");
    }
    system.redeploy(&id, &coloured("blue")).await.unwrap();
    answers(&*system).await;
    let second = system.running(&id).await.unwrap().expect("it runs");
    assert_ne!(second.process, first.process);
    assert_eq!(second.release, coloured("blue"));
    let environment = second.environment.expect("it runs on this machine");
    assert_eq!(environment["COLOUR"], "blue");
    has_kept_what_it_should(&*system);
    lives_as_the_first_did(&*system, &id).await;
    system.pause(&id).await.unwrap();
    system.redeploy(&id, &Release::default()).await.unwrap();
    answers(&*system).await;
    assert_eq!(asked(&*system, "app", "/env/COLOUR"), "red");
    until_logged(&request, "app-1", "listening as app-1", 5).await;
    down(&engine, &*system, &request).await;
    let starts = times_logged(&request, "app-1", "listening as app-1");
    let log = log(&request, "app-1");
    assert_eq!(starts, 5, "every life is in the log, once:\n{log}");
    assert!(log.contains("asked for /put/mark\n"), "{log}");
}

fn has_kept_what_it_should(system: &dyn RunningSystem) {
    let asked = |path: &str| asked(system, "app", path);
    assert_eq!(asked("/env/COLOUR"), "blue");
    assert_eq!(asked("/env/SIZE"), "small", "what is not said stays");
    assert!(asked("/list/data").contains("kept"), "a volume stays");
    assert!(!asked("/list/").contains("mark"), "files of its own do not");
    assert!(!asked("/list/own").contains("mark"), "nor do nameless volumes");
    let fetched = crate::support::asked(system, "peer", "/fetch/app");
    assert!(fetched.contains("200 OK"), "its name leads to it");
}

/// All that could be done to the first can be done to the second.
async fn lives_as_the_first_did(system: &dyn RunningSystem, id: &ReplicaId) {
    let at = address(system, "app");
    let _ = ask(at, "/exit");
    eventually("its restart policy brings it back", WITHIN, || ask(at, "/").is_ok()).await;
    system.kill(id).await.unwrap();
    until(system, id, ProcessState::Exited).await;
    assert_eq!(system.running(id).await.unwrap(), None);
    system.start(id).await.unwrap();
    answers(system).await;
    assert_eq!(asked(system, "app", "/env/COLOUR"), "blue");
}

async fn another_image_and_command_take_their_place_too(engine: Under) {
    let request = with_another_image("release-image");
    let system = engine.up(&request, &events()).await.unwrap();
    let id = replica("app", 1);
    assert_eq!(asked(&*system, "app", "/link/proc/self/exe"), "/probe");
    let other = Release {
        image: Some("other".to_owned()),
        command: Some(vec!["serve-until-asked".to_owned()]),
        ..Release::default()
    };
    system.redeploy(&id, &other).await.unwrap();
    answers(&*system).await;
    assert_eq!(asked(&*system, "app", "/link/proc/self/exe"), "/other");
    assert!(asked(&*system, "app", "/read/proc/self/cmdline").contains("serve-until-asked"));
    let unknown = Release {
        image: Some("unheard-of".to_owned()),
        ..Release::default()
    };
    let error = system.redeploy(&id, &unknown).await.unwrap_err().to_string();
    assert!(error.contains("the image unheard-of was not made"), "{error}");
    system.redeploy(&id, &Release::default()).await.unwrap();
    answers(&*system).await;
    assert_eq!(asked(&*system, "app", "/link/proc/self/exe"), "/probe");
    down(&engine, &*system, &request).await;
}

async fn a_release_that_does_not_start_is_replaced_again(engine: Under) {
    let request = with_another_image("release-ill");
    let system = engine.up(&request, &events()).await.unwrap();
    let id = replica("app", 1);
    let ill = Release {
        command: Some(vec!["fail".to_owned()]),
        ..coloured("grey")
    };
    // It may say so, or leave it to whoever looks.
    let _ = system.redeploy(&id, &ill).await;
    assert!(!system.is_ready(&id).await.unwrap());
    system.redeploy(&id, &Release::default()).await.unwrap();
    answers(&*system).await;
    assert_eq!(asked(&*system, "app", "/env/COLOUR"), "red");
    down(&engine, &*system, &request).await;
    assert!(log(&request, "app-1").contains("last words"), "of the ill one too");
}

//! The engines: what they start, what they leave, and what they do to replicas, on real Docker and without it.
//!
//! Everything here is labelled with a run id of its own, bounded, and removed by the code under test. Tests of the engine
//! without Docker run once more on a stage, each alone.

#[macro_use]
mod support;

mod clock;
mod database;
mod death;
mod disk_full;
mod failover;
mod faults;
mod lifecycle;
mod lives;
mod promotion;
mod releases;
mod replicas;
#[path = "../ways/mod.rs"]
mod ways;

use nightmail::system::engine::{Engine, EngineError};
use support::{Under, ask, engine, events, left_of, replica, request};

on_both_engines!(
    a_system_comes_up_as_its_compose_file_says_and_leaves_nothing,
    two_runs_at_once_do_not_meet,
    a_container_that_dies_at_its_start_gives_its_last_words_and_leaves_nothing,
    jobs_and_health_checks_are_waited_for,
    a_compose_key_that_is_not_supported_stops_everything_before_it_starts,
    an_image_that_cannot_be_had_says_what_to_do,
);

const TWO: &str = "
services:
  front:
    image: probe
    command: [serve]
    environment: {COLOUR: red, DB_PASSWORD: hunter2hunter2}
    depends_on: [back]
    ports: [\"8080:8080\"]
  back:
    image: probe
    command: serve
    cap_drop: [ALL]
    deploy: {replicas: 2}
    networks: {default: {aliases: [stock]}}
    tmpfs: /scratch:mode=1777
    volumes: [data:/data]
volumes: {data: }
";

async fn a_system_comes_up_as_its_compose_file_says_and_leaves_nothing(engine: Under) {
    let mut request = request("whole", TWO, &["front", "back"]);
    request
        .environment
        .entry("front".to_owned())
        .or_default()
        .insert("COLOUR".to_owned(), "blue".to_owned());
    let system = engine.up(&request, &events()).await.unwrap();
    let ids: Vec<String> = system.replicas().iter().map(|replica| replica.id.to_string()).collect();
    assert_eq!(ids, ["back-1", "back-2", "front-1"]);
    let address = |id| system.replica(&id).unwrap().address;
    let front = address(replica("front", 1));
    assert_eq!(
        ask(front, "/env/COLOUR").unwrap(),
        "blue",
        "the run's environment wins over the file's"
    );
    let mut both: Vec<String> = ask(front, "/resolve/back")
        .unwrap()
        .split_whitespace()
        .map(str::to_owned)
        .collect();
    both.sort();
    let mut expected = [address(replica("back", 1)), address(replica("back", 2))].map(|address| address.to_string());
    expected.sort();
    assert_eq!(both, expected, "a service's name leads to all of its replicas");
    assert_eq!(
        ask(front, "/resolve/back-2").unwrap(),
        address(replica("back", 2)).to_string()
    );
    let aliased = ask(front, "/resolve/stock").unwrap();
    assert_eq!(aliased.split_whitespace().count(), 2, "{aliased}");
    assert!(
        ask(front, "/fetch/back-1").unwrap().contains("200 OK"),
        "replicas reach each other"
    );

    let back = address(replica("back", 1));
    let status = ask(back, "/status").unwrap();
    for expected in ["Uid:\t999", "CapEff:\t0000000000000000", "NoNewPrivs:\t1"] {
        assert!(status.contains(expected), "{expected} is missing from\n{status}");
    }
    assert_eq!(ask(back, "/write/scratch").unwrap(), "written");

    assert_eq!(system.down().await, Vec::<String>::new());
    assert_eq!(engine.left_of(&request.run_id), Vec::<String>::new());
    let log = std::fs::read_to_string(request.logs_dir.join("front-1.log")).unwrap();
    assert!(log.starts_with("listening as front-1\n"), "{log}");
    assert!(log.contains("asked for /env/COLOUR\n"), "{log}");
}

async fn two_runs_at_once_do_not_meet(engine: Under) {
    let (first, second) = (
        request("twins", TWO, &["front", "back"]),
        request("twins", TWO, &["front", "back"]),
    );
    let none = events();
    let (one, other) = tokio::join!(engine.up(&first, &none), engine.up(&second, &none));
    let (one, other) = (one.unwrap(), other.unwrap());
    let subnet =
        |system: &dyn nightmail::system::engine::RunningSystem| system.replicas()[0].address.octets()[..3].to_vec();
    assert_ne!(subnet(&*one), subnet(&*other));
    let front = one.replica(&replica("front", 1)).unwrap().address;
    let found = ask(front, "/resolve/back").unwrap();
    assert_eq!(
        found.split_whitespace().count(),
        2,
        "only the run's own replicas are found: {found}"
    );
    assert_eq!(other.down().await, Vec::<String>::new());
    assert_eq!(engine.left_of(&second.run_id), Vec::<String>::new());
    assert_eq!(ask(front, "/").unwrap(), "ok", "the other run goes on");
    assert_eq!(one.down().await, Vec::<String>::new());
    assert_eq!(engine.left_of(&first.run_id), Vec::<String>::new());
}

async fn a_container_that_dies_at_its_start_gives_its_last_words_and_leaves_nothing(engine: Under) {
    let compose = "
services:
  well: {image: probe, command: serve}
  ill: {image: probe, command: fail, environment: {DB_PASSWORD: hunter2hunter2}}
  later: {image: probe, command: serve, depends_on: {ill: {condition: service_healthy}}}
";
    let request = request("ill", compose, &["well", "ill", "later"]);
    let Err(error) = engine.up(&request, &events()).await else {
        panic!("it came up");
    };
    let EngineError::NotReady { replica, reason, log } = &error else {
        panic!("{error}")
    };
    assert_eq!(replica, "ill-1");
    assert_eq!(reason, "ended with exit code 3 before it was ready");
    // The two streams reach Docker apart.
    let mut log = log.clone();
    log.sort();
    assert_eq!(log, ["first words", "last words: password is ***"]);
    assert_eq!(engine.left_of(&request.run_id), Vec::<String>::new());
}

async fn jobs_and_health_checks_are_waited_for(engine: Under) {
    let compose = "
services:
  migration: {image: probe, command: job}
  app:
    image: probe
    command: serve
    depends_on: {migration: {condition: service_completed_successfully}}
    healthcheck: {test: [CMD, /probe, job], interval: 100ms}
  client: {image: probe, command: serve, depends_on: {app: {condition: service_healthy}}}
";
    let request = request("jobs", compose, &["client"]);
    let system = engine.up(&request, &events()).await.unwrap();
    assert!(system.is_ready(&replica("app", 1)).await.unwrap());
    assert_eq!(system.down().await, Vec::<String>::new());
    assert_eq!(engine.left_of(&request.run_id), Vec::<String>::new());
}

async fn a_compose_key_that_is_not_supported_stops_everything_before_it_starts(engine: Under) {
    let request = request(
        "unsupported",
        "services:\n  a:\n    image: probe\n    privileged: true\n",
        &[],
    );
    let error = engine.prepare(&request, &events()).await.unwrap_err().to_string();
    assert!(error.contains("`privileged` is not supported"), "{error}");
    assert!(error.contains("compose.yaml:4:5"), "{error}");
    assert_eq!(engine.left_of(&request.run_id), Vec::<String>::new());
}

async fn an_image_that_cannot_be_had_says_what_to_do(engine: Under) {
    let request = request(
        "absent",
        "services:\n  a: {image: \"localhost:1/no/such:image\"}\n",
        &[],
    );
    let error = engine
        .up(&request, &events())
        .await
        .err()
        .expect("there is no such image")
        .to_string();
    assert!(
        error.contains("localhost:1/no/such:image") && error.contains("x-nightmail"),
        "{error}"
    );
    assert_eq!(engine.left_of(&request.run_id), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strangers_dockerfile_on_a_base_that_only_nightmail_makes() {
    let compose = "services:\n  app: {build: app}\n";
    let mut request = request("stranger", compose, &["app"]);
    let path = request.dir.join("compose.yaml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(
        &path,
        format!("{text}    base: {{host-programs: {{programs: [sh, cat]}}}}\n"),
    )
    .unwrap();
    let app = request.dir.join("app");
    std::fs::create_dir_all(&app).unwrap();
    let dockerfile = "FROM probe AS probe\nFROM base\nCOPY --from=probe /probe /probe\nCOPY colour /colour\n\
                      RUN cat /colour > /seen\nCMD [\"sh\", \"-c\", \"COLOUR=$(cat /seen) exec /probe serve\"]\n";
    std::fs::write(app.join("Dockerfile"), dockerfile).unwrap();
    std::fs::write(app.join("colour"), "green").unwrap();
    let system = engine().await.up(&request, &events()).await.unwrap();
    let address = system.replicas()[0].address;
    assert_eq!(ask(address, "/env/COLOUR").unwrap(), "green");
    assert_eq!(system.down().await, Vec::<String>::new());

    // A changed file makes another image.
    std::fs::write(app.join("colour"), "yellow").unwrap();
    request.run_id = support::run_id("stranger");
    let system = engine().await.up(&request, &events()).await.unwrap();
    assert_eq!(ask(system.replicas()[0].address, "/env/COLOUR").unwrap(), "yellow");
    assert_eq!(system.down().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_says_what_it_found_and_what_to_do() {
    let checks = nightmail::system::docker::doctor().await;
    let check = |name: &str| {
        checks
            .iter()
            .find(|check| check.name == name)
            .unwrap_or_else(|| panic!("{checks:?}"))
    };
    for name in ["Docker", "network with fixed addresses"] {
        assert!(check(name).ok, "{:?}", check(name));
    }
    assert!(
        check("network with fixed addresses").detail.contains("gateway 10."),
        "{checks:?}"
    );
    for check in &checks {
        assert_eq!(check.ok, check.hint.is_none(), "{check:?}");
        assert!(!check.detail.is_empty(), "{check:?}");
    }
    assert_eq!(left_of(&format!("doctor-{}", std::process::id())), Vec::<String>::new());
}

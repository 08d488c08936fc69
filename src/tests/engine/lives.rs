//! What becomes of a replica over its lives: who reaps and who gets signals, when it is ready, what brings it back, and what
//! keeps it down. The same on both engines.

use std::time::{Duration, Instant};

use nightmail::system::engine::{ProcessState, RunningSystem};
use serde_json::json;

use crate::support::{
    Under, WITHIN, address, ask, asked, down, events, eventually, field_of, log, replica, request, status, until,
    until_logged,
};

on_both_engines!(
    an_init_reaps_and_nobody_else_does,
    signals_reach_a_program_below_an_init,
    a_health_check_decides_where_nothing_else_says_what_ready_means,
    a_line_of_the_log_makes_a_replica_ready_again_in_each_of_its_lives,
    restart_policies_count_and_look_at_the_exit_code,
    a_frozen_replica_can_be_stopped_and_started,
    a_kill_that_meets_a_restart_wins,
    a_program_that_is_not_there_is_named,
);

/// The states of all processes that a replica can see, by their ids.
fn states(system: &dyn RunningSystem, service: &str) -> Vec<(u32, String)> {
    let listed = asked(system, service, "/list/proc");
    let pids = listed.split(' ').filter_map(|name| name.parse().ok());
    // One that was there when they were listed may be gone by now.
    pids.filter_map(|pid: u32| {
        let status = asked(system, service, &format!("/read/proc/{pid}/status"));
        let is_there = status.contains("State:");
        is_there.then(|| (pid, field_of(&status, "State")[..1].to_owned()))
    })
    .collect()
}

async fn an_init_reaps_and_nobody_else_does(engine: Under) {
    let compose = "
services:
  tended: {image: probe, command: serve, init: true}
  alone: {image: probe, command: serve}
";
    let request = request("init", compose, &["tended", "alone"]);
    let system = engine.up(&request, &events()).await.unwrap();
    for service in ["tended", "alone"] {
        assert_eq!(asked(&*system, service, "/orphan"), "exit status: 0", "{service}");
    }
    let zombies = |service: &str| {
        states(&*system, service)
            .iter()
            .filter(|(_, state)| state == "Z")
            .count()
    };
    eventually("the orphan of the one without an init has ended", WITHIN, || {
        zombies("alone") == 1
    })
    .await;
    eventually("the other was reaped", WITHIN, || states(&*system, "tended").len() == 2).await;
    assert_eq!(zombies("tended"), 0);
    assert_eq!(status(&*system, "alone", "Pid"), "1");
    assert_ne!(status(&*system, "tended", "Pid"), "1");
    // The init is no way to rights that the program has not.
    let init = asked(&*system, "tended", "/read/proc/1/status");
    assert_eq!(field_of(&init, "Uid"), "999 999 999 999");
    assert_eq!(field_of(&init, "CapEff"), "0000000000000000");
    assert_eq!(field_of(&init, "NoNewPrivs"), "1");
    down(&engine, &*system, &request).await;
}

async fn signals_reach_a_program_below_an_init(engine: Under) {
    let compose = "
services:
  polite: {image: probe, command: serve-until-asked, init: true, stop_signal: SIGINT, stop_grace_period: 90s}
  plain: {image: probe, command: serve, init: true, restart: on-failure, stop_grace_period: 90s}
";
    let request = request("init-signals", compose, &["polite", "plain"]);
    let system = engine.up(&request, &events()).await.unwrap();
    for service in ["polite", "plain"] {
        // Without an init the second would be deaf to it, and be killed in the end.
        let began = Instant::now();
        system.stop(&replica(service, 1)).await.unwrap();
        until(&*system, &replica(service, 1), ProcessState::Exited).await;
        assert!(began.elapsed() < WITHIN, "{service}");
    }
    let id = replica("plain", 1);
    let at = address(&*system, "plain");
    system.start(&id).await.unwrap();
    eventually("it answers again", WITHIN, || ask(at, "/").is_ok()).await;
    let _ = ask(at, "/exit");
    eventually("the init ends as its program does", WITHIN, || ask(at, "/").is_ok()).await;
    system.pause(&id).await.unwrap();
    assert!(ask(at, "/").is_err(), "the program stands, not the init alone");
    system.unpause(&id).await.unwrap();
    assert_eq!(ask(at, "/").unwrap(), "ok");
    system.kill(&id).await.unwrap();
    until(&*system, &id, ProcessState::Exited).await;
    assert!(ask(at, "/").is_err(), "the program goes with its init");
    until_logged(&request, "polite-1", "asked by SIGINT", 1).await;
    down(&engine, &*system, &request).await;
    assert!(log(&request, "polite-1").ends_with("asked by SIGINT\n"));
}

async fn a_health_check_decides_where_nothing_else_says_what_ready_means(engine: Under) {
    let compose = "
services:
  late:
    image: probe
    command: late
    user: root
    healthcheck: {test: [CMD, /probe, check, /there], interval: 100ms, timeout: 5s}
  client: {image: probe, command: serve, depends_on: {late: {condition: service_healthy}}}
";
    let request = request("health", compose, &["client"]);
    let began = Instant::now();
    let system = engine.up(&request, &events()).await.unwrap();
    assert!(
        began.elapsed() >= Duration::from_millis(500),
        "it is ready half a second after its start"
    );
    for _ in 0..20 {
        assert!(system.is_ready(&replica("late", 1)).await.unwrap());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    eventually("no health check is left of those", WITHIN, || {
        states(&*system, "late").len() == 1
    })
    .await;
    system.kill(&replica("late", 1)).await.unwrap();
    until(&*system, &replica("late", 1), ProcessState::Exited).await;
    assert!(!system.is_ready(&replica("late", 1)).await.unwrap());
    down(&engine, &*system, &request).await;

    let ill = compose.replace("check, /there", "check, /never");
    let request = super::support::request("unhealthy", &ill, &["client"]);
    let none = events();
    let up = tokio::time::timeout(Duration::from_secs(3), engine.up(&request, &none));
    assert!(up.await.is_err(), "it came up though its health check says no");
    assert_eq!(engine.clean(&request.run_id).await, Vec::<String>::new());
    eventually("nothing is left", WITHIN * 2, || {
        engine.left_of(&request.run_id).is_empty()
    })
    .await;
}

async fn a_line_of_the_log_makes_a_replica_ready_again_in_each_of_its_lives(engine: Under) {
    let compose = "services:\n  idle: {image: probe, command: idle}\n";
    let mut request = request("log-ready", compose, &[]);
    request.definition = serde_json::from_value(json!({
        "name": "log-ready",
        "title": "log-ready",
        "services": {"idle": {"ready": {"log": {"matches": "^idle as "}}}},
        "operations": {},
    }))
    .unwrap();
    let system = engine.up(&request, &events()).await.unwrap();
    let id = replica("idle", 1);
    for _ in 0..2 {
        assert!(system.is_ready(&id).await.unwrap());
        system.kill(&id).await.unwrap();
        until(&*system, &id, ProcessState::Exited).await;
        system.start(&id).await.unwrap();
        let began = Instant::now();
        while !system.is_ready(&id).await.unwrap() {
            assert!(began.elapsed() < WITHIN, "its line was not seen again");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    eventually("every life is in the log", WITHIN, || {
        log(&request, "idle-1").lines().count() >= 3
    })
    .await;
    down(&engine, &*system, &request).await;
    assert_eq!(log(&request, "idle-1").lines().count(), 3);
}

async fn restart_policies_count_and_look_at_the_exit_code(engine: Under) {
    let compose = "
services:
  once: {image: probe, command: serve, restart: \"on-failure:1\"}
  content: {image: probe, command: serve, restart: on-failure}
  always: {image: probe, command: serve, restart: unless-stopped}
  never: {image: probe, command: serve}
";
    let services = ["once", "content", "always", "never"];
    let request = request("policies", compose, &services);
    let system = engine.up(&request, &events()).await.unwrap();
    for (service, code, comes_back) in [
        ("always", 0, true),
        ("content", 7, true),
        ("content", 0, false),
        ("once", 7, true),
        ("once", 7, false),
        ("never", 0, false),
    ] {
        let at = address(&*system, service);
        let _ = ask(at, &format!("/exit/{code}"));
        if comes_back {
            eventually("it comes back", WITHIN, || ask(at, "/").is_ok()).await;
        } else {
            until(&*system, &replica(service, 1), ProcessState::Exited).await;
            // Longer than the second restart would take.
            tokio::time::sleep(Duration::from_millis(600)).await;
            let state = system.state(&replica(service, 1)).await.unwrap();
            assert_eq!(state, ProcessState::Exited, "{service} after exit code {code}");
        }
    }
    down(&engine, &*system, &request).await;
}

async fn a_frozen_replica_can_be_stopped_and_started(engine: Under) {
    let compose = "services:\n  polite: {image: probe, command: serve-until-asked, stop_grace_period: 90s}\n";
    let request = request("frozen-stop", compose, &["polite"]);
    let system = engine.up(&request, &events()).await.unwrap();
    let id = replica("polite", 1);
    system.pause(&id).await.unwrap();
    system.start(&id).await.unwrap();
    let began = Instant::now();
    system.stop(&id).await.unwrap();
    until(&*system, &id, ProcessState::Exited).await;
    assert!(began.elapsed() < WITHIN, "it was not thawed for it");
    assert!(system.pause(&id).await.is_err(), "there is nothing to freeze");
    system.unpause(&id).await.unwrap();
    system.start(&id).await.unwrap();
    until(&*system, &id, ProcessState::Running).await;
    let at = address(&*system, "polite");
    eventually("it answers again", WITHIN, || ask(at, "/").is_ok()).await;
    until_logged(&request, "polite-1", "asked by another signal", 1).await;
    down(&engine, &*system, &request).await;
    assert!(
        log(&request, "polite-1").contains("asked by another signal\n"),
        "it was asked, not killed"
    );
}

async fn a_kill_that_meets_a_restart_wins(engine: Under) {
    const ROUNDS: u64 = 12;
    let compose = "services:\n  app: {image: probe, command: serve, restart: always}\n";
    let request = request("kill-race", compose, &["app"]);
    let system = engine.up(&request, &events()).await.unwrap();
    let id = replica("app", 1);
    let at = address(&*system, "app");
    for round in 0..ROUNDS {
        let _ = ask(at, "/exit");
        // Its policy brings it back 100 ms later, or 200 the next time: sooner or later both come at the same moment.
        tokio::time::sleep(Duration::from_millis(95 + round * 3)).await;
        system.kill(&id).await.unwrap();
        tokio::time::sleep(Duration::from_millis(400)).await;
        let state = system.state(&id).await.unwrap();
        assert_eq!(state, ProcessState::Exited, "it lives after a kill, in round {round}");
        system.start(&id).await.unwrap();
        eventually("it answers", WITHIN, || ask(at, "/").is_ok()).await;
    }
    down(&engine, &*system, &request).await;
}

async fn a_program_that_is_not_there_is_named(engine: Under) {
    let compose = "services:\n  lost: {image: probe, entrypoint: [/no/such/program]}\n";
    let request = request("lost", compose, &[]);
    let error = engine
        .up(&request, &events())
        .await
        .err()
        .expect("there is no such program");
    let error = error.to_string();
    assert!(
        error.contains("lost-1") && error.contains("/no/such/program"),
        "{error}"
    );
    assert_eq!(engine.left_of(&request.run_id), Vec::<String>::new());
}

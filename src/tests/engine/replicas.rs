//! What a replica finds itself in: who it is, what it may, what it sees and keeps. The same on both engines, so that a system
//! that was tried on one behaves alike on the other.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use nightmail::plan::ReplicaId;
use nightmail::system::engine::{ProcessState, RunningSystem, SystemRequest};
use serde_json::json;

use crate::support::{Under, ask, events, eventually, others_on_stage, replica, request};

on_both_engines!(
    a_replica_has_the_rights_that_its_compose_file_leaves_it,
    users_are_found_by_name_and_by_number,
    a_read_only_root_can_be_written_in_volumes_and_in_memory_only,
    volumes_are_shared_and_files_are_kept_over_a_restart,
    a_replica_finds_its_place_and_its_limits_and_nothing_of_the_harness,
    an_init_reaps_and_nobody_else_does,
    signals_reach_a_program_below_an_init,
    a_health_check_decides_where_nothing_else_says_what_ready_means,
    a_line_of_the_log_makes_a_replica_ready_again_in_each_of_its_lives,
    restart_policies_count_and_look_at_the_exit_code,
    a_frozen_replica_can_be_stopped_and_started,
    a_kill_that_meets_a_restart_wins,
    a_program_that_is_not_there_is_named,
);

on_local_only!(
    an_agent_sees_an_empty_root_and_may_filter_packets_only,
    nothing_leads_beyond_the_runs_own_network,
    an_up_that_is_given_up_leaves_nothing,
);

const WITHIN: Duration = Duration::from_secs(5);

fn address(system: &dyn RunningSystem, service: &str) -> Ipv4Addr {
    system.replica(&replica(service, 1)).unwrap().address
}

fn asked(system: &dyn RunningSystem, service: &str, path: &str) -> String {
    ask(address(system, service), path).unwrap()
}

/// A line of `/proc/self/status`.
fn status(system: &dyn RunningSystem, service: &str, field: &str) -> String {
    field_of(&asked(system, service, "/status"), field)
}

fn field_of(status: &str, field: &str) -> String {
    let prefix = format!("{field}:");
    let line = status.lines().find_map(|line| line.strip_prefix(&prefix));
    let words: Vec<&str> = line
        .unwrap_or_else(|| panic!("no {field} in\n{status}"))
        .split_whitespace()
        .collect();
    words.join(" ")
}

async fn until(system: &dyn RunningSystem, id: &ReplicaId, state: ProcessState) {
    let began = Instant::now();
    while system.state(id).await.unwrap() != state {
        assert!(began.elapsed() < WITHIN, "{id} is not {state:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn down(engine: &Under, system: &dyn RunningSystem, request: &SystemRequest) {
    assert_eq!(system.down().await, Vec::<String>::new());
    assert_eq!(engine.left_of(&request.run_id), Vec::<String>::new());
}

fn log(request: &SystemRequest, replica: &str) -> String {
    std::fs::read_to_string(request.logs_dir.join(format!("{replica}.log"))).unwrap()
}

async fn a_replica_has_the_rights_that_its_compose_file_leaves_it(engine: Under) {
    let compose = "
services:
  usual: {image: probe, command: serve, user: root}
  cut: {image: probe, command: serve, user: root, cap_drop: [NET_RAW, CAP_CHOWN]}
  bare: {image: probe, command: serve, user: root, cap_drop: [ALL]}
  granted: {image: probe, command: serve, user: root, cap_drop: [ALL], cap_add: [NET_BIND_SERVICE]}
  nobody: {image: probe, command: serve}
";
    let services = ["usual", "cut", "bare", "granted", "nobody"];
    let request = request("rights", compose, &services);
    let system = engine.up(&request, &events()).await.unwrap();
    // What it may have at most, and what it has.
    let expected = [
        ("usual", "00000000a80425fb", "00000000a80425fb"),
        ("cut", "00000000a80405fa", "00000000a80405fa"),
        ("bare", "0000000000000000", "0000000000000000"),
        ("granted", "0000000000000400", "0000000000000400"),
        ("nobody", "00000000a80425fb", "0000000000000000"),
    ];
    // Where no control group keeps a replica from the host's devices it may not make any (CAP_MKNOD).
    let devices: u64 = if engine.name() == "docker" { 0 } else { 1 << 27 };
    let without_devices = |set: &str| format!("{:016x}", u64::from_str_radix(set, 16).unwrap() & !devices);
    for (service, bounding, effective) in expected {
        let (bounding, effective) = (&*without_devices(bounding), &*without_devices(effective));
        let found =
            ["CapBnd", "CapEff", "CapPrm", "CapAmb", "NoNewPrivs"].map(|field| status(&*system, service, field));
        let none = "0000000000000000";
        assert_eq!(found, [bounding, effective, effective, none, "1"], "{service}");
    }
    down(&engine, &*system, &request).await;
}

async fn users_are_found_by_name_and_by_number(engine: Under) {
    let compose = "
services:
  images: {image: probe, command: serve}
  number: {image: probe, command: serve, user: \"1234\"}
  numbers: {image: probe, command: serve, user: \"1234:5678\"}
  name: {image: probe, command: serve, user: postgres}
  root: {image: probe, command: serve, user: \"0:0\"}
";
    let request = request("users", compose, &["images", "number", "numbers", "name", "root"]);
    let system = engine.up(&request, &events()).await.unwrap();
    let expected = [
        ("images", "999", "999", "/var/lib/postgresql"),
        ("number", "1234", "0", "/"),
        ("numbers", "1234", "5678", "/"),
        ("name", "999", "999", "/var/lib/postgresql"),
        ("root", "0", "0", "/"),
    ];
    for (service, user, group, home) in expected {
        let four = |id: &str| [id; 4].join(" ");
        assert_eq!(status(&*system, service, "Uid"), four(user), "{service}");
        assert_eq!(status(&*system, service, "Gid"), four(group), "{service}");
        assert_eq!(asked(&*system, service, "/env/HOME"), home, "{service}");
    }
    down(&engine, &*system, &request).await;
}

async fn a_read_only_root_can_be_written_in_volumes_and_in_memory_only(engine: Under) {
    let compose = "
services:
  sealed:
    image: probe
    command: serve
    user: root
    read_only: true
    tmpfs: [\"/scratch:mode=1777,size=1m\"]
    volumes: [data:/data]
volumes: {data: }
";
    let request = request("read-only", compose, &["sealed"]);
    let system = engine.up(&request, &events()).await.unwrap();
    for folder in ["scratch", "data", "dev/shm"] {
        assert_eq!(
            asked(&*system, "sealed", &format!("/write/{folder}")),
            "written",
            "{folder}"
        );
    }
    for folder in ["", "tmp", "etc"] {
        let came_of_it = asked(&*system, "sealed", &format!("/write/{folder}"));
        assert!(came_of_it.contains("Read-only file system"), "/{folder}: {came_of_it}");
    }
    let kernel = asked(&*system, "sealed", "/read/proc/mounts");
    let sysctls = kernel.lines().find(|line| line.contains(" /proc/sys "));
    assert!(sysctls.is_some_and(|line| line.contains(" ro,")), "{kernel}");
    let scratch = kernel.lines().find(|line| line.contains(" /scratch ")).unwrap();
    assert!(
        scratch.starts_with("tmpfs") && scratch.contains("size=1024k"),
        "{scratch}"
    );
    for option in ["nosuid", "nodev", "noexec"] {
        assert!(scratch.contains(option), "{scratch}");
    }
    down(&engine, &*system, &request).await;
}

async fn volumes_are_shared_and_files_are_kept_over_a_restart(engine: Under) {
    let compose = "
services:
  writer: {image: probe, command: serve, user: root, tmpfs: /memory, volumes: [\"data:/data\", /anonymous]}
  reader: {image: probe, command: serve, user: root, volumes: [\"data:/elsewhere:ro\", /anonymous]}
volumes: {data: }
";
    let request = request("volumes", compose, &["writer", "reader"]);
    let system = engine.up(&request, &events()).await.unwrap();
    for folder in ["", "data", "anonymous", "memory"] {
        assert_eq!(
            asked(&*system, "writer", &format!("/write/{folder}")),
            "written",
            "/{folder}"
        );
    }
    assert_eq!(
        asked(&*system, "reader", "/read/elsewhere/file"),
        "x",
        "the volume is shared"
    );
    let refused = asked(&*system, "reader", "/write/elsewhere");
    assert!(refused.contains("Read-only file system"), "{refused}");
    for own in ["file", "anonymous/file"] {
        let absent = asked(&*system, "reader", &format!("/read/{own}"));
        assert!(absent.contains("No such file"), "{own}: {absent}");
    }

    let id = replica("writer", 1);
    let before = address(&*system, "writer");
    system.kill(&id).await.unwrap();
    until(&*system, &id, ProcessState::Exited).await;
    system.start(&id).await.unwrap();
    eventually("it answers at its old address", WITHIN, || ask(before, "/").is_ok()).await;
    for kept in ["file", "data/file", "anonymous/file"] {
        assert_eq!(asked(&*system, "writer", &format!("/read/{kept}")), "x", "{kept}");
    }
    let memory = asked(&*system, "writer", "/read/memory/file");
    assert!(memory.contains("No such file"), "memory is lost: {memory}");
    down(&engine, &*system, &request).await;
}

async fn a_replica_finds_its_place_and_its_limits_and_nothing_of_the_harness(engine: Under) {
    let compose = "
services:
  placed:
    image: probe
    command: serve
    user: root
    hostname: parlour
    working_dir: /made/for/it
    environment: {COLOUR: red}
    ulimits: {nofile: {soft: 512, hard: 1024}, core: 0}
    shm_size: 32m
    sysctls: {net.ipv4.tcp_syn_retries: 3}
  facts: {image: probe, command: facts}
  plain: {image: probe, command: serve, depends_on: {facts: {condition: service_completed_successfully}}}
";
    let request = request("place", compose, &["placed", "plain"]);
    let system = engine.up(&request, &events()).await.unwrap();
    let asked = |path: &str| asked(&*system, "placed", path);
    assert_eq!(asked("/link/proc/self/cwd"), "/made/for/it");
    assert_eq!(asked("/read/proc/sys/kernel/hostname").trim(), "parlour");
    assert_eq!(asked("/read/proc/sys/net/ipv4/tcp_syn_retries").trim(), "3");
    let limits = asked("/read/proc/self/limits");
    let limit = |name: &str| -> Vec<String> {
        let line = limits.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap().split_whitespace().take(2).map(str::to_owned).collect()
    };
    assert_eq!(limit("Max open files"), ["512", "1024"]);
    assert_eq!(limit("Max core file size"), ["0", "0"]);
    let mounts = asked("/read/proc/mounts");
    let shm = mounts.lines().find(|line| line.contains(" /dev/shm ")).unwrap();
    assert!(shm.contains("size=32768k"), "{shm}");
    let environment = asked("/read/proc/self/environ");
    let mut names: Vec<&str> = environment
        .lines()
        .filter_map(|line| Some(line.split_once('=')?.0))
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["COLOUR", "HOME", "HOSTNAME", "PATH"], "{environment}");
    assert_eq!(status(&*system, "plain", "Umask"), "0022");
    assert_eq!(ask(address(&*system, "plain"), "/list/proc/1/task").unwrap(), "1");
    let processes = asked("/list/proc");
    let pids: Vec<&str> = processes
        .split(' ')
        .filter(|name| name.parse::<u32>().is_ok())
        .collect();
    assert_eq!(pids, ["1"], "it sees itself and nobody else");
    assert_eq!(status(&*system, "plain", "Pid"), "1");
    down(&engine, &*system, &request).await;
    let facts = log(&request, "facts-1");
    // The fourth descriptor is that by which it looks.
    let expected =
        "descriptors 0 1 2 3\nstandard input /dev/null\nignored 0000000000001000\nblocked 0000000000000000\n";
    assert_eq!(
        facts, expected,
        "Rust itself ignores SIGPIPE, and nothing else is ignored"
    );
}

/// The states of all processes that a replica can see, by their ids.
fn states(system: &dyn RunningSystem, service: &str) -> Vec<(u32, String)> {
    let listed = asked(system, service, "/list/proc");
    let pids = listed.split(' ').filter_map(|name| name.parse().ok());
    pids.map(|pid: u32| {
        let status = asked(system, service, &format!("/read/proc/{pid}/status"));
        (pid, field_of(&status, "State")[..1].to_owned())
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
  polite: {image: probe, command: serve-until-asked, init: true, stop_signal: SIGINT, stop_grace_period: 30s}
  plain: {image: probe, command: serve, init: true, restart: on-failure, stop_grace_period: 30s}
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
    let compose = "services:\n  polite: {image: probe, command: serve-until-asked, stop_grace_period: 30s}\n";
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
        let limit = Instant::now() + WITHIN;
        tokio::time::sleep(Duration::from_millis(95 + round * 3)).await;
        system.kill(&id).await.unwrap();
        tokio::time::sleep(Duration::from_millis(400)).await;
        let state = system.state(&id).await.unwrap();
        assert_eq!(state, ProcessState::Exited, "it lives after a kill, in round {round}");
        system.start(&id).await.unwrap();
        eventually("it answers", limit - Instant::now(), || ask(at, "/").is_ok()).await;
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

async fn an_agent_sees_an_empty_root_and_may_filter_packets_only(engine: Under) {
    let compose = "services:\n  app: {image: probe, command: serve}\n";
    let mut request = request("agent", compose, &["app"]);
    request.agents = vec![replica("app", 1)];
    let system = engine.up(&request, &events()).await.unwrap();
    let read = |pid: u32, file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let all = others_on_stage();
    let (agents, replicas): (Vec<u32>, Vec<u32>) =
        all.iter().partition(|pid| read(**pid, "comm").trim() == "nightmail");
    assert_eq!((agents.len(), replicas.len()), (1, 1), "{all:?}");
    let agent = agents[0];
    let names: Vec<_> = std::fs::read_dir(format!("/proc/{agent}/root")).unwrap().collect();
    assert!(names.is_empty(), "{names:?}");
    let status = read(agent, "status");
    for field in ["CapEff", "CapPrm", "CapBnd"] {
        assert_eq!(
            field_of(&status, field),
            "0000000000001000",
            "{field} is NET_ADMIN alone"
        );
    }
    assert_eq!(field_of(&status, "NoNewPrivs"), "1");
    assert_eq!(field_of(&status, "NSpid").split(' ').next_back(), Some("1"));
    let namespace = |pid: u32, kind: &str| std::fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap();
    for kind in ["mnt", "pid", "ipc", "uts"] {
        assert_ne!(namespace(agent, kind), namespace(replicas[0], kind), "{kind}");
    }
    assert_eq!(namespace(agent, "net"), namespace(replicas[0], "net"));
    down(&engine, &*system, &request).await;
}

async fn nothing_leads_beyond_the_runs_own_network(engine: Under) {
    let compose = "services:\n  app: {image: probe, command: serve, user: root}\n";
    let request = request("beyond", compose, &["app"]);
    // As a service of the host would stand that listens everywhere.
    let outside = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = outside.local_addr().unwrap().port();
    let system = engine.up(&request, &events()).await.unwrap();
    let connect = |to: String| asked(&*system, "app", &format!("/connect/{to}"));
    for beyond in ["192.0.2.1:80", "10.65.0.1:80"] {
        assert!(
            connect(beyond.to_owned()).contains("Network is unreachable"),
            "{beyond}"
        );
    }
    let refused = connect(format!("127.0.0.1:{port}"));
    assert!(refused.contains("Connection refused"), "{refused}");
    let routes = asked(&*system, "app", "/read/proc/net/route");
    assert_eq!(routes.lines().count(), 2, "its own network's and no other:\n{routes}");
    let server = asked(&*system, "app", "/read/etc/resolv.conf");
    assert!(server.starts_with("nameserver 10.64."), "the run's own: {server}");
    assert_eq!(server.lines().count(), 1, "{server}");
    let interfaces = asked(&*system, "app", "/read/proc/net/dev");
    assert_eq!(interfaces.lines().count(), 4, "lo and eth0:\n{interfaces}");
    down(&engine, &*system, &request).await;
}

async fn an_up_that_is_given_up_leaves_nothing(engine: Under) {
    let compose = "services:\n  app: {image: probe, command: serve}\n  never: {image: probe, command: idle}\n";
    let request = request("given-up-here", compose, &["app", "never"]);
    let none = events();
    for wait_ms in [1, 10, 20, 40, 80, 1_000] {
        engine.prepare(&request, &none).await.unwrap();
        let wait = Duration::from_millis(wait_ms);
        let given_up = tokio::time::timeout(wait, engine.up(&request, &none)).await;
        assert!(given_up.is_err(), "it cannot get ready");
        assert_eq!(engine.clean(&request.run_id).await, Vec::<String>::new());
        assert_eq!(engine.left_of(&request.run_id), Vec::<String>::new(), "after {wait:?}");
    }
}

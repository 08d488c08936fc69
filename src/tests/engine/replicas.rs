//! What a replica finds itself in: who it is, what it may, what it sees and keeps. The same on both engines, so that a system
//! that was tried on one behaves alike on the other.

use std::collections::BTreeSet;
use std::fs::File;
use std::time::Duration;

use nightmail::system::engine::{Disk, ProcessState};

use crate::support::{
    Under, WITHIN, address, ask, asked, down, events, eventually, field_of, interfaces, log, others_on_stage, replica,
    request, status, until,
};

on_both_engines!(
    a_replica_has_the_rights_that_its_compose_file_leaves_it,
    users_are_found_by_name_and_by_number,
    a_read_only_root_can_be_written_in_volumes_and_in_memory_only,
    volumes_are_shared_and_files_are_kept_over_a_restart,
    a_replica_finds_its_place_and_its_limits_and_nothing_of_the_harness,
);

on_local_only!(
    an_agent_sees_an_empty_root_and_may_filter_packets_only,
    an_agent_of_disks_sees_them_alone_and_may_do_nothing,
    nothing_leads_beyond_the_runs_own_network,
    an_up_that_is_given_up_leaves_nothing,
    a_network_that_outlives_its_processes_has_no_wire,
);

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

async fn an_agent_of_disks_sees_them_alone_and_may_do_nothing(engine: Under) {
    let compose = "services:\n  app: {image: probe, command: serve}\n";
    let mut request = request("agent-of-disks", compose, &["app"]);
    let disk = Disk {
        path: "/var/journal".to_owned(),
        size_bytes: 1_000_000,
    };
    request.disks.insert(replica("app", 1), vec![disk]);
    let system = engine.up(&request, &events()).await.unwrap();
    let read = |pid: u32, file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let all = others_on_stage();
    let agent = all
        .iter()
        .find(|pid| read(**pid, "comm").trim() == "nightmail")
        .unwrap();
    let list = |folder: &str| -> Vec<std::ffi::OsString> {
        let found = std::fs::read_dir(format!("/proc/{agent}/root{folder}")).unwrap();
        found.map(|entry| entry.unwrap().file_name()).collect()
    };
    assert_eq!((list("/"), list("/disk")), (vec!["disk".into()], vec!["0".into()]));
    assert!(list("/disk/0").is_empty(), "its own files have no name");
    let status = read(*agent, "status");
    for field in ["CapEff", "CapPrm", "CapBnd"] {
        assert_eq!(field_of(&status, field), "0000000000000000", "{field}");
    }
    assert_eq!(field_of(&status, "NoNewPrivs"), "1");
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

async fn a_network_that_outlives_its_processes_has_no_wire(engine: Under) {
    let compose = "services:\n  app: {image: probe, command: serve}\n";
    let request = request("network-kept", compose, &["app"]);
    let system = engine.up(&request, &events()).await.unwrap();
    // As a connection keeps it whose last packet was lost.
    let networks = others_on_stage().into_iter().map(|pid| format!("/proc/{pid}/ns/net"));
    let kept: Vec<File> = networks.filter_map(|network| File::open(network).ok()).collect();
    assert!(!kept.is_empty() && interfaces().len() > 2, "{:?}", interfaces());
    down(&engine, &*system, &request).await;
    assert_eq!(interfaces(), BTreeSet::from(["lo".to_owned()]));
    drop(kept);
}

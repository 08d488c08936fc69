//! Systems for the tests: a Compose file, a definition, and the probe program as their only image.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nightmail::event::Events;
use nightmail::plan::ReplicaId;
use nightmail::system::definition::SystemDefinition;
use nightmail::system::docker::Docker;
use nightmail::system::engine::SystemRequest;
use serde_json::json;

/// A folder of a workspace that has the probe as its only package.
pub fn folder(name: &str) -> PathBuf {
    static WORKSPACE: Once = Once::new();
    let workspace = Path::new(env!("CARGO_TARGET_TMPDIR")).join("engine");
    WORKSPACE.call_once(|| {
        std::fs::create_dir_all(&workspace).unwrap();
        let manifest = "[workspace]\n[package]\nname = \"probe\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\
                        [[bin]]\nname = \"probe\"\npath = \"probe.rs\"\n";
        // Written only when it differs, so that nothing is built anew without need.
        for (file, text) in [("Cargo.toml", manifest), ("probe.rs", include_str!("probe.rs"))] {
            let path = workspace.join(file);
            if std::fs::read_to_string(&path).ok().as_deref() != Some(text) {
                std::fs::write(path, text).unwrap();
            }
        }
    });
    let folder = workspace.join(name);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// Where the image `probe` comes from; appended to every Compose file.
pub const IMAGES: &str =
    "x-nightmail:\n  images:\n    probe: {cargo-binary: {package: probe, binary: probe, path: /probe}}\n";

pub fn replica(service: &str, index: u32) -> ReplicaId {
    ReplicaId {
        service: service.to_owned(),
        index,
    }
}

/// A run id that no other test, and no test at the same time, has.
pub fn run_id(name: &str) -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    format!("test-{name}-{}-{number}", std::process::id())
}

/// A request for a system of this Compose file, in which every service named in `ready` answers on its port when ready.
pub fn request(name: &str, compose: &str, ready: &[&str]) -> SystemRequest {
    let dir = folder(name);
    std::fs::write(dir.join("compose.yaml"), format!("{compose}{IMAGES}")).unwrap();
    let hints: serde_json::Map<String, serde_json::Value> = ready
        .iter()
        .map(|service| {
            (
                (*service).to_owned(),
                json!({"ready": {"http": {"port": 8080, "path": "/"}}}),
            )
        })
        .collect();
    let definition: SystemDefinition =
        serde_json::from_value(json!({"name": name, "title": name, "services": hints, "operations": {}})).unwrap();
    request_of(name, dir, definition)
}

/// A request for the system of that definition in that folder.
pub fn request_of(name: &str, dir: PathBuf, definition: SystemDefinition) -> SystemRequest {
    let run_id = run_id(name);
    SystemRequest {
        logs_dir: dir.join(format!("logs-{run_id}")),
        run_id,
        definition,
        dir,
        environment: Default::default(),
        agents: Vec::new(),
        links: Default::default(),
        seed: 1,
        redactor: Default::default(),
    }
}

pub async fn engine() -> Docker {
    let docker = Docker::connect().await.expect("these tests need Docker");
    docker.with_executable(env!("CARGO_BIN_EXE_nightmail"))
}

pub fn events() -> Events {
    Events::unsaved(None)
}

/// Everything that Docker has of a run, asked past the code under test.
pub fn left_of(run_id: &str) -> Vec<String> {
    let filter = format!("label=nightmail.run={run_id}");
    let lists: [&[&str]; 3] = [&["ps", "-aq"], &["network", "ls", "-q"], &["volume", "ls", "-q"]];
    lists
        .into_iter()
        .flat_map(|list| {
            let output = Command::new("docker")
                .args(list)
                .args(["--filter", &filter])
                .output()
                .unwrap();
            assert!(output.status.success(), "{output:?}");
            let found = String::from_utf8(output.stdout).unwrap();
            found.lines().map(|id| format!("{} {id}", list[0])).collect::<Vec<_>>()
        })
        .collect()
}

/// What the probe at this address answers.
pub fn ask(address: Ipv4Addr, path: &str) -> std::io::Result<String> {
    let limit = Duration::from_secs(3);
    let mut stream = TcpStream::connect_timeout(&(address, 8080).into(), limit)?;
    stream.set_read_timeout(Some(limit))?;
    write!(stream, "GET {path} HTTP/1.1\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (_, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    Ok(body.to_owned())
}

/// Waits for something that is on its way.
pub async fn eventually(what: &str, within: Duration, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < within, "{what}: not within {within:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

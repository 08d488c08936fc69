//! What is left of a run whose first process is killed at a random moment.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use rand::RngExt;

use super::{Failure, say};

/// Says how often to kill, if not a hundred times.
const KILLS: &str = "NIGHTMAIL_BENCH_KILLS";
/// Long enough to be killed anywhere from the first namespace to the load.
const MOMENTS_MS: std::ops::Range<u64> = 0..3_000;
const GONE_WITHIN: Duration = Duration::from_secs(1);
/// In the environment of whatever such a run starts itself. A replica's environment is its own; it is found by its parent.
const MARK: &str = "NIGHTMAIL_BENCH_MARK";

/// The number of kills after which anything was left.
pub fn left_behind() -> Result<f64, Failure> {
    let kills = std::env::var(KILLS).map_or(Ok(100), |kills| kills.parse())?;
    let mut left = 0;
    for kill in 0..kills {
        let mark = format!("{}-{kill}", std::process::id());
        let after = Duration::from_millis(rand::rng().random_range(MOMENTS_MS));
        let found = kill_one(&mark, after)?;
        if !found.is_empty() {
            say(&format!("after {after:?}: {found:?}"));
            left += 1;
        }
    }
    Ok(f64::from(left))
}

fn kill_one(mark: &str, after: Duration) -> Result<Vec<String>, Failure> {
    let out = tempfile::tempdir()?;
    let mut run = Command::new(env!("CARGO_BIN_EXE_nightmail"))
        .args(["run", "experiments/postage/baseline.yaml", "--engine", "local", "--out"])
        .arg(out.path())
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env(MARK, mark)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()?;
    sleep(after);
    let namespaces = namespaces_of(mark)?;
    run.kill()?;
    run.wait()?;
    sleep(GONE_WITHIN);
    let mut found = marked(mark)?;
    found.extend(processes(&|pid| {
        namespace(pid, "pid").is_some_and(|found| namespaces.contains(&found))
    })?);
    Ok(found.iter().map(|pid| described(pid)).collect())
}

fn described(pid: &str) -> String {
    let read = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    format!("{pid} {}: {}", read("stat"), read("cmdline").replace('\0', " "))
}

/// The process namespaces of a run, its replicas' among them, but for this one's own.
fn namespaces_of(mark: &str) -> Result<Vec<String>, Failure> {
    let own = namespace("self", "pid").ok_or("no namespaces here")?;
    let mut found: Vec<String> = Vec::new();
    for pid in marked(mark)? {
        found.extend(namespace(&pid, "pid"));
        // Those of children that it has not entered itself.
        found.extend(namespace(&pid, "pid_for_children"));
    }
    let mut grown = true;
    while std::mem::take(&mut grown) {
        for pid in processes(&|_| true)? {
            let Some(of) = namespace(&pid, "pid") else { continue };
            let parent = parent(&pid).and_then(|parent| namespace(&parent, "pid"));
            if !found.contains(&of) && parent.is_some_and(|parent| found.contains(&parent) && parent != own) {
                found.push(of);
                grown = true;
            }
        }
    }
    found.retain(|namespace| *namespace != own);
    Ok(found)
}

fn marked(mark: &str) -> Result<Vec<String>, Failure> {
    let wanted = format!("{MARK}={mark}");
    processes(&|pid| {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment
            .split(|byte| *byte == 0)
            .any(|variable| variable == wanted.as_bytes())
    })
}

fn processes(wanted: &dyn Fn(&str) -> bool) -> Result<Vec<String>, Failure> {
    let names = std::fs::read_dir("/proc")?.flatten().map(|entry| entry.file_name());
    Ok(names
        .filter_map(|name| name.into_string().ok())
        .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
        .filter(|pid| wanted(pid) && !has_ended(pid))
        .collect())
}

/// Whether a process is dead, and only has not been asked for its exit code by whoever became its parent.
fn has_ended(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").and_then(|(_, fields)| fields.chars().next());
    matches!(state, None | Some('Z' | 'X'))
}

fn namespace(pid: &str, kind: &str) -> Option<String> {
    let link = std::fs::read_link(format!("/proc/{pid}/ns/{kind}")).ok()?;
    Some(link.display().to_string())
}

fn parent(pid: &str) -> Option<String> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("PPid:"))?;
    Some(line.trim().to_owned())
}

//! Runs beside others, and beside whatever else the host does.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::support::{Ended, Parlour, alone, each_way, interfaces};

/// Starts a run of the same experiment with the same cache, whose words are kept.
fn begin(parlour: &Parlour) -> std::process::Child {
    let mut command = parlour.command(&[]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn end(run: std::process::Child) {
    Ended::of(&run.wait_with_output().unwrap()).assert(0, &["judged: pass"]);
}

#[test]
fn two_runs_that_begin_at_once_make_their_image_once() {
    each_way(|parlour| {
        let _alone = alone();
        let (one, other) = (begin(parlour), begin(parlour));
        end(one);
        end(other);
        let folders = std::fs::read_dir(parlour.cache().join("images")).unwrap().flatten();
        let names: Vec<_> = folders.map(|entry| entry.file_name()).collect();
        assert_eq!(names.len(), 1, "{names:?}");
        let entries = std::fs::read_dir(parlour.path("runs")).unwrap().flatten();
        let runs = entries.filter(|entry| entry.path().is_dir()).count();
        assert_eq!(runs, 2, "each has a folder of its own");
    });
}

/// How the visitors of a run under way have fared so far. One who came late says nothing of the page.
fn looks(history: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(history).unwrap_or_default();
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let looks = lines.map(|mut line| line["op"].take());
    looks
        .filter(|look| look.is_object() && look["error"] != "late")
        .collect()
}

#[test]
fn a_run_begins_and_ends_while_another_is_under_way() {
    each_way(|parlour| {
        let _alone = alone();
        // Longer than any machine takes for the other; nobody waits for its end.
        parlour.edit("look.yaml", "for: 1500ms", "for: 10m");
        let mut long = parlour.start();
        long.wait_for_phase("method");
        let history = parlour.run_dir().expect("a run folder").join("history.jsonl");
        parlour.edit("look.yaml", "for: 10m", "for: 500ms");
        end(begin(parlour));
        let before = looks(&history).len();
        long.wait_until("another look", |_| looks(&history).len() > before);
        let looks = looks(&history);
        assert!(looks.iter().all(|look| look["outcome"] == "ok"), "{looks:#?}");
        long.signal(Signal::SIGINT);
        assert_eq!(long.exit_code(), Some(130));
    });
}

/// Where a process stands.
fn network_of(process: &str) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/{process}/ns/net")).ok()
}

/// Whether a process is over, waited for or not. Such a one stands nowhere.
fn has_ended(process: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").map_or("X", |(_, rest)| rest);
    state.starts_with(['Z', 'X'])
}

/// Sockets of the host that wait for connections or datagrams, by inode.
fn listening() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (table, state) in [("tcp", "0A"), ("tcp6", "0A"), ("udp", "07"), ("udp6", "07")] {
        let text = std::fs::read_to_string(format!("/proc/self/net/{table}")).unwrap_or_default();
        let lines = text
            .lines()
            .skip(1)
            .map(|line| line.split_whitespace().collect::<Vec<_>>());
        found.extend(
            lines
                .filter(|fields| fields[3] == state)
                .map(|fields| format!("socket:[{}]", fields[9])),
        );
    }
    found
}

#[test]
fn a_run_touches_nothing_of_the_hosts_network() {
    // Replicas listen on that port too; whoever holds it already serves as well.
    let _held = TcpListener::bind("0.0.0.0:8080");
    each_way(|parlour| {
        let _alone = alone();
        let mut run = parlour.start();
        run.wait_for_phase("method");
        let host = network_of("self");
        let processes = parlour.left();
        let mut on_host = Vec::new();
        let listening = listening();
        for process in &processes {
            let pid = process.trim_start_matches("process ").split(':').next().unwrap();
            run.wait_until("sight of a process", |_| network_of(pid).is_some() || has_ended(pid));
            if network_of(pid) != host {
                continue;
            }
            on_host.push(process);
            for entry in std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten() {
                let target = std::fs::read_link(entry.path()).unwrap_or_default();
                let target = target.display().to_string();
                assert!(!listening.contains(&target), "{process} listens on the host");
            }
        }
        assert!(processes.len() >= 6, "{processes:#?}");
        assert_eq!(on_host.len(), 2, "the outer process and the porter: {on_host:#?}");
        assert_eq!(interfaces(), BTreeSet::new());
        assert_eq!(run.exit_code(), Some(0));
    });
}

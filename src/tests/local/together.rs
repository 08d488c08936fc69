//! Runs beside others, and beside whatever else the host does.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Stdio;

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

#[test]
fn a_run_begins_and_ends_while_another_is_under_way() {
    each_way(|parlour| {
        let _alone = alone();
        parlour.edit("look.yaml", "for: 1500ms", "for: 6s");
        let mut long = parlour.start();
        long.wait_for_phase("method");
        parlour.edit("look.yaml", "for: 6s", "for: 500ms");
        end(begin(parlour));
        assert!(long.child.try_wait().unwrap().is_none(), "the first is under way");
        assert_eq!(long.exit_code(), Some(0));
    });
}

/// Where a process stands.
fn network_of(process: &str) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/{process}/ns/net")).ok()
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
            let network = network_of(pid);
            assert!(network.is_some(), "{process} cannot be seen");
            if network != host {
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

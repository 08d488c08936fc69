//! Whole runs whose links are spoiled: by nightmail's agents, and by a Toxiproxy of the system's own.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::support::{Run, assert_nothing_left, in_phase};

/// What visitors do, and what is asked of it.
const VISITORS: &str = "
workload:
  arrivals: constant
  operations:
    sign: {rate: 6/s}
    opening-hours: {rate: 6/s}
gate: {warm-up: 1s, window: 2s}
steady-state-hypothesis:
  title: Visitors can sign
  probes:
    - {name: signing succeeds, metric: success-rate, operation: sign, tolerance: '>= 99%'}
during:
  - {name: the door still answers, operation: opening-hours, success-rate: '>= 95%'}
recovery: {within: 8s, stable-for: 2s}
invariants: [every-visitor-stands-in-the-book-once]
";

fn guestbook() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/guestbook")
}

/// Runs an experiment to its end, and gives its verdict.
fn verdict_of(file: &Path) -> Value {
    let mut run = Run::start(&[file.to_str().unwrap()]);
    run.wait_for("the method", in_phase("method"));
    let run_id = run.run_id();
    assert_eq!(run.exit_code(), Some(0), "{}\n{:#}", run.output(), run.verdict());
    assert_nothing_left(&run_id, Duration::ZERO);
    run.verdict()
}

fn evidence(verdict: &Value, fault: usize, of: &str) -> String {
    let receipt = &verdict["faults"][fault][of];
    assert_eq!(receipt["confirmed"], true, "{verdict:#}");
    receipt["evidence"].to_string()
}

#[test]
fn a_link_is_slow_and_then_holds_everything_back_and_visitors_sign_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("experiment.yaml");
    let method = "
method:
  - name: the book answers late
    at: 500ms
    for: 2s
    inject: {latency: {from: [door], to: [book], latency: 250ms, jitter: 50ms, distribution: pareto}}
  - name: the book's answers are held back
    at: 4s
    for: 2s
    inject: {blackhole: {from: [door], to: [book]}}
";
    let system = guestbook();
    let text = format!(
        "title: Visitors sign once on a bad line\nsystem: {}\n{VISITORS}{method}",
        system.display()
    );
    std::fs::write(&file, text).unwrap();
    let verdict = verdict_of(&file);
    assert!(evidence(&verdict, 0, "injected").contains("answered later than before"));
    // Every visitor has a connection of its own.
    assert!(evidence(&verdict, 0, "healed").contains("it had acted on"));
    assert!(evidence(&verdict, 1, "injected").contains("not answered"));
    evidence(&verdict, 1, "healed");
}

/// The guestbook with a Toxiproxy between door and book, which goes by the book's name. It is nightmail's own, which speaks
/// the same interface: no other can be had where no registry is.
fn behind_a_toxiproxy() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("behind-a-toxiproxy");
    std::fs::create_dir_all(&folder).unwrap();
    let context = guestbook();
    let context = context.display();
    let compose = format!(
        "
services:
  door:
    build: {{context: {context}, args: {{part: door}}}}
    depends_on: {{book: {{condition: service_started}}}}
    cap_drop: [ALL]
  book:
    image: nightmail/toxiproxy
    command: [link, --anywhere, --api, '0.0.0.0:8474', --name, shelf, --listen, '0.0.0.0:8080', --upstream, 'shelf:8080']
    depends_on: {{shelf: {{condition: service_started}}}}
    cap_drop: [ALL]
  shelf:
    build: {{context: {context}, args: {{part: book}}}}
    environment: {{ONCE: 'yes'}}
    volumes: [entries:/data]
    cap_drop: [ALL]
volumes: {{entries: {{}}}}
x-nightmail:
  images:
    nightmail/busybox: {{host-programs: {{programs: [busybox], packages: [busybox-static], links: {{/bin/sh: busybox}}}}}}
    nightmail/toxiproxy: {{cargo-binary: {{package: nightmail, binary: nightmail, path: /nightmail}}}}
"
    );
    std::fs::write(folder.join("compose.yaml"), compose).unwrap();
    let system = std::fs::read_to_string(guestbook().join("system.yaml")).unwrap();
    let system = system
        .replace("name: guestbook", "name: behind-a-toxiproxy")
        .replace(
            "book: {ready: {http: {port: 8080, path: /cgi-bin/entries}}}",
            "book: {ready: {tcp: {port: 8474}}}\n  shelf: {ready: {http: {port: 8080, path: /cgi-bin/entries}}}",
        )
        .replace(
            "{service: book, port: 8080, path: /cgi-bin/entries",
            "{service: shelf, port: 8080, path: /cgi-bin/entries",
        )
        .replace("services: [book]", "services: [shelf]");
    std::fs::write(folder.join("system.yaml"), system).unwrap();
    folder
}

#[test]
fn a_toxiproxy_of_the_systems_own_carries_the_links() {
    let folder = behind_a_toxiproxy();
    let file = folder.join("experiment.yaml");
    let links = "
links:
  toxiproxy: http://book:8474
  proxies: [{proxy: shelf, from: door, to: shelf}]
method:
  - name: the book answers late
    at: 500ms
    for: 2s
    inject: {latency: {from: [door], to: [shelf], latency: 200ms}}
  - name: the way to the book is down
    at: 4s
    for: 1s
    inject: {link-down: {from: [door], to: [shelf]}}
";
    let text = format!(
        "title: Visitors sign once behind a Toxiproxy\nsystem: {}\n{VISITORS}{links}",
        folder.display()
    );
    std::fs::write(&file, text).unwrap();
    let verdict = verdict_of(&file);
    assert!(evidence(&verdict, 0, "injected").contains("proxy shelf has the same"));
    assert!(evidence(&verdict, 1, "injected").contains("connections were refused"));
    evidence(&verdict, 1, "healed");
}

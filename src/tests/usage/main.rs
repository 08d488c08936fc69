//! The command line on bad input: exit code 2, a message that says where and what instead, and nothing started.

use std::path::Path;

use assert_cmd::Command;
use nightmail::experiment::discover;

mod reports;

const GOOD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/experiments/guestbook/book-paused.yaml");

/// nightmail where no Docker can be reached, so that anything that needs one would end with exit code 4.
fn nightmail(args: &[&str]) -> std::process::Output {
    let mut command = Command::cargo_bin("nightmail").unwrap();
    command
        .args(args)
        .env("DOCKER_HOST", "unix:///nowhere")
        .env("NO_COLOR", "1")
        .env_remove("GITHUB_ACTIONS")
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The shipped experiment with one thing changed, beside a link to its system.
fn changed(dir: &Path, from: &str, to: &str) -> String {
    let good = std::fs::read_to_string(GOOD).unwrap();
    assert!(good.contains(from), "{from} is not in the experiment");
    let system = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/guestbook");
    let good = good.replace("system: guestbook", &format!("system: {system}"));
    let path = dir.join("changed.yaml");
    std::fs::write(&path, good.replacen(from, to, 1)).unwrap();
    path.display().to_string()
}

#[test]
fn a_mistake_in_a_file_is_exit_code_two_with_place_and_hint_from_every_command() {
    let dir = tempfile::tempdir().unwrap();
    let mistakes = [
        ("recovery:", "recovry:", "recovery"),
        ("for: 4s", "for: 10", "10s"),
        ("targets: [book]", "targets: [bok]", "book"),
        ("rate: 6/s", "rate: six", "40/s"),
        ("inject: {pause", "inject: {puase", "pause"),
    ];
    for (from, to, expected) in mistakes {
        let file = changed(dir.path(), from, to);
        let line = std::fs::read_to_string(&file)
            .unwrap()
            .lines()
            .position(|line| line.contains(to))
            .unwrap()
            + 1;
        for command in ["validate", "plan", "run", "prove", "gate"] {
            let output = nightmail(&[command, &file]);
            let message = text(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{command} with {to}: {message}");
            assert!(message.contains(&format!("changed.yaml:{line}:")), "{to}: {message}");
            assert!(message.contains(expected), "{to}: {message}");
        }
    }
}

#[test]
fn a_packet_fault_is_exit_code_two_where_the_kernel_has_no_netem_and_valid_where_it_has() {
    let dir = tempfile::tempdir().unwrap();
    let inject = "inject: {packet-latency: {from: [door], to: [book], latency: 50ms}}";
    let file = changed(dir.path(), "inject: {pause: {targets: [book]}}", inject);
    let found = nightmail::kernel::try_netem(Path::new(env!("CARGO_BIN_EXE_nightmail")));
    let out = dir.path().join("runs");
    for command in ["validate", "plan", "run", "prove"] {
        let mut args = vec![command, &file];
        if ["run", "prove"].contains(&command) {
            args.extend(["--out", out.to_str().unwrap()]);
        }
        let output = nightmail(&args);
        let message = text(&output.stderr);
        if matches!(found, nightmail::kernel::Netem::Missing(_)) {
            assert_eq!(output.status.code(), Some(2), "{command}: {message}");
            assert!(message.contains("changed.yaml:20:14"), "{command}: {message}");
            assert!(
                message.contains("`packet-latency` needs network emulation"),
                "{command}: {message}"
            );
            assert!(
                message.contains("allowed: faults that do without: kill"),
                "{command}: {message}"
            );
            assert!(
                message.contains("hint: use `inject: {latency: ...}` on links"),
                "{command}: {message}"
            );
        } else {
            // Those that go on fail for want of Docker, and for nothing else.
            let valid = ["validate", "plan"].contains(&command);
            assert_eq!(
                output.status.code(),
                Some(if valid { 0 } else { 4 }),
                "{command}: {message}"
            );
        }
    }
    assert!(!out.exists(), "a run folder was made");
}

#[test]
fn doctor_says_whether_there_is_network_emulation_and_what_to_use_instead() {
    let output = nightmail(&["doctor"]);
    let told = text(&output.stdout);
    let line = told.lines().position(|line| line.contains("network emulation (netem)"));
    let line = line.unwrap_or_else(|| panic!("{told}"));
    let lines: Vec<&str> = told.lines().skip(line).take(2).collect();
    match nightmail::kernel::try_netem(Path::new(env!("CARGO_BIN_EXE_nightmail"))) {
        nightmail::kernel::Netem::There => assert!(lines[0].starts_with("ok "), "{told}"),
        _ => {
            assert!(lines[0].starts_with("missing "), "{told}");
            assert!(
                lines[1].contains("hint: only the faults `packet-...` need it"),
                "{told}"
            );
        }
    }
}

#[test]
fn nothing_is_started_if_one_of_several_files_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("runs");
    let bad = changed(dir.path(), "title:", "titel:");
    let output = nightmail(&["run", "--out", out.to_str().unwrap(), GOOD, &bad]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
    assert!(!out.exists(), "a run folder was made");
}

#[test]
fn files_that_are_no_experiments_are_said_to_be_so() {
    let dir = tempfile::tempdir().unwrap();
    let empty = dir.path().join("empty.yaml");
    std::fs::write(&empty, "").unwrap();
    let missing = dir.path().join("missing.yaml");
    let folder = dir.path().join("folder");
    std::fs::create_dir(&folder).unwrap();
    for path in [&empty, &missing, &folder] {
        let output = nightmail(&["validate", path.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(2));
        assert!(
            text(&output.stderr).contains(path.to_str().unwrap()),
            "{}",
            text(&output.stderr)
        );
    }
}

#[test]
fn usage_that_makes_no_sense_is_exit_code_two() {
    for args in [
        vec![],
        vec!["run"],
        vec!["rnu", GOOD],
        vec!["run", GOOD, "--var", "novalue"],
        vec!["run", GOOD, "--seed", "x"],
        vec!["gate"],
        vec!["gate", GOOD, "--shard", "4/3"],
        vec!["gate", GOOD, "--shard", "3"],
        vec!["gate", GOOD, "--jobs", "0"],
        vec!["gate", GOOD, "--time-limit", "20"],
        vec!["gate", GOOD, "--doubt", "perhaps"],
        vec!["gate", GOOD, "--durations", "/nowhere/campaign.json"],
        vec!["merge"],
    ] {
        assert_eq!(nightmail(&args).status.code(), Some(2), "{args:?}");
    }
    let undeclared = nightmail(&["validate", GOOD, "--var", "cut=3s"]);
    assert_eq!(undeclared.status.code(), Some(2));
    assert!(text(&undeclared.stderr).contains("cut"), "{}", text(&undeclared.stderr));
}

#[test]
fn what_needs_no_docker_works_without_one() {
    let experiments = Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments");
    let valid = nightmail(&["validate", experiments.to_str().unwrap()]);
    assert_eq!(valid.status.code(), Some(0), "{}", text(&valid.stderr));
    let files = discover(&[experiments]).unwrap();
    assert!(files.len() > 10, "{files:?}");
    assert_eq!(
        text(&valid.stdout)
            .lines()
            .filter(|line| line.ends_with(": valid"))
            .count(),
        files.len()
    );
    let plan = nightmail(&["plan", GOOD]);
    assert_eq!(plan.status.code(), Some(0), "{}", text(&plan.stderr));
    assert!(text(&plan.stdout).contains("book-1"), "{}", text(&plan.stdout));
    for of in ["experiment", "system", "verdict"] {
        let schema = nightmail(&["schema", of]);
        let json: serde_json::Value = serde_json::from_slice(&schema.stdout).unwrap();
        assert!(
            json["properties"]
                .as_object()
                .is_some_and(|properties| properties.len() > 3),
            "{of}"
        );
    }
    assert!(!nightmail(&["completions", "bash"]).stdout.is_empty());
}

#[test]
fn help_lists_the_exit_codes() {
    for args in [
        vec!["--help"],
        vec!["run", "--help"],
        vec!["prove", "--help"],
        vec!["gate", "--help"],
        vec!["merge", "--help"],
    ] {
        let help = nightmail(&args);
        assert_eq!(help.status.code(), Some(0));
        assert!(text(&help.stdout).contains("130, 143"), "{args:?}");
    }
}

#[test]
fn a_folder_that_is_no_run_cannot_be_checked() {
    let dir = tempfile::tempdir().unwrap();
    let output = nightmail(&["check", dir.path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("plan.json"), "{}", text(&output.stderr));
}

#[test]
fn a_reader_that_has_closed_the_pipe_changes_no_exit_code_and_causes_no_panic() {
    let dir = tempfile::tempdir().unwrap();
    let bad = changed(dir.path(), "title:", "titel:");
    for args in [
        &["completions", "bash"][..],
        &["schema"],
        &["validate", GOOD],
        &["plan", GOOD],
        &["doctor"],
        &["gc"],
        &["--help"],
        &["validate", &bad],
        &["run", &bad],
    ] {
        let mut command = std::process::Command::new(assert_cmd::cargo::cargo_bin("nightmail"));
        command
            .args(args)
            .env("DOCKER_HOST", "unix:///nowhere")
            .env("NO_COLOR", "1");
        // Closed from the start: a pipe would hold the first lines of what is closed later.
        let closed = || std::io::pipe().unwrap().1;
        let unread = command.stdout(closed()).output().unwrap();
        assert_eq!(unread.status.code(), nightmail(args).status.code(), "{args:?}");
        assert!(!text(&unread.stderr).contains("panicked"), "{}", text(&unread.stderr));
        let unheard = command.stderr(closed()).output().unwrap();
        assert_eq!(
            unheard.status.code(),
            unread.status.code(),
            "{args:?} without a standard error"
        );
    }
}

#[test]
fn a_reader_that_is_content_with_the_first_byte_is_no_error() {
    use std::io::Read;
    let mut command = std::process::Command::new(assert_cmd::cargo::cargo_bin("nightmail"));
    let (mut reader, writer) = std::io::pipe().unwrap();
    let child = command
        .args(["completions", "bash"])
        .stdout(writer)
        .stderr(std::process::Stdio::piped());
    let child = child.spawn().unwrap();
    reader.read_exact(&mut [0]).unwrap();
    drop(reader);
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(0), "{}", text(&ended.stderr));
    assert_eq!(text(&ended.stderr), "");
}

#[test]
fn a_folder_is_searched_for_experiments_and_not_for_the_system_beside_them() {
    let dir = tempfile::tempdir().unwrap();
    changed(dir.path(), "title:", "title:");
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/guestbook");
    let others = [
        ("compose.yaml", "compose.yaml"),
        ("compose.yaml", "compose.yml"),
        ("compose.yaml", "docker-compose.yaml"),
        ("compose.yaml", "docker-compose.yml"),
        ("system.yaml", "system.yaml"),
    ];
    for (from, to) in others {
        std::fs::copy(fixture.join(from), dir.path().join(to)).unwrap();
    }
    let valid = nightmail(&["validate", dir.path().to_str().unwrap()]);
    assert_eq!(valid.status.code(), Some(0), "{}", text(&valid.stderr));
    assert_eq!(
        text(&valid.stdout).matches(": valid").count(),
        1,
        "{}",
        text(&valid.stdout)
    );
    for (_, name) in others {
        let named = nightmail(&["validate", dir.path().join(name).to_str().unwrap()]);
        assert_eq!(named.status.code(), Some(2), "{name}");
        assert!(
            text(&named.stderr).contains("not an experiment"),
            "{}",
            text(&named.stderr)
        );
    }
}

#[test]
fn where_there_is_no_folder_of_systems_the_hint_says_to_write_a_path() {
    let dir = tempfile::tempdir().unwrap();
    let file = changed(dir.path(), "title:", "title:");
    let experiment = std::fs::read_to_string(&file).unwrap();
    let system = concat!("system: ", env!("CARGO_MANIFEST_DIR"), "/fixtures/guestbook");
    std::fs::write(&file, experiment.replace(system, "system: my-system")).unwrap();
    let mut command = Command::cargo_bin("nightmail").unwrap();
    let output = command
        .args(["validate", &file])
        .current_dir(dir.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let message = text(&output.stderr);
    assert!(message.contains("unknown system `my-system`"), "{message}");
    assert!(message.contains("for example `./` or `../my-system`"), "{message}");
    assert!(!message.contains("none"), "{message}");
}

#[test]
fn an_experiment_that_nothing_shows_to_be_able_to_fail_is_valid_with_a_note() {
    let dir = tempfile::tempdir().unwrap();
    let note = "note: no negative control";
    let with = nightmail(&["validate", GOOD]);
    assert!(!text(&with.stdout).contains(note), "{}", text(&with.stdout));
    let file = changed(dir.path(), "title:", "title:");
    let experiment = std::fs::read_to_string(&file).unwrap();
    let (before, after) = experiment.split_once("negative-controls:\n").unwrap();
    let rest = after
        .lines()
        .skip_while(|line| line.starts_with(' ') || line.is_empty());
    std::fs::write(&file, before.to_owned() + &rest.collect::<Vec<_>>().join("\n")).unwrap();
    let without = nightmail(&["validate", &file]);
    assert_eq!(without.status.code(), Some(0), "{}", text(&without.stderr));
    assert!(
        text(&without.stdout).contains(&format!(": valid\n  {note}")),
        "{}",
        text(&without.stdout)
    );
}

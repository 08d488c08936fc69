//! How a command ends: by itself, by signals, and by SIGKILL.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::support::{BREAKS, GONE_WITHIN, alone, each_way};

/// Says how often the test of SIGKILL kills.
const KILLS: &str = "NIGHTMAIL_TEST_KILLS";

#[test]
fn the_exit_code_of_the_harness_is_that_of_the_command() {
    each_way(|parlour| {
        let _alone = alone();
        parlour
            .run()
            .assert(0, &["judged: pass (exit code 0)", "nothing left behind"]);
        parlour.assert_nothing_left(Duration::ZERO);

        parlour.edit("look.yaml", "look: {rate", "lock: {rate");
        parlour.run().assert(2, &["lock"]);
        parlour.edit("look.yaml", "lock: {rate", "look: {rate");

        parlour.edit("system.yaml", "status == 200", "status == 404");
        parlour.run().assert(3, &["(exit code 3)"]);
        parlour.edit("system.yaml", "status == 404", "status == 200");

        parlour.edit("compose.yaml", "exec busybox httpd", "exit 9; busybox httpd");
        parlour.edit("compose.yaml", "restart: always", "restart: \"no\"");
        parlour
            .run()
            .assert(4, &["page-1 ended with exit code 9 before it was ready"]);
        parlour.edit("compose.yaml", "exit 9; busybox httpd", "exec busybox httpd");

        parlour.edit("look.yaml", "  for: 1500ms\n", "");
        let experiment = std::fs::read_to_string(parlour.path("look.yaml")).unwrap();
        parlour.write("look.yaml", &format!("{experiment}{BREAKS}"));
        parlour
            .run()
            .assert(1, &["judged: fail (exit code 1)", "the page freezes: seen in effect"]);
        parlour.assert_nothing_left(Duration::ZERO);
    });
}

#[test]
fn a_signal_undoes_everything_writes_the_verdict_and_leaves_nothing() {
    for (phase, signal, times, code) in [
        ("up", Signal::SIGINT, 1, 130),
        ("gate", Signal::SIGTERM, 1, 143),
        ("method", Signal::SIGINT, 2, 130),
        ("gate", Signal::SIGTERM, 2, 143),
    ] {
        each_way(|parlour| {
            let _alone = alone();
            let mut run = parlour.start_as(times == 2);
            run.wait_for_phase(phase);
            for time in 0..times {
                if time > 0 {
                    std::thread::sleep(Duration::from_millis(2));
                }
                run.signal(signal);
            }
            assert_eq!(run.exit_code(), Some(code), "{times} {signal} in {phase}");
            parlour.assert_nothing_left(GONE_WITHIN);
            // A second one does not wait for a verdict.
            if times == 1 {
                let verdict = parlour.verdict();
                assert_eq!(verdict["status"], "interrupted", "{signal} in {phase}");
                assert_eq!(verdict["exit_code"], code);
            }
        });
    }
}

/// A program whose building takes longer than anybody waits.
const SLOW: &[(&str, &str)] = &[
    (
        "Cargo.toml",
        "[workspace]\n[package]\nname = \"slow\"\nversion = \"0.0.0\"\nedition = \"2024\"\nbuild = \"build.rs\"\n\
         [[bin]]\nname = \"slow\"\npath = \"main.rs\"\n",
    ),
    (
        "build.rs",
        "fn main() { std::thread::sleep(std::time::Duration::from_secs(3600)) }\n",
    ),
    ("main.rs", "fn main() {}\n"),
];

#[test]
fn whoever_makes_an_image_goes_with_the_run_that_wants_it() {
    for (signal, code) in [
        (Signal::SIGINT, Some(130)),
        (Signal::SIGTERM, Some(143)),
        (Signal::SIGKILL, None),
    ] {
        each_way(|parlour| {
            let _alone = alone();
            for (name, text) in SLOW {
                parlour.write(name, text);
            }
            let recipe =
                "{host-programs: {programs: [busybox], packages: [busybox-static], links: {/bin/sh: busybox}}}";
            parlour.edit(
                "compose.yaml",
                recipe,
                "{cargo-binary: {package: slow, binary: slow, path: /slow}}",
            );
            let mut run = parlour.start();
            run.wait_until("build script", |parlour| {
                parlour
                    .left()
                    .iter()
                    .any(|process| process.contains("build-script-build"))
            });
            run.signal(signal);
            assert_eq!(run.exit_code(), code, "{signal}");
            parlour.assert_nothing_left(GONE_WITHIN);
            if let Some(code) = code {
                assert_eq!(parlour.verdict()["exit_code"], code);
            }
        });
    }
}

#[test]
fn sigkill_at_any_moment_leaves_nothing() {
    let kills: u32 = std::env::var(KILLS).map_or(10, |kills| kills.parse().expect("a number"));
    each_way(|parlour| {
        let _alone = alone();
        let mut most = 0;
        for number in 0..kills {
            // Every third has its image to make.
            if number % 3 == 0 {
                let _ = std::fs::remove_dir_all(parlour.cache().join("images"));
            }
            let _ = std::fs::remove_dir_all(parlour.path("runs"));
            let mut run = parlour.start();
            // Most of what happens, happens early.
            let share: f64 = rand::random();
            let moment = Instant::now() + Duration::from_secs(3).mul_f64(share * share);
            while Instant::now() < moment {
                most = most.max(parlour.left().len());
                std::thread::sleep(Duration::from_millis(5));
            }
            run.signal(Signal::SIGKILL);
            // On a quick machine it may have ended by itself a moment before.
            let code = run.exit_code();
            assert!(matches!(code, None | Some(0)), "{code:?}");
            parlour.assert_nothing_left(GONE_WITHIN);
        }
        assert!(
            kills < 10 || most >= 6,
            "outer, init, harness, porter and two replicas must be seen: {most}"
        );
        let _ = std::fs::remove_dir_all(parlour.path("runs"));
        parlour.run().assert(0, &["judged: pass"]);
    });
}

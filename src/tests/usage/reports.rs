//! Commands that make reports of runs: of shards, of folders that hold none, of halves.

use std::path::{Path, PathBuf};

use assert_cmd::Command;
use nightmail::campaign::{Campaign, Shard};

use super::{nightmail, text};

/// What a shard of two leaves that reached none of its experiments.
fn shard(dir: &Path, number: u32, whole: &str) -> String {
    let files = ["experiments/one.yaml", "experiments/two.yaml"].map(PathBuf::from);
    let campaign = Campaign {
        shard: Some(Shard {
            number,
            of: 2,
            whole: whole.to_owned(),
            all: files.to_vec(),
        }),
        planned: vec![files[number as usize - 1].clone()],
        ..Campaign::of(Vec::new())
    };
    let shard = dir.join(format!("shard-{number}-{whole}"));
    std::fs::create_dir(&shard).unwrap();
    campaign.write(&shard).unwrap();
    shard.display().to_string()
}

#[test]
fn shards_are_merged_into_their_whole_and_into_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two, other) = (
        shard(dir.path(), 1, "abc"),
        shard(dir.path(), 2, "abc"),
        shard(dir.path(), 2, "def"),
    );
    let out = dir.path().join("whole");
    let merged = |shards: &[&str], more: &[&str]| {
        let out = out.to_str().unwrap();
        let output = nightmail(&[&["merge"], shards, &["--out", out], more].concat());
        (output.status.code(), text(&output.stderr), text(&output.stdout))
    };
    let (code, _, table) = merged(&[&one, &two], &["--expect", "2"]);
    assert_eq!(code, Some(3), "nothing was reached: {table}");
    assert!(
        table.contains("not proven: of 2 experiments 2 were not reached"),
        "{table}"
    );
    let whole = Campaign::read(&out).unwrap();
    assert_eq!((whole.shard, whole.planned.len()), (None, 2));
    for file in ["junit.xml", "summary.md"] {
        assert!(out.join(file).is_file(), "{file}");
    }
    for (shards, more, expected, said) in [
        (vec![&one], vec![], 4, "of 2 shards one is missing: 2"),
        (vec![&one, &two, &two], vec![], 2, "shard 2 of 2 is there already"),
        (vec![&one, &other], vec![], 2, "belongs to another whole"),
        (vec![&one, &two], vec!["--expect", "3"], 2, "3 were expected"),
    ] {
        let shards: Vec<&str> = shards.into_iter().map(String::as_str).collect();
        let (code, error, table) = merged(&shards, &more);
        assert_eq!(code, Some(expected), "{error}");
        assert!(error.contains(said) && error.contains("hint: "), "{error}");
        assert!(table.contains("of 2 experiments"), "the rest is reported: {table}");
    }
    let (code, error, _) = merged(&[&one, "/nowhere"], &[]);
    assert_eq!(code, Some(4), "{error}");
    assert!(error.contains("/nowhere"), "{error}");
    std::fs::write(Path::new(&two).join("campaign.json"), "{\"schema_ver").unwrap();
    let (code, error, _) = merged(&[&one, &two], &[]);
    assert_eq!(code, Some(4), "{error}");
    assert!(error.contains("half written"), "{error}");
    let again = dir.path().join("again").display().to_string();
    let whole = nightmail(&["merge", out.to_str().unwrap(), "--out", &again]);
    assert_eq!(whole.status.code(), Some(2));
    assert!(text(&whole.stderr).contains("no shard"), "{}", text(&whole.stderr));
    let in_place = nightmail(&["merge", &one, "--out", &one]);
    assert_eq!(in_place.status.code(), Some(2));
    assert!(text(&in_place.stderr).contains("folder of its own"));
}

#[test]
fn a_merge_on_github_annotates_and_leaves_what_it_reads_untouched() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (shard(dir.path(), 1, "abc"), shard(dir.path(), 2, "abc"));
    let step = dir.path().join("step.md");
    let mut command = Command::cargo_bin("nightmail").unwrap();
    let output = command
        .args(["merge", &one, &two, "--out"])
        .arg(dir.path().join("whole"))
        .env("GITHUB_ACTIONS", "true")
        .env("GITHUB_STEP_SUMMARY", &step)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3));
    let said = text(&output.stdout);
    let annotation = "::error file=experiments/one.yaml,line=1,title=one::not reached";
    assert!(said.lines().any(|line| line == annotation), "{said}");
    let word = said.lines().find_map(|line| line.strip_prefix("::stop-commands::"));
    let (before, after) = said.split_once(&format!("\n::{}::\n", word.unwrap())).unwrap();
    assert!(
        before.contains("not proven: ") && after.starts_with("::error "),
        "{said}"
    );
    assert!(std::fs::read_to_string(step).unwrap().contains("not proven"));
}

#[test]
fn what_cannot_be_reported_is_told_and_named_on_the_page() {
    let dir = tempfile::tempdir().unwrap();
    let half = dir.path().join("half");
    let newer = dir.path().join("newer");
    for (folder, plan) in [(&half, "{\"schema_version\": 1,"), (&newer, "{\"schema_version\": 99}")] {
        std::fs::create_dir(folder).unwrap();
        std::fs::write(folder.join("plan.json"), plan).unwrap();
    }
    let page = dir.path().join("page.html");
    let nowhere = dir.path().join("nowhere");
    let paths = [&half, &newer, &nowhere].map(|path| path.to_str().unwrap());
    let output = nightmail(&[&["report"], &paths[..], &["--out", page.to_str().unwrap()]].concat());
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{message}");
    assert!(message.contains("half/plan.json: EOF while parsing"), "{message}");
    assert!(message.contains("newer/plan.json: it has version 99"), "{message}");
    assert!(message.contains("nowhere: No such file"), "{message}");
    assert_eq!(message.matches("hint: ").count(), 3, "{message}");
    let told = text(&output.stdout);
    assert!(told.contains("NOT PROVEN") && told.contains("page.html"), "{told}");
    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.contains("Not read:") && page.contains("it has version 99"));

    let output = nightmail(&["report", paths[0], "--out", "/proc/nowhere/page.html"]);
    assert_eq!(output.status.code(), Some(4));
    assert!(text(&output.stderr).contains("the page could not be written"));
    let output = nightmail(&["report", paths[0], "--stale-after", "30"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("the units are h, d and w"));
}

#[test]
fn a_site_of_nothing_replaces_no_site_and_somebody_elses_folder_stays() {
    let dir = tempfile::tempdir().unwrap();
    let (out, empty) = (dir.path().join("public"), dir.path().join("empty"));
    std::fs::create_dir(&out).unwrap();
    std::fs::create_dir(&empty).unwrap();
    std::fs::write(out.join("thesis.txt"), "years").unwrap();
    let (out, empty) = (out.display().to_string(), empty.display().to_string());

    let nothing = nightmail(&["site", &empty, "nowhere", "--out", &out]);
    let message = text(&nothing.stderr);
    assert_eq!(nothing.status.code(), Some(4), "{message}");
    assert!(
        message.contains("no run is in it") && message.contains("nowhere"),
        "{message}"
    );
    assert!(message.contains("is as it was"), "{message}");

    let wrong = nightmail(&["site", &empty, "--stale-after", "3 moons"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(
        text(&wrong.stderr).contains("`12h`, `30d` or `2w`"),
        "{}",
        text(&wrong.stderr)
    );
    assert_eq!(
        std::fs::read_to_string(dir.path().join("public/thesis.txt")).unwrap(),
        "years"
    );
}

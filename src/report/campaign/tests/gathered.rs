//! Which runs are taken from where they lie, and what is told of the others.

use super::*;
use crate::campaign::Shard;
use crate::event::Events;

#[test]
fn a_broken_history_and_a_broken_proof_hide_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let dir = Saved::of("answers-lost", sample::passed()).write(folder.path());
    fs::write(dir.join("history.jsonl"), "{\"op\":{}}\n").unwrap();
    fs::write(dir.join("proof.json"), "{").unwrap();
    let (campaign, wrong) = Campaign::gather(&[folder.path().to_owned()]);
    assert_eq!((campaign.runs.len(), wrong.len()), (1, 1));
    let model = page(&campaign, &[], &options());
    let reason = model.experiments[0].no_course.as_ref().unwrap();
    assert!(reason.starts_with("history.jsonl, line 1:"), "{reason}");
}

#[test]
fn a_run_under_way_is_left_out_until_it_has_ended() {
    let folder = tempfile::tempdir().unwrap();
    let dir = Saved::of("answers-lost", sample::passed()).write(folder.path());
    fs::remove_file(dir.join("events.jsonl")).unwrap();
    let harness = Events::create(&dir.join("events.jsonl"), None).unwrap();
    let read = || {
        let (campaign, wrong) = Campaign::gather(&[folder.path().to_owned()]);
        let wrong: Vec<String> = wrong.iter().map(|error| error.reason()).collect();
        (campaign.runs.len(), wrong.join("; "))
    };
    let (runs, wrong) = read();
    assert!(runs == 0 && wrong.ends_with("this run is under way"), "{runs} {wrong}");
    // As if it were killed: what it held is free.
    drop(harness);
    assert_eq!(read(), (1, String::new()));
}

#[test]
fn a_run_in_two_folders_counts_once_and_two_verdicts_of_it_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let places = ["one", "two"].map(|name| folder.path().join(name));
    for place in &places {
        Saved::of("answers-lost", sample::passed()).write(place);
    }
    let (campaign, wrong) = Campaign::gather(&places);
    assert_eq!((campaign.runs.len(), wrong.len()), (1, 0));
    let changed = Saved::of("answers-lost", sample::failed()).write(&folder.path().join("three"));
    let mut verdict = sample::failed();
    verdict.run_id.clone_from(&campaign.runs[0].verdict.run_id);
    fs::write(changed.join("verdict.json"), serde_json::to_vec(&verdict).unwrap()).unwrap();
    let (campaign, wrong) = Campaign::gather(&[places[0].clone(), changed]);
    assert_eq!(campaign.runs.len(), 1);
    let wrong = wrong.iter().map(|error| error.to_string()).collect::<String>();
    assert!(
        wrong.contains("with another verdict") && wrong.contains("hint: "),
        "{wrong}"
    );
}

#[test]
fn a_run_that_was_cut_or_changed_since_it_ended_is_not_read_and_leaves_the_page_not_proven() {
    let folder = tempfile::tempdir().unwrap();
    // Another one that is as it was does not hide it.
    Saved::of("answers-slow", sample::passed()).write(folder.path());
    let dir = Saved::of("answers-lost", sample::passed()).write(folder.path());
    crate::run::seal::seal(&dir).unwrap();
    let read = || {
        let (campaign, wrong) = Campaign::gather(&[folder.path().to_owned()]);
        let not_read: Vec<String> = wrong.iter().map(|error| error.reason()).collect();
        (
            page(&campaign, &not_read, &options()).decision.answer,
            not_read.join("; "),
        )
    };
    assert_eq!(read(), (Answer::Go, String::new()));
    for name in ["plan.json", "history.jsonl", "events.jsonl", "verdict.json"] {
        let file = dir.join(name);
        let whole = fs::read(&file).unwrap();
        // Whole lines are gone, so that what is left can be read.
        let half = whole.iter().rposition(|byte| *byte == b'\n').unwrap_or(whole.len() / 2);
        fs::write(&file, &whole[..half]).unwrap();
        let (answer, why) = read();
        assert_eq!(answer, Answer::NotProven, "{name}");
        assert!(why.contains(dir.to_str().unwrap()), "{why}");
        fs::remove_file(&file).unwrap();
        let (answer, why) = read();
        assert_eq!(answer, Answer::NotProven, "without {name}");
        assert!(why.contains(&format!("{name} is gone")), "{why}");
        fs::write(&file, &whole).unwrap();
    }
    assert_eq!(read().0, Answer::Go);
    let half = folder.path().join("half");
    fs::create_dir(&half).unwrap();
    assert_eq!(read().0, Answer::Go, "an empty folder is no run");
    for name in [
        "plan.json",
        "history.jsonl",
        "events.jsonl",
        "verdict.json",
        "SHA256SUMS",
    ] {
        fs::write(half.join(name), "{}\n").unwrap();
        assert_eq!(read().0, Answer::NotProven, "{name} alone");
        fs::remove_file(half.join(name)).unwrap();
    }
}

#[test]
fn a_run_that_changed_since_is_not_taken_from_a_campaign_either() {
    let folder = tempfile::tempdir().unwrap();
    let dir = Saved::of("answers-lost", sample::passed()).write(&folder.path().join("runs"));
    crate::run::seal::seal(&dir).unwrap();
    let run = RunRecord::read(&dir).unwrap();
    Campaign::of(vec![run]).write(folder.path()).unwrap();
    let read = || {
        let (campaign, wrong) = Campaign::gather(&[folder.path().to_owned()]);
        let wrong: Vec<String> = wrong.iter().map(|error| error.reason()).collect();
        (campaign.runs.len(), wrong.join("; "))
    };
    assert_eq!(read(), (1, String::new()));
    let history = dir.join("history.jsonl");
    fs::write(&history, fs::read_to_string(&history).unwrap() + "\n").unwrap();
    let (runs, wrong) = read();
    assert_eq!(runs, 0);
    assert!(wrong.contains("history.jsonl is not what it was"), "{wrong}");
    fs::remove_dir_all(&dir).unwrap();
    assert_eq!(read(), (1, String::new()), "what is elsewhere nobody can look into");
}

#[test]
fn what_gates_planned_is_known_beside_runs_and_so_is_what_a_shard_left_to_others() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("runs");
    let save = |name: &str, out: &Path| Saved::of(name, sample::passed()).write(out);
    let files = |names: &[&str]| -> Vec<PathBuf> {
        let file = |name: &&str| PathBuf::from(format!("experiments/postage/{name}.yaml"));
        names.iter().map(file).collect()
    };
    let leave = |planned: &[&str], all: Option<&[&str]>, runs: &[&PathBuf]| {
        let shard = all.map(|all| Shard {
            number: 1,
            of: 2,
            whole: String::new(),
            all: files(all),
        });
        let runs = runs.iter().map(|dir| RunRecord::read(dir).unwrap()).collect();
        let campaign = Campaign {
            shard,
            planned: files(planned),
            ..Campaign::of(runs)
        };
        campaign.write(&out).unwrap();
    };
    let answer = |path: PathBuf, not_run: &[&str]| {
        let (campaign, wrong) = Campaign::gather(&[path]);
        assert!(wrong.is_empty(), "{wrong:?}");
        let page = page(&campaign, &[], &options());
        let told: Vec<PathBuf> = page.not_run.iter().map(PathBuf::from).collect();
        assert_eq!(told, files(not_run));
        page.decision.answer
    };
    let (in_folder, in_file) = (|| out.clone(), || out.join("campaign.json"));

    let first = save("first", &out);
    assert_eq!(answer(in_folder(), &[]), Answer::Go);
    // As a gate leaves it that was stopped.
    leave(&["first", "late"], None, &[&first]);
    assert_eq!(answer(in_folder(), &["late"]), Answer::NotProven);
    assert_eq!(answer(in_file(), &["late"]), Answer::NotProven);
    save("late", &out);
    assert_eq!(answer(in_folder(), &[]), Answer::Go, "made later");

    leave(&["first"], Some(&["first", "late", "of-another"]), &[&first]);
    assert_eq!(answer(in_folder(), &["of-another"]), Answer::NotProven);
    assert_eq!(answer(in_file(), &["late", "of-another"]), Answer::NotProven);

    // As `merge` leaves it beside runs of another command.
    let elsewhere = save("of-another", &folder.path().join("shard"));
    leave(&["first", "of-another"], None, &[&first, &elsewhere]);
    assert_eq!(answer(in_folder(), &[]), Answer::Go);
    fs::remove_dir_all(&first).unwrap();
    assert_eq!(answer(in_folder(), &["first"]), Answer::NotProven, "its run is gone");
}

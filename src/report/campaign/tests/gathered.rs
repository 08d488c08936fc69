//! Which runs are taken from where they lie, and what is told of the others.

use super::*;
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
        assert_eq!(read().0, Answer::NotProven, "without {name}");
        fs::write(&file, &whole).unwrap();
    }
    assert_eq!(read().0, Answer::Go);
}

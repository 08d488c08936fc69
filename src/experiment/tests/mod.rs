//! Loads good and bad files. Each message about a bad file has a snapshot: `cargo insta review` shows a change.

use std::path::{Path, PathBuf};

use super::*;
use crate::kernel::{Feature, Netem};
use crate::plan::rate::changing;
use crate::plan::{Target, Trigger};
use crate::system::{docker, local};

mod properties;
mod saved;

/// Tests run in the package's folder, and messages name files as they were given.
const FOLDER: &str = "src/experiment/tests";

/// A kernel that can do everything.
const CAPABLE: Capabilities = Capabilities {
    netem: || Netem::There,
    packet_filter: || Feature::There("seen".to_owned()),
    engine: docker::TRAITS,
};
/// One without network emulation.
const WITHOUT_NETEM: Capabilities = Capabilities {
    netem: || Netem::Missing("Specified qdisc kind is unknown".to_owned()),
    ..CAPABLE
};
/// One without a packet filter.
const WITHOUT_NFTABLES: Capabilities = Capabilities {
    packet_filter: || Feature::LeftOut("the kernel was built without it".to_owned()),
    ..CAPABLE
};
/// The engine without Docker.
const ON_LOCAL: Capabilities = Capabilities {
    engine: local::TRAITS,
    ..CAPABLE
};

fn load(path: &Path, overrides: &Overrides) -> Result<Plan, Diagnostics> {
    super::load(path, overrides, &CAPABLE)
}

/// What is said of a bad file, on the kernel that its name asks for.
fn load_bad(path: &Path) -> Result<Plan, Diagnostics> {
    let stem = path.file_stem().unwrap().to_string_lossy();
    let kernel = match stem {
        stem if stem.ends_with("without-netem") => WITHOUT_NETEM,
        stem if stem.ends_with("without-nftables") => WITHOUT_NFTABLES,
        stem if stem.ends_with("on-local") => ON_LOCAL,
        _ => CAPABLE,
    };
    super::load(path, &seeded(1), &kernel)
}

fn good(name: &str) -> PathBuf {
    Path::new(FOLDER).join("good").join(name)
}

fn seeded(seed: u64) -> Overrides {
    Overrides {
        seed: Some(seed),
        ..Overrides::default()
    }
}

fn with_var(name: &str, value: &str) -> Overrides {
    Overrides {
        vars: vec![(name.to_owned(), value.to_owned())],
        ..seeded(1)
    }
}

fn message(file: &Path, loaded: Result<(), Diagnostics>) -> String {
    match loaded {
        Ok(()) => format!("{} is not bad", file.display()),
        Err(diagnostics) => diagnostics.to_string(),
    }
}

#[test]
fn every_message_has_a_hint() {
    let without = |diagnostics: Diagnostics| {
        let bare: Vec<String> = diagnostics
            .iter()
            .filter(|diagnostic| diagnostic.hint.is_none())
            .map(ToString::to_string)
            .collect();
        bare
    };
    let experiments = discover(&[Path::new(FOLDER).join("bad")]).unwrap();
    let systems = discover(&[Path::new(FOLDER).join("bad-systems")]).unwrap();
    let mut bare: Vec<String> = Vec::new();
    bare.extend(experiments.iter().flat_map(|file| without(load_bad(file).unwrap_err())));
    bare.extend(
        systems
            .iter()
            .flat_map(|file| without(SystemUnderTest::load(file).unwrap_err())),
    );
    assert!(bare.is_empty(), "{}", bare.join("\n\n"));
}

/// The list of known systems replaced by a word, if it is complete: the shipped ones are no matter of these messages.
fn without_list_of_systems(message: &str) -> String {
    let mut known: Vec<String> = ["fixtures", "src/experiment/tests/fixtures"]
        .iter()
        .flat_map(|folder| std::fs::read_dir(folder).unwrap())
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().join("system.yaml").is_file())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    known.sort();
    let shown = format!("allowed: {} (folders of fixtures/", known.join(", "));
    message.replace(&shown, "allowed: [each system] (folders of fixtures/")
}

/// The message for each file of a folder.
fn snapshots(folder: &str, message: impl Fn(&Path) -> String) {
    let files = discover(&[Path::new(FOLDER).join(folder)]).unwrap();
    assert!(!files.is_empty());
    for file in files {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        let message = without_list_of_systems(&message(&file));
        insta::with_settings!({prepend_module_to_snapshot => false, omit_expression => true, snapshot_path => format!("snapshots/{folder}")}, {
            insta::assert_snapshot!(name, message);
        });
    }
}

#[test]
fn each_bad_experiment_has_its_message() {
    snapshots("bad", |file| message(file, load_bad(file).map(|_| ())));
}

#[test]
fn each_bad_system_has_its_message() {
    snapshots("bad-systems", |file| {
        message(file, SystemUnderTest::load(file).map(|_| ()))
    });
}

#[test]
fn every_message_about_a_place_has_line_and_column() {
    for file in discover(&[Path::new(FOLDER).join("bad")]).unwrap() {
        let whole_file = ["empty", "only-comments", "not-utf8"];
        let name = file.file_stem().unwrap().to_str().unwrap().to_owned();
        for diagnostic in load_bad(&file).unwrap_err().iter() {
            let is_placed = diagnostic.line().is_some() && diagnostic.column().is_some();
            assert_eq!(is_placed, !whole_file.contains(&name.as_str()), "{name}: {diagnostic}");
        }
    }
}

#[test]
fn an_experiment_becomes_a_plan() {
    let plan = load(&good("everything.yaml"), &seeded(7)).unwrap();
    assert_eq!(plan.experiment.name, "everything");
    assert_eq!(plan.configuration["down"], "5s");
    assert_eq!(plan.environment["api"]["API_TOKEN"], "hunter2");
    assert_eq!(plan.environment["api"]["PORT"], "8080");
    assert_eq!(plan.workload.rates["look"], 0.5.into());
    assert_eq!(plan.faults[0].for_ms, 5_000);
    assert_eq!(plan.faults[0].ttl_ms, 35_000);
    assert_eq!(plan.faults[1].name, "cut api from the primary");
    assert!(matches!(
        plan.faults[1].trigger,
        Trigger::OnOperation {
            nth: 200,
            by_ms: 10_000,
            ..
        }
    ));
    let targets = plan.faults[1].fault.behaviour().targets();
    assert!(matches!(targets[0], Target::Replicas(replicas) if replicas.len() == 1));
    assert!(matches!(targets[1], Target::Role { members, .. } if members.len() == 2));
    let schedule = &plan.schedule;
    assert_eq!(
        (schedule.gate_ms, schedule.method_ms, schedule.recovery_ms),
        (4_000, 14_000, 13_000)
    );
    assert_eq!(schedule.total_ms, 31_000);
    let json = serde_json::to_string(&plan).unwrap();
    let read: Plan = serde_json::from_str(&json).unwrap();
    assert_eq!(serde_json::to_string(&read).unwrap(), json);
}

#[test]
fn a_plan_is_told_in_words() {
    for name in ["everything", "baseline", "profiles", "replicas", "databases"] {
        let plan = load(&good(&format!("{name}.yaml")), &seeded(7)).unwrap();
        let told = crate::plan::describe::render(&plan);
        assert!(!told.contains("hunter2"), "{told}");
        insta::with_settings!({prepend_module_to_snapshot => false, omit_expression => true, snapshot_path => "snapshots/plans"}, {
            insta::assert_snapshot!(name, told);
        });
    }
}

#[test]
fn a_move_is_planned_and_its_control_leaves_out_another_step() {
    SystemUnderTest::load(&Path::new(FOLDER).join("good-systems/moved.yaml")).unwrap();
    let plan = load(&good("cut-over.yaml"), &seeded(1)).unwrap();
    let twin = plan.with_control(&plan.negative_controls[0]);
    let told = |plan: &Plan| plan.faults[0].fault.behaviour().describe();
    let moved = "move the data of db-a-1 to db-b-1";
    assert_eq!(told(&plan), format!("{moved}, without the sequences"));
    assert_eq!(told(&twin), format!("{moved}, without what changes after the copy"));
}

#[test]
fn a_profile_is_a_load_that_the_experiment_changes_and_adds_to() {
    let plan = load(&good("profiles.yaml"), &seeded(1)).unwrap();
    let rates = &plan.workload.rates;
    assert_eq!(rates["buy"], changing(&[(0, 10.0), (8_000, 40.0)]), "the profile's");
    assert_eq!(
        rates["look"],
        changing(&[(2_000, 0.0), (4_000, 6.0), (20_000, 0.0)]),
        "its own"
    );
    // 8 s of warm-up and gate, 4 s of method, 13 s of recovery.
    assert_eq!(plan.schedule.total_ms, 25_000);
    let lines: Vec<String> = crate::plan::describe::changing_rates(&plan).collect();
    assert_eq!(
        lines,
        [
            "buy 10/s at the start, 40/s from 8s on; about 880 in all",
            "look 0/s until 2s, 6/s at 4s, 0/s from 20s on; about 54 in all",
        ]
    );
    let json = serde_json::to_string(&plan).unwrap();
    let read: Plan = serde_json::from_str(&json).unwrap();
    assert_eq!(read.workload.rates, plan.workload.rates);
    assert_eq!(serde_json::to_string(&read).unwrap(), json);
    let text = std::fs::read_to_string(good("profiles.yaml")).unwrap();
    let (before, rest) = text.split_once("workload:").unwrap();
    let rest = &rest[rest.find("gate:").unwrap()..];
    let by_name = format!("{before}workload: closing-time\n{rest}");
    let document = Document::parse(&good("by-name.yaml"), by_name.as_bytes()).unwrap();
    let plan = from_document(document, &seeded(1), &CAPABLE).unwrap();
    assert_eq!(plan.workload.rates["look"], 0.5.into());
    assert_eq!(plan.workload.in_flight_max, 4_000);
}

#[test]
fn faults_of_network_emulation_need_a_kernel_that_may_have_it() {
    let file = good("packets.yaml");
    let plan = load(&file, &seeded(1)).unwrap();
    assert!(
        plan.faults
            .iter()
            .all(|fault| fault.fault.behaviour().emulated().is_some())
    );
    let unknown = Capabilities {
        netem: || Netem::Unknown("no namespace can be made".to_owned()),
        ..CAPABLE
    };
    let json = |plan: &Plan| serde_json::to_string(plan).unwrap();
    let tried_later = super::load(&file, &seeded(1), &unknown).unwrap();
    assert_eq!(json(&tried_later), json(&plan));
    let missing = super::load(&file, &seeded(1), &WITHOUT_NETEM).unwrap_err();
    assert_eq!(missing.iter().count(), plan.faults.len(), "{missing}");
}

#[test]
fn nobody_tries_the_kernel_for_a_file_that_needs_nothing_of_it() {
    let untouched = Capabilities {
        netem: || panic!("it was asked for"),
        ..CAPABLE
    };
    super::load(&good("everything.yaml"), &seeded(1), &untouched).unwrap();
}

#[test]
fn the_prefix_of_a_key_says_whether_a_fault_is_emulated() {
    use crate::fault::{EMULATED_PREFIX, NAMES};
    let plan = load(&good("packets.yaml"), &seeded(1)).unwrap();
    let emulated: Vec<&str> = plan.faults.iter().map(|fault| fault.fault.name()).collect();
    let mut prefixed = NAMES.iter().filter(|name| name.starts_with(EMULATED_PREFIX));
    assert!(prefixed.all(|name| emulated.contains(name)), "each is in the file");
    let others = load(&good("everything.yaml"), &seeded(1)).unwrap();
    let mut others = others.faults.iter();
    assert!(others.all(|fault| fault.fault.behaviour().emulated().is_none()));
}

#[test]
fn the_seed_fixes_every_choice() {
    let targets = |seed| {
        let plan = load(&good("everything.yaml"), &seeded(seed)).unwrap();
        serde_json::to_string(&plan.faults).unwrap()
    };
    assert_eq!(targets(1), targets(1));
    let chosen: std::collections::BTreeSet<String> = (0..20).map(targets).collect();
    assert_eq!(chosen.len(), 3, "one of three replicas, each chosen at some time");
    let drawn = load(&good("everything.yaml"), &Overrides::default()).unwrap().seed;
    assert_ne!(drawn, 0);
}

#[test]
fn variables_of_the_command_line_win() {
    let plan = load(&good("everything.yaml"), &with_var("down", "7s")).unwrap();
    assert_eq!(plan.faults[0].for_ms, 7_000);
    let plan = load(&good("everything.yaml"), &with_var("share", "50")).unwrap();
    let crate::fault::FaultSpec::Loss(loss) = &plan.faults[2].fault else {
        panic!("not a loss");
    };
    assert_eq!(loss.percent, 50.0);
}

#[test]
fn wrong_words_of_the_command_line_have_their_message() {
    let unknown_var = load(&good("everything.yaml"), &with_var("donw", "7s")).unwrap_err();
    let wrong_var = load(&good("everything.yaml"), &with_var("down", "7")).unwrap_err();
    let overrides = Overrides {
        defects: vec!["parcel-per-atempt".to_owned()],
        ..seeded(1)
    };
    let unknown_defect = load(&good("everything.yaml"), &overrides).unwrap_err();
    let no_path = discover(&[]).unwrap_err();
    let missing = discover(&[good("baselin.yaml")]).unwrap_err();
    let messages = [unknown_var, wrong_var, unknown_defect, no_path.into(), missing.into()];
    insta::assert_snapshot!(messages.map(|message| message.to_string()).join("\n\n"));
}

#[test]
fn a_defect_sets_its_variables() {
    let overrides = Overrides {
        defects: vec!["parcel-per-attempt".to_owned()],
        ..seeded(1)
    };
    let plan = load(&good("everything.yaml"), &overrides).unwrap();
    assert_eq!(plan.defects, ["parcel-per-attempt"]);
    assert_eq!(plan.environment["worker"]["DEFECT"], "parcel-per-attempt");
    assert_eq!(plan.environment["api"]["LOG"], "debug");
}

#[test]
fn variants_keep_the_load_and_its_length() {
    let plan = load(&good("everything.yaml"), &seeded(1)).unwrap();
    let twin = plan.without_method();
    assert!(twin.faults.is_empty() && twin.during.is_empty() && twin.recovery.is_none());
    assert_eq!(twin.schedule.total_ms, plan.schedule.total_ms);
    assert_eq!(twin.workload.rates, plan.workload.rates);
    let defective = plan.with_control(&plan.negative_controls[0]);
    assert_eq!(defective.defects, ["parcel-per-attempt"]);
    assert_eq!(defective.environment["worker"]["DEFECT"], "parcel-per-attempt");
    let unsafe_setting = plan.with_control(&plan.negative_controls[1]);
    assert_eq!(unsafe_setting.environment["api"]["RETRIES"], "0");
    assert_eq!(unsafe_setting.environment["api"]["LOG"], "debug");
    assert!(unsafe_setting.defects.is_empty());
}

#[test]
fn a_control_may_change_the_configuration_and_nothing_else() {
    let plan = load(&good("everything.yaml"), &with_var("share", "30")).unwrap();
    let longer = plan.with_control(&plan.negative_controls[2]);
    assert_eq!((plan.faults[0].for_ms, longer.faults[0].for_ms), (5_000, 7_000));
    assert_eq!(longer.configuration["down"], "7s");
    assert_eq!(longer.environment["api"]["RETRIES"], "0");
    // What the command line says holds there, too, and so do all choices of the seed.
    assert_eq!(longer.configuration["share"], "30");
    assert_eq!(longer.faults[1..], plan.faults[1..]);
    assert_eq!(longer.negative_controls.len(), plan.negative_controls.len());
    let written = serde_json::to_value(plan.redacted()).unwrap();
    let read: Plan = serde_json::from_value(written).unwrap();
    let again = read.with_control(&read.negative_controls[2]);
    assert_eq!(again.faults, longer.faults);
}

#[test]
fn what_a_control_makes_wrong_is_wrong_with_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string(good("everything.yaml")).unwrap();
    let text = text.replace("down: 7s", "down: 7").replace(
        "system: shop",
        &format!(
            "system: {}",
            std::path::absolute(FOLDER).unwrap().join("fixtures/shop").display()
        ),
    );
    let path = folder.path().join("wrong.yaml");
    std::fs::write(&path, text).unwrap();
    let message = load(&path, &seeded(1)).unwrap_err().to_string();
    let place = "wrong.yaml:32:10";
    assert!(
        message.contains("(under the negative control `down for longer`)") && message.contains(place),
        "{message}"
    );
}

#[test]
fn folders_are_searched_and_files_taken_once() {
    let folder = Path::new(FOLDER).join("good");
    let found = discover(&[folder.clone(), good("everything.yaml")]).unwrap();
    let all = [
        "baseline.yaml",
        "cut-over.yaml",
        "databases.yaml",
        "deployments.yaml",
        "everything.yaml",
        "packets.yaml",
        "profiles.yaml",
        "replicas.yaml",
    ];
    assert_eq!(found, all.map(good));
    let empty = tempfile::tempdir().unwrap();
    let message = discover(&[empty.path().to_owned()]).unwrap_err().to_string();
    assert!(message.contains("this folder holds no experiments"), "{message}");
}

#[test]
fn a_file_too_large_is_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large.yaml");
    std::fs::write(&path, "a: b\n".repeat(300_000)).unwrap();
    let message = load(&path, &seeded(1)).unwrap_err().to_string();
    assert!(message.contains("this file is too large"), "{message}");
}

#[test]
fn schemas_name_every_key() {
    let schema = schema();
    assert!(schema["properties"]["steady-state-hypothesis"].is_object());
    assert_eq!(schema["additionalProperties"], false);
    let faults = schema["$defs"]["FaultSpec"].to_string();
    assert!(crate::fault::NAMES.iter().all(|name| faults.contains(name)), "{faults}");
    let system = system_schema();
    assert!(system["properties"]["final-reads"].is_object());
    // What may be written in two ways is in the schema in both.
    let workload = schema["properties"]["workload"].to_string() + &schema["$defs"]["WorkloadOrName"].to_string();
    assert!(
        workload.contains("string") && workload.contains("#/$defs/Workload"),
        "{workload}"
    );
    for schema in [&schema, &system] {
        let rate = schema["$defs"]["RateOrPoints"].to_string();
        assert!(
            rate.contains("#/$defs/Rate") && rate.contains("#/$defs/PointSpec"),
            "{rate}"
        );
    }
    let replica = &system["$defs"]["RequestTemplate"]["properties"]["replica"];
    assert_eq!(replica["type"], serde_json::json!(["integer", "string"]));
}

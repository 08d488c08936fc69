//! What stands in `ci/` for others to copy: it is YAML, every command of nightmail's in it is one, with arguments that it
//! takes, and every file that it names is there.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use clap::Parser;
use nightmail::campaign::accept::Accepted;
use nightmail::cli::args::Cli;
use nightmail::yaml::Document;
use nightmail::yaml::node::{Node, Value};

const TEMPLATES: [&str; 2] = ["ci/github.yml", "ci/gitlab.yml"];

/// Folders and files that the pipeline itself makes.
const MADE: [&str; 5] = [
    "ci/baseline.json",
    "campaign/",
    "bin/",
    ".nightmail/",
    "/nightmail/bin/",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn template(name: &str) -> Document {
    Document::load(&root().join(name)).unwrap_or_else(|wrong| panic!("{wrong}"))
}

/// Every text of the document, keys left out, with the key that it stands under.
fn texts<'n>(node: &'n Node, under: &'n str, found: &mut Vec<(&'n str, &'n str)>) {
    match &node.value {
        Value::Scalar(scalar) => found.push((under, &scalar.text)),
        Value::List(elements) => elements.iter().for_each(|element| texts(element, under, found)),
        Value::Map(entries) => entries.iter().for_each(|entry| texts(&entry.node, &entry.key, found)),
        Value::Null => {}
    }
}

/// All scripts of a template.
fn scripts(document: &Document) -> Vec<&str> {
    let mut found = Vec::new();
    texts(&document.root, "", &mut found);
    let scripts = found.into_iter().filter(|(key, _)| ["run", "script"].contains(key));
    scripts.map(|(_, script)| script).collect()
}

/// The lines of all scripts of a template; those that go on in the next are one.
fn script_lines(document: &Document) -> Vec<String> {
    let lines = scripts(document).into_iter().flat_map(|script| {
        let joined = script.replace("\\\n", " ");
        joined.lines().map(|line| line.trim().to_owned()).collect::<Vec<_>>()
    });
    lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect()
}

/// The variables that the template sets, for what is run.
fn variables(document: &Document) -> BTreeMap<String, String> {
    let block = document.root.get("env").or(document.root.get("variables"));
    let entries = block.expect("the template sets variables").entries();
    let value = |node: &Node| match &node.value {
        Value::Scalar(scalar) => scalar.text.clone(),
        other => panic!("no text: {other:?}"),
    };
    entries
        .iter()
        .map(|entry| (entry.key.clone(), value(&entry.node)))
        .collect()
}

/// The lines that begin with `nightmail`, with the arguments that lines before them may add.
fn command_lines(document: &Document) -> Vec<String> {
    const ADDS: &str = "then set -- \"$@\" ";
    let (mut added, mut lines) = (String::new(), Vec::new());
    for line in script_lines(document) {
        if line == "set --" {
            added.clear();
        } else if let Some((_, more)) = line.split_once(ADDS) {
            added = format!("{added} {}", more.trim_end_matches("; fi"));
        } else if line.starts_with("nightmail ") {
            lines.push(line.replace("\"$@\"", &added));
        }
    }
    lines
}

/// The commands of nightmail's in a template, as words, with variables replaced.
fn commands(document: &Document) -> Vec<Vec<String>> {
    let mut set = variables(document);
    set.insert("SHARD".to_owned(), "2".to_owned());
    command_lines(document)
        .into_iter()
        .map(|line| {
            let mut line = line.replace("${{ matrix.shard }}", "2");
            for (name, value) in &set {
                line = line.replace(&format!("${name}"), value);
            }
            let command = line.split(" || ").next().unwrap_or_default();
            assert!(!command.contains('$'), "a variable that nothing sets: {command}");
            command.split_whitespace().map(|word| word.replace('"', "")).collect()
        })
        .collect()
}

#[test]
fn templates_are_yaml_with_a_script() {
    for name in TEMPLATES {
        let document = template(name);
        assert!(script_lines(&document).len() > 5, "{name}");
        assert!(commands(&document).len() >= 3, "{name}: {:?}", commands(&document));
    }
}

#[test]
fn every_command_in_a_template_is_one() {
    let mut wrong = Vec::new();
    for name in TEMPLATES {
        for words in commands(&template(name)) {
            if let Err(error) = Cli::try_parse_from(&words) {
                wrong.push(format!("{name}: {}: {error}", words.join(" ")));
            }
        }
    }
    assert_eq!(wrong, [""; 0]);
}

#[test]
fn a_misspelt_command_would_be_found() {
    assert!(Cli::try_parse_from(["nightmail", "dif", "a", "b"]).is_err());
    assert!(Cli::try_parse_from(["nightmail", "diff", "a", "b", "--acept", "c"]).is_err());
}

#[test]
fn every_file_that_a_template_names_is_there() {
    for name in TEMPLATES {
        let document = template(name);
        let mut found = Vec::new();
        texts(&document.root, "", &mut found);
        let words = found
            .iter()
            .flat_map(|(_, text)| text.split([' ', '\n', '"', '\'', '(', ')', ',', ';', '=']));
        let is_path = |word: &&str| {
            let known_ending = [".yaml", ".yml", ".json"].iter().any(|ending| word.ends_with(ending));
            (known_ending || word.ends_with('/')) && !word.contains(['$', '*', '{'])
        };
        let paths: Vec<&str> = words.filter(is_path).collect();
        assert!(
            paths.contains(&"experiments/") && paths.contains(&"ci/accepted.yaml"),
            "{name}: {paths:?}"
        );
        for path in paths
            .iter()
            .filter(|path| !MADE.iter().any(|made| path.starts_with(made)))
        {
            assert!(root().join(path).exists(), "{name} names {path}, which is not there");
        }
    }
}

#[test]
fn as_many_shards_are_expected_as_are_run() {
    for name in TEMPLATES {
        let document = template(name);
        let mut found = Vec::new();
        texts(&document.root, "", &mut found);
        let matrix = found
            .iter()
            .filter(|(key, _)| key.eq_ignore_ascii_case("shard"))
            .count();
        let commands = commands(&document);
        let of = |command: &str| {
            let words = commands.iter().find(|words| words[1] == command);
            words.unwrap_or_else(|| panic!("{name} has no `nightmail {command}`"))
        };
        let after = |words: &[String], option: &str| {
            let at = words.iter().position(|word| word == option);
            words[at.unwrap_or_else(|| panic!("{name}: no {option}")) + 1].clone()
        };
        assert_eq!(after(of("gate"), "--shard"), format!("2/{matrix}"), "{name}");
        assert_eq!(after(of("merge"), "--expect"), matrix.to_string(), "{name}");
    }
}

/// What a script of a template has nightmail do, in a folder where those files are: the arguments, run by a shell.
fn arguments(script: &str, set: &BTreeMap<String, String>, files: &[&str]) -> String {
    let dir = tempfile::tempdir().unwrap();
    for folder in ["ci", "campaign/shard-1", "campaign/shard-2"] {
        fs::create_dir_all(dir.path().join(folder)).unwrap();
    }
    for file in files {
        fs::write(dir.path().join(file), "").unwrap();
    }
    let script = script.replace("${{ matrix.shard }}", "2");
    let script = format!("nightmail() {{ echo \"$@\"; }}\ngit() {{ :; }}\n{script}");
    let output = Command::new("sh")
        .args(["-eu", "-c", &script])
        .current_dir(dir.path())
        .envs(set)
        .env("SHARD", "2")
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{script}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

#[test]
fn the_baseline_and_the_accepted_weaknesses_are_heeded_where_they_are() {
    const BOTH: [&str; 2] = ["ci/accepted.yaml", "ci/baseline.json"];
    for name in TEMPLATES {
        let document = template(name);
        let set = variables(&document);
        let of = |command: &str| {
            let scripts = scripts(&document).into_iter();
            let mut fitting = scripts.filter(|script| script.contains(command));
            fitting.next().unwrap_or_else(|| panic!("{name}: {command}")).to_owned()
        };
        let gate = |files: &[&str]| arguments(&of("nightmail gate"), &set, files);
        let shard = "--shard 2/3 --time-limit 20m --out campaign/shard-2";
        assert_eq!(gate(&[]), format!("gate experiments/ {shard}"), "{name}");
        assert_eq!(
            gate(&BOTH),
            format!("gate experiments/ --accept ci/accepted.yaml --durations ci/baseline.json {shard}"),
            "{name}"
        );
        let merge = |files: &[&str]| arguments(&of("nightmail merge"), &set, files);
        let shards = "merge campaign/shard-1 campaign/shard-2";
        assert!(
            merge(&[]).starts_with(&format!("{shards} --expect 3 --out campaign")),
            "{name}"
        );
        let compared = format!("{shards} --accept ci/accepted.yaml --baseline ci/baseline.json --expect 3");
        assert!(merge(&BOTH).starts_with(&compared), "{name}: {}", merge(&BOTH));
        // A comparison of its own would close the gate for too few runs.
        assert!(!commands(&document).iter().any(|words| words[1] == "diff"), "{name}");
    }
}

#[test]
fn a_stranger_says_where_nightmail_is_and_this_project_need_not() {
    for name in TEMPLATES {
        let document = template(name);
        let set = variables(&document);
        assert_eq!(set["NIGHTMAIL_REPOSITORY"], "", "{name}");
        assert!(set["NIGHTMAIL_RELEASE"].to_lowercase().contains("sha"), "{name}");
        let scripts = scripts(&document);
        let at = scripts.iter().position(|script| script.contains("cargo install"));
        // On GitLab the scripts of a job are one.
        let build = match name {
            "ci/gitlab.yml" => scripts[..=at.unwrap()].join("\n"),
            _ => scripts[at.unwrap()].to_owned(),
        };
        let build = build.replace("cargo install", "echo") + "\n";
        let from = |repository: &str| {
            let mut set = set.clone();
            set.insert("NIGHTMAIL_REPOSITORY".to_owned(), repository.to_owned());
            set.insert("RUNNER_TEMP".to_owned(), "/tmp".to_owned());
            arguments(&build, &set, &[])
        };
        assert!(from("").contains("--path . --root"), "{name}: {}", from(""));
        assert!(
            from("a/b").contains("--path nightmail-source --root"),
            "{name}: {}",
            from("a/b")
        );
    }
    let github = fs::read_to_string(root().join("ci/github.yml")).unwrap();
    for said in ["repository: ${{ env.NIGHTMAIL_REPOSITORY }}", "path: nightmail-source"] {
        assert!(github.contains(said), "{said}");
    }
    let gitlab = fs::read_to_string(root().join("ci/gitlab.yml")).unwrap();
    assert!(gitlab.contains("git clone ") && gitlab.contains("\"$NIGHTMAIL_REPOSITORY\" nightmail-source"));
}

#[test]
fn what_decides_is_never_skipped() {
    for (name, job, key, always) in [
        ("ci/github.yml", &["jobs", "merge"][..], "if", "${{ always() }}"),
        ("ci/gitlab.yml", &["campaign"][..], "when", "always"),
    ] {
        let document = template(name);
        let job = job.iter().fold(&document.root, |node, key| node.get(key).expect(key));
        let mut found = Vec::new();
        texts(job.get(key).expect(key), key, &mut found);
        assert_eq!(found, [(key, always)], "{name}");
    }
}

#[test]
fn a_job_that_runs_again_replaces_what_it_left() {
    let text = fs::read_to_string(root().join("ci/github.yml")).unwrap();
    let count = |what: &str| text.matches(what).count();
    assert_eq!(count("uses: actions/upload-artifact@"), 3);
    assert_eq!(count("overwrite: true"), 3);
}

#[test]
fn the_accepted_weaknesses_can_be_read_and_so_can_the_example_in_them() {
    let path = root().join("ci/accepted.yaml");
    let today = jiff::civil::date(2026, 11, 30);
    Accepted::load(&path, today).unwrap_or_else(|wrong| panic!("{wrong}"));
    let text = fs::read_to_string(&path).unwrap();
    let example = text
        .lines()
        .skip_while(|line| *line != "#")
        .filter_map(|line| line.strip_prefix("# "));
    let example: Vec<&str> = example.collect();
    assert!(example.len() > 8);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("accepted.yaml");
    fs::write(&file, example.join("\n")).unwrap();
    Accepted::load(&file, today).unwrap_or_else(|wrong| panic!("{wrong}"));
    for line in example.iter().filter(|line| line.starts_with("- experiment:")) {
        let name = line
            .trim_start_matches("- experiment:")
            .split('#')
            .next()
            .unwrap()
            .trim();
        let file = format!("experiments/postage/{name}.yaml");
        assert!(root().join(&file).exists(), "{file}");
    }
}

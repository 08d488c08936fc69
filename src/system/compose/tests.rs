//! What the reader accepts, and how it refuses the rest.

use super::*;

fn read(text: &str) -> Result<ComposeFile, ComposeError> {
    read_in(tempfile::tempdir().unwrap().path(), text, &[])
}

fn read_in(dir: &Path, text: &str, environment: &[(&str, &str)]) -> Result<ComposeFile, ComposeError> {
    let path = dir.join("compose.yaml");
    std::fs::write(&path, text).unwrap();
    let environment = environment
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect();
    load_with(&path, &environment)
}

fn refused(text: &str) -> ComposeError {
    read(text).unwrap_err()
}

/// Every key that is supported, in one file.
const WHOLE: &str = r#"
version: "3.9"
name: demo
x-common: &common
  restart: on-failure:3
  environment: {A: 1, B: yes, C: "010", D: 010}
services:
  db:
    image: nightmail/postgres:15
    healthcheck: {test: "pg_isready -q", interval: 500ms, timeout: 1s, retries: 3, start_period: 1m30s}
    volumes: ["data:/data:ro", /anonymous, {type: tmpfs, target: /t, tmpfs: {size: 64m}}]
    shm_size: 64m
    ulimits: {nofile: 1024, nproc: {soft: 1, hard: 2}}
    sysctls: [net.ipv4.tcp_tw_reuse=1]
  api:
    <<: *common
    image: demo/api
    command: serve --name "two words"
    entrypoint: [/bin/init, --]
    depends_on: {db: {condition: service_healthy}}
    deploy: {replicas: 3}
    networks: {default: {aliases: [front]}}
    ports: ["8080:80"]
    container_name: api
    tmpfs: /tmp
    cap_drop: [ALL]
    x-note: anything
  job:
    image: demo/api
    environment: [E=f=g, EMPTY=]
    depends_on: [db, api]
    restart: no
    stop_grace_period: 2s
    stop_signal: SIGINT
    user: 999
volumes: {data: }
x-nightmail:
  images:
    demo/api: {cargo-binary: {package: demo, binary: api, path: /api}}
"#;

#[test]
fn a_service_with_shared_parts_and_both_forms_of_commands() {
    let file = read(WHOLE).unwrap();
    let api = &file.services["api"];
    assert_eq!(api.command.as_deref().unwrap(), ["serve", "--name", "two words"]);
    assert_eq!(api.entrypoint.as_deref().unwrap(), ["/bin/init", "--"]);
    assert_eq!(api.restart, Restart::OnFailure(3));
    assert_eq!(api.depends_on["db"], Condition::Healthy);
    assert_eq!(api.aliases, ["front"]);
    let environment: Vec<_> = api.environment.values().map(String::as_str).collect();
    assert_eq!(environment, ["1", "yes", "010", "010"]);
    assert_eq!(api.security_opt, ["no-new-privileges"]);
    assert_eq!(api.tmpfs["/tmp"], "");
}

#[test]
fn a_service_with_health_mounts_and_limits() {
    let file = read(WHOLE).unwrap();
    let db = &file.services["db"];
    assert_eq!(db.tmpfs["/t"], format!("size={}", 64 << 20));
    let check = db.healthcheck.as_ref().unwrap();
    assert_eq!(check.test, ["CMD-SHELL", "pg_isready -q"]);
    assert_eq!(check.start_period, Some(Duration::from_secs(90)));
    assert_eq!(db.mounts[0].source, MountSource::Volume("data".to_owned()));
    assert!(db.mounts[0].read_only);
    assert_eq!(db.mounts[1].source, MountSource::Anonymous);
    assert_eq!(db.sysctls["net.ipv4.tcp_tw_reuse"], "1");
    let ulimits = [("nofile".to_owned(), 1024, 1024), ("nproc".to_owned(), 1, 2)];
    assert_eq!(db.ulimits, ulimits);
}

#[test]
fn a_job_with_an_environment_as_a_list() {
    let file = read(WHOLE).unwrap();
    let job = &file.services["job"];
    assert_eq!(job.environment["E"], "f=g");
    assert_eq!(job.environment["EMPTY"], "");
    assert_eq!(job.restart, Restart::No);
    assert_eq!(job.stop_grace, Duration::from_secs(2));
    assert_eq!(job.user.as_deref(), Some("999"));
    assert_eq!(job.depends_on["api"], Condition::Started);
}

#[test]
fn a_file_as_a_whole() {
    let file = read(WHOLE).unwrap();
    assert_eq!(file.images(), ["demo/api", "nightmail/postgres:15"]);
    assert_eq!(file.replicas()["api"], 3);
    assert_eq!(file.notices.len(), 2, "{:?}", file.notices);
    assert!(file.recipes.contains_key("demo/api"));
}

#[test]
fn variables_come_from_the_environment_and_the_dotenv_file() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(".env"), "TAG=7\nBOTH=file\n").unwrap();
    std::fs::write(dir.path().join("api.env"), "FROM_FILE=1\nOWN=file\n").unwrap();
    let text = "services:\n  a:\n    image: \"i:${TAG}\"\n    env_file: api.env\n    environment:\n      BOTH: $BOTH\n      \
                D: ${UNSET:-d}\n      DOLLAR: $$x\n      OWN: own\n      INHERITED:\n      ABSENT:\n";
    let file = read_in(dir.path(), text, &[("BOTH", "process"), ("INHERITED", "i")]).unwrap();
    let service = &file.services["a"];
    assert_eq!(service.image, ImageSource::Named("i:7".to_owned()));
    let environment: Vec<_> = service
        .environment
        .iter()
        .map(|(k, v)| (k.as_str(), v.as_str()))
        .collect();
    let expected = [
        ("BOTH", "process"),
        ("D", "d"),
        ("DOLLAR", "$x"),
        ("FROM_FILE", "1"),
        ("INHERITED", "i"),
        ("OWN", "own"),
    ];
    assert_eq!(environment, expected);
}

#[test]
fn a_required_variable_that_is_not_set_is_an_error_with_its_message() {
    let error = refused("services:\n  a:\n    image: ${TAG:?say which}\n");
    assert_eq!(error.line(), Some(3));
    assert!(error.to_string().contains("say which"), "{error}");
}

#[test]
fn a_build_with_context_dockerfile_and_args() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("app")).unwrap();
    std::fs::write(dir.path().join("app/Dockerfile"), "FROM scratch\n").unwrap();
    let text = "services:\n  a: {build: app}\n  b: {build: {context: app, args: {X: 1}, target: t}}\n";
    let file = read_in(dir.path(), text, &[]).unwrap();
    let ImageSource::Build(build) = &file.services["b"].image else {
        panic!("{:?}", file.services["b"].image)
    };
    assert_eq!(build.dockerfile, "Dockerfile");
    assert_eq!(build.args["X"], "1");
    assert_eq!(build.target.as_deref(), Some("t"));
    assert!(
        refused("services:\n  a: {build: nowhere}\n")
            .to_string()
            .contains("is not there")
    );
}

#[test]
fn refusals_name_the_place_and_the_way_out() {
    let cases = [
        // (what is wrong, its line, what the message must say)
        (
            "services:\n  a:\n    image: i\n    comand: x\n",
            4,
            "did you mean `command`?",
        ),
        (
            "services:\n  a:\n    image: i\n    privileged: true\n",
            4,
            "is not supported",
        ),
        ("services:\n  a:\n    image: i\n    extends: {file: x}\n", 4, "anchor"),
        ("include: [x]\nservices:\n  a: {image: i}\n", 1, "anchor"),
        (
            "services:\n  a:\n    image: i\n    network_mode: host\n",
            4,
            "own network",
        ),
        (
            "services:\n  a:\n    image: i\n    depends_on: [bb]\n  b: {image: i}\n",
            4,
            "unknown service `bb`",
        ),
        (
            "services:\n  a:\n    image: i\n    depends_on: {b: {condition: healthy}}\n  b: {image: i}\n",
            4,
            "service_healthy",
        ),
        (
            "services:\n  a:\n    image: i\n    deploy: {replicas: 0}\n",
            4,
            "1 to 100",
        ),
        (
            "services:\n  a:\n    image: i\n    restart: sometimes\n",
            4,
            "unless-stopped",
        ),
        (
            "services:\n  a:\n    image: i\n    volumes: [\"v:/x\"]\n",
            4,
            "unknown volume `v`",
        ),
        (
            "services:\n  a:\n    image: i\n    healthcheck: {test: [x, y]}\n",
            4,
            "CMD-SHELL",
        ),
        (
            "services:\n  a:\n    image: i\n    stop_grace_period: 10\n",
            4,
            "is not a duration",
        ),
        (
            "services:\n  a:\n    image: i\n    networks: [back]\n",
            4,
            "unknown network `back`",
        ),
        ("services:\n  a: {image: i}\n  a: {image: i}\n", 3, "there twice"),
        ("services:\n  a:\n    command: x\n", 2, "neither `image` nor `build`"),
        (
            "services:\n  a: {image: i}\nvolumes: {v: {external: true}}\n",
            3,
            "is not supported",
        ),
        ("services:\n  a: [image\n", 2, "compose.yaml"),
    ];
    for (text, line, says) in cases {
        let error = refused(text);
        // A missing key and an unclosed bracket may be reported one line on: where the reader notices.
        let near = error.line().is_some_and(|found| found.abs_diff(line) <= 1);
        assert!(near, "line {:?} instead of {line}:\n{error}", error.line());
        assert!(error.to_string().contains(says), "`{says}` is not said:\n{error}");
    }
}

#[test]
fn services_on_different_networks_are_refused_not_joined() {
    let text = "services:\n  a: {image: i, networks: [front]}\n  b: {image: i, networks: [back]}\n\
                networks: {front: , back: }\n";
    let error = refused(text);
    assert!(error.to_string().contains("partition"), "{error}");
    let together = text.replace("[back]", "[front]");
    assert!(read(&together).is_ok());
}

#[test]
fn circles_are_refused() {
    let error = refused("services:\n  a: {image: i, depends_on: [b]}\n  b: {image: i, depends_on: [a]}\n");
    assert!(error.to_string().contains("circle: a, b"), "{error}");
}

#[test]
fn a_bomb_and_an_empty_file_are_refused_quickly() {
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let below = format!("*a{}", level - 1);
        bomb += &format!("a{level}: &a{level} [{}]\n", [below.as_str(); 9].join(", "));
    }
    let bomb = format!(
        "x-bomb:\n{}services:\n  a: {{image: i, command: *a11}}\n",
        indent(&bomb)
    );
    assert!(read(&bomb).is_err());
    assert!(refused("").to_string().contains("empty"));
    assert!(refused("# nothing\n").to_string().contains("compose.yaml"));
}

fn indent(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect()
}

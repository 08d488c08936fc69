//! Dockerfiles built into trees, with a double for whatever runs commands.

use std::os::unix::fs::{MetadataExt, symlink};
use std::sync::Mutex;

use super::*;
use crate::system::compose::{self, ImageSource};
use crate::system::image::Inside;

/// Writes down what it is asked to run; `touch` makes the file that it is asked for.
#[derive(Default)]
struct Double {
    ran: Mutex<Vec<String>>,
}

impl Within for Double {
    fn run(&self, root: &Path, command: &Inside<'_>) -> Result<(), ImageError> {
        let (user, dir) = (command.user.unwrap_or("-"), command.working_dir.unwrap_or("-"));
        let variable = command.environment.get("VARIABLE").map_or("-", String::as_str);
        let said = format!("{} | {user} {dir} {variable}", command.words.join(" "));
        self.ran.lock().unwrap().push(said);
        let last = command.words.last().map_or("", String::as_str);
        if last == "false" {
            return Err(ImageError {
                reason: "`false` failed (1)".to_owned(),
                log: vec!["its last words".to_owned()],
            });
        }
        if let Some(path) = last.strip_prefix("touch ") {
            std::fs::write(root.join(path), "").map_err(|error| ImageError::io(root, &error))?;
        }
        Ok(())
    }
}

/// A context, and the store that it is built into.
struct Bench {
    dir: tempfile::TempDir,
    build: Build,
    bases: BTreeMap<String, Stored>,
    within: Double,
}

fn bench(dockerfile: &str, files: &[&str]) -> Bench {
    let dir = tempfile::tempdir().unwrap();
    let context = dir.path().join("context");
    std::fs::create_dir_all(&context).unwrap();
    std::fs::create_dir(dir.path().join("store")).unwrap();
    for file in files {
        let path = context.join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, format!("text of {file}")).unwrap();
    }
    std::fs::write(context.join("Dockerfile"), dockerfile).unwrap();
    std::fs::write(context.join(".dockerignore"), "Dockerfile\n.dockerignore\nsecret\n").unwrap();
    let build = Build {
        context,
        dockerfile: "Dockerfile".to_owned(),
        args: BTreeMap::new(),
        target: None,
    };
    Bench {
        dir,
        build,
        bases: BTreeMap::new(),
        within: Double::default(),
    }
}

impl Bench {
    fn store(&self) -> Store {
        Store::at(&self.dir.path().join("store"))
    }

    fn try_make(&self) -> Result<Stored, ImageError> {
        let dockerfile = Dockerfile::read(&self.build)?;
        // Locks are shared by everything on this machine.
        let name = format!(
            "test{}",
            self.dir.path().file_name().unwrap().to_string_lossy().replace('.', "")
        );
        let found = dockerfile
            .ready(&name, &self.bases)?
            .make(&self.store(), &self.within)?;
        Ok(found.stored.unwrap())
    }

    fn make(&self) -> Stored {
        self.try_make().unwrap_or_else(|error| panic!("{error}"))
    }

    fn error(&self) -> String {
        self.try_make().unwrap_err().reason
    }
}

/// Every path of a tree, folders with a slash.
fn files(root: &Path) -> Vec<String> {
    fn below(root: &Path, folder: &Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let path = entry.path().strip_prefix(root).unwrap().display().to_string();
            if entry.file_type().unwrap().is_dir() {
                found.push(format!("{path}/"));
                below(root, &entry.path(), found);
            } else {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    below(root, root, &mut found);
    found.sort();
    found
}

#[test]
fn the_guestbook_is_built_from_its_own_dockerfile() {
    if crate::system::image::find_program("busybox").is_none() {
        // Its recipe would fetch a package, which no test may.
        return;
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/guestbook/compose.yaml");
    let compose = compose::load(&path).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (store, within) = (Store::at(dir.path()), Double::default());
    let unique = dir.path().file_name().unwrap().to_string_lossy().replace('.', "");
    let ImageSource::Build(build) = &compose.services["book"].image else {
        panic!("the book has a Dockerfile");
    };
    let dockerfile = Dockerfile::read(build).unwrap();
    assert_eq!(dockerfile.bases(), ["nightmail/busybox"]);
    let recipe = compose.recipes["nightmail/busybox"].collect(&compose.dir).unwrap();
    let reference = identity::reference(&unique, &identity::digest(&recipe).unwrap());
    let base = store
        .make("busybox", &reference, &recipe, &within)
        .unwrap()
        .stored
        .unwrap();
    let bases = BTreeMap::from([("nightmail/busybox".to_owned(), base)]);
    let ready = dockerfile.ready(&format!("{unique}-book"), &bases).unwrap();
    let stored = ready.make(&store, &within).unwrap().stored.unwrap();

    assert!(stored.root.join("bin/busybox").metadata().unwrap().mode() & 0o111 != 0);
    assert_eq!(
        std::fs::read_link(stored.root.join("bin/sh")).unwrap(),
        Path::new("busybox")
    );
    let entries = stored.root.join("www/cgi-bin/entries").metadata().unwrap();
    assert_eq!(entries.mode() & 0o777, 0o755);
    assert_eq!(stored.settings.command[..2], ["/bin/busybox", "sh"]);
    assert_eq!(stored.settings.environment["PATH"], "/usr/local/bin:/bin:/usr/bin");
    assert_eq!(*within.ran.lock().unwrap(), Vec::<String>::new());
    assert_eq!(store.find(&ready.reference).unwrap().stored, Some(stored));
}

#[test]
fn sources_are_files_folders_and_patterns() {
    let bench = bench(
        "FROM scratch\nWORKDIR /app\nCOPY a.txt b.txt docs/\nCOPY folder .\nCOPY *.md [ab].txt /all/\nCOPY a.txt renamed\n\
         COPY [\"with space\", \"/one\"]\nCOPY --chmod=700 a.txt /closed\nCOPY . /everything/\n",
        &["a.txt", "b.txt", "c.md", "folder/deep/x", "with space", "secret"],
    );
    let root = bench.make().root;
    let expected = [
        "all/",
        "all/a.txt",
        "all/b.txt",
        "all/c.md",
        "app/",
        "app/deep/",
        "app/deep/x",
        "app/docs/",
        "app/docs/a.txt",
        "app/docs/b.txt",
        "app/renamed",
        "closed",
        "everything/",
        "everything/a.txt",
        "everything/b.txt",
        "everything/c.md",
        "everything/folder/",
        "everything/folder/deep/",
        "everything/folder/deep/x",
        "everything/with space",
        "one",
    ];
    assert_eq!(files(&root), expected);
    assert_eq!(root.join("closed").metadata().unwrap().mode() & 0o777, 0o700);
    assert_eq!(
        std::fs::read_to_string(root.join("app/renamed")).unwrap(),
        "text of a.txt"
    );
}

#[test]
fn stages_build_on_and_copy_from_earlier_ones_and_only_those_that_are_needed_are_built() {
    let mut bench = bench(
        "FROM scratch AS one\nENV A=1\nRUN touch made\nFROM debian:12 AS unneeded\nRUN never\n\
         FROM one AS two\nRUN touch more\nFROM scratch AS Last\nCOPY --from=TWO /made /mo* /out/\nCOPY --from=0 made /zero\n",
        &[],
    );
    assert_eq!(files(&bench.make().root), ["out/", "out/made", "out/more", "zero"]);
    assert_eq!(bench.within.ran.lock().unwrap().len(), 2);
    bench.build.target = Some("two".to_owned());
    let two = bench.make();
    assert_eq!(files(&two.root), ["made", "more"]);
    assert_eq!(two.settings.environment["A"], "1");
    bench.build.target = Some("three".to_owned());
    assert!(bench.error().contains("one, unneeded, two, Last"), "{}", bench.error());
}

#[test]
fn arguments_count_where_they_are_declared_and_the_environment_decides_before_them() {
    let mut bench = bench(
        "ARG BASE=scratch\nARG GLOBAL=global\nFROM ${BASE}\nARG VARIABLE=default\nRUN one\nENV SEEN=$GLOBAL:$VARIABLE:$UNDECLARED\n\
         ARG GLOBAL\nENV NOW=${GLOBAL} QUOTED=\"a b\"\\ c\nENV OLD form with  words\nENV VARIABLE=environment\nRUN [\"two\"]\n",
        &[],
    );
    bench.build.args = BTreeMap::from([
        ("VARIABLE".to_owned(), "given".to_owned()),
        ("UNDECLARED".to_owned(), "x".to_owned()),
    ]);
    let environment = bench.make().settings.environment;
    assert_eq!(environment["SEEN"], ":given:");
    assert_eq!(environment["NOW"], "global");
    assert_eq!(environment["QUOTED"], "a b c");
    assert_eq!(environment["OLD"], "form with  words");
    let ran = bench.within.ran.lock().unwrap().clone();
    assert_eq!(ran, ["/bin/sh -c one | - - given", "two | - - environment"]);
}

#[test]
fn commands_run_as_the_user_in_the_folder_and_by_the_shell_that_were_said() {
    let bench = bench(
        "FROM scratch\nWORKDIR /srv\nWORKDIR app\nUSER www:www\nRUN one && \\\n  two\nSHELL [\"/bin/ash\", \"-e\", \"-c\"]\nRUN three\n\
         VOLUME /data \"/more\"\nVOLUME [\"/data\"]\nSTOPSIGNAL SIGQUIT\nEXPOSE 80\nLABEL a=b\nHEALTHCHECK NONE\nCMD run it\n",
        &[],
    );
    let stored = bench.make();
    let ran = bench.within.ran.lock().unwrap().clone();
    let expected = [
        "/bin/sh -c one &&   two | www:www /srv/app -",
        "/bin/ash -e -c three | www:www /srv/app -",
    ];
    assert_eq!(ran, expected);
    let settings = &stored.settings;
    assert_eq!(settings.user.as_deref(), Some("www:www"));
    assert_eq!(settings.working_dir.as_deref(), Some("/srv/app"));
    assert_eq!(settings.volumes, ["/data", "/more"]);
    assert_eq!(settings.stop_signal.as_deref(), Some("SIGQUIT"));
    assert_eq!(settings.command, ["/bin/ash", "-e", "-c", "run it"]);
    assert!(stored.root.join("srv/app").is_dir());
}

#[test]
fn an_entrypoint_takes_away_the_command_of_the_base_but_not_its_own() {
    let based = bench(
        "FROM scratch AS base\nCMD [\"old\"]\nFROM base\nENTRYPOINT [\"start\"]\n",
        &[],
    )
    .make();
    assert_eq!(
        (based.settings.entrypoint, based.settings.command),
        (vec!["start".to_owned()], vec![])
    );
    let own = bench("FROM scratch\nCMD [\"own\"]\nENTRYPOINT [\"start\"]\n", &[]).make();
    assert_eq!(own.settings.command, ["own"]);
}

#[test]
fn owners_are_looked_up_in_the_image_and_kept_where_this_process_may_give_files_away() {
    let bench = bench(
        "FROM scratch\nCOPY etc /etc\nCOPY --chown=www x /by-name\nCOPY --chown=www:staff folder /folder\n\
         COPY --chown=7 x /by-number\nCOPY x /plain\n",
        &["x", "folder/y"],
    );
    let etc = bench.build.context.join("etc");
    std::fs::create_dir(&etc).unwrap();
    std::fs::write(etc.join("passwd"), "root:x:0:0::/:/bin/sh\nwww:x:33:34::/:/bin/sh\n").unwrap();
    std::fs::write(etc.join("group"), "root:x:0:\nstaff:x:50:\n").unwrap();
    let root = bench.make().root;
    let owner = |path: &str| {
        let meta = root.join(path).metadata().unwrap();
        (meta.uid(), meta.gid())
    };
    let owners = ["by-name", "folder", "folder/y", "by-number", "plain"].map(owner);
    let (me, mine) = (nix::unistd::geteuid(), nix::unistd::getegid());
    if me.is_root() {
        assert_eq!(owners, [(33, 34), (33, 50), (33, 50), (7, 7), (0, 0)]);
    } else {
        assert_eq!(owners, [(me.as_raw(), mine.as_raw()); 5]);
    }
}

#[test]
fn a_plain_archive_is_unpacked_and_a_compressed_one_refused() {
    let bench = bench(
        "FROM scratch\nADD files.tar /to\nCOPY files.tar /as-it-is\n",
        &["plain"],
    );
    let mut tar = tar::Builder::new(std::fs::File::create(bench.build.context.join("files.tar")).unwrap());
    tar.append_path_with_name(bench.build.context.join("plain"), "in/plain")
        .unwrap();
    tar.finish().unwrap();
    assert_eq!(files(&bench.make().root), ["as-it-is", "to/", "to/in/", "to/in/plain"]);
    std::fs::write(bench.build.context.join("files.tar"), [0x1f, 0x8b, 8, 0]).unwrap();
    let error = bench.error();
    assert!(error.contains("gzip") && error.contains("Dockerfile:2:1"), "{error}");
}

#[test]
fn no_link_of_the_context_or_of_the_tree_leads_out() {
    let bench = bench(
        "FROM scratch\nCOPY links /\nCOPY x /out/x\nCOPY way /inner\n",
        &["x", "links/keep"],
    );
    let outside = bench.dir.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    symlink(&outside, bench.build.context.join("links/out")).unwrap();
    symlink("../outside/../context/x", bench.build.context.join("way")).unwrap();
    // As a root folder of its own, the context has no `outside`, and `..` leads nowhere.
    assert!(bench.error().contains("Dockerfile:4:1"), "{}", bench.error());
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
}

#[test]
fn what_is_built_is_found_again_until_an_input_changes() {
    let mut bench = bench("FROM scratch\nARG A\nCOPY x /\n", &["x"]);
    let first = bench.make();
    assert_eq!(first, bench.make());
    std::fs::write(bench.build.context.join("x"), "other").unwrap();
    let second = bench.make();
    assert_ne!(first.reference, second.reference);
    bench.build.args.insert("A".to_owned(), "1".to_owned());
    assert_ne!(second.reference, bench.make().reference);
}

#[test]
fn what_fails_or_cannot_be_done_is_said_with_its_line() {
    for (dockerfile, parts) in [
        ("FROM debian:12\n", ["Dockerfile:1:1", "x-nightmail"]),
        (
            "FROM scratch\nCOPY --from=nginx / /\n",
            ["Dockerfile:2:1", "`nginx` is an image of a registry"],
        ),
        ("RUN x\n", ["Dockerfile:1:1", "before the first FROM"]),
        ("ARG A\nFROM $A\n", ["Dockerfile:2:1", "names no image"]),
        ("FROM scratch\n\nCOYP x /\n", ["Dockerfile:3:1", "did you mean COPY?"]),
        (
            "FROM scratch\nCOPY ../x /\n",
            ["Dockerfile:2:1", "outside of the build context"],
        ),
        (
            "FROM scratch\nCOPY seen.txt /\n",
            ["Dockerfile:2:1", "did you mean `scene.txt`?"],
        ),
        (
            "FROM scratch\nCOPY secret /\n",
            ["Dockerfile:2:1", ".dockerignore leaves it out"],
        ),
        ("FROM scratch\nCOPY *.txt /one\n", ["Dockerfile:2:1", "`/one/`"]),
        (
            "FROM scratch\nADD https://example.org/x /\n",
            ["Dockerfile:2:1", "is not fetched"],
        ),
        ("FROM scratch\nCOPY --parents x /\n", ["Dockerfile:2:1", "--chown"]),
        (
            "FROM scratch\nCOPY --chown=www x /\n",
            ["Dockerfile:2:1", "has no `www`"],
        ),
        ("FROM scratch\nRUN cat <<EOF\nx\nEOF\n", ["Dockerfile:2:1", "heredoc"]),
        (
            "FROM scratch\nRUN --mount=type=cache,target=/x make\n",
            ["Dockerfile:2:1", "--mount"],
        ),
        ("FROM scratch\nONBUILD RUN x\n", ["Dockerfile:2:1", "ONBUILD"]),
        (
            "FROM scratch\nENV A=${B#c}\n",
            ["Dockerfile:2:1", "cannot be filled in"],
        ),
        (
            "FROM scratch\nRUN a && \\\n # why\n  false\nRUN [\"false\"]\n",
            ["Dockerfile:5:1", "`false` failed (1)"],
        ),
        ("# nothing\n", ["Dockerfile", "there is no FROM"]),
    ] {
        let error = bench(dockerfile, &["x", "scene.txt", "other.txt", "secret"]).error();
        for part in parts {
            assert!(error.contains(part), "{part} is not in: {error}");
        }
    }
}

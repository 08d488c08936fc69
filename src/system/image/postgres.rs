//! The image of a PostgreSQL server: assembled from this host's PostgreSQL, or from Debian's packages, or made on top of
//! the official image, whichever is there; with its data directory initialised in the image, which saves a second per start.
//!
//! What whoever runs it may rely on: PostgreSQL's programs are on the `PATH`; `$PGDATA` is `/var/lib/postgresql/data`; the
//! superuser is `postgres` and so is the database; everyone on the network is trusted, for replication too; the user is
//! 999; SIGINT stops it quickly; there is no entrypoint, and the command is [`START`]. With `STANDBY_OF=<host>` in its
//! environment it starts as a streaming standby of that host (its host name is its `application_name`), from the same data,
//! since all containers of one image begin as the same cluster. With `REJOIN=<host>,<host>` a primary that starts again
//! follows the one of them that was promoted meanwhile; `POSTGRES_SETTINGS=<name>=<value> ...` are settings over those of the
//! command. With `CLOSED` transactions only read by default, until `ALTER SYSTEM RESET default_transaction_read_only` opens it.
//!
//! With a failover manager the command is [`START_MANAGED`], followed by `monitor` or `node`. The manager is Debian's, and so is
//! the server then, unless this host has both.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::closure::Closure;
use super::{Image, ImageError, RootFs, Settings, USER, base_files, find_program, packages, user};

/// The program that starts the server; further arguments are the server's own (`-c name=value`).
pub const START: &str = "/usr/local/bin/start-postgres";

/// The program that starts the server under its failover manager.
pub const START_MANAGED: &str = "/usr/local/bin/start-managed-postgres";

/// The manager's program.
const MANAGER: &str = "/usr/bin/pg_autoctl";
/// The library of its monitor, among the server's.
const MANAGER_PLUGIN: &str = "pgautofailover.so";
const MANAGER_SETTINGS: &str = include_str!("pg-auto-failover.conf");
const START_MANAGED_SCRIPT: &str = include_str!("start-managed-postgres.sh");
/// Where the manager keeps what it needs of its own.
const MANAGER_HOME: &str = "/var/lib/postgresql";
const MANAGER_RUN: &str = "/tmp";

const PGDATA: &str = "/var/lib/postgresql/data";
const SETTINGS: &str = include_str!("postgresql.conf");
const START_SCRIPT: &str = include_str!("start-postgres.sh");
const INIT_SCRIPT: &str = include_str!("init-postgres.sh");

/// Programs of the server and for whoever looks at it.
const PROGRAMS: [&str; 9] = [
    "postgres",
    "initdb",
    "pg_ctl",
    "pg_isready",
    "pg_basebackup",
    "pg_rewind",
    "pg_controldata",
    "pg_waldump",
    "psql",
];

/// A PostgreSQL server with its data directory initialised.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Postgres {
    /// The major version.
    pub version: u32,
    /// What promotes a standby when the primary is lost; nothing does unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failover_manager: Option<FailoverManager>,
}

/// A program that promotes standbys by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FailoverManager {
    /// pg_auto_failover: a monitor, and a keeper beside each server.
    PgAutoFailover,
}

/// Where the parts of an installation lie, as seen from its own root.
#[derive(Debug)]
struct Installation {
    root: PathBuf,
    programs: PathBuf,
    plugins: PathBuf,
    share: PathBuf,
}

impl Installation {
    /// Where a path of it lies on this host.
    fn inside(&self, path: &Path) -> PathBuf {
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }
}

impl Postgres {
    /// Collects the image.
    pub fn collect(&self) -> Result<Image, ImageError> {
        if let Some(installation) = self.on_host().filter(|installation| self.is_managed_by(installation)) {
            return self.assemble(&installation);
        }
        match self.unpacked() {
            Ok(image) => Ok(image),
            Err(error) if self.failover_manager.is_some() => Err(self.unmanaged(error)),
            // What this host cannot give, the official image can, where there is a way to a registry.
            Err(error) => Ok(self.on_official_image(error)),
        }
    }

    /// The host's own installation of this version.
    fn on_host(&self) -> Option<Installation> {
        let version = self.version;
        let candidates = [
            Some(PathBuf::from(format!("/usr/lib/postgresql/{version}/bin"))),
            Some(PathBuf::from(format!("/usr/pgsql-{version}/bin"))),
            find_program("postgres").and_then(|found| found.parent().map(Path::to_owned)),
        ];
        candidates
            .into_iter()
            .flatten()
            .find(|programs| self.is_version(&programs.join("postgres")))
            .and_then(|programs| self.around(Path::new("/"), programs))
    }

    /// Whether the manager is part of it, if one is wanted.
    fn is_managed_by(&self, installation: &Installation) -> bool {
        self.failover_manager.is_none()
            || (installation.inside(Path::new(MANAGER)).is_file()
                && installation
                    .inside(&installation.plugins)
                    .join(MANAGER_PLUGIN)
                    .is_file())
    }

    /// No registry has an image with the manager.
    fn unmanaged(&self, error: ImageError) -> ImageError {
        let version = self.version;
        let reason = format!(
            "this host has no pg_auto_failover for PostgreSQL {version}, and its packages could not be fetched: {}\n  hint: \
             `apt-get install postgresql-{version}-auto-failover`",
            error.reason
        );
        ImageError { reason, ..error }
    }

    fn is_version(&self, postgres: &Path) -> bool {
        let Ok(output) = Command::new(postgres).arg("--version").output() else {
            return false;
        };
        let text = String::from_utf8_lossy(&output.stdout);
        let number = text.split_whitespace().nth(2).unwrap_or_default();
        number.split('.').next() == Some(self.version.to_string().as_str())
    }

    /// The rest of an installation whose programs are known.
    fn around(&self, root: &Path, programs: PathBuf) -> Option<Installation> {
        let version = self.version;
        let inside = |path: &Path| root.join(path.strip_prefix("/").unwrap_or(path));
        let prefix = programs.parent()?;
        let share = [
            PathBuf::from(format!("/usr/share/postgresql/{version}")),
            prefix.join("share/postgresql"),
            prefix.join("share"),
            PathBuf::from("/usr/share/pgsql"),
        ];
        let share = share
            .into_iter()
            .find(|share| inside(share).join("postgres.bki").is_file())?;
        let plugins = [
            prefix.join("lib/postgresql"),
            prefix.join("lib"),
            PathBuf::from("/usr/lib64/pgsql"),
        ];
        let plugins = plugins
            .into_iter()
            .find(|folder| inside(folder).join("plpgsql.so").is_file())?;
        Some(Installation {
            root: root.to_owned(),
            programs,
            plugins,
            share,
        })
    }

    /// The distribution's packages, unpacked.
    pub(crate) fn unpacked(&self) -> Result<Image, ImageError> {
        let server = format!("postgresql-{}", self.version);
        let client = format!("postgresql-client-{}", self.version);
        let wanted = match self.failover_manager {
            None => server.clone(),
            Some(FailoverManager::PgAutoFailover) => format!("{server}-auto-failover"),
        };
        // The compiler for queries and the procedural languages are large and not needed.
        let keep = |name: &str| {
            (name.starts_with("lib") && !name.starts_with("libllvm") && !name.starts_with("libperl"))
                || [&client, &server, "tzdata", "pg-auto-failover-cli"].contains(&name)
        };
        let root = packages::unpack(&packages::with_dependencies(&wanted, &keep)?)?;
        let programs = PathBuf::from(format!("/usr/lib/postgresql/{}/bin", self.version));
        let installation = self
            .around(&root, programs)
            .ok_or_else(|| ImageError::new(format!("the package {server} holds no server")))?;
        self.assemble(&installation)
    }

    fn assemble(&self, installation: &Installation) -> Result<Image, ImageError> {
        let inside = |path: &Path| installation.inside(path);
        let mut rootfs = RootFs::default();
        base_files(&mut rootfs);
        let mut closure = Closure::new(&installation.root);
        for program in PROGRAMS {
            let path = installation.programs.join(program);
            if inside(&path).is_file() {
                closure.program(&path, &inside(&path))?;
            }
        }
        if self.failover_manager.is_some() {
            closure.program(Path::new(MANAGER), &inside(Path::new(MANAGER)))?;
        }
        plugins(&mut closure, &installation.plugins, &inside(&installation.plugins))?;
        let mut folders: Vec<String> = closure.install(&mut rootfs)?.into_iter().collect();
        folders.extend(shell(&mut rootfs)?);
        folders.extend(tool(&mut rootfs, "sleep")?);
        if self.failover_manager.is_some() {
            folders.extend(tool(&mut rootfs, "rm")?);
        }
        let keep = |name: &str| !matches!(name, "man" | "doc" | "contrib" | "locale") && !name.ends_with(".1.gz");
        rootfs.host_folder(&installation.share, &inside(&installation.share), &keep)?;
        zones(&mut rootfs, &installation.root)?;
        let path = format!("/usr/local/bin:{}:/usr/bin:/bin", installation.programs.display());
        Ok(self.finish(None, rootfs, path, folders))
    }

    /// The official image with the same data, settings and start script, for want of anything nearer: `error` says why
    /// there are no packages.
    fn on_official_image(&self, error: ImageError) -> Image {
        let path = format!("/usr/local/bin:/usr/lib/postgresql/{}/bin:/usr/bin:/bin", self.version);
        let base = format!("postgres:{}", self.version);
        let reason = format!(
            "this host has no PostgreSQL {0}, and its packages could not be fetched: {1}\n  hint: `apt-get install \
             postgresql-{0}`",
            self.version, error.reason
        );
        Image {
            base_because: Some(ImageError { reason, ..error }),
            ..self.finish(Some(base), RootFs::default(), path, Vec::new())
        }
    }

    fn finish(&self, base: Option<String>, mut rootfs: RootFs, path: String, folders: Vec<String>) -> Image {
        rootfs.folder("/var/lib/postgresql", 0o755, USER);
        rootfs.folder(PGDATA, 0o700, USER);
        rootfs.folder("/var/run/postgresql", 0o775, USER);
        rootfs.text("/usr/local/share/nightmail/postgresql.conf", SETTINGS, 0o644);
        rootfs.text("/usr/local/share/nightmail/init-postgres", INIT_SCRIPT, 0o755);
        rootfs.text(START, START_SCRIPT, 0o755);
        if self.failover_manager.is_some() {
            rootfs.text(
                "/usr/local/share/nightmail/pg-auto-failover.conf",
                MANAGER_SETTINGS,
                0o644,
            );
            rootfs.text(START_MANAGED, START_MANAGED_SCRIPT, 0o755);
        }
        let mut environment = BTreeMap::from([
            ("PATH".to_owned(), path),
            ("PGDATA".to_owned(), PGDATA.to_owned()),
            ("LANG".to_owned(), "C".to_owned()),
        ]);
        if self.failover_manager.is_some() {
            environment.insert("HOME".to_owned(), MANAGER_HOME.to_owned());
            environment.insert("XDG_RUNTIME_DIR".to_owned(), MANAGER_RUN.to_owned());
        }
        if !folders.is_empty() {
            environment.insert("LD_LIBRARY_PATH".to_owned(), folders.join(":"));
        }
        Image {
            base,
            rootfs,
            finish: Some(vec![
                "/bin/sh".to_owned(),
                "/usr/local/share/nightmail/init-postgres".to_owned(),
            ]),
            settings: Settings {
                environment,
                command: vec![START.to_owned()],
                user: user(),
                stop_signal: Some("SIGINT".to_owned()),
                ..Settings::default()
            },
            base_because: None,
        }
    }
}

/// What the server loads while it runs: conversions, replication, extensions.
fn plugins(closure: &mut Closure, folder: &Path, host: &Path) -> Result<(), ImageError> {
    let listing = std::fs::read_dir(host).map_err(|error| ImageError::io(host, &error))?;
    for entry in listing.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let unneeded = ["llvmjit", "plperl", "plpython", "pltcl"]
            .iter()
            .any(|prefix| name.starts_with(prefix));
        if name.ends_with(".so") && !unneeded {
            closure.plugin(&folder.join(&name), &entry.path())?;
        }
    }
    Ok(())
}

/// A shell, which initdb needs: a static busybox if there is one, the host's own otherwise.
fn shell(rootfs: &mut RootFs) -> Result<Option<String>, ImageError> {
    let busybox = find_program("busybox").filter(|found| matches!(super::closure::interpreter(found), Ok(None)));
    let host = busybox
        .or_else(|| find_program("dash"))
        .or_else(|| find_program("sh"))
        .ok_or_else(|| ImageError::new("this host has no shell `sh`"))?;
    host_program(rootfs, Path::new("/bin/sh"), &host)
}

/// A small program that the start scripts call.
fn tool(rootfs: &mut RootFs, name: &str) -> Result<Option<String>, ImageError> {
    let host = find_program(name).ok_or_else(|| ImageError::new(format!("this host has no program `{name}`")))?;
    host_program(rootfs, &Path::new("/bin").join(name), &host)
}

/// A program of the host at that path, with its libraries. Gives the folders that its loader must be told of.
fn host_program(rootfs: &mut RootFs, path: &Path, host: &Path) -> Result<Option<String>, ImageError> {
    let mut closure = Closure::new(Path::new("/"));
    closure.program(path, host)?;
    closure.install(rootfs)
}

/// Time zones by which the server knows UTC. Debian's server reads the system's; others bring their own.
fn zones(rootfs: &mut RootFs, root: &Path) -> Result<(), ImageError> {
    for zone in ["UTC", "GMT", "Etc/UTC"] {
        let path = Path::new("/usr/share/zoneinfo").join(zone);
        for host in [root.join(path.strip_prefix("/").unwrap_or(&path)), path.clone()] {
            if host.is_file() {
                rootfs.host_file(&path, &host)?;
                break;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Postgres = Postgres {
        version: 15,
        failover_manager: None,
    };

    fn assert_complete(image: &Image) {
        for path in [
            START,
            "/bin/sh",
            "/bin/sleep",
            "/usr/lib/postgresql/15/bin/postgres",
            "/usr/share/postgresql/15/postgres.bki",
        ] {
            assert!(image.rootfs.contains(Path::new(path)), "{path} is missing");
        }
        assert_eq!(image.settings.user, user());
    }

    #[test]
    fn a_host_with_postgresql_gives_its_own() {
        match PLAIN.on_host() {
            Some(installation) => assert_complete(&PLAIN.assemble(&installation).unwrap()),
            None => assert!(
                !Path::new("/usr/lib/postgresql/15/bin/postgres").exists(),
                "it was overlooked"
            ),
        }
    }

    #[test]
    #[ignore = "fetches Debian packages"]
    fn a_host_without_postgresql_unpacks_debians_packages() {
        assert_complete(&PLAIN.unpacked().unwrap());
    }

    #[test]
    #[ignore = "fetches Debian packages"]
    fn a_failover_manager_comes_with_a_server_that_fits() {
        let managed = Postgres {
            failover_manager: Some(FailoverManager::PgAutoFailover),
            ..PLAIN
        };
        let image = managed.collect().unwrap();
        assert_complete(&image);
        let plugin = "/usr/lib/postgresql/15/lib/pgautofailover.so";
        for path in [START_MANAGED, MANAGER, plugin, "/bin/rm"] {
            assert!(image.rootfs.contains(Path::new(path)), "{path} is missing");
        }
    }

    #[test]
    fn a_failover_manager_that_cannot_be_had_is_an_error_that_says_what_to_install() {
        let said = PLAIN.unmanaged(ImageError::new("no network")).reason;
        assert!(
            said.contains("no network") && said.contains("apt-get install postgresql-15-auto-failover"),
            "{said}"
        );
    }

    #[test]
    fn a_version_that_this_host_does_not_have_is_not_taken_for_another() {
        assert!(Postgres { version: 3, ..PLAIN }.on_host().is_none());
    }

    #[test]
    fn the_official_image_is_the_last_resort() {
        let image = PLAIN.on_official_image(ImageError::new("no network"));
        assert_eq!(image.base.as_deref(), Some("postgres:15"));
        let because = image.base_because.unwrap().reason;
        assert!(
            because.contains("no network") && because.contains("postgresql-15"),
            "{because}"
        );
        assert!(image.rootfs.contains(Path::new(START)));
    }

    /// Starts an old primary, on timeline 1, beside a server whose programs do as these scripts say. Gives what was called.
    fn restarted(psql: &str, pg_isready: &str) -> String {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let (programs, data) = (dir.path().join("bin"), dir.path().join("data"));
        std::fs::create_dir_all(&programs).unwrap();
        std::fs::create_dir_all(&data).unwrap();
        std::fs::write(data.join("nightmail.started"), "").unwrap();
        let called = dir.path().join("called");
        let controldata = "echo \"Latest checkpoint's TimeLineID:       1\"";
        for (name, script) in [
            ("psql", psql),
            ("pg_isready", pg_isready),
            ("pg_controldata", controldata),
            ("pg_rewind", "echo rewound >> \"$CALLED\""),
            ("postgres", "echo started >> \"$CALLED\""),
            ("sleep", ":"),
        ] {
            let program = programs.join(name);
            std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
            std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        let output = Command::new("/bin/sh")
            .args(["-c", START_SCRIPT, "start-postgres"])
            .env_clear()
            .env("PATH", format!("{}:/usr/bin:/bin", programs.display()))
            .envs([("PGDATA", &data), ("CALLED", &called)])
            .env("REJOIN", "database-2")
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        std::fs::read_to_string(called).unwrap()
    }

    /// Refuses three times, as a server with too many clients does, and then writes timeline 2.
    const BUSY: &str = "echo asked >> \"$CALLED\"
        if [ \"$(grep -c asked \"$CALLED\")\" -le 3 ]; then echo 'sorry, too many clients already' >&2; exit 2; fi
        case \"$*\" in *CHECKPOINT*) ;; *) echo 2 ;; esac";

    #[test]
    fn an_old_primary_asks_a_busy_server_until_it_tells_and_follows_it() {
        let called = restarted(BUSY, "exit 0");
        assert_eq!(called.matches("asked").count(), 5, "refused, told, and the checkpoint");
        assert!(called.ends_with("rewound\nstarted\n"), "{called}");
        let starting = restarted(BUSY, "exit 1");
        assert!(starting.ends_with("rewound\nstarted\n"), "{starting}");
    }

    #[test]
    fn an_old_primary_that_finds_nobody_starts_as_what_it_was() {
        let called = restarted("echo asked >> \"$CALLED\"; exit 2", "exit 2");
        assert_eq!(called, "asked\nasked\nasked\nstarted\n");
        let standby = restarted("echo asked >> \"$CALLED\"", "exit 0");
        assert_eq!(standby, "asked\nstarted\n", "a standby says that it writes no timeline");
    }
}

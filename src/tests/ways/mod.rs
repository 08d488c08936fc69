//! The ways in which nightmail can be run without Docker on this machine: as root, and as an ordinary user.
//!
//! Both are tried wherever both can be had, since the kernel treats them differently: root's stage has every user, an
//! ordinary user's has one. Where only one can be had, that is said past the runner's capture; where none, a test fails.

use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use nix::unistd::geteuid;

/// The ordinary user that root's tests become: an id that no distribution gives to anybody.
const ORDINARY: u32 = 61_500;

/// Says where a test that runs that way may write.
pub const FOLDER: &str = "NIGHTMAIL_TEST_FOLDER";

/// A way to run nightmail.
#[derive(Debug, Clone)]
pub struct Way {
    /// For messages.
    pub name: &'static str,
    /// Where whoever runs may write; it stays from one test to the next, as a cache does.
    pub folder: PathBuf,
    pub becomes: Option<u32>,
}

/// Every way that there is here.
pub fn all() -> &'static [Way] {
    static WAYS: OnceLock<Vec<Way>> = OnceLock::new();
    WAYS.get_or_init(find)
}

fn find() -> Vec<Way> {
    let own = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    if !geteuid().is_root() {
        say("root's way is not tested, since this is an ordinary user");
        return vec![way("as an ordinary user", own, None)];
    }
    // Where root may not make namespaces, nightmail takes the ordinary user's way as root.
    let name = match Command::new("unshare").args(["--mount", "--net", "true"]).status() {
        Ok(status) if status.success() => "as root",
        _ => "as root without CAP_SYS_ADMIN, in a user namespace",
    };
    let mut ways = vec![way(name, own, None)];
    match ordinary_folder() {
        Ok(folder) => ways.push(way("as an ordinary user", folder, Some(ORDINARY))),
        Err(reason) => say(&format!("an ordinary user's way is not tested: {reason}")),
    }
    ways
}

fn way(name: &'static str, folder: PathBuf, becomes: Option<u32>) -> Way {
    Way { name, folder, becomes }
}

/// Straight to the terminal: what a passing test prints, the runner keeps to itself.
fn say(text: &str) {
    let _ = std::io::stderr().write_all(format!("NOTE: {text}\n").as_bytes());
}

/// A folder of the ordinary user's, if root can become one here who may make namespaces and who reaches Cargo.
fn ordinary_folder() -> Result<PathBuf, String> {
    let folder = std::env::temp_dir().join(format!("nightmail-tests-{ORDINARY}"));
    let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
    if std::fs::create_dir(&folder).is_ok() {
        chown(&folder, Some(ORDINARY), Some(ORDINARY)).map_err(failed)?;
    }
    let meta = std::fs::symlink_metadata(&folder).map_err(failed)?;
    if meta.uid() != ORDINARY || !meta.is_dir() {
        return Err(format!("{} belongs to somebody else", folder.display()));
    }
    std::fs::create_dir_all(toolchain(&folder)).map_err(failed)?;
    let user = way("", folder.clone(), Some(ORDINARY));
    let namespaces = ["unshare", "--user", "--map-root-user", "--mount", "--net", "true"];
    for words in [&namespaces[..], &["cargo", "--version"]] {
        let output = user.command(Path::new(words[0])).args(&words[1..]).output();
        let output = output.map_err(|error| format!("{}: {error}", words[0]))?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
        }
    }
    Ok(folder)
}

/// Where an ordinary user finds the toolchain.
fn toolchain(folder: &Path) -> PathBuf {
    folder.join("toolchain")
}

/// The toolchain, which often lies in a home of root's, where nobody else may look; and not rustup's stand-ins, which look
/// into that home.
fn sysroot() -> &'static str {
    static SYSROOT: OnceLock<String> = OnceLock::new();
    SYSROOT.get_or_init(|| {
        let output = Command::new("rustc")
            .args(["--print", "sysroot"])
            .output()
            .expect("rustc");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    })
}

/// Becomes a user for the words that follow, who sees the toolchain in the folder: by a mount that nobody else sees.
fn become_user(id: u32, folder: &Path) -> Command {
    let id = id.to_string();
    let mut command = Command::new("unshare");
    command.args([
        "--mount",
        "sh",
        "-c",
        r#"mount --bind "$1" "$2" && shift 2 && exec "$@""#,
        "sh",
    ]);
    command.arg(sysroot()).arg(toolchain(folder));
    command.args([
        "setpriv",
        "--reuid",
        &id,
        "--regid",
        &id,
        "--clear-groups",
        "--inh-caps=-all",
        "--",
    ]);
    command
}

impl Way {
    /// A command that runs a program this way, with an environment to match.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = match self.becomes {
            None => Command::new(program),
            Some(id) => {
                let mut command = become_user(id, &self.folder);
                command.arg(self.readable(program));
                command.env_clear();
                command.env("HOME", &self.folder).env("TMPDIR", &self.folder);
                command.env("NIGHTMAIL_CACHE", self.folder.join("cache"));
                command.env("CARGO_HOME", self.folder.join("cargo"));
                let path = std::env::var("PATH").unwrap_or_default();
                command.env("PATH", format!("{}/bin:{path}", toolchain(&self.folder).display()));
                command
            }
        };
        command.env(FOLDER, &self.folder);
        command
    }

    /// This program, where whoever runs it can read it.
    pub fn readable(&self, program: &Path) -> PathBuf {
        // One that is found on the `PATH` anybody can read.
        let Some(id) = self.becomes.filter(|_| program.is_absolute()) else {
            return program.to_owned();
        };
        let mut tried = become_user(id, &self.folder);
        tried.args([OsStr::new("test"), OsStr::new("-x"), program.as_os_str()]);
        if tried.status().is_ok_and(|status| status.success()) {
            return program.to_owned();
        }
        let copy = self.folder.join(program.file_name().expect("a program has a name"));
        let is_new = |meta: std::fs::Metadata| {
            let original = program.metadata().expect("the program is there");
            meta.len() == original.len() && meta.mtime() >= original.mtime()
        };
        if !copy.metadata().is_ok_and(is_new) {
            // Under another name first: somebody may be running the old one, and somebody else making the new one.
            let partial = copy.with_extension(format!("{:08x}", rand::random::<u32>()));
            std::fs::copy(program, &partial).expect("the folder can be written");
            std::fs::set_permissions(&partial, std::fs::Permissions::from_mode(0o755)).expect("it is ours");
            std::fs::rename(partial, &copy).expect("the folder can be written");
        }
        copy
    }
}

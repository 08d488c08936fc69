//! A temporary PostgreSQL for tests, made by the programs of this host. Members of a cluster have one port and an address
//! each, as replicas do.

use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio_postgres::{Client, NoTls};

use crate::system::definition::Roles;

/// Whom PostgreSQL runs as where the tests run as root, which it refuses to be.
const NOBODY: u32 = 65_534;

const HINT: &str = "these tests need PostgreSQL's server programs; on Debian: apt-get install postgresql";

/// How long anything here may take on a machine that has other things to do.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A server, running or not. It ends with this value, and nothing of it is left.
pub(crate) struct Postgres {
    folder: TempDir,
    pub(crate) address: Ipv4Addr,
    pub(crate) port: u16,
    child: Child,
}

impl Postgres {
    /// A new server at 127.0.0.1.
    pub(crate) fn start() -> Self {
        Self::start_at(Ipv4Addr::LOCALHOST, free_port)
    }

    /// Another that knows nothing of this one, at the next address and the same port.
    pub(crate) fn another(&self) -> Self {
        Self::start_at(self.next_address(), || self.port)
    }

    fn start_at(address: Ipv4Addr, choose: impl Fn() -> u16) -> Self {
        let folder = folder();
        run(
            "initdb",
            &["--username=postgres", "--auth=trust", "--no-sync", "--no-locale", "-D"],
            &folder,
        );
        let hosts = folder.path().join("pg_hba.conf");
        std::fs::write(hosts, "host all,replication all 127.0.0.0/8 trust\n").unwrap();
        Self::serve(folder, address, choose)
    }

    /// A streaming standby of this server, at the next address and the same port.
    pub(crate) fn standby(&self) -> Self {
        let folder = folder();
        let (host, port) = (self.address.to_string(), self.port.to_string());
        let arguments = [
            "-h",
            &host,
            "-p",
            &port,
            "-U",
            "postgres",
            "-R",
            "--no-sync",
            "-c",
            "fast",
            "-D",
        ];
        run("pg_basebackup", &arguments, &folder);
        Self::serve(folder, self.next_address(), || self.port)
    }

    fn next_address(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.address.to_bits() + 1)
    }

    /// How it is reached, as a group says.
    pub(crate) fn roles(&self) -> Roles {
        Roles::Postgres {
            port: self.port,
            user: "postgres".to_owned(),
            password: None,
            database: "postgres".to_owned(),
        }
    }

    /// Makes a standby accept writes.
    pub(crate) fn promote(&self) {
        run("pg_ctl", &["promote", "-w", "-D"], &self.folder);
    }

    /// SIGKILL to the whole server, as the end of its container would be.
    pub(crate) fn kill(&mut self) {
        let pid = self.child.id();
        let others = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        kill(self.pid(), Signal::SIGKILL).unwrap();
        self.child.wait().unwrap();
        for other in others.split_whitespace() {
            // Some have ended by themselves by now.
            let _ = kill(Pid::from_raw(other.parse().unwrap()), Signal::SIGKILL);
        }
    }

    /// From now on it takes connections and says nothing.
    pub(crate) fn hang(&self) {
        kill(self.pid(), Signal::SIGSTOP).unwrap();
    }

    /// A connection of the test's own.
    pub(crate) async fn client(&self) -> Client {
        let config = super::config(&self.roles(), self.address);
        let (client, connection) = config.connect(NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }

    /// Statements, one after the other, each a transaction.
    pub(crate) async fn execute(&self, statements: &[&str]) {
        let client = self.client().await;
        for statement in statements {
            client.batch_execute(statement).await.unwrap();
        }
    }

    /// The number that a query gives.
    pub(crate) async fn number(&self, query: &str) -> i64 {
        self.client().await.query_one(query, &[]).await.unwrap().get(0)
    }

    /// Starts it in its folder, and waits until it is ready. Somebody else may take a port that was free a moment ago: then it
    /// ends early, and starts once more at what `choose` says by then.
    fn serve(folder: TempDir, address: Ipv4Addr, choose: impl Fn() -> u16) -> Self {
        let port = choose();
        let child = postgres(&folder, address, port);
        let mut server = Self {
            folder,
            address,
            port,
            child,
        };
        let start = Instant::now();
        while !server.is_ready() {
            assert!(
                start.elapsed() < PATIENCE,
                "PostgreSQL at {address}:{} does not get ready",
                server.port
            );
            std::thread::sleep(Duration::from_millis(50));
            if server.child.try_wait().unwrap().is_some() {
                server.port = choose();
                server.child = postgres(&server.folder, address, server.port);
            }
        }
        server
    }

    /// By its own word, and not by an answer at its port, which may be somebody else's.
    fn is_ready(&self) -> bool {
        const PROCESS: usize = 0;
        const STATUS: usize = 7;
        let said = std::fs::read_to_string(self.folder.path().join("postmaster.pid")).unwrap_or_default();
        let lines: Vec<&str> = said.lines().map(str::trim).collect();
        let process = self.child.id().to_string();
        lines.get(PROCESS) == Some(&process.as_str()) && lines.get(STATUS) == Some(&"ready")
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // An immediate shutdown, which takes the other processes along.
            let _ = kill(self.pid(), Signal::SIGQUIT);
            let _ = kill(self.pid(), Signal::SIGCONT);
            drop(self.child.wait());
        }
    }
}

/// A port that is free at the first two addresses of the loopback network.
fn free_port() -> u16 {
    let found = std::iter::repeat_with(|| {
        let first = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = first.local_addr().unwrap().port();
        TcpListener::bind(("127.0.0.2", port)).ok().map(|_| port)
    });
    found.flatten().next().expect("the search never ends without one")
}

fn postgres(folder: &TempDir, address: Ipv4Addr, port: u16) -> Child {
    program("postgres")
        .arg("-D")
        .arg(folder.path())
        .args(["-p", &port.to_string(), "-k", "", "-c", "fsync=off"])
        .args(["-c", &format!("listen_addresses={address}")])
        .args(["-c", "wal_retrieve_retry_interval=100ms", "-c", "max_connections=20"])
        .args(["-c", "wal_level=logical"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect(HINT)
}

/// PostgreSQL demands to own its folder, and nobody else to read it.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o700)).unwrap();
    if is_root() {
        chown(&folder, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    folder
}

fn run(name: &str, arguments: &[&str], folder: &TempDir) {
    let output = program(name).args(arguments).arg(folder.path()).output().expect(HINT);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {said}");
}

/// A program of PostgreSQL's, as a user it is willing to run as.
fn program(name: &str) -> Command {
    let mut command = Command::new(find(name).unwrap_or_else(|| panic!("no `{name}`: {HINT}")));
    command.current_dir("/");
    if is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").unwrap().uid() == 0
}

/// Debian keeps the server's programs out of the `PATH`. Of several versions the latest serves.
fn find(name: &str) -> Option<PathBuf> {
    let debian = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = debian.map(|version| version.path().join("bin")).collect();
    folders.sort();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let elsewhere = std::env::split_paths(&path);
    let mut programs = folders
        .into_iter()
        .rev()
        .chain(elsewhere)
        .map(|folder| folder.join(name));
    programs.find(|path| path.is_file())
}

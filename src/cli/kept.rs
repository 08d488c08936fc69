//! Finding kept runs and their replicas, and `nightmail shell`.

use std::io::IsTerminal;
use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt;

use super::args::ShellArgs;
use super::exit;
use crate::diagnostic::{Diagnostic, colour_on_stderr};
use crate::plan::ReplicaId;
use crate::system::docker;
use crate::system::engine::EngineError;
use crate::system::local;

/// Why a kept run cannot be had: an exit code, and what is said.
#[derive(Debug)]
pub struct Failure {
    code: u8,
    said: String,
}

impl Failure {
    /// Says it and gives the exit code.
    pub fn tell(&self) -> u8 {
        eprintln!("{}", self.said);
        self.code
    }
}

impl From<Diagnostic> for Failure {
    fn from(diagnostic: Diagnostic) -> Self {
        Self {
            code: exit::INVALID,
            said: diagnostic.render(colour_on_stderr()),
        }
    }
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        Self {
            code: exit::BROKEN,
            said: format!("error: {error}"),
        }
    }
}

/// A kept run, on either engine.
pub enum Kept {
    /// On the engine without Docker.
    Local(local::KeptRun),
    /// On Docker.
    Docker(docker::KeptRun),
}

impl Kept {
    fn run_id(&self) -> &str {
        match self {
            Self::Local(run) => run.run_id(),
            Self::Docker(run) => run.run_id(),
        }
    }

    /// Its replicas and their addresses.
    pub fn replicas(&self) -> Vec<(ReplicaId, Ipv4Addr)> {
        match self {
            Self::Local(run) => run.replicas().to_vec(),
            Self::Docker(run) => run.replicas(),
        }
    }

    fn described(&self) -> String {
        match self {
            Self::Local(run) => format!("{} ({})", run.run_id(), run.folder().display()),
            Self::Docker(run) => format!("{} (on Docker)", run.run_id()),
        }
    }
}

/// Finds the kept run of that id, or the only one there is. Leaves this process with a single thread.
pub fn find(wanted: Option<&str>) -> Result<Kept, Failure> {
    let mut runs: Vec<Kept> = local::KeptRun::all()?.into_iter().map(Kept::Local).collect();
    let is_there = wanted.is_some_and(|wanted| runs.iter().any(|run| run.run_id() == wanted));
    let mut not_looked_at = None;
    if !is_there {
        match with_docker(docker::KeptRun::all()) {
            Ok(kept) => runs.extend(kept.into_iter().map(Kept::Docker)),
            Err(error) => not_looked_at = Some(not_looked_at_docker(&error)),
        }
    }
    choose(runs, wanted, not_looked_at).map_err(Failure::from)
}

/// That Docker does not answer is no mistake of anybody who has none.
pub fn not_looked_at_docker(error: &EngineError) -> String {
    let reason = match error {
        EngineError::Unreachable { reason, .. } => reason.clone(),
        other => other.to_string(),
    };
    format!("Docker was not looked at: {reason}")
}

/// Asks Docker something with a runtime that has no thread of its own, and is gone afterwards.
pub fn with_docker<T>(asked: impl Future<Output = Result<T, EngineError>>) -> Result<T, EngineError> {
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(asked),
        Err(error) => Err(EngineError::Refused {
            action: "starting the event loop".to_owned(),
            reason: error.to_string(),
        }),
    }
}

fn choose(runs: Vec<Kept>, wanted: Option<&str>, not_looked_at: Option<String>) -> Result<Kept, Diagnostic> {
    let listed: Vec<String> = runs.iter().map(Kept::described).collect();
    let several = runs.len() > 1;
    let mut matching = runs
        .into_iter()
        .filter(|run| wanted.is_none_or(|wanted| run.run_id() == wanted));
    let problem = match (matching.next(), wanted) {
        (Some(run), _) if wanted.is_some() || !several => return Ok(run),
        (Some(_), _) => {
            return Err(Diagnostic::new("several runs are kept")
                .allowed(listed.join(", "))
                .hint("say which: --run ID"));
        }
        (None, Some(wanted)) if !listed.is_empty() => {
            return Err(Diagnostic::new(format!("no run {wanted} is kept")).allowed(listed.join(", ")));
        }
        (None, Some(wanted)) => format!("no run {wanted} is kept"),
        (None, None) => "no run is kept".to_owned(),
    };
    let problem = Diagnostic::new(match not_looked_at {
        Some(note) => format!("{problem} ({note})"),
        None => problem,
    });
    Err(problem.hint("`nightmail run --keep EXPERIMENT` leaves a system up"))
}

/// The replicas that a text means: all of a service, or one by its own name. Never none.
pub fn replicas(of: &[(ReplicaId, Ipv4Addr)], text: &str) -> Result<Vec<(ReplicaId, Ipv4Addr)>, Diagnostic> {
    let those = |is: &dyn Fn(&ReplicaId) -> bool| of.iter().filter(|(id, _)| is(id)).cloned().collect::<Vec<_>>();
    let mut found = those(&|id| id.service == text);
    if found.is_empty() {
        found = those(&|id| id.to_string() == text);
    }
    if !found.is_empty() {
        return Ok(found);
    }
    let mut names: Vec<String> = of.iter().map(|(id, _)| id.to_string()).collect();
    names.sort();
    Err(Diagnostic::new(format!("the run has no service or replica `{text}`")).allowed(names.join(", ")))
}

/// Opens a shell in a replica, or runs a command there. Gives its exit code.
pub fn shell(args: &ShellArgs) -> u8 {
    enter(args).unwrap_or_else(|failure| failure.tell())
}

fn enter(args: &ShellArgs) -> Result<u8, Failure> {
    let run = find(args.run.as_deref())?;
    let mut found = replicas(&run.replicas(), &args.target)?;
    let (id, _) = found.swap_remove(0);
    let entry = match &run {
        Kept::Local(run) => run.entry(&id, &args.command)?,
        Kept::Docker(run) => {
            let terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
            match with_docker(run.way(&id, &args.command, terminal))? {
                docker::Way::Hosts(entry) => entry,
                docker::Way::Exec(mut command) => {
                    let reason = command.exec().to_string();
                    let action = "running `docker exec`".to_owned();
                    return Err(EngineError::Refused { action, reason }.into());
                }
            }
        }
    };
    if let Some(note) = entry.note() {
        eprintln!("{note}");
    }
    Ok(entry.run()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(service: &str, index: u32) -> (ReplicaId, Ipv4Addr) {
        let service = service.to_owned();
        (ReplicaId { service, index }, Ipv4Addr::LOCALHOST)
    }

    #[test]
    fn a_service_means_all_of_it_and_a_replica_itself() {
        let all = [id("api", 1), id("api", 2), id("api-2", 1)];
        let found = |text: &str| replicas(&all, text).map(|found| found.iter().map(|(id, _)| id.to_string()).collect());
        assert_eq!(found("api"), Ok(vec!["api-1".to_owned(), "api-2".to_owned()]));
        assert_eq!(found("api-1"), Ok(vec!["api-1".to_owned()]));
        // The service of that name comes before the replica.
        assert_eq!(found("api-2"), Ok(vec!["api-2-1".to_owned()]));
        let error = found("apo").unwrap_err().render(false);
        assert!(
            error.contains("`apo`") && error.contains("api-1, api-2, api-2-1"),
            "{error}"
        );
    }

    #[test]
    fn where_nothing_is_kept_the_reader_is_told_how_to_keep_something() {
        let error = choose(Vec::new(), None, Some("Docker was not looked at: none".to_owned()));
        let error = error.err().unwrap().render(false);
        assert!(error.contains("Docker was not looked at: none"), "{error}");
        assert!(error.contains("run --keep"), "{error}");
    }

    #[test]
    fn of_several_runs_one_must_be_named() {
        let runs = || {
            vec![
                Kept::Docker(docker::KeptRun::default()),
                Kept::Docker(docker::KeptRun::default()),
            ]
        };
        let error = choose(runs(), None, None).err().unwrap().render(false);
        assert!(error.contains("--run ID"), "{error}");
        assert!(choose(runs(), Some(""), None).is_ok());
        assert!(choose(runs(), Some("other"), None).is_err());
    }
}

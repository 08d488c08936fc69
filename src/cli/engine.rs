//! Which engine runs systems, and entering the stage that the engine without Docker works on.

use std::ffi::OsString;

use super::args::EngineChoice;
use super::exit;
use crate::system::docker::{self, Docker};
use crate::system::engine::{Engine, EngineError, Traits};
use crate::system::local::{self, Local, stage};

/// What came of choosing.
pub enum Chosen {
    /// The command goes on in this process, with this engine.
    Here(Choice),
    /// The command has run on a stage, and ended with this exit code.
    Elsewhere(u8),
}

/// An engine that can be had.
pub struct Choice {
    kind: Kind,
    /// Why it is this one.
    pub because: String,
}

enum Kind {
    Docker,
    Local(stage::Inside),
}

impl Choice {
    /// What it can do.
    pub fn traits(&self) -> Traits {
        match self.kind {
            Kind::Docker => docker::TRAITS,
            Kind::Local(_) => local::TRAITS,
        }
    }

    /// The engine.
    pub async fn engine(self) -> Result<Box<dyn Engine>, EngineError> {
        Ok(match self.kind {
            Kind::Docker => Box::new(Docker::connect().await?),
            Kind::Local(inside) => Box::new(Local::new(inside)?),
        })
    }
}

/// Tells the command that runs on a stage why it does.
const BECAUSE: &str = "NIGHTMAIL_ENGINE_BECAUSE";

/// Chooses. If the engine without Docker is wanted, runs this whole command again on a stage; must be called before this
/// process has other threads.
pub fn choose(wanted: EngineChoice) -> Result<Chosen, u8> {
    if let Some(inside) = stage::Inside::take() {
        let because = std::env::var(BECAUSE).unwrap_or_else(|_| "started on a stage".to_owned());
        let kind = Kind::Local(inside);
        return Ok(Chosen::Here(Choice { kind, because }));
    }
    let (is_local, because) = decide(wanted);
    if !is_local {
        let kind = Kind::Docker;
        return Ok(Chosen::Here(Choice { kind, because }));
    }
    let own = std::env::current_exe().map_err(|error| broken(&error))?;
    // SAFETY: this process has no other thread that could read its environment.
    unsafe { std::env::set_var(BECAUSE, &because) };
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    match stage::run(&own, own.as_os_str(), &words) {
        Ok(code) => Ok(Chosen::Elsewhere(code)),
        Err(error) => Err(no_stage(wanted, &because, &error)),
    }
}

/// What the engine that would be chosen can do.
pub fn traits(wanted: EngineChoice) -> Traits {
    match decide(wanted).0 {
        true => local::TRAITS,
        false => docker::TRAITS,
    }
}

const ASKED_FOR: &str = "asked for by --engine or NIGHTMAIL_ENGINE";

/// Whether it is to be the engine without Docker, and why.
fn decide(wanted: EngineChoice) -> (bool, String) {
    match wanted {
        EngineChoice::Docker => (false, ASKED_FOR.to_owned()),
        EngineChoice::Local => (true, ASKED_FOR.to_owned()),
        EngineChoice::Auto => match docker_is_missing() {
            None => (false, "Docker answers".to_owned()),
            Some(reason) => (true, reason),
        },
    }
}

/// Why Docker cannot be had, if it cannot.
fn docker_is_missing() -> Option<String> {
    // A runtime without other threads, which is gone when this returns.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Some(format!("Docker cannot be asked: {error}")),
    };
    match runtime.block_on(docker::answers()) {
        Ok(()) => None,
        Err(EngineError::Unreachable { reason, .. }) => Some(format!("Docker does not answer: {reason}")),
        Err(other) => Some(other.to_string()),
    }
}

/// Runs a program on a stage: `nightmail stage PROGRAM ARGUMENT...`.
pub fn on_stage(words: &[OsString]) -> u8 {
    let Some((program, words)) = words.split_first() else {
        eprintln!("error: a program is missing");
        return exit::INVALID;
    };
    let own = match std::env::current_exe() {
        Ok(own) => own,
        Err(error) => return broken(&error),
    };
    stage::run(&own, program, words).unwrap_or_else(|error| broken(&error))
}

/// Where nobody asked for this engine, both reasons count.
fn no_stage(wanted: EngineChoice, because: &str, error: &stage::StageError) -> u8 {
    if wanted == EngineChoice::Auto {
        eprintln!("note: the engine `local` is tried, since {because}");
    }
    broken(error)
}

fn broken(error: &dyn std::fmt::Display) -> u8 {
    eprintln!("error: {error}");
    exit::BROKEN
}

//! A replica's program: its namespaces, its root, and the small init that some ask for.

use std::fs::File;

use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::{ForkResult, fork, sethostname, setsid};

use super::spec::{Program, Said};
use super::{Line, PodError, Tried, clone_aside, hold, process, root, user};
use crate::system::local::stage;

/// Starts the program and tells its process.
pub(super) fn start(line: &Line, program: &Program) -> Result<(), PodError> {
    match &program.network {
        Some(path) => {
            let network = File::open(path).tried(|| "opening the pod's network".to_owned())?;
            setns(&network, CloneFlags::CLONE_NEWNET).tried(|| "joining the pod's network".to_owned())?;
        }
        None => unshare(CloneFlags::CLONE_NEWNET).tried(|| "making a network namespace".to_owned())?,
    }
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_NEWUTS)
        .tried(|| "making the replica's namespaces".to_owned())?;
    match clone_aside().tried(|| "starting a process".to_owned())? {
        Some(pid) => {
            line.say(&Said::Cloned(pid.as_raw()));
            Ok(())
        }
        None => {
            let Err(error) = within(program);
            line.say(&Said::Failed(error.to_string()));
            std::process::exit(127)
        }
    }
}

fn within(program: &Program) -> Result<std::convert::Infallible, PodError> {
    setsid().tried(|| "beginning a session".to_owned())?;
    sethostname(&program.hostname).tried(|| format!("setting the host name {}", program.hostname))?;
    let ids = user::find(program.process.user.as_deref(), &program.root.image)?;
    hold::set(&program.sysctls)?;
    root::make(&program.root, program.process.working_dir.as_deref())?;
    for (name, soft, hard) in &program.ulimits {
        limit(name, *soft, *hard)?;
    }
    process::confine(&program.process, &ids)?;
    if program.init {
        stay_as_init()?;
    }
    process::exec(&program.process, &ids)
}

/// Lets the program be a child, and stays to reap and to hand signals on, as the first process of the namespace, with no more
/// rights than the program has. Only the child returns.
fn stay_as_init() -> Result<(), PodError> {
    let all = SigSet::all();
    all.thread_block().tried(|| "blocking signals".to_owned())?;
    // SAFETY: this process has one thread.
    let forked = unsafe { fork() }.tried(|| "starting the program below the init".to_owned())?;
    let ForkResult::Parent { child } = forked else {
        return Ok(());
    };
    // Above all the engine's line, at whose closing it knows that the program runs.
    process::close_all_but_outputs();
    loop {
        match all.wait() {
            Ok(Signal::SIGCHLD) => {
                if let Some(code) = stage::reap(child) {
                    std::process::exit(code);
                }
            }
            Ok(signal) => {
                let _ = kill(child, signal);
            }
            Err(_) => {}
        }
    }
}

/// Sets a limit, as far as whoever runs nightmail may.
fn limit(name: &str, soft: i64, hard: i64) -> Result<(), PodError> {
    let resource = match name {
        "as" => Resource::RLIMIT_AS,
        "core" => Resource::RLIMIT_CORE,
        "cpu" => Resource::RLIMIT_CPU,
        "data" => Resource::RLIMIT_DATA,
        "fsize" => Resource::RLIMIT_FSIZE,
        "locks" => Resource::RLIMIT_LOCKS,
        "memlock" => Resource::RLIMIT_MEMLOCK,
        "msgqueue" => Resource::RLIMIT_MSGQUEUE,
        "nice" => Resource::RLIMIT_NICE,
        "nofile" => Resource::RLIMIT_NOFILE,
        "nproc" => Resource::RLIMIT_NPROC,
        "rss" => Resource::RLIMIT_RSS,
        "rtprio" => Resource::RLIMIT_RTPRIO,
        "rttime" => Resource::RLIMIT_RTTIME,
        "sigpending" => Resource::RLIMIT_SIGPENDING,
        "stack" => Resource::RLIMIT_STACK,
        other => return Err(PodError::new(format!("there is no limit `{other}`"))),
    };
    // A negative number is no limit.
    let value = |limit: i64| u64::try_from(limit).unwrap_or(libc::RLIM_INFINITY);
    setrlimit(resource, value(soft), value(hard)).tried(|| format!("setting the limit {name} to {soft}:{hard}"))
}

//! The last steps before a program: who it is, what it may, where it stands.

use std::convert::Infallible;
use std::ffi::CString;
use std::fs;
use std::os::fd::BorrowedFd;
use std::path::Path;

use caps::{CapSet, Capability, CapsHashSet};
use nix::fcntl::{OFlag, open};
use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::signal::SigSet;
use nix::sys::stat::Mode;
use nix::unistd::{Gid, Uid, chdir, dup2_stdin, execve, fchown, setgroups, setresgid, setresuid};

use super::spec::{PATH, Process};
use super::user::Ids;
use super::{PodError, Tried};

/// What Docker leaves to the root of a container, but for making devices: as root nothing else here would keep them from
/// those of the host.
const USUAL: [Capability; 13] = [
    Capability::CAP_CHOWN,
    Capability::CAP_DAC_OVERRIDE,
    Capability::CAP_FSETID,
    Capability::CAP_FOWNER,
    Capability::CAP_NET_RAW,
    Capability::CAP_SETGID,
    Capability::CAP_SETUID,
    Capability::CAP_SETFCAP,
    Capability::CAP_SETPCAP,
    Capability::CAP_NET_BIND_SERVICE,
    Capability::CAP_SYS_CHROOT,
    Capability::CAP_KILL,
    Capability::CAP_AUDIT_WRITE,
];

/// Becomes the user, with the rights and in the place of the process. The root is its own already.
pub(super) fn confine(process: &Process, ids: &Ids) -> Result<(), PodError> {
    if process.all_users {
        // A program may open its outputs by name, which takes that they are its user's.
        for output in [libc::STDOUT_FILENO, libc::STDERR_FILENO] {
            // SAFETY: both are open, and stay so.
            let output = unsafe { BorrowedFd::borrow_raw(output) };
            let _ = fchown(output, Some(Uid::from_raw(ids.user)), None);
        }
    } else {
        alone_as(ids)?;
    }
    restrict(process, ids)?;
    let null = open("/dev/null", OFlag::O_RDONLY, Mode::empty()).tried(|| "opening /dev/null".to_owned())?;
    dup2_stdin(&null).tried(|| "opening /dev/null".to_owned())
}

/// As [`confine`], in the user namespace that the process is to have, and with the input that this one has.
pub(super) fn restrict(process: &Process, ids: &Ids) -> Result<(), PodError> {
    let kept = capabilities(process)?;
    limit_bounding_set(&kept)?;
    if process.all_users {
        let (user, group) = (Uid::from_raw(ids.user), Gid::from_raw(ids.group));
        setgroups(&[group]).tried(|| format!("setting the groups to {group}"))?;
        setresgid(group, group, group).tried(|| format!("becoming group {group}"))?;
        setresuid(user, user, user).tried(|| format!("becoming user {user}"))?;
    }
    let held = if ids.user == 0 { kept } else { CapsHashSet::new() };
    hold_only(&held)?;
    nix::sys::prctl::set_no_new_privs().tried(|| "giving up new privileges".to_owned())?;
    let dir = process.working_dir.as_deref().unwrap_or("/");
    chdir(dir).tried(|| format!("going to the working directory {dir}"))
}

/// Becomes the program: it never returns but with the reason why not.
pub(super) fn exec(process: &Process, ids: &Ids) -> Result<Infallible, PodError> {
    signals_as_usual();
    close_everything_at_exec();
    execute(process, ids)
}

/// Enters a user namespace in which the one user there is, is the image's.
pub(super) fn alone_as(ids: &Ids) -> Result<(), PodError> {
    unshare(CloneFlags::CLONE_NEWUSER).tried(|| "making a user namespace".to_owned())?;
    // It is so already below a namespace where it is.
    let _ = fs::write("/proc/self/setgroups", "deny");
    let map = |path: &str, id: u32| fs::write(path, format!("{id} 0 1")).tried(|| format!("writing {path}"));
    map("/proc/self/uid_map", ids.user)?;
    map("/proc/self/gid_map", ids.group)
}

/// What remains of the usual capabilities.
fn capabilities(process: &Process) -> Result<CapsHashSet, PodError> {
    let mut kept: CapsHashSet = USUAL.into_iter().collect();
    let named = |name: &String| {
        let full = format!("CAP_{}", name.to_uppercase().trim_start_matches("CAP_"));
        full.parse::<Capability>()
            .map_err(|_| PodError::new(format!("there is no capability `{name}`")))
    };
    for name in &process.cap_drop {
        if name.eq_ignore_ascii_case("all") {
            kept.clear();
        } else {
            kept.remove(&named(name)?);
        }
    }
    for name in &process.cap_add {
        if name.eq_ignore_ascii_case("all") {
            kept.extend(caps::all());
        } else {
            kept.insert(named(name)?);
        }
    }
    Ok(kept)
}

/// Drops from the bounding set whatever is not kept: no program that is started later can have it.
fn limit_bounding_set(kept: &CapsHashSet) -> Result<(), PodError> {
    for capability in caps::runtime::thread_all_supported() {
        if !kept.contains(&capability) {
            caps::drop(None, CapSet::Bounding, capability).tried(|| format!("dropping {capability}"))?;
        }
    }
    Ok(())
}

fn hold_only(held: &CapsHashSet) -> Result<(), PodError> {
    // What this process does not have it cannot give.
    let permitted = caps::read(None, CapSet::Permitted).tried(|| "reading capabilities".to_owned())?;
    let held: CapsHashSet = held.intersection(&permitted).copied().collect();
    let _ = caps::clear(None, CapSet::Ambient);
    let none = CapsHashSet::new();
    for (set, wanted) in [
        (CapSet::Inheritable, &none),
        (CapSet::Effective, &held),
        (CapSet::Permitted, &held),
    ] {
        caps::set(None, set, wanted).tried(|| "setting capabilities".to_owned())?;
    }
    Ok(())
}

/// Keeps these capabilities and no others, for this very program.
pub(super) fn keep_only(kept: &[Capability]) -> Result<(), PodError> {
    let kept: CapsHashSet = kept.iter().copied().collect();
    limit_bounding_set(&kept)?;
    hold_only(&kept)?;
    nix::sys::prctl::set_no_new_privs().tried(|| "giving up new privileges".to_owned())
}

/// As a program expects to find them: none ignored, none blocked.
pub(super) fn signals_as_usual() {
    const SIGNALS: libc::c_int = 64;
    // The kernel's own structure, of which nothing set is the default; the C library hides some signals, which can be
    // inherited as ignored all the same.
    let usual = [0_u64; 4];
    for signal in 1..=SIGNALS {
        let none: *mut libc::c_void = std::ptr::null_mut();
        // SAFETY: the default action runs no code of ours, and the kernel reads no more than the structure.
        unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, usual.as_ptr(), none, size_of::<u64>()) };
    }
    let _ = SigSet::empty().thread_set_mask();
}

fn close_everything_at_exec() {
    // SAFETY: the call only marks descriptors to be closed at exec. Those of an older kernel, which refuses it, were opened
    // by Rust and are marked in any case.
    unsafe {
        libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC);
    }
}

/// Closes every descriptor but those of what the program writes.
pub(super) fn close_all_but_outputs() {
    // SAFETY: whoever calls this uses none of them any more.
    let closed = unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0) };
    if closed != 0 {
        // An older kernel: one by one, as far as there can be any.
        let (most, _) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or((1024, 1024));
        for fd in 3..most.min(65_536) as libc::c_int {
            // SAFETY: as above.
            unsafe { libc::close(fd) };
        }
    }
}

fn execute(process: &Process, ids: &Ids) -> Result<Infallible, PodError> {
    let text = |text: &str| CString::new(text).tried(|| format!("`{text}` holds a zero byte"));
    // As Docker does.
    let home = (!process.environment.contains_key("HOME")).then_some(&ids.home);
    let words = process
        .words
        .iter()
        .map(|word| text(word))
        .collect::<Result<Vec<_>, _>>()?;
    let environment = process
        .environment
        .iter()
        .map(|(name, value)| text(&format!("{name}={value}")))
        .chain(home.map(|home| text(&format!("HOME={home}"))))
        .collect::<Result<Vec<_>, _>>()?;
    let program = process
        .words
        .first()
        .ok_or_else(|| PodError::new("neither the image nor the Compose file says what is to run"))?;
    let path = process.environment.get("PATH").map_or(PATH, String::as_str);
    let found = locate(program, path)
        .ok_or_else(|| PodError::new(format!("`{program}` is not in the image (PATH is {path})")))?;
    execve(&text(&found)?, &words, &environment).tried(|| format!("starting {found}"))
}

/// A program with a slash stands for itself.
fn locate(program: &str, path: &str) -> Option<String> {
    if program.contains('/') {
        return Some(program.to_owned());
    }
    path.split(':')
        .filter(|folder| !folder.is_empty())
        .map(|folder| format!("{folder}/{program}"))
        .find(|candidate| Path::new(candidate).is_file())
}

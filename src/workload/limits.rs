//! Open files: every operation in flight may hold a connection.

use std::io;
use std::sync::Mutex;

use super::WorkloadError;

/// Files open for everything else: the history, the engine, idle connections.
const OTHERS: u64 = 512;

/// Connections that all loads of this process together may hold now.
static ALLOWED: Mutex<u64> = Mutex::new(0);

/// A load's right to so many connections at once; given back when it is dropped.
#[derive(Debug)]
pub struct Allowed(u64);

impl Drop for Allowed {
    fn drop(&mut self) {
        *ALLOWED.lock().expect("no holder panics") -= self.0;
    }
}

/// Raises the soft limit of open files as far as `connections` at once need, beside those of other loads under way.
pub fn allow_connections(connections: usize) -> Result<Allowed, WorkloadError> {
    let mut allowed = ALLOWED.lock().expect("no holder panics");
    let connections = connections as u64;
    raise(*allowed + connections + OTHERS)?;
    *allowed += connections;
    Ok(Allowed(connections))
}

fn raise(needed: u64) -> Result<(), WorkloadError> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` is a valid place for the answer.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } != 0 {
        return Err(io::Error::last_os_error().into());
    }
    if limit.rlim_cur >= needed {
        return Ok(());
    }
    if limit.rlim_max < needed {
        return Err(WorkloadError::OpenFiles {
            needed,
            allowed: limit.rlim_max,
        });
    }
    limit.rlim_cur = needed;
    // SAFETY: `limit` is initialised.
    match unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error().into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_hard_limit_forbids_is_an_error_with_a_hint() {
        // Linux caps the hard limit itself far below this (`fs.nr_open`).
        let err = allow_connections(1 << 40).unwrap_err();
        assert!(matches!(err, WorkloadError::OpenFiles { .. }), "{err}");
        assert!(err.to_string().contains("ulimit"), "{err}");
        drop(allow_connections(16).unwrap());
    }

    #[test]
    fn loads_at_the_same_time_have_room_for_all_of_their_connections() {
        let (one, other) = (allow_connections(300).unwrap(), allow_connections(500).unwrap());
        let mut limit = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        // SAFETY: `limit` is a valid place for the answer.
        assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) }, 0);
        assert!(limit.rlim_cur >= 300 + 500 + OTHERS, "{}", limit.rlim_cur);
        drop((one, other));
    }
}

//! Open files: every operation in flight may hold a connection.

use std::io;

use super::WorkloadError;

/// Files open for everything else: the history, the engine, idle connections.
const OTHERS: u64 = 512;

/// Raises the soft limit of open files as far as `connections` at once need.
pub fn allow_connections(connections: usize) -> Result<(), WorkloadError> {
    let needed = connections as u64 + OTHERS;
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
        allow_connections(16).unwrap();
    }
}

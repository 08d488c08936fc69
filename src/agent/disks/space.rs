//! The space of a file system, taken and given back by files that have no name.
//!
//! Both are opened when the agent starts, while everybody may write in the folder: whatever the replica makes of it later, the
//! agent needs no right in it, and nobody finds anything there. What they hold goes with the agent, however it ends.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};
use nix::sys::statvfs::fstatvfs;

/// What is written to see whether a block can still be had. Blocks are no smaller.
const TRIAL: [u8; 512] = [1; 512];

/// The space of a file system.
pub trait Space: Send + Sync {
    /// Takes everything that is free, to the last block.
    fn fill(&self) -> io::Result<()>;

    /// Gives all of it back.
    fn empty(&self) -> io::Result<()>;

    /// Writes one block, and takes it back.
    fn try_block(&self) -> io::Result<()>;

    /// How much there is.
    fn bytes(&self) -> io::Result<Bytes>;
}

/// How much space there is, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bytes {
    /// In all.
    pub total: u64,
    /// That a user other than root may still take.
    pub free: u64,
    /// The least that can be taken.
    pub block: u64,
}

/// A file system's own.
#[derive(Debug)]
pub struct Folder {
    /// Takes up the space. Locked while it grows or shrinks: what is to be empty is not filled by somebody who began before.
    ballast: Mutex<File>,
    /// Tries whether there is any.
    trial: File,
}

impl Folder {
    /// That of the file system of a folder in which this process may write now.
    pub fn open(folder: &Path) -> io::Result<Self> {
        let unnamed = || {
            let mut options = OpenOptions::new();
            options.read(true).write(true).mode(0o600);
            options.custom_flags(libc::O_TMPFILE).open(folder)
        };
        Ok(Self {
            ballast: Mutex::new(unnamed()?),
            trial: unnamed()?,
        })
    }

    fn ballast(&self) -> MutexGuard<'_, File> {
        self.ballast.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Space for Folder {
    fn fill(&self) -> io::Result<()> {
        let ballast = self.ballast();
        let Bytes { free, block, .. } = self.bytes()?;
        let mut taken = ballast.metadata()?.len();
        // Somebody else may be taking some at the same time: less is asked for until not one block can be had.
        let mut step = free.max(block);
        loop {
            match allocate(&ballast, taken, step) {
                Ok(()) => taken += step,
                Err(Errno::EINTR) => {}
                Err(Errno::ENOSPC) if step > block => step = (step / 2 / block * block).max(block),
                Err(Errno::ENOSPC) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn empty(&self) -> io::Result<()> {
        self.ballast().set_len(0)
    }

    fn try_block(&self) -> io::Result<()> {
        let written = self.trial.write_at(&TRIAL, 0);
        self.trial.set_len(0)?;
        match written? {
            0 => Err(ErrorKind::WriteZero.into()),
            _ => Ok(()),
        }
    }

    fn bytes(&self) -> io::Result<Bytes> {
        let found = fstatvfs(&self.trial)?;
        let block = found.fragment_size().max(1);
        Ok(Bytes {
            total: found.blocks() * block,
            free: found.blocks_available() * block,
            block,
        })
    }
}

fn allocate(file: &File, offset: u64, length: u64) -> Result<(), Errno> {
    let number = |bytes: u64| libc::off_t::try_from(bytes).map_err(|_| Errno::EFBIG);
    fallocate(file, FallocateFlags::empty(), number(offset)?, number(length)?)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A space of 16 blocks that is only imagined.
    #[derive(Debug, Default)]
    pub(crate) struct MemorySpace {
        state: Mutex<State>,
    }

    #[derive(Debug, Default)]
    struct State {
        taken: u64,
        fails: bool,
        leaves_some: bool,
        stays_full: bool,
    }

    const BLOCK: u64 = 4_096;
    const TOTAL: u64 = 16 * BLOCK;

    impl MemorySpace {
        /// From now on filling fails in the middle.
        pub(crate) fn fail(&self) {
            self.state.lock().unwrap().fails = true;
        }

        /// From now on filling leaves something.
        pub(crate) fn leave_some(&self, leaves_some: bool) {
            self.state.lock().unwrap().leaves_some = leaves_some;
        }

        /// From now on nothing is given back.
        pub(crate) fn stay_full(&self) {
            self.state.lock().unwrap().stays_full = true;
        }
    }

    impl Space for MemorySpace {
        fn fill(&self) -> io::Result<()> {
            let mut state = self.state.lock().unwrap();
            state.taken = if state.fails || state.leaves_some {
                TOTAL / 2
            } else {
                TOTAL
            };
            match state.fails {
                true => Err(io::Error::other("broken")),
                false => Ok(()),
            }
        }

        fn empty(&self) -> io::Result<()> {
            let mut state = self.state.lock().unwrap();
            if !state.stays_full {
                state.taken = 0;
            }
            Ok(())
        }

        fn try_block(&self) -> io::Result<()> {
            match self.bytes()?.free {
                0 => Err(Errno::ENOSPC.into()),
                _ => Ok(()),
            }
        }

        fn bytes(&self) -> io::Result<Bytes> {
            Ok(Bytes {
                total: TOTAL,
                free: TOTAL - self.state.lock().unwrap().taken,
                block: BLOCK,
            })
        }
    }

    #[test]
    fn files_without_a_name_take_nothing_that_is_not_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let space = Folder::open(folder.path()).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        space.try_block().unwrap();
        assert_eq!(space.trial.metadata().unwrap().len(), 0);
        allocate(&space.ballast(), 0, 8_192).unwrap();
        assert_eq!(space.ballast().metadata().unwrap().len(), 8_192);
        space.empty().unwrap();
        assert_eq!(space.ballast().metadata().unwrap().len(), 0);
        assert!(space.bytes().unwrap().total > 0);
        assert!(Folder::open(&folder.path().join("absent")).is_err());
    }
}

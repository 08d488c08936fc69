//! Printing for people who may stop reading: `nightmail schema | head`.
//!
//! `print!`, `println!` and `eprintln!` of the standard library panic when the reader has closed the pipe. Those here stand
//! in their place everywhere in `cli`, so that such a command ends quietly with the exit code it would have had.

use std::fmt::Arguments;
use std::io::{ErrorKind, Write};

macro_rules! print {
    ($($text:tt)*) => { $crate::cli::out::to_stdout(format_args!($($text)*)) };
}

macro_rules! println {
    ($($text:tt)*) => { $crate::cli::out::to_stdout(format_args!("{}\n", format_args!($($text)*))) };
}

macro_rules! eprintln {
    ($($text:tt)*) => { $crate::cli::out::to_stderr(format_args!("{}\n", format_args!($($text)*))) };
}

/// Writes to the standard output. A full disk is a defect all the same: who kept the output would keep half of it.
///
/// # Panics
///
/// If it cannot be written for any reason but that nobody reads it.
pub(super) fn to_stdout(text: Arguments<'_>) {
    let mut stdout = std::io::stdout().lock();
    let written = stdout.write_fmt(text).and_then(|()| stdout.flush());
    match written {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => panic!("the output could not be written: {error}"),
        _ => {}
    }
}

/// Writes to the standard error. Where nobody reads it, there is nobody to be told so.
pub(super) fn to_stderr(text: Arguments<'_>) {
    let _ = std::io::stderr().lock().write_fmt(text);
}

//! The command line.

use std::process::ExitCode;

/// Does what the command line says.
pub fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    match args.next() {
        Some(command) if command == "agent" => crate::agent::main(args),
        Some(command) if command == "reaper" => crate::reaper::main(args),
        _ => ExitCode::from(2),
    }
}

//! The binary: hands the command line to `nightmail::cli` and turns its answer into an exit code.

fn main() -> std::process::ExitCode {
    nightmail::cli::main()
}

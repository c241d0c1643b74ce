//! Parses, dispatches, and ends with the exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    netproof::cli::main()
}

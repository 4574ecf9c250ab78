//! The `outlay` program; all it does is in [`outlay::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    outlay::cli::main()
}

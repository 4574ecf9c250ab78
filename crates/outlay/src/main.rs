//! The `outlay` program; all it does is in [`outlay::cli`].

use std::process::ExitCode;

/// Operations are made in the threads that read requests and freed in the writer's, which this allocator does cheaply.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    outlay::cli::main()
}

//! The program: its allocator and its command line.

use std::process::ExitCode;

/// Without huge pages: large OS pages are off by its own default, transparent ones are refused at the start.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    polycast::cli::run(std::env::args_os())
}

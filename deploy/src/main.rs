//! The program `tidegate`.

use std::process::ExitCode;

/// Chosen by what an idle client costs a gateway; the measurement stands in ARCHITECTURE.md.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    deploy::run()
}

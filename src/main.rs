//! The `nowserving` program.

use std::process::ExitCode;

use clap::Parser;
use mimalloc::MiMalloc;

// A request makes some dozens of short-lived allocations on one thread and frees them on another.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    if let Err(error) = nowserving::cli::leave_out_pg_variables() {
        eprintln!("nowserving: cannot start without the PG… variables of this environment ({error}): unset them");
        return ExitCode::FAILURE;
    }
    match nowserving::cli::Cli::try_parse() {
        Ok(cli) => nowserving::cli::run(cli),
        Err(error) => {
            // There is nothing left to tell it to when the terminal is gone.
            let _ = error.print();
            // Not clap's own code for errors: 2 says that a check found something.
            if error.use_stderr() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
        }
    }
}

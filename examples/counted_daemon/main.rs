//! The `nowserving` program with an allocator that counts, so that the heap allocations of a request can be told. It says
//! how many there were so far to the file that `COUNTED_DAEMON_FILE` names, many times a second.

use std::{alloc::System, fs::File, os::unix::fs::FileExt, process::ExitCode, thread, time::Duration};

use clap::Parser;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static COUNTING: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn main() -> ExitCode {
    if let Some(path) = std::env::var_os("COUNTED_DAEMON_FILE") {
        let file = File::create(path).expect("the file can be made");
        thread::spawn(move || tell(&file));
    }
    nowserving::cli::run(nowserving::cli::Cli::parse())
}

/// Two numbers of eight bytes: allocations, and the bytes that were asked for. A change of size is an allocation, too.
fn tell(file: &File) {
    loop {
        let so_far = COUNTING.stats();
        let mut numbers = [0; 16];
        numbers[..8].copy_from_slice(&((so_far.allocations + so_far.reallocations) as u64).to_le_bytes());
        numbers[8..].copy_from_slice(&(so_far.bytes_allocated as u64).to_le_bytes());
        file.write_all_at(&numbers, 0).expect("the file can be written");
        thread::sleep(Duration::from_millis(10));
    }
}

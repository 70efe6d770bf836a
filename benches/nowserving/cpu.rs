//! CPU time of processes, from the operating system's accounting.

use std::time::Duration;

use nix::{time::clock_getcpuclockid, unistd::Pid};
use procfs::Current;

/// CPU time that a process has used, with all its threads and those of its children that are there or were waited for.
pub fn of_tree(pid: u32) -> Duration {
    let pid = i32::try_from(pid).expect("pids are small");
    let (mut running, mut ticks) = (Duration::ZERO, 0);
    let processes: Vec<_> = procfs::process::all_processes()
        .expect("/proc can be read")
        .filter_map(|process| process.ok()?.stat().ok())
        .collect();
    let mut tree = vec![pid];
    while let Some(parent) = tree.pop() {
        tree.extend(processes.iter().filter(|process| process.ppid == parent).map(|process| process.pid));
        // Those who ended meanwhile count with their parents from now on.
        if let Some(process) = processes.iter().find(|process| process.pid == parent) {
            running += clock(parent).unwrap_or_default();
            ticks += u64::try_from(process.cutime + process.cstime).unwrap_or_default();
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let ended = Duration::from_secs_f64(ticks as f64 / procfs::ticks_per_second() as f64);
    running + ended
}

/// CPU time of a process by itself, with all its threads.
pub fn of_process(pid: u32) -> Duration {
    let pid = i32::try_from(pid).expect("pids are small");
    clock(pid).expect("the process runs")
}

/// A process's own clock, which counts nanoseconds where the columns of `/proc` count hundredths of a second; None when it
/// has ended.
fn clock(pid: i32) -> Option<Duration> {
    clock_getcpuclockid(Pid::from_raw(pid)).and_then(|clock| clock.now()).ok().map(Duration::from)
}

/// What a machine is, for the head of the report.
pub fn machine() -> Vec<(String, String)> {
    let cpus = procfs::CpuInfo::current();
    let model = cpus.as_ref().ok().and_then(|cpus| cpus.model_name(0)).unwrap_or("unknown").to_owned();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    vec![
        ("cpu".to_owned(), model),
        ("cores".to_owned(), cores.to_string()),
        ("memory".to_owned(), format!("{} MiB", memory_bytes() >> 20)),
        ("date".to_owned(), chrono::Utc::now().format("%Y-%m-%d %H:%M UTC").to_string()),
    ]
}

/// Memory of this machine.
pub fn memory_bytes() -> u64 {
    procfs::Meminfo::current().map_or(0, |memory| memory.mem_total)
}

//! Measures nowserving, each figure beside a reference from the same run: `make bench`, `make bench-full`, or
//! `cargo bench --bench nowserving -- [--full] [group …]`. With `--against` it compares two builds of the daemon
//! (`make bench-check`), and with `--target` it drives a deployment that runs elsewhere (`make bench TARGET=URL`).
//!
//! Every group starts its own servers and ends them. What was found is printed as one table and written to
//! `target/bench`: `report.json`, and `report.html` with plots.

#[path = "../../tests/it/support/mod.rs"]
mod support;

mod changes;
mod check;
mod client;
mod closed_loop;
mod cost;
mod cpu;
mod deployment;
mod feed;
mod hot_list;
mod imports;
mod latency;
mod ledger;
mod lives;
mod memory;
mod mix;
mod model;
mod multiples;
mod older_stack;
mod open_loop;
mod page;
mod plain_events;
mod pools;
mod reference_server;
mod references;
mod report;
mod rounds;
mod scale_out;
mod scripts;
mod slot_service;
mod slot_table;
mod target;
mod throughput;
mod write_behind;

use std::{path::PathBuf, process::ExitCode, time::Instant};

use clap::Parser;
use mimalloc::MiMalloc;

use crate::report::Report;

/// As the daemon has it: the client takes its share of the cores, and a reference runs in this program, too.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// How large a run is, and what it draws from.
#[derive(Debug, Clone, Parser)]
pub struct Plan {
    /// Measure at the sizes that benches/README.md names instead of reduced ones
    #[arg(long)]
    full: bool,
    /// What all that is random is drawn from
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// The groups to measure; all by default
    #[arg(value_parser = GROUPS)]
    groups: Vec<String>,
    /// Compare the cost of requests with that of another build of the daemon, and fail where one is dearer
    #[arg(long, value_name = "PROGRAM", conflicts_with_all = ["groups", "target"])]
    against: Option<PathBuf>,
    /// Drive a deployment that runs elsewhere, with the key that NOWSERVING_BENCH_KEY has
    #[arg(long, value_name = "URL", conflicts_with = "groups")]
    target: Option<String>,
    /// The first of the 2,000 restaurants whose orders are made at the target
    #[arg(long, default_value_t = 2_000_000_001, value_name = "ID", requires = "target")]
    first_restaurant: u64,
    /// As a reference is started: the slot table's service on this database
    #[arg(long, hide = true, value_name = "URL")]
    slot_service: Option<String>,
    /// As `cargo bench` passes it
    #[arg(long, hide = true)]
    bench: bool,
}

const GROUPS: [&str; 14] = [
    "throughput",
    "references",
    "latency",
    "hot_list",
    "feed",
    "cost",
    "scripts",
    "memory",
    "write_behind",
    "ledger",
    "imports",
    "scale_out",
    "model",
    "changes",
];

impl Plan {
    /// A size: reduced, or full.
    pub fn size<T>(&self, reduced: T, full: T) -> T {
        if self.full { full } else { reduced }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    // `cargo test` builds and runs bench targets too, to see that they work; measuring is for `cargo bench`.
    if !std::env::args().any(|argument| argument == "--bench") {
        return ExitCode::SUCCESS;
    }
    let plan = Plan::parse();
    if let Some(url) = &plan.slot_service {
        slot_service::serve(url).await;
        return ExitCode::SUCCESS;
    }
    let mut report = Report { machine: cpu::machine(), ..Report::default() };
    if let Some(program) = &plan.against {
        return check::run(&plan, &mut report, program).await;
    }
    if let Some(url) = &plan.target {
        return target::run(&plan, &mut report, url).await;
    }
    for group in GROUPS {
        if !plan.groups.is_empty() && !plan.groups.iter().any(|wanted| wanted == group) {
            continue;
        }
        let started = Instant::now();
        eprintln!("{group}");
        match group {
            "throughput" => throughput::measure(&plan, &mut report).await,
            "references" => references::measure(&plan, &mut report).await,
            "hot_list" => hot_list::measure(&plan, &mut report).await,
            "feed" => feed::measure(&plan, &mut report).await,
            "latency" => latency::measure(&plan, &mut report).await,
            "cost" => cost::measure(&plan, &mut report).await,
            "scripts" => scripts::measure(&plan, &mut report).await,
            "memory" => memory::measure(&plan, &mut report).await,
            "write_behind" => write_behind::measure(&plan, &mut report).await,
            "ledger" => ledger::measure(&plan, &mut report).await,
            "imports" => imports::measure(&plan, &mut report).await,
            "scale_out" => scale_out::measure(&plan, &mut report).await,
            // Behind the others: it looks up what the others found.
            "model" => model::work_out(&mut report),
            "changes" => changes::list(&mut report),
            _ => unreachable!("every group is listed here"),
        }
        eprintln!("{group} took {:.0} s\n", started.elapsed().as_secs_f64());
        // After each group: what breaks off later loses nothing.
        report.write_json("report");
    }
    print!("{}", report.table());
    println!("\n{}\n{}", report.write_json("report").display(), page::write(&report).display());
    ExitCode::SUCCESS
}

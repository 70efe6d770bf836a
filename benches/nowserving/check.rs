//! Two builds of the daemon in one run: `make bench-check COMMIT=…`. Each has its own Redis and Postgres, and both are
//! driven in turns, request by request, for five rounds. It fails where one request is dearer than a tenth in all rounds.
//!
//! What a run measures on a machine with other work varies more than a tenth, but not in five rounds alike. The scripts
//! are part of each build, so that both texts are measured in the same rounds, by each Redis's own account.

use std::{path::Path, process::ExitCode};

use crate::{
    Plan,
    deployment::Deployment,
    multiples::{Cost, Driven, Request},
    report::{Figure, Report},
};

const GROUP: &str = "check";
const ROUNDS: usize = 5;
/// How much dearer, as a ratio, a request may be.
const AT_MOST: f64 = 1.10;
/// What is compared.
const ALL: &str = "CPU of all processes";

/// How many of the parts a request has: `/healthz` is all the daemon's, and reads call no script.
fn told(request: Request, parts: usize) -> usize {
    match request {
        Request::Health => 1,
        _ if request.writes() => parts,
        _ => parts - 1,
    }
}

pub async fn run(plan: &Plan, report: &mut Report, earlier: &Path) -> ExitCode {
    let program = earlier.canonicalize().ok().filter(|path| path.is_file());
    let Some(program) = program else {
        eprintln!("bench-check: {} is no program", earlier.display());
        return ExitCode::FAILURE;
    };
    let requests = plan.size(6_000, 40_000);
    let mut now = Driven::start(Deployment::start(Driven::settings()).await, requests).await;
    let mut then = Driven::start(Deployment::start_program(program, Driven::settings()).await, requests).await;
    let mut found: [Vec<[Cost; 2]>; Request::ALL.len()] = Default::default();
    for round in 0..ROUNDS {
        for (request, costs) in Request::ALL.into_iter().zip(&mut found) {
            // Which one is first changes, so that neither has the warmer machine.
            let pair = if round % 2 == 0 {
                [now.window(request).await, then.window(request).await]
            } else {
                let earlier = then.window(request).await;
                [now.window(request).await, earlier]
            };
            costs.push(pair);
        }
    }
    type Part = fn(Cost) -> f64;
    let parts: [(&str, Part); 5] = [
        (ALL, Cost::all),
        ("CPU of the daemon", |cost| cost.daemon),
        ("CPU of Redis", |cost| cost.redis),
        ("CPU of Postgres", |cost| cost.postgres),
        // Time that passed, and not CPU time: on a busy machine it is longer.
        ("time in Redis's scripts", |cost| cost.scripts),
    ];
    let mut dearer = Vec::new();
    for (request, costs) in Request::ALL.into_iter().zip(&found) {
        for (part, of) in parts.into_iter().take(told(request, parts.len())) {
            let [values, beside] = [0, 1].map(|at: usize| costs.iter().map(|pair| of(pair[at])).collect::<Vec<f64>>());
            let name = format!("{part}, {}", request.name());
            let figure = Figure::of_rounds(GROUP, name, "µs", &values, ("the earlier build", &beside), None);
            if part == ALL && figure.by_round.is_some_and(|ratios| ratios.min > AT_MOST) {
                dearer.push((request.name(), figure.ratio()));
            }
            report.figure(figure);
        }
    }
    print!("{}", report.table());
    println!("\n{}", report.write_json("check").display());
    for (request, ratio) in &dearer {
        println!("DEARER in all of {ROUNDS} rounds: {request}, {ratio:.2} times the earlier build");
    }
    if dearer.is_empty() {
        println!("no request is dearer than {AT_MOST:.2} times the earlier build in all of {ROUNDS} rounds");
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

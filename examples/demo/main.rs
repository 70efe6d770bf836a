//! A newcomer's look at nowserving: `make demo`.
//!
//! Runs the daemon with private servers in a folder of its own, a Prometheus with the alerts of `grafana/alerts`, and a
//! lunch rush across 200 restaurants, a few of which have too few numbers. Shows what the metrics say, second by second,
//! until the rush is over or Ctrl-C; then everything is ended and removed.

#[path = "../../tests/it/support/keeper.rs"]
mod keeper;
mod lunch;
#[path = "../../tests/it/support/prometheus.rs"]
#[allow(dead_code, reason = "shared with the tests, which use the rest")]
mod prometheus;
mod rush;
mod screen;

use std::{ops::ControlFlow, path::PathBuf, process::ExitCode};

use lunch::Lunch;
use screen::Screen;

const SECONDS: u64 = 180;

#[tokio::main]
async fn main() -> ExitCode {
    let seconds = std::env::var("DEMO_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(SECONDS);
    let daemon =
        std::env::var_os("DEMO_DAEMON").map_or_else(|| PathBuf::from("target/debug/nowserving"), PathBuf::from);
    let mut screen = Screen::new(seconds);
    let lunch = Lunch { daemon, seconds, peak: 150.0 };
    let shown = lunch.run(|figures| {
        screen.show(figures);
        ControlFlow::Continue(())
    });
    let ended = tokio::select! {
        ended = shown => ended,
        // What was started ends with the future that runs it.
        _ = tokio::signal::ctrl_c() => Ok(()),
    };
    screen.end();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("the demonstration cannot go on: {why}");
            ExitCode::FAILURE
        }
    }
}

//! The figures as a table that stays where it is; or a line now and then, where nobody looks at a terminal.

use std::{fmt::Write, io::IsTerminal};

use indicatif::{ProgressBar, ProgressStyle};

use super::lunch::Figures;

/// How often a line is written where the output is no terminal.
const LINE_EVERY: u64 = 10;

/// Where the figures are shown.
pub struct Screen {
    bar: Option<ProgressBar>,
    has_begun: bool,
    fired: Vec<String>,
}

impl Screen {
    /// For a lunch of so many seconds.
    pub fn new(seconds: u64) -> Self {
        println!("Starting the daemon with a Redis and a Postgres of its own, and a Prometheus …");
        let bar = std::io::stderr().is_terminal().then(|| ProgressBar::new(seconds));
        if let (Some(bar), Ok(style)) = (&bar, ProgressStyle::with_template("{msg}\n{wide_bar} {pos}/{len} s")) {
            bar.set_style(style);
        }
        Self { bar, has_begun: false, fired: Vec::new() }
    }

    /// Shows what is seen at one moment.
    pub fn show(&mut self, figures: &Figures) {
        if !self.has_begun {
            self.has_begun = true;
            self.say(&figures.pages());
        }
        for alert in &figures.firing {
            if !self.fired.contains(alert) {
                self.fired.push(alert.clone());
                self.say(&format!("{:>4} s: {alert} fires; what to do: {}", figures.elapsed, runbook(alert)));
            }
        }
        match &self.bar {
            Some(bar) => {
                bar.set_message(table(figures));
                bar.set_position(figures.elapsed);
            }
            None if figures.elapsed.is_multiple_of(LINE_EVERY) => self.say(&line(figures)),
            None => {}
        }
    }

    fn say(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None => println!("{text}"),
        }
    }

    /// Says what was seen in all.
    pub fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        match &self.fired[..] {
            [] => println!("No alert has fired."),
            fired => println!("These alerts have fired: {}.", fired.join(", ")),
        }
        println!("Everything is ended and removed. `make up` runs a daemon that stays.");
    }
}

fn runbook(alert: &str) -> String {
    format!("grafana/runbook.md#{}", alert.to_lowercase())
}

fn line(figures: &Figures) -> String {
    format!(
        "{:>4} s: {:.0} orders/s, {:.1} refused/s, {:.0} live, p99 {:.1} ms, alerts pending: {}, firing: {}",
        figures.elapsed,
        figures.orders_per_second,
        figures.refused_per_second,
        figures.live,
        figures.latency_ms,
        listed(&figures.pending),
        listed(&figures.firing)
    )
}

fn listed(alerts: &[String]) -> String {
    if alerts.is_empty() { "none".to_owned() } else { alerts.join(", ") }
}

fn table(figures: &Figures) -> String {
    let mut text = format!(
        "\n  API        {0}/docs    metrics {0}/metrics\n  Prometheus {1}/alerts\n\n  \
         orders/s {2:>6.1}   refused/s {3:>5.1}   live {4:>6.0}   p99 {5:>6.1} ms\n\n  \
         restaurants by how full they are\n",
        figures.daemon_url,
        figures.prometheus_url,
        figures.orders_per_second,
        figures.refused_per_second,
        figures.live,
        figures.latency_ms
    );
    let mut below = 0.0;
    for (bound, count) in &figures.utilization {
        let here = count - below;
        below = *count;
        if here > 0.0 {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few dozen characters")]
            let bar = "▇".repeat((here / 5.0).ceil() as usize);
            writeln!(text, "  up to {:>3.0} %  {here:>4.0}  {bar}", bound * 100.0).ok();
        }
    }
    text.push_str("\n  the fullest\n");
    for (restaurant, full, minutes) in &figures.fullest {
        let lasts = minutes.map_or(String::new(), |minutes| format!("runs out in {minutes:.1} min"));
        writeln!(text, "  restaurant {restaurant:>4}  {:>4.0} %  {lasts}", full * 100.0).ok();
    }
    write!(text, "\n  alerts pending: {}\n  alerts firing:  {}\n", listed(&figures.pending), listed(&figures.firing))
        .ok();
    text
}

//! `nowserving rehearse`: the orders of a time, replayed against other settings. Needs Postgres only, and changes nothing.

use std::{
    fmt::Write,
    io::Read,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use crate::{
    app::LedgerAlone,
    config::Settings,
    domain::{
        Moment, PoolSettings, RangeId, RestaurantId, SettingsPatch, SpecialNumbers,
        model::{AsItWouldHaveBeen, Figures, Misheard, Overflowed, Peak, RanOut, RehearsalReport, ShortestRest},
    },
    http::{Problem, settings_patch},
    service::{Rehearsals, RehearsedTime, ServiceError},
};

#[derive(Debug, Args)]
pub(super) struct RehearseArgs {
    /// Whose orders.
    #[arg(value_name = "RESTAURANT")]
    restaurant: RestaurantId,
    /// The first instant, such as 2026-11-23T02:50:41Z; or a business date of the restaurant, which is replayed from its
    /// beginning.
    #[arg(long, value_name = "TIME")]
    from: Moment,
    /// The first instant that is not replayed any more; or a business date, which is replayed to its end.
    #[arg(long, value_name = "TIME")]
    to: Moment,
    /// What is to be other than the restaurant's present settings: a JSON file as `PATCH …/settings` takes it; `-` reads
    /// standard input [default: nothing]
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(settings: &Settings, args: &RehearseArgs) -> anyhow::Result<ExitCode> {
    let patch = match &args.settings {
        Some(file) => read_patch(file)?,
        None => SettingsPatch::default(),
    };
    let stores = LedgerAlone::find_or_start(settings, "rehearse", false).await?;
    let result = rehearse(&stores.rehearsals(), args, &patch).await;
    stores.close().await;
    result
}

fn read_patch(file: &Path) -> anyhow::Result<SettingsPatch> {
    let mut bytes = Vec::new();
    let read = if is_input(file) {
        std::io::stdin().read_to_end(&mut bytes).map(|_| ())
    } else {
        std::fs::read(file).map(|read| bytes = read)
    };
    read.with_context(|| format!("the settings cannot be read from {}", name_of(file)))?;
    settings_patch(&bytes).map_err(|problem| at_fault(Some(file), &problem))
}

fn at_fault(file: Option<&Path>, problem: &Problem) -> anyhow::Error {
    let name = file.map_or_else(|| "the ledger".to_owned(), name_of);
    anyhow::anyhow!("the settings of {name} cannot be rehearsed: {}", problem.in_words())
}

async fn rehearse(rehearsals: &Rehearsals, args: &RehearseArgs, patch: &SettingsPatch) -> anyhow::Result<ExitCode> {
    let restaurant = args.restaurant;
    let present = match rehearsals.settings(restaurant).await {
        Err(ServiceError::Refused(_)) => anyhow::bail!("the ledger does not know restaurant {restaurant}"),
        present => present?,
    };
    let settings = Rehearsals::amended(&present, patch)
        .map_err(|refusal| at_fault(args.settings.as_deref(), &Problem::from(ServiceError::from(refusal))))?;
    let rules = present.date_rules();
    let time = RehearsedTime { restaurant, from: args.from.begin_by(rules), to: args.to.end_by(rules) };
    anyhow::ensure!(time.from < time.to, "--from must be before --to: {} is not before {}", time.from, time.to);
    let progress = ProgressBar::new_spinner();
    progress.set_style(ProgressStyle::with_template("{spinner} {elapsed} {msg}").expect("the template is well-formed"));
    let reached = |at| {
        progress.tick();
        progress.set_message(format!("replayed up to {at}"));
    };
    let report = rehearsals.rehearse(time, &present, settings.clone(), reached).await;
    progress.finish_and_clear();
    let report = report?;
    if args.json {
        println!("{:#}", as_json(time, &settings, &report));
    } else {
        print!("{}", Page { time, present: &present, settings: &settings, report: &report }.text());
    }
    Ok(ExitCode::SUCCESS)
}

/// The file that the settings come from.
fn name_of(file: &Path) -> String {
    if is_input(file) { "standard input".to_owned() } else { file.display().to_string() }
}

fn is_input(file: &Path) -> bool {
    file == Path::new("-")
}

fn as_json(time: RehearsedTime, settings: &PoolSettings, report: &RehearsalReport) -> Value {
    let mut json = json!({
        "restaurant_id": time.restaurant.as_i32(),
        "from": time.from,
        "to": time.to,
        "settings": PoolSettings { special: SpecialNumbers::default(), ..settings.clone() },
    });
    if let (Some(fields), Value::Object(more)) = (json.as_object_mut(), json!(report)) {
        fields.extend(more);
    }
    json
}

/// A report, as people read it.
struct Page<'a> {
    time: RehearsedTime,
    present: &'a PoolSettings,
    settings: &'a PoolSettings,
    report: &'a RehearsalReport,
}

/// So many times in which a pool ran out are listed.
const LISTED: usize = 20;

impl Page<'_> {
    fn text(&self) -> String {
        let RehearsalReport { orders, same_number, settings_changes, as_it_was, as_it_would_have_been: would } =
            self.report;
        let RehearsedTime { restaurant, from, to } = self.time;
        let mut text = format!("restaurant {restaurant}, {from} to {to}: {orders} orders\n{}\n", self.changes());
        let exhaustions = as_it_was.exhaustions.map_or_else(|| "not known".to_owned(), |count| count.to_string());
        let mut row = |name: &str, was: &str, would: &str| _ = writeln!(text, "{name:<22}{was:<44}{would}");
        row("", "as it was", "as it would have been");
        row("orders refused", &exhaustions, &would.refused.to_string());
        for ((name, was), (_, would)) in figures(&as_it_was.figures).into_iter().zip(figures(&would.figures)) {
            row(name, &was, &would);
        }
        for (name, count) in others(would) {
            if count > 0 {
                row(name, "", &count.to_string());
            }
        }
        let _ = writeln!(text, "{same_number} of {orders} orders would have had the number that they had");
        if *settings_changes > 0 {
            let _ = writeln!(text, "the settings were changed {settings_changes} times within this time");
        }
        for ran_out in would.ran_out.iter().take(LISTED) {
            let RanOut { range, from, to, orders } = ran_out;
            let range = range.as_ref().map_or(RangeId::MAIN, RangeId::as_str);
            let _ = writeln!(text, "{range} would have run out from {from} to {to}: {orders} orders");
        }
        if would.ran_out.len() > LISTED {
            let _ = writeln!(text, "and {} times more: see --json", would.ran_out.len() - LISTED);
        }
        text
    }

    /// The settings that are others than the present ones.
    fn changes(&self) -> String {
        let (present, settings) = (json!(self.present), json!(self.settings));
        let fields = settings.as_object().into_iter().flatten();
        let changed = fields.filter(|(name, value)| present.get(name.as_str()) != Some(*value));
        let changed: Vec<String> = changed.map(|(name, value)| format!("{name} {value}")).collect();
        if changed.is_empty() { "with the present settings".to_owned() } else { format!("with {}", changed.join(", ")) }
    }
}

fn figures(figures: &Figures) -> [(&'static str, String); 4] {
    [
        ("fullest minute", peak(figures.fullest_minute)),
        ("shortest rest", shortest(figures.shortest_rest)),
        ("overflowed", overflowed(&figures.overflowed)),
        ("could be misheard", misheard(figures.misheard)),
    ]
}

fn others(would: &AsItWouldHaveBeen) -> [(&'static str, u64); 5] {
    [
        ("wishes refused", would.wishes_refused),
        ("reopenings refused", would.reopenings_refused),
        ("rests that gave way", would.rests_used),
        ("numbers passed over", would.passed_over),
        ("resets", would.resets),
    ]
}

fn peak(peak: Option<Peak>) -> String {
    peak.map_or_else(
        || "none".to_owned(),
        |Peak { minute, utilization, in_use, capacity }| {
            let minute = minute.to_datetime().format("%Y-%m-%dT%H:%MZ");
            format!("{:.1} % ({in_use} of {capacity}) {minute}", utilization * 100.0)
        },
    )
}

fn shortest(rest: Option<ShortestRest>) -> String {
    rest.map_or_else(
        || "no number was given twice".to_owned(),
        |ShortestRest { ms, number, .. }| {
            let rest = std::time::Duration::from_secs(u64::try_from(ms / 1000).unwrap_or_default());
            format!("{} (number {number})", humantime::format_duration(rest))
        },
    )
}

fn overflowed(ranges: &[Overflowed]) -> String {
    let range = |overflowed: &Overflowed| format!("{} {}", overflowed.range.as_str(), overflowed.orders);
    if ranges.is_empty() { "none".to_owned() } else { ranges.iter().map(range).collect::<Vec<_>>().join(", ") }
}

fn misheard(pairs: Misheard) -> String {
    format!("{} as 13 and 30, {} as 24 and 42", pairs.teen_ty, pairs.swapped)
}

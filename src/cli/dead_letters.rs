//! `nowserving dead-letters`: the entries that the ledger refused for what they hold. Needs Postgres only.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::FOUND_SOMETHING;
use crate::{
    app::LedgerAlone,
    config::Settings,
    domain::Event,
    service::{DeadLetter, DeadLetters, TriedAgain, event_of},
};

#[derive(Debug, Args)]
pub(super) struct DeadLettersArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show them, oldest first: where they come from, what they are, and why they were refused.
    List(ListArgs),
    /// Write them into the ledger after all, once the cause is gone. Exit code 2 if any of them stayed.
    ///
    /// Each one is written at its own place: its event, its order unless that has changed since, and what it says of
    /// the number unless the order's end has said otherwise since. An entry that is refused again stays, with the new
    /// reason.
    Retry(Chosen),
    /// Give them up for good: the ledger never gets what they say.
    ///
    /// What came after them in the same order is written all the same, since each entry holds the whole order. Of an
    /// order whose last entry is dropped, the ledger keeps the state before it; Redis goes on answering with the right
    /// one for as long as it holds the order, and `verify` reports the difference.
    Drop(DropArgs),
}

#[derive(Debug, Args)]
struct ListArgs {
    /// Only those behind this one
    #[arg(long, value_name = "ID", default_value_t = 0)]
    after: i64,
    /// At most so many
    #[arg(long, value_name = "COUNT", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    /// As JSON, with the bytes
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Chosen {
    /// Which ones: the ids that `list` shows
    #[arg(value_name = "ID", required_unless_present = "all", conflicts_with = "all")]
    ids: Vec<i64>,
    /// All of them
    #[arg(long)]
    all: bool,
}

#[derive(Debug, Args)]
struct DropArgs {
    #[command(flatten)]
    chosen: Chosen,
    /// Really: nothing brings them back
    #[arg(long)]
    yes: bool,
}

/// How many are read at once.
const PAGE: u32 = 200;

pub(super) async fn run(settings: &Settings, args: &DeadLettersArgs) -> anyhow::Result<ExitCode> {
    if let Action::Drop(DropArgs { yes: false, .. }) = &args.action {
        anyhow::bail!(
            "nothing was dropped: what is dropped cannot be brought back. Look at `nowserving dead-letters list` and try \
             `retry` first; then say --yes"
        );
    }
    let stores = LedgerAlone::find_or_start(settings, "dead-letters", false).await?;
    let result = act(&stores.dead_letters(), &args.action).await;
    stores.close().await;
    result
}

async fn act(all: &DeadLetters, action: &Action) -> anyhow::Result<ExitCode> {
    match action {
        Action::List(args) => list(all, args).await,
        Action::Retry(chosen) => retry(all, chosen).await,
        Action::Drop(args) => drop_for_good(all, &args.chosen).await,
    }
}

async fn list(all: &DeadLetters, args: &ListArgs) -> anyhow::Result<ExitCode> {
    // One more than is shown tells whether there are more.
    let mut letters = all.after(args.after, args.limit + 1).await?;
    let has_more = letters.len() > args.limit as usize;
    letters.truncate(args.limit as usize);
    let next = letters.last().filter(|_| has_more).map(|letter| letter.id);
    if args.json {
        let letters: Vec<Value> = letters.iter().map(as_json).collect();
        println!("{:#}", json!({ "dead_letters": letters, "next_after": next }));
        return Ok(ExitCode::SUCCESS);
    }
    for letter in &letters {
        println!("{}", describe(letter));
        println!("    at {}, partition {}: {}", letter.at, place(letter), why(letter));
    }
    match next {
        Some(next) => println!("there are more: --after {next}"),
        None if letters.is_empty() => println!("no dead letters"),
        None => println!("write them with `nowserving dead-letters retry`, or give them up with `drop`"),
    }
    Ok(ExitCode::SUCCESS)
}

async fn retry(all: &DeadLetters, chosen: &Chosen) -> anyhow::Result<ExitCode> {
    let (mut written, mut stayed) = (0, 0);
    let mut pages = Pages::of(chosen);
    while let Some(page) = pages.next(all).await? {
        stayed += say_missing(&page);
        for letter in &page.letters {
            match all.try_again(letter).await? {
                TriedAgain::Written(collisions) => {
                    written += 1;
                    println!("{}\n    written", describe(letter));
                    for collision in collisions {
                        println!(
                            "    number {} of restaurant {} is held by order {} by now, and was left to it: run \
                             `nowserving verify`",
                            collision.number, collision.restaurant, collision.other
                        );
                    }
                }
                TriedAgain::Stays(reason) => {
                    stayed += 1;
                    println!("{}\n    stays: {reason}", describe(letter));
                }
            }
        }
    }
    println!("{written} written, {stayed} not");
    Ok(if stayed == 0 { ExitCode::SUCCESS } else { ExitCode::from(FOUND_SOMETHING) })
}

async fn drop_for_good(all: &DeadLetters, chosen: &Chosen) -> anyhow::Result<ExitCode> {
    let (mut dropped, mut missing) = (0, 0);
    let mut pages = Pages::of(chosen);
    while let Some(page) = pages.next(all).await? {
        missing += say_missing(&page);
        let ids: Vec<i64> = page.letters.iter().map(|letter| letter.id).collect();
        let gone = all.drop_for_good(&ids).await?;
        let gone: Vec<&DeadLetter> = page.letters.iter().filter(|letter| gone.contains(&letter.id)).collect();
        for letter in &gone {
            println!("{}\n    dropped: {}", describe(letter), why(letter));
        }
        dropped += gone.len();
        for order in all.without_end(&gone).await? {
            println!(
                "order {order} has ended, and the ledger will not know: Redis keeps it as it ended, and `nowserving verify` \
                 goes on saying so"
            );
        }
    }
    println!("{dropped} dropped");
    Ok(if missing == 0 { ExitCode::SUCCESS } else { ExitCode::from(FOUND_SOMETHING) })
}

/// The chosen letters, some at a time. Each is met once, also one that stays.
enum Pages<'a> {
    All { after: i64 },
    Some { ids: std::slice::Chunks<'a, i64> },
}

struct Page {
    letters: Vec<DeadLetter>,
    missing: Vec<i64>,
}

impl<'a> Pages<'a> {
    fn of(chosen: &'a Chosen) -> Self {
        if chosen.all { Self::All { after: 0 } } else { Self::Some { ids: chosen.ids.chunks(PAGE as usize) } }
    }

    async fn next(&mut self, all: &DeadLetters) -> anyhow::Result<Option<Page>> {
        match self {
            Self::All { after } => {
                let letters = all.after(*after, PAGE).await?;
                let Some(last) = letters.last() else { return Ok(None) };
                *after = last.id;
                Ok(Some(Page { letters, missing: vec![] }))
            }
            Self::Some { ids } => {
                let Some(ids) = ids.next() else { return Ok(None) };
                let letters = all.among(ids).await?;
                let is_there = |id: &i64| letters.iter().any(|letter| letter.id == *id);
                let missing = ids.iter().filter(|id| !is_there(id)).copied().collect();
                Ok(Some(Page { letters, missing }))
            }
        }
    }
}

fn say_missing(page: &Page) -> usize {
    for id in &page.missing {
        println!("{id}: there is no such dead letter (any more); see `nowserving dead-letters list`");
    }
    page.missing.len()
}

/// One line: the id, and what it is as far as the bytes can be read.
fn describe(letter: &DeadLetter) -> String {
    let what = match event_of(letter) {
        Ok(event) => match event.order() {
            Some(order) => {
                let number = order.formatted_number().map(|number| format!(" ({number})")).unwrap_or_default();
                format!("{} order {}{number} of restaurant {}", event.name(), order.id, order.restaurant())
            }
            None => format!("{} restaurant {}", event.name(), event.restaurant()),
        },
        Err(_) => format!("{} bytes that are no event", letter.entry.len()),
    };
    format!("{}: {what}", letter.id)
}

fn place(letter: &DeadLetter) -> String {
    format!("{}, generation {}, event {}", letter.partition, letter.generation, letter.sequence)
}

fn why(letter: &DeadLetter) -> String {
    match &letter.sqlstate {
        Some(sqlstate) => format!("Postgres refused it ({sqlstate}): {}", letter.reason),
        None => format!("it could not be read: {}", letter.reason),
    }
}

fn as_json(letter: &DeadLetter) -> Value {
    let event = event_of(letter).ok();
    let order = event.as_ref().and_then(Event::order);
    json!({
        "id": letter.id,
        "partition": letter.partition.as_i16(),
        "generation": letter.generation,
        "sequence": letter.sequence,
        "put_aside_at": letter.at,
        "kind": event.as_ref().map(Event::name),
        "restaurant_id": event.as_ref().map(|event| event.restaurant().as_i32()),
        "internal_order_id": order.map(|order| order.id),
        "display_order_number": order.and_then(|order| order.number).map(|number| number.as_i32()),
        "version": order.map(|order| order.version),
        "sqlstate": letter.sqlstate,
        "reason": letter.reason,
        "entry_hex": letter.entry.iter().map(|byte| format!("{byte:02x}")).collect::<String>(),
    })
}

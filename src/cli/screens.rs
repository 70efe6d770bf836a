//! `nowserving screens`: pairs, lists and revokes screens. Needs Postgres only.

use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;

use super::FOUND_SOMETHING;
use crate::{
    app::LedgerAlone,
    config::Settings,
    domain::{KeyId, KeyName, NewScreen, PairingCode, Refusal, RestaurantId, Scope, Screen},
    service::{ScreenStore, ServiceError},
};

/// Who pairs and revokes screens here, as the audit trail will name them.
const ACTOR: &str = "cli";

#[derive(Debug, Args)]
pub(super) struct ScreensArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Give the screen that shows a code its key: it notices within seconds.
    Pair(PairArgs),
    /// Show the screens that were paired and not revoked, and when each was here last.
    List(ListArgs),
    /// Revoke screens: each is turned away within seconds by every daemon. Exit code 2 if there is no such screen.
    Revoke(RevokeArgs),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ScreenRole {
    /// Shows orders to guests
    Screen,
    /// Sees all of an order, says how far it is, and calls its number
    Kitchen,
}

#[derive(Debug, Args)]
struct PairArgs {
    /// The code that the screen shows, such as K7F-3QX
    #[arg(value_name = "CODE")]
    code: PairingCode,
    /// The restaurant that it is to show
    #[arg(long, value_name = "ID")]
    restaurant: RestaurantId,
    /// What it may do
    #[arg(long, value_name = "ROLE", default_value = "screen")]
    role: ScreenRole,
    /// What people call it, such as "Board at the door" [default: its role and restaurant]
    #[arg(long, value_name = "NAME")]
    name: Option<KeyName>,
    /// Show the names of customers; a kitchen sees them anyway
    #[arg(long)]
    shows_names: bool,
}

#[derive(Debug, Args)]
struct ListArgs {
    /// Only those of this restaurant
    #[arg(long, value_name = "ID")]
    restaurant: Option<RestaurantId>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct RevokeArgs {
    /// Which ones: the ids that `list` shows
    #[arg(value_name = "ID", required = true)]
    ids: Vec<KeyId>,
}

/// How many are read at once.
const PAGE: u32 = 500;

pub(super) async fn run(settings: &Settings, args: &ScreensArgs) -> anyhow::Result<ExitCode> {
    let stores = LedgerAlone::find_or_start(settings, "screens", false).await?;
    let result = act(&stores, &args.action).await;
    stores.close().await;
    result
}

async fn act(stores: &LedgerAlone<'_>, action: &Action) -> anyhow::Result<ExitCode> {
    stores.migrate_private().await?;
    let store = stores.screens();
    match action {
        Action::Pair(args) => pair(&store, args).await,
        Action::List(args) => list(&store, args).await,
        Action::Revoke(args) => revoke(&store, args).await,
    }
}

async fn pair(store: &ScreenStore, args: &PairArgs) -> anyhow::Result<ExitCode> {
    let is_kitchen = args.role == ScreenRole::Kitchen;
    let name = match &args.name {
        Some(name) => name.clone(),
        None => {
            format!("{} of restaurant {}", if is_kitchen { "kitchen" } else { "board" }, args.restaurant).parse()?
        }
    };
    let new = NewScreen { name, restaurant: args.restaurant, is_kitchen, shows_names: args.shows_names };
    match store.pair(&args.code, &new, ACTOR).await {
        Ok(screen) => {
            println!("paired {}", describe(&screen));
            Ok(ExitCode::SUCCESS)
        }
        Err(ServiceError::Refused(refusal)) => anyhow::bail!("no screen was paired: {}", advice(&refusal, args)),
        Err(error) => Err(error.into()),
    }
}

fn advice(refusal: &Refusal, args: &PairArgs) -> String {
    let PairArgs { code, restaurant, .. } = args;
    match refusal {
        Refusal::PairingUsed => {
            format!("{code} was entered before; where the screen still shows a code, enter that one")
        }
        Refusal::PairingExpired => {
            format!("the time of {code} is over; enter the code that the screen shows now, within ten minutes")
        }
        _ => format!("no screen for restaurant {restaurant} shows {code}; compare both with what the screen shows"),
    }
}

async fn list(store: &ScreenStore, args: &ListArgs) -> anyhow::Result<ExitCode> {
    let mut screens: Vec<Screen> = Vec::new();
    loop {
        let after = screens.last().map(|screen| screen.key.id);
        let part = store.list(after, PAGE, &Scope::All, args.restaurant).await?;
        screens.extend(part.found);
        if !part.more {
            break;
        }
    }
    if args.json {
        let screens: Vec<_> = screens.iter().map(as_json).collect();
        println!("{:#}", json!({ "screens": screens }));
        return Ok(ExitCode::SUCCESS);
    }
    if screens.is_empty() {
        println!(
            "no screens; open /board/RESTAURANT or /kitchen/RESTAURANT on one, and enter the code that it shows with `nowserving screens pair`"
        );
    }
    for screen in &screens {
        println!("{}", describe(screen));
        println!("    paired at {} by {}, {}", screen.key.created_at, screen.key.created_by, presence(screen));
    }
    Ok(ExitCode::SUCCESS)
}

async fn revoke(store: &ScreenStore, args: &RevokeArgs) -> anyhow::Result<ExitCode> {
    let mut missing = false;
    for id in &args.ids {
        match store.revoke(*id, &Scope::All, ACTOR).await {
            Ok(screen) => println!("revoked {}", describe(&screen)),
            Err(ServiceError::Refused(_)) => {
                missing = true;
                println!("{id}: there is no such screen; see `nowserving screens list`");
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(if missing { ExitCode::from(FOUND_SOMETHING) } else { ExitCode::SUCCESS })
}

/// One line: `3: screen "Board at the door", restaurant 7, shows names`.
pub(super) fn describe(screen: &Screen) -> String {
    let key = &screen.key;
    let names = if key.is.shows_names { ", shows names" } else { "" };
    format!("{}: {} {:?}, restaurant {}{names}", key.id, key.is.role, key.is.name.as_str(), screen.restaurant)
}

/// When it was here, and what it said.
fn presence(screen: &Screen) -> String {
    let Some((at, beat)) = &screen.seen else { return "never here".to_owned() };
    let station = beat.station.as_ref().map(|station| format!(" of {station:?}")).unwrap_or_default();
    let sound = if beat.sound { "" } else { ", sound is off" };
    let stale = if screen.is_stale { ", not up to date" } else { "" };
    format!("here at {at} with {}{station}{sound}{stale}", beat.page.as_str())
}

fn as_json(screen: &Screen) -> serde_json::Value {
    let (at, beat) = screen.seen.as_ref().map(|(at, beat)| (at, beat)).unzip();
    json!({
        "screen_id": screen.key.id,
        "restaurant_id": screen.restaurant.get(),
        "role": screen.key.is.role,
        "name": screen.key.is.name,
        "shows_names": screen.key.is.shows_names,
        "paired_at": screen.key.created_at,
        "paired_by": screen.key.created_by,
        "last_seen_at": at,
        "page": beat.map(|beat| beat.page),
        "station": beat.and_then(|beat| beat.station.as_ref()),
        "sound": beat.map(|beat| beat.sound),
        "position": beat.and_then(|beat| beat.position.as_ref()),
        "stale": screen.is_stale,
    })
}

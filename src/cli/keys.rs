//! `nowserving keys`: makes, lists and revokes API keys. Needs Postgres only.

use std::{num::NonZeroU32, process::ExitCode, time::Duration};

use anyhow::Context;
use clap::{
    Args, Subcommand,
    builder::{PossibleValuesParser, TypedValueParser},
};
use serde_json::json;

use super::FOUND_SOMETHING;
use crate::{
    app::LedgerAlone,
    config::Settings,
    domain::{ApiKey, KeyId, KeyName, NewApiKey, RestaurantId, Role, Scope, Timestamp, api_key::MAX_RATE_PER_SECOND},
    service::KeyStore,
};

/// Who makes and revokes keys here, as the audit trail will name them.
const ACTOR: &str = "cli";

#[derive(Debug, Args)]
pub(super) struct KeysArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a key, and print it: nothing will show it again. What it is goes to the error output.
    Create(CreateArgs),
    /// Show the keys, revoked ones included, in the order in which they were made.
    List(ListArgs),
    /// Revoke keys: each stops within seconds on every daemon. Exit code 2 if there is no such key.
    Revoke(RevokeArgs),
}

impl Action {
    /// A key that is good for so long is good until an instant of Redis's clock.
    fn needs_time(&self) -> bool {
        matches!(self, Self::Create(CreateArgs { expires_in: Some(_), .. }))
    }
}

#[derive(Debug, Args)]
struct CreateArgs {
    /// What people call it, such as "till 3, Main Street"
    #[arg(long, value_name = "NAME")]
    name: KeyName,
    /// What it may call: admin (everything), till (orders), kitchen (live orders, how far they are, calls), screen (the
    /// numbers of live orders), metrics (metrics and usage)
    #[arg(long, value_name = "ROLE", value_parser = roles())]
    role: Role,
    /// The restaurants that it is good for, with commas between them [default: all]
    #[arg(long, value_name = "ID,…", value_delimiter = ',')]
    restaurants: Option<Vec<RestaurantId>>,
    /// For how long it is good, such as 90d or 12h [default: for ever]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    expires_in: Option<Duration>,
    /// Until when it is good, such as 2027-01-01T00:00:00Z
    #[arg(long, value_name = "TIME", conflicts_with = "expires_in")]
    expires_at: Option<Timestamp>,
    /// How many requests each daemon takes from it in a second [default: any number]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_RATE_PER_SECOND)))]
    rate: Option<u32>,
    /// Show the names of customers to a key of role screen; other roles see them anyway
    #[arg(long)]
    shows_names: bool,
}

#[derive(Debug, Args)]
struct ListArgs {
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

fn roles() -> impl TypedValueParser<Value = Role> {
    PossibleValuesParser::new(Role::ALL.map(Role::as_str))
        .map(|name| Role::from_name(&name).expect("only names of roles are possible"))
}

/// How many are read at once.
const PAGE: u32 = 500;

pub(super) async fn run(settings: &Settings, args: &KeysArgs) -> anyhow::Result<ExitCode> {
    let stores = LedgerAlone::find_or_start(settings, "keys", args.action.needs_time()).await?;
    let result = act(&stores, &args.action).await;
    stores.close().await;
    result
}

async fn act(stores: &LedgerAlone<'_>, action: &Action) -> anyhow::Result<ExitCode> {
    stores.migrate_private().await?;
    match action {
        Action::Create(args) => create(stores, args).await,
        Action::List(args) => list(stores, args).await,
        Action::Revoke(args) => revoke(&stores.keys(), args).await,
    }
}

async fn create(stores: &LedgerAlone<'_>, args: &CreateArgs) -> anyhow::Result<ExitCode> {
    let expires_at = expiry(stores, args).await?;
    let scope = args.restaurants.clone().map_or(Ok(Scope::All), Scope::of);
    let scope = scope.map_err(|error| anyhow::anyhow!("no key was made: --restaurants {error}"))?;
    let new = NewApiKey {
        name: args.name.clone(),
        role: args.role,
        scope,
        expires_at,
        rate_per_second: args.rate.and_then(NonZeroU32::new),
        shows_names: args.shows_names,
    };
    let (key, text) = stores.keys().create(&new, ACTOR).await?;
    println!("{}", text.expose());
    eprintln!("made {}", describe(&key));
    eprintln!("the key above will not be shown again: send it as `Authorization: Bearer …`");
    Ok(ExitCode::SUCCESS)
}

/// When the key ends, by Redis's clock: so it is judged. Without Redis, an instant is taken at its word.
async fn expiry(stores: &LedgerAlone<'_>, args: &CreateArgs) -> anyhow::Result<Option<Timestamp>> {
    let expires_at = match (args.expires_in, args.expires_at) {
        (Some(time), _) => {
            let now = stores.redis_now().await.context(
                "no key was made: keys expire by Redis's clock, and Redis does not say what time it is; give --expires-at \
                 instead of --expires-in",
            )?;
            let ms = i64::try_from(time.as_millis()).ok().filter(|ms| *ms <= Timestamp::MAX_MS - now.unix_ms());
            ms.map(|ms| now.plus_ms(ms)).filter(|at| *at > now)
        }
        (None, Some(at)) => Some(at).filter(|at| at.unix_ms() > 0),
        (None, None) => return Ok(None),
    };
    let is_over = match (expires_at, stores.redis_now().await) {
        (Some(at), Ok(now)) => at <= now,
        (at, _) => at.is_none(),
    };
    anyhow::ensure!(!is_over, "no key was made: it would not be good for any time; choose a later expiry");
    Ok(expires_at)
}

async fn list(stores: &LedgerAlone<'_>, args: &ListArgs) -> anyhow::Result<ExitCode> {
    let (store, mut keys) = (stores.keys(), Vec::new());
    loop {
        let (page, more) = store.list(keys.last().map(|key: &ApiKey| key.id), PAGE, &Scope::All).await?;
        keys.extend(page);
        if !more {
            break;
        }
    }
    if args.json {
        let keys: Vec<_> = keys.iter().map(as_json).collect();
        println!("{:#}", json!({ "keys": keys }));
        return Ok(ExitCode::SUCCESS);
    }
    if keys.is_empty() {
        println!("no keys; make one with `nowserving keys create --name NAME --role admin`");
    }
    let now = stores.redis_now().await.ok();
    for key in &keys {
        println!("{}", describe(key));
        println!("    made at {} by {}{}", key.created_at, key.created_by, end(key, now));
    }
    Ok(ExitCode::SUCCESS)
}

async fn revoke(store: &KeyStore, args: &RevokeArgs) -> anyhow::Result<ExitCode> {
    let mut missing = false;
    for id in &args.ids {
        match store.revoke(*id, &Scope::All, ACTOR).await? {
            Some(key) => println!("revoked {}", describe(&key)),
            None => {
                missing = true;
                println!("{id}: there is no such key; see `nowserving keys list`");
            }
        }
    }
    Ok(if missing { ExitCode::from(FOUND_SOMETHING) } else { ExitCode::SUCCESS })
}

/// One line: `3: till "till 3, Main Street", restaurants 7, 8, at most 50 requests a second`.
fn describe(key: &ApiKey) -> String {
    let restaurants = key.is.scope.listed().map_or_else(
        || "all restaurants".to_owned(),
        |listed| {
            let listed: Vec<_> = listed.iter().map(ToString::to_string).collect();
            format!("restaurants {}", listed.join(", "))
        },
    );
    let rate = key.is.rate_per_second.map(|rate| format!(", at most {rate} requests a second")).unwrap_or_default();
    let names = if key.is.shows_names { ", shows names" } else { "" };
    format!("{}: {} {:?}, {restaurants}{rate}{names}", key.id, key.is.role, key.is.name.as_str())
}

/// How a key ended, or will; what time it is, only Redis can say.
fn end(key: &ApiKey, now: Option<Timestamp>) -> String {
    match (&key.revoked, key.is.expires_at) {
        (Some((at, by)), _) => format!(", revoked at {at} by {by}"),
        (None, Some(at)) if now.is_some_and(|now| at <= now) => format!(", expired at {at}"),
        (None, Some(at)) => format!(", good until {at}"),
        (None, None) => String::new(),
    }
}

fn as_json(key: &ApiKey) -> serde_json::Value {
    json!({
        "key_id": key.id,
        "name": key.is.name,
        "role": key.is.role,
        "restaurants": key.is.scope.listed(),
        "expires_at": key.is.expires_at,
        "rate_per_second": key.is.rate_per_second,
        "shows_names": key.is.shows_names,
        "created_at": key.created_at,
        "created_by": key.created_by,
        "revoked_at": key.revoked.as_ref().map(|(at, _)| at),
        "revoked_by": key.revoked.as_ref().map(|(_, by)| by),
    })
}

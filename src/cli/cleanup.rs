//! `nowserving cleanup`: expires forgotten orders, completes those that were served long ago, and repairs numbers that are proved to be leaked.

use std::process::ExitCode;

use clap::Args;
use indicatif::ProgressBar;

use crate::{
    app::Stores,
    config::Settings,
    domain::{Context, DisplayNumber, RestaurantId},
    service::{Finding, Service},
};

#[derive(Debug, Args)]
pub(super) struct CleanupArgs {
    /// Only these restaurants; without it, all.
    #[arg(long = "restaurant", value_name = "ID")]
    restaurants: Vec<RestaurantId>,
    /// Only say what would be done.
    #[arg(long)]
    dry_run: bool,
}

#[derive(Default)]
struct Done {
    expired: usize,
    completed: usize,
    reclaimed: usize,
}

pub(super) async fn run(settings: &Settings, args: &CleanupArgs) -> anyhow::Result<ExitCode> {
    let stores = Stores::find_or_start(settings, "cleanup").await?;
    let result = cleanup(&stores, args, settings.cleanup.batch_size).await;
    stores.close().await;
    result
}

async fn cleanup(stores: &Stores, args: &CleanupArgs, batch: usize) -> anyhow::Result<ExitCode> {
    stores.open_partitions().await?;
    let service = &stores.service;
    let restaurants =
        if args.restaurants.is_empty() { service.restaurants.in_redis().await? } else { args.restaurants.clone() };
    let progress = ProgressBar::new(restaurants.len() as u64);
    let mut done = Done::default();
    for restaurant in &restaurants {
        expire(service, *restaurant, args.dry_run, batch, &mut done, &progress).await?;
        repair(service, *restaurant, args.dry_run, &mut done, &progress).await?;
        progress.inc(1);
    }
    progress.finish_and_clear();
    let would = if args.dry_run { "would be " } else { "" };
    println!(
        "{} restaurants: {} orders {would}expired, {} served ones {would}completed, {} leaked numbers {would}put to rest",
        restaurants.len(),
        done.expired,
        done.completed,
        done.reclaimed
    );
    Ok(ExitCode::SUCCESS)
}

async fn expire(
    service: &Service,
    restaurant: RestaurantId,
    dry_run: bool,
    batch: usize,
    done: &mut Done,
    progress: &ProgressBar,
) -> anyhow::Result<()> {
    // A dry run changes nothing, so it would find the same orders again: it looks at all of them at once.
    let limit = if dry_run { usize::MAX } else { batch };
    loop {
        let cleanup = service.restaurants.cleanup(restaurant, dry_run, limit, Context::of("cleanup")).await?;
        for order in cleanup.orders.iter().chain(&cleanup.completed) {
            let number = order.formatted_number().unwrap_or_default();
            let (id, at) = (order.id, order.created_at());
            progress.suspend(|| println!("restaurant {restaurant}: order {id} ({number}) of {at}"));
        }
        done.expired += cleanup.orders.len();
        done.completed += cleanup.completed.len();
        if !cleanup.more {
            return Ok(());
        }
    }
}

async fn repair(
    service: &Service,
    restaurant: RestaurantId,
    dry_run: bool,
    done: &mut Done,
    progress: &ProgressBar,
) -> anyhow::Result<()> {
    let verified = service.recovery.verify(restaurant).await?;
    let leaked: Vec<DisplayNumber> = verified
        .findings
        .iter()
        .filter_map(|finding| match finding {
            Finding::Leaked { number } => DisplayNumber::new(i64::from(*number)).ok(),
            _ => None,
        })
        .collect();
    for number in &leaked {
        progress.suspend(|| println!("restaurant {restaurant}: number {number} is leaked"));
    }
    done.reclaimed +=
        if dry_run { leaked.len() } else { service.restaurants.reclaim(restaurant, &leaked).await?.len() };
    Ok(())
}

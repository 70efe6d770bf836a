//! `nowserving verify`: proves the invariants of a running system.

use std::process::ExitCode;

use clap::Args;
use indicatif::ProgressBar;

use super::FOUND_SOMETHING;
use crate::{app::Stores, config::Settings, domain::RestaurantId};

#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// Only these restaurants; without it, all.
    #[arg(long = "restaurant", value_name = "ID")]
    restaurants: Vec<RestaurantId>,
}

pub(super) async fn run(settings: &Settings, args: &VerifyArgs) -> anyhow::Result<ExitCode> {
    let stores = Stores::find_or_start(settings, "verify").await?;
    let result = verify(&stores, args).await;
    stores.close().await;
    result
}

async fn verify(stores: &Stores, args: &VerifyArgs) -> anyhow::Result<ExitCode> {
    stores.open_partitions().await?;
    let service = &stores.service;
    let mut wrong = 0;
    for closed in service.recovery.closed_partitions() {
        println!("{closed}: its restaurants cannot be verified");
        wrong += 1;
    }
    let mut restaurants = args.restaurants.clone();
    if restaurants.is_empty() {
        restaurants = service.restaurants.known().await?;
        for partition in service.recovery.served_partitions() {
            for finding in service.recovery.verify_partition(partition).await? {
                println!("partition {partition}: {finding}");
                wrong += 1;
            }
        }
    }
    restaurants.retain(|restaurant| service.restaurants.is_served(*restaurant));
    // One restaurant at a time: the running system goes first.
    let progress = ProgressBar::new(restaurants.len() as u64);
    let mut behind = 0;
    for restaurant in &restaurants {
        let verified = service.recovery.verify(*restaurant).await?;
        behind = behind.max(verified.behind);
        for finding in verified.findings {
            progress.suspend(|| println!("restaurant {restaurant}: {finding}"));
            wrong += 1;
        }
        progress.inc(1);
    }
    progress.finish_and_clear();
    if behind > 0 {
        println!("the ledger is up to {behind} events behind; what they changed was not compared");
    }
    println!("{} restaurants verified, {wrong} findings", restaurants.len());
    Ok(if wrong == 0 { ExitCode::SUCCESS } else { ExitCode::from(FOUND_SOMETHING) })
}

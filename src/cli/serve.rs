//! `nowserving serve`: the daemon.

use std::process::ExitCode;

use clap::Args;

use crate::{app, config::Settings};

#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    /// Let every client that reaches the address do everything, though it is not a loopback one
    #[arg(long)]
    insecure_no_auth: bool,
}

pub(super) async fn run(settings: &Settings, args: &ServeArgs) -> anyhow::Result<ExitCode> {
    app::run(settings, args.insecure_no_auth).await
}

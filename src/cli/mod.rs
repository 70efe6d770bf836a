//! The command line: one file a subcommand.

mod backfill;
mod cleanup;
mod dead_letters;
mod doctor;
mod keys;
mod log;
mod migrate;
mod pg_variables;
mod rehearse;
mod screens;
mod serve;
mod verify;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tokio::runtime::Runtime;

pub use self::pg_variables::leave_out_pg_variables;
use crate::config::{Loaded, MovedKey, Settings, SettingsArgs};

/// Order numbers for restaurants: short, unique among live orders, recycled after a rest.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
pub struct Cli {
    #[command(flatten)]
    settings: SettingsArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon. Without a Redis or a Postgres configured it runs private ones.
    Serve(serve::ServeArgs),
    /// Bring the ledger's tables up to date.
    Migrate(migrate::MigrateArgs),
    /// Give existing orders their two names.
    Backfill(Box<backfill::BackfillArgs>),
    /// Prove that every number is in exactly one state, has one holder, and that Redis and the ledger agree. Exit code
    /// 2 where not.
    Verify(verify::VerifyArgs),
    /// Expire live orders that no client closed, and repair leaked numbers.
    Cleanup(cleanup::CleanupArgs),
    /// List, retry or drop the changes that the ledger refused for what they hold.
    DeadLetters(dead_letters::DeadLettersArgs),
    /// Make, list and revoke API keys.
    Keys(keys::KeysArgs),
    /// Pair, list and revoke screens.
    Screens(screens::ScreensArgs),
    /// Replay the orders of a time against other settings, and say what would have happened. Changes nothing.
    Rehearse(rehearse::RehearseArgs),
    /// Check servers, settings and progress, and say what to do about what is wrong. Exit code 2 where something is, 1
    /// where nothing can be looked at.
    Doctor(doctor::DoctorArgs),
    /// Print the settings in effect, secrets masked.
    Config,
    /// Print the OpenAPI document.
    Openapi,
}

/// Exit code where a check found something wrong.
const FOUND_SOMETHING: u8 = 2;

/// Runs a command; every failure is one sentence on the error output and exit code 1.
#[must_use]
pub fn run(cli: Cli) -> ExitCode {
    match dispatch(cli) {
        Ok(code) => code,
        Err(error) => {
            // Many errors tell their cause already; it is said once.
            let mut text = error.to_string();
            for cause in error.chain().skip(1).map(ToString::to_string) {
                if !text.contains(&cause) {
                    text = format!("{text}: {cause}");
                }
            }
            eprintln!("nowserving: {text}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(cli: Cli) -> anyhow::Result<ExitCode> {
    let Loaded { settings, moved } = Settings::load(&cli.settings)?;
    match cli.command {
        Command::Config => {
            // Without a logger, and apart from the answer.
            moved.iter().for_each(|key| eprintln!("nowserving: {key}"));
            print!("{}", settings.masked());
            return Ok(ExitCode::SUCCESS);
        }
        Command::Openapi => {
            println!("{}", crate::http::openapi().to_pretty_json()?);
            return Ok(ExitCode::SUCCESS);
        }
        _ => {}
    }
    let runtime = tokio::runtime::Runtime::new()?;
    if let Command::Serve(args) = &cli.command {
        return serve(&settings, &moved, args, &runtime);
    }
    log::init(&settings.log)?;
    log::tell(&moved);
    runtime.block_on(async {
        match cli.command {
            Command::Migrate(args) => migrate::run(&settings, &args).await,
            Command::Backfill(args) => backfill::run(&settings, &args).await,
            Command::Verify(args) => verify::run(&settings, &args).await,
            Command::Cleanup(args) => cleanup::run(&settings, &args).await,
            Command::DeadLetters(args) => dead_letters::run(&settings, &args).await,
            Command::Keys(args) => keys::run(&settings, &args).await,
            Command::Screens(args) => screens::run(&settings, &args).await,
            Command::Rehearse(args) => rehearse::run(&settings, &args).await,
            Command::Doctor(args) => doctor::run(&settings, &args).await,
            Command::Serve(_) | Command::Config | Command::Openapi => unreachable!("done above"),
        }
    })
}

/// The daemon, whose spans a collector may want.
fn serve(
    settings: &Settings,
    moved: &[MovedKey],
    args: &serve::ServeArgs,
    runtime: &Runtime,
) -> anyhow::Result<ExitCode> {
    #[cfg(feature = "otlp")]
    if let Some(export) = crate::telemetry::Export::start(&settings.otlp, runtime.handle())? {
        log::init_with_export(&settings.log, &export)?;
        log::tell(moved);
        let served = runtime.block_on(serve::run(settings, args));
        export.finish();
        return served;
    }
    log::init(&settings.log)?;
    log::tell(moved);
    runtime.block_on(serve::run(settings, args))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_sound() {
        super::Cli::command().debug_assert();
    }
}

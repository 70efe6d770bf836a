//! What Redis and Postgres have in common: adopt or start, wait until ready, supervise, end.

use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::{
    LocalError,
    dir::Dir,
    process::{Mark, Process, open_log, tail},
    server_lock::{ServerLock, Waiting},
};

/// Reading back a large append-only file, or replaying a long log after a crash, may take minutes.
const READY_WITHIN: Duration = Duration::from_secs(600);
/// How often a long start says that it goes on.
const NOTE_EVERY: Duration = Duration::from_secs(5);
/// A server that ran this long was healthy: a later death starts a new count.
const HEALTHY_AFTER: Duration = Duration::from_secs(60);
/// How often in a row a server is started again before local mode gives up.
const RESTARTS: u32 = 6;

/// What a server says when it is asked whether it is ready.
pub(super) enum Answer {
    Ready,
    NotYet(String),
}

pub(super) trait Server: Send + Sync + 'static {
    const NAME: &'static str;
    /// The file in the data folder that is locked while any process is at work on the server's data.
    const LOCK: &'static str;
    /// The file in the data folder that the server's output goes to.
    const LOG: &'static str;
    /// The signal that ends it cleanly.
    const GENTLE: Signal;
    /// What follows when it does not heed that one.
    const HARDER: &'static [Signal];

    fn mark(&self) -> Mark;
    /// The data folder.
    fn folder(&self) -> &Dir;
    /// The processes that may run on this data: claims that [`Mark`] has to confirm.
    fn running_pids(&self) -> impl Future<Output = Result<Vec<i32>, LocalError>> + Send;
    /// Makes ready to start, and says how.
    fn command(&self) -> Result<Command, LocalError>;
    /// Called with each new process.
    fn started(&self, pid: i32) -> Result<(), LocalError>;
    fn answer(&self) -> impl Future<Output = Answer> + Send;
}

/// Adopts the server that runs on this data, or starts one, and waits until it is ready. The process is the caller's
/// from its first moment: where there is no time to wait until it is ready, the caller can end it in peace.
pub(super) async fn bring_up<S: Server>(server: &S, slot: &mut Option<Process>) -> Result<(), LocalError> {
    let Some(lock) = adopt_or_lock(server, slot).await? else { return Ok(()) };
    let (command, log) = (server.command()?, open_log(server.folder(), S::LOG)?);
    let program = command.get_program().into();
    let process = Process::start(command, &lock, log, server.mark(), S::GENTLE)
        .map_err(|source| LocalError::Spawn { program, source })?;
    crate::failpoint::pass("local_server_spawned");
    // From here on the server alone has it.
    drop(lock);
    let process = slot.insert(process);
    server.started(process.pid())?;
    wait_until_ready(server, process).await?;
    info!(server = S::NAME, pid = process.pid(), "started a private server");
    Ok(())
}

/// Adopts the server that runs on this data; where none does, gives the lock to start one with. Between the two is what
/// a killed run left half-way: a server that has just been started, or an end that takes its time.
async fn adopt_or_lock<S: Server>(server: &S, slot: &mut Option<Process>) -> Result<Option<ServerLock>, LocalError> {
    let mut waiting = Waiting::new(server.folder(), S::LOCK, S::NAME);
    loop {
        let adopt = |pid| Process::adopt(pid, server.mark(), S::GENTLE);
        if let Some(process) = server.running_pids().await?.into_iter().find_map(adopt) {
            let process = slot.insert(process);
            match wait_until_ready(server, process).await {
                Ok(()) => {
                    info!(server = S::NAME, pid = process.pid(), "adopted the private server that an earlier run left");
                    return Ok(None);
                }
                // It was about to end.
                Err(LocalError::DiedEarly { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        if let Some(lock) = waiting.try_once().await? {
            return Ok(Some(lock));
        }
    }
}

async fn wait_until_ready<S: Server>(server: &S, process: &mut Process) -> Result<(), LocalError> {
    let start = Instant::now();
    let mut note_at = start + NOTE_EVERY;
    loop {
        let last = match server.answer().await {
            Answer::Ready => return Ok(()),
            Answer::NotYet(reason) => reason,
        };
        tokio::select! {
            how = process.ended() => {
                let folder = server.folder();
                let (log, tail) = (folder.join(S::LOG), tail(folder, S::LOG));
                return Err(LocalError::DiedEarly { server: S::NAME, how, log, tail });
            }
            () = sleep(Duration::from_millis(20)) => {}
        }
        if start.elapsed() > READY_WITHIN {
            let (pid, seconds, log) = (process.pid(), READY_WITHIN.as_secs(), server.folder().join(S::LOG));
            return Err(LocalError::NotReady { server: S::NAME, pid, seconds, last, log });
        }
        if Instant::now() >= note_at {
            note_at += NOTE_EVERY;
            info!(
                server = S::NAME,
                waited_seconds = start.elapsed().as_secs(),
                "the private server is not ready yet: {last}"
            );
        }
    }
}

/// Keeps a server running until it is told to stop, and ends it then. Gives up, with a sentence to `failed`, when the
/// server cannot be brought back.
pub(super) async fn supervise<S: Server>(
    server: S,
    mut process: Process,
    stop: CancellationToken,
    failed: mpsc::Sender<String>,
) {
    let mut in_a_row = 0;
    loop {
        let up_since = Instant::now();
        let how = tokio::select! {
            () = stop.cancelled() => return end::<S>(process).await,
            how = process.ended() => how,
        };
        if up_since.elapsed() > HEALTHY_AFTER {
            in_a_row = 0;
        }
        error!(server = S::NAME, %how, "the private server died: starting it again");
        let mut slot = None;
        let outcome = tokio::select! {
            () = stop.cancelled() => None,
            outcome = bring_back(&server, &mut slot, &mut in_a_row) => Some(outcome),
        };
        match (outcome, slot) {
            (Some(Ok(())), Some(next)) => process = next,
            (Some(Err(sentence)), _) => return failed.send(sentence).await.unwrap_or_default(),
            // Told to stop half-way.
            (_, Some(started)) => return end::<S>(started).await,
            (_, None) => return,
        }
    }
}

/// Tries to bring a server up, with growing pauses, for a bounded number of times.
async fn bring_back<S: Server>(server: &S, slot: &mut Option<Process>, in_a_row: &mut u32) -> Result<(), String> {
    loop {
        *in_a_row += 1;
        if *in_a_row > RESTARTS {
            return Err(format!(
                "the private {} died {RESTARTS} times in a row; see {}",
                S::NAME,
                server.folder().join(S::LOG).display()
            ));
        }
        // 0, 0.2, 0.4, … 3.2 s.
        sleep(Duration::from_millis(if *in_a_row == 1 { 0 } else { 100 << (*in_a_row - 1) })).await;
        match bring_up(server, slot).await {
            Ok(()) => return Ok(()),
            Err(error) if *in_a_row < RESTARTS => warn!(server = S::NAME, "cannot bring it back yet: {error}"),
            Err(error) => return Err(format!("the private {} cannot be brought back: {error}", S::NAME)),
        }
    }
}

/// Ends what [`bring_up`] has started or adopted, if anything.
pub(super) async fn end_started<S: Server>(slot: Option<Process>) {
    if let Some(process) = slot {
        end::<S>(process).await;
    }
}

async fn end<S: Server>(process: Process) {
    process.end(S::NAME, Duration::from_secs(20), S::HARDER).await;
    info!(server = S::NAME, "stopped the private server");
}

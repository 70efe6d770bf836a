//! A proxy before Redis that understands just enough of the protocol to record calls, lose answers and lie.

use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        UnixListener, UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    task::JoinHandle,
    time::sleep,
};

/// A command as it was sent: its name and arguments.
pub type Command = Vec<Vec<u8>>;

pub struct Proxy {
    folder: TempDir,
    plan: Arc<Mutex<Plan>>,
    accepting: JoinHandle<()>,
}

#[derive(Default)]
struct Plan {
    /// How many answers to EVALSHA get lost, each with its connection.
    lose: u32,
    /// Of which only those count whose command has this among its arguments.
    about: Option<Vec<u8>>,
    /// Nothing goes through from the next loss on.
    hold: bool,
    holding: bool,
    /// Answers to this command wait, and those behind them.
    waits: Option<&'static str>,
    /// How far off TIME is.
    ahead_seconds: i64,
    recorded: Vec<Command>,
}

impl Proxy {
    pub fn start(upstream: &Path) -> Self {
        let folder = tempfile::tempdir().expect("a folder for the socket");
        let listener = UnixListener::bind(folder.path().join("proxy.sock")).expect("a free path");
        let plan = Arc::new(Mutex::new(Plan::default()));
        let accepting = tokio::spawn(accept(listener, upstream.to_owned(), Arc::clone(&plan)));
        Self { folder, plan, accepting }
    }

    pub fn url(&self) -> String {
        format!("unix://{}", self.folder.path().join("proxy.sock").display())
    }

    /// Loses the next `answers` answers to EVALSHA: they are served, but the connection ends before the answer.
    pub fn lose(&self, answers: u32) {
        self.plan.lock().expect("not poisoned").lose = answers;
    }

    /// Loses the answers to the next `answers` EVALSHA that have this among their arguments.
    pub fn lose_about(&self, about: &[u8], answers: u32) {
        let mut plan = self.plan.lock().expect("not poisoned");
        (plan.lose, plan.about) = (answers, Some(about.to_vec()));
    }

    /// Loses the answer to the next EVALSHA that has this among its arguments, and holds up all that comes after it,
    /// until [`Proxy::go_on`].
    pub fn lose_and_hold(&self, about: &[u8]) {
        self.plan.lock().expect("not poisoned").hold = true;
        self.lose_about(about, 1);
    }

    /// Holds up all requests, until [`Proxy::go_on`].
    pub fn hold(&self) {
        self.plan.lock().expect("not poisoned").holding = true;
    }

    /// Holds up the answers to commands of this name, and those behind them on their connections, until
    /// [`Proxy::go_on`]. Redis serves them all the same.
    pub fn hold_answers(&self, command: &'static str) {
        self.plan.lock().expect("not poisoned").waits = Some(command);
    }

    /// Whether an answer was lost, and all else waits.
    pub fn is_holding(&self) -> bool {
        self.plan.lock().expect("not poisoned").holding
    }

    /// Ends the holding.
    pub fn go_on(&self) {
        let mut plan = self.plan.lock().expect("not poisoned");
        *plan =
            Plan { recorded: std::mem::take(&mut plan.recorded), ahead_seconds: plan.ahead_seconds, ..Plan::default() };
    }

    /// Answers that are still to be lost.
    pub fn to_lose(&self) -> u32 {
        self.plan.lock().expect("not poisoned").lose
    }

    /// Puts Redis's clock off, for those who ask with TIME. Scripts have the true one.
    pub fn put_clock_off(&self, ahead_seconds: i64) {
        self.plan.lock().expect("not poisoned").ahead_seconds = ahead_seconds;
    }

    /// The commands of this name that went through, in the order in which they came.
    pub fn recorded(&self, name: &str) -> Vec<Command> {
        let plan = self.plan.lock().expect("not poisoned");
        plan.recorded.iter().filter(|command| command[0] == name.as_bytes()).cloned().collect()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: UnixListener, upstream: PathBuf, plan: Arc<Mutex<Plan>>) {
    while let Ok((client, _)) = listener.accept().await {
        let Ok(server) = UnixStream::connect(&upstream).await else { continue };
        let (plan, sent) = (Arc::clone(&plan), Arc::new(Mutex::new(VecDeque::new())));
        tokio::spawn(async move {
            let (from_client, to_client) = client.into_split();
            let (from_server, to_server) = server.into_split();
            // Either end closes both.
            tokio::select! {
                () = requests(from_client, to_server, &plan, &sent) => {}
                () = answers(from_server, to_client, &plan, &sent) => {}
            }
        });
    }
}

async fn requests(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    plan: &Mutex<Plan>,
    sent: &Mutex<VecDeque<Command>>,
) {
    let mut pending = Vec::new();
    while from.read_buf(&mut pending).await.is_ok_and(|read| read > 0) {
        while let Some(length) = frame(&pending) {
            while plan.lock().expect("not poisoned").holding {
                sleep(Duration::from_millis(5)).await;
            }
            let request: Vec<u8> = pending.drain(..length).collect();
            let command = strings(&request);
            sent.lock().expect("not poisoned").push_back(command.clone());
            plan.lock().expect("not poisoned").recorded.push(command);
            if to.write_all(&request).await.is_err() {
                return;
            }
        }
    }
}

async fn answers(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, plan: &Mutex<Plan>, sent: &Mutex<VecDeque<Command>>) {
    let mut pending = Vec::new();
    while from.read_buf(&mut pending).await.is_ok_and(|read| read > 0) {
        while let Some(length) = frame(&pending) {
            let mut answer: Vec<u8> = pending.drain(..length).collect();
            let command = sent.lock().expect("not poisoned").pop_front().unwrap_or_default();
            let waits = || {
                let waits = plan.lock().expect("not poisoned").waits;
                waits.is_some_and(|name| command.first().is_some_and(|found| found == name.as_bytes()))
            };
            while waits() {
                sleep(Duration::from_millis(5)).await;
            }
            {
                let mut plan = plan.lock().expect("not poisoned");
                let is = |name: &[u8]| command.first().is_some_and(|found| found == name);
                let is_about = plan.about.as_ref().is_none_or(|about| command.contains(about));
                if is(b"EVALSHA") && plan.lose > 0 && is_about {
                    plan.lose -= 1;
                    plan.holding = plan.hold;
                    return;
                }
                if is(b"TIME") && plan.ahead_seconds != 0 {
                    answer = put_off(&answer, plan.ahead_seconds);
                }
            }
            if to.write_all(&answer).await.is_err() {
                return;
            }
        }
    }
}

fn put_off(time: &[u8], seconds: i64) -> Vec<u8> {
    let parts = strings(time);
    let told: i64 = String::from_utf8_lossy(&parts[0]).parse().expect("TIME answers with seconds");
    let (told, micros) = ((told + seconds).to_string(), String::from_utf8_lossy(&parts[1]).into_owned());
    format!("*2\r\n${}\r\n{told}\r\n${}\r\n{micros}\r\n", told.len(), micros.len()).into_bytes()
}

/// How long the first whole message is; None while it is cut short.
fn frame(bytes: &[u8]) -> Option<usize> {
    let line = line_end(bytes)?;
    let count = || std::str::from_utf8(&bytes[1..line - 2]).ok().and_then(|text| text.parse::<i64>().ok());
    match bytes[0] {
        b'$' => {
            let length = usize::try_from(count()?).map_or(line, |length| line + length + 2);
            (bytes.len() >= length).then_some(length)
        }
        b'*' => {
            let mut at = line;
            for _ in 0..count()?.max(0) {
                at += frame(&bytes[at..])?;
            }
            Some(at)
        }
        _ => Some(line),
    }
}

/// The strings of a message that is a list of strings.
fn strings(message: &[u8]) -> Command {
    let mut at = line_end(message).expect("a whole message");
    let mut strings = Vec::new();
    while at < message.len() {
        let start = at + line_end(&message[at..]).expect("a whole message");
        let end = at + frame(&message[at..]).expect("a whole message");
        strings.push(message[start..end - 2].to_vec());
        at = end;
    }
    strings
}

fn line_end(bytes: &[u8]) -> Option<usize> {
    bytes.windows(2).position(|pair| pair == b"\r\n").map(|at| at + 2)
}

//! A server of another make that runs beside the daemon: started as a process, known by its pid, and ended with it.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, Command, Stdio},
    sync::mpsc::{Sender, channel},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{
    client::Site,
    support::keeper::{self, OnOurDeath},
};

const PATIENCE: Duration = Duration::from_secs(20);

pub struct ReferenceServer {
    child: Child,
    host: String,
}

impl ReferenceServer {
    /// Starts it, with this environment and nothing else, and waits until it says `http://` and where it listens.
    pub fn start(command: &Command, environment: &[(&str, &str)]) -> Result<Self, String> {
        let mut wrapped = keeper::wrap(command, OnOurDeath::Interrupt);
        wrapped.envs(environment.iter().copied());
        wrapped.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = keeper::spawn(wrapped).map_err(|error| error.to_string())?;
        let (said, lines) = channel();
        follow(child.stdout.take().expect("it is piped"), said.clone());
        follow(child.stderr.take().expect("it is piped"), said);
        let mut server = Self { child, host: String::new() };
        let (started, mut all) = (Instant::now(), String::new());
        while let Ok(line) = lines.recv_timeout(PATIENCE.saturating_sub(started.elapsed())) {
            if let Some((_, rest)) = line.split_once("http://") {
                server.host = rest.split_whitespace().next().unwrap_or_default().to_owned();
                return Ok(server);
            }
            all.push_str(&line);
            all.push('\n');
        }
        Err(format!("it does not listen:\n{all}"))
    }

    pub fn site(&self) -> Site {
        Site::here(self.host.clone())
    }
}

impl Drop for ReferenceServer {
    fn drop(&mut self) {
        // It is a child that was not waited for, so the pid is its own. It ends its own children.
        kill(Pid::from_raw(i32::try_from(self.child.id()).expect("pids are small")), Signal::SIGTERM).ok();
        let asked = Instant::now();
        while asked.elapsed() < Duration::from_secs(5) {
            if self.child.try_wait().is_ok_and(|ended| ended.is_some()) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Hands on what it says, to the end: a full pipe would stop it.
fn follow(pipe: impl Read + Send + 'static, said: Sender<String>) {
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            said.send(line).ok();
        }
    });
}

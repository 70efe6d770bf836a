//! Asking where the masters are: sentinels, or any node of a cluster.

use redis::{Cmd, ConnectionInfo, FromRedisValue, RedisConnectionInfo, Value, aio::MultiplexedConnection};

use super::dial::Dial;
use crate::{
    allocator::{AllocatorError, script::keys::SLOTS},
    config::HostPort,
};

/// Slots, first and last, and the master that serves them.
pub(super) type Served = (u16, u16, HostPort);

/// Which servers to ask, and for what.
pub(super) enum Question {
    /// Which server is the master of this service?
    Sentinel(String),
    /// Which server has which slots?
    Cluster,
}

pub(super) struct Scout {
    question: Question,
    /// Those that the settings name.
    seeds: Vec<HostPort>,
    /// Others that were learnt of since.
    learnt: Vec<HostPort>,
    tls: bool,
    login: RedisConnectionInfo,
    /// The next one to ask, where none answers steadily.
    next: usize,
    /// The one that answered last: it is asked again.
    steady: Option<(HostPort, MultiplexedConnection)>,
}

impl Scout {
    pub(in crate::allocator) fn new(
        question: Question,
        seeds: Vec<HostPort>,
        tls: bool,
        login: RedisConnectionInfo,
    ) -> Self {
        Self { question, seeds, learnt: Vec::new(), tls, login, next: 0, steady: None }
    }

    /// Asks the one that answered last, and the others in turn until one answers.
    pub(in crate::allocator) async fn ask(&mut self, dial: &Dial) -> Result<Vec<Served>, AllocatorError> {
        if let Some((at, mut connection)) = self.steady.take()
            && let Ok(found) = self.ask_over(&at, &mut connection).await
        {
            self.steady = Some((at, connection));
            return Ok(found);
        }
        let all: Vec<HostPort> = self.seeds.iter().chain(&self.learnt).cloned().collect();
        let mut last = None;
        for turn in 0..all.len() {
            let at = all[(self.next + turn) % all.len()].clone();
            match self.ask_anew(dial, &at).await {
                Ok((found, connection)) => {
                    self.next = (self.next + turn) % all.len();
                    self.steady = Some((at, connection));
                    return Ok(found);
                }
                Err(error) => {
                    tracing::debug!(address = %shown(&at), %error, "does not say where the masters are");
                    last = Some(error);
                }
            }
        }
        let why = last.map_or_else(String::new, |error| error.reason());
        let asked = match self.question {
            Question::Sentinel(_) => "no sentinel names the master",
            Question::Cluster => "no node of the cluster names the masters",
        };
        Err(AllocatorError::NoConnection(format!("{asked}: {why}")))
    }

    /// What the steady one says does not help: asks another one next time. It may be cut off from the rest.
    pub(super) fn turn_away(&mut self) {
        self.steady = None;
        self.next += 1;
    }

    /// The masters of a cluster may be asked, too: one day none of those in the settings is left.
    pub(super) fn learn(&mut self, masters: &[Served]) {
        if matches!(self.question, Question::Cluster) {
            self.learnt = masters.iter().map(|(_, _, at)| at.clone()).collect();
            self.learnt.sort();
            self.learnt.dedup();
            self.learnt.retain(|at| !self.seeds.contains(at));
        }
    }

    async fn ask_anew(
        &self,
        dial: &Dial,
        at: &HostPort,
    ) -> Result<(Vec<Served>, MultiplexedConnection), AllocatorError> {
        let mut connection = dial.scout(self.info(at)?).await?;
        let found = self.ask_over(at, &mut connection).await?;
        Ok((found, connection))
    }

    fn info(&self, at: &HostPort) -> Result<ConnectionInfo, AllocatorError> {
        Dial::info(at, self.tls, &self.login)
    }

    async fn ask_over(
        &self,
        at: &HostPort,
        connection: &mut MultiplexedConnection,
    ) -> Result<Vec<Served>, AllocatorError> {
        let answer = connection.send_packed_command(&self.command()).await?.extract_error()?;
        let unclear = |what: &str| AllocatorError::NoConnection(format!("{} {what}", shown(at)));
        match &self.question {
            Question::Sentinel(service) => {
                let named = Option::<HostPort>::from_redis_value(answer).map_err(|e| unclear(&e.to_string()))?;
                let master = named.ok_or_else(|| unclear(&format!("knows no service {service}")))?;
                Ok(vec![(0, SLOTS - 1, master)])
            }
            Question::Cluster => {
                slots(answer, at).filter(|served| !served.is_empty()).ok_or_else(|| unclear("knows of no slots"))
            }
        }
    }

    fn command(&self) -> Cmd {
        match &self.question {
            Question::Sentinel(service) => {
                let mut cmd = redis::cmd("SENTINEL");
                cmd.arg("GET-MASTER-ADDR-BY-NAME").arg(service);
                cmd
            }
            Question::Cluster => {
                let mut cmd = redis::cmd("CLUSTER");
                cmd.arg("SLOTS");
                cmd
            }
        }
    }
}

fn shown((host, port): &HostPort) -> String {
    format!("{host}:{port}")
}

/// Reads `CLUSTER SLOTS`: first, last, master, replicas, for each run of slots.
fn slots(answer: Value, asked: &HostPort) -> Option<Vec<Served>> {
    let Value::Array(runs) = answer else { return None };
    let run = |run: Value| {
        let Value::Array(run) = run else { return None };
        let [first, last, Value::Array(master), ..] = run.as_slice() else { return None };
        let [host, port, ..] = master.as_slice() else { return None };
        let number = |value: &Value| u16::from_redis_value(value.clone()).ok();
        let host: Option<String> = Option::from_redis_value(host.clone()).ok()?;
        Some((number(first)?, number(last)?, (host_or(host.as_deref(), asked), number(port)?)))
    };
    let mut served: Vec<Served> = runs.into_iter().map(run).collect::<Option<_>>()?;
    served.sort();
    Some(served)
}

/// A node that knows no name for another one, or for itself, gives none: it can be reached as it was asked.
fn host_or(host: Option<&str>, asked: &HostPort) -> String {
    match host {
        None | Some("" | "?") => asked.0.clone(),
        Some(host) => host.to_owned(),
    }
}

/// The address that a MOVED or ASK names, by the one that was asked.
pub(in crate::allocator) fn named(address: &str, asked: &str) -> Option<HostPort> {
    let (host, port) = address.rsplit_once(':')?;
    let asked = asked.rsplit_once(':').map_or(asked, |(host, _)| host);
    let strip = |host: &str| host.trim_start_matches('[').trim_end_matches(']').to_owned();
    Some((strip(&host_or(Some(host), &(asked.to_owned(), 0))), port.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    #[test]
    fn slots_are_read_with_and_without_names() {
        let node = |host: Value, port| Value::Array(vec![host, Value::Int(port), text("id"), Value::Array(vec![])]);
        let run = |first, last, master| Value::Array(vec![Value::Int(first), Value::Int(last), master]);
        let answer = Value::Array(vec![
            run(100, 200, node(Value::Nil, 2)),
            run(0, 99, node(text("a"), 1)),
            run(201, 16383, node(text(""), 3)),
        ]);
        let at = |host: &str, port| (host.to_owned(), port);
        let expected = vec![(0, 99, at("a", 1)), (100, 200, at("asked", 2)), (201, 16383, at("asked", 3))];
        assert_eq!(slots(answer, &at("asked", 9)), Some(expected));
        assert_eq!(slots(Value::Okay, &at("asked", 9)), None);
    }

    #[test]
    fn a_redirection_may_leave_the_host_out() {
        assert_eq!(named("b:2", "a:1"), Some(("b".to_owned(), 2)));
        assert_eq!(named(":2", "a:1"), Some(("a".to_owned(), 2)));
        assert_eq!(named("::1:2", "a:1"), Some(("::1".to_owned(), 2)));
        assert_eq!(named(":2", "::1:1"), Some(("::1".to_owned(), 2)));
        assert_eq!(named("b", "a:1"), None);
    }
}

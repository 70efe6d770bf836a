//! What is the matter with each partition, for `doctor`. Looks, and changes nothing: it opens, fences and builds nothing.

use std::time::Duration;

use super::{Service, ServiceError, partitions::Outbox};
use crate::{
    allocator::{Head, RunId, Seen},
    domain::{PartitionId, Timestamp},
    ledger::Progress,
};

/// A running system may be in the middle of something: what is the matter with it is still there when one looks again.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(300);
const LOOKS: usize = 4;

/// How a partition is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnosis {
    /// Which one.
    pub partition: PartitionId,
    /// Whether it can be served.
    pub condition: Condition,
    /// Events that the ledger does not have yet.
    pub behind: u64,
    /// When the first of them happened, if it says so.
    pub waiting_since: Option<Timestamp>,
    /// Whether a daemon is writing them just now.
    pub is_written: bool,
}

/// Whether a partition can be served as it is, and why not.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Condition {
    /// It can.
    Sound,
    /// Nobody has ever used it.
    Unused,
    /// It was fenced off in peace, on the server that its generation was made on.
    Sealed,
    /// It is on another server than its generation was made on, or on one that has started again or was promoted since.
    OtherServer,
    /// It is fenced off, and nobody is building its next generation.
    Fenced,
    /// Its next generation is half built, and who built it has gone.
    HalfBuilt,
    /// A daemon is building its next generation.
    BeingBuilt(uuid::Uuid),
    /// Redis holds nothing of it, and should.
    Empty,
    /// Redis is behind what the ledger has.
    RedisBehind,
    /// The ledger is behind what it had confirmed.
    LedgerBehind,
    /// Redis holds it, and the ledger has never heard of it.
    WrongLedger,
    /// Its outbox holds what no script of ours wrote.
    Odd(String),
    /// Its server gives no usable answer.
    Away(String),
}

impl Service {
    /// Holds what Redis holds of every partition against what the ledger recorded of it.
    ///
    /// # Errors
    /// Unavailable when the ledger is away.
    pub async fn diagnose(&self) -> Result<Vec<Diagnosis>, ServiceError> {
        let mut latest = self.look_at_all().await?;
        for _ in 1..LOOKS {
            let fine =
                |it: &Diagnosis| matches!(it.condition, Condition::Sound | Condition::Unused | Condition::Sealed);
            if latest.iter().all(fine) {
                break;
            }
            tokio::time::sleep(LOOK_AGAIN_AFTER).await;
            let again = self.look_at_all().await?;
            let agree = again.iter().map(|it| &it.condition).eq(latest.iter().map(|it| &it.condition));
            latest = again;
            if agree {
                break;
            }
        }
        Ok(latest)
    }

    async fn look_at_all(&self) -> Result<Vec<Diagnosis>, ServiceError> {
        // The ledger first: what Redis says afterwards can only be further.
        let progress = self.ledger.progress().await?;
        let builders = self.ledger.builders().await?;
        let heads = self.allocator.heads().await;
        let mut all = Vec::with_capacity(progress.len());
        for recorded in &progress {
            let builder = builders.iter().find(|builder| builder.partition == recorded.partition);
            let mut diagnosis = Diagnosis {
                partition: recorded.partition,
                condition: Condition::Unused,
                behind: 0,
                waiting_since: None,
                is_written: recorded.writer.is_some(),
            };
            match heads.get(recorded.partition.index()) {
                Some(Ok(seen)) => {
                    diagnosis.condition = condition(seen, recorded, builder.map(|builder| builder.daemon));
                    self.look_at_outbox(&mut diagnosis, seen, recorded).await?;
                }
                Some(Err(error)) => diagnosis.condition = Condition::Away(error.to_string()),
                None => continue,
            }
            all.push(diagnosis);
        }
        Ok(all)
    }

    /// What waits there, and whether it goes on where the ledger stands.
    async fn look_at_outbox(
        &self,
        diagnosis: &mut Diagnosis,
        seen: &Seen,
        recorded: &Progress,
    ) -> Result<(), ServiceError> {
        let sequence = seen.head.as_ref().map_or(0, |head| head.sequence);
        // Of the other conditions, it says nothing that is not known.
        let counts = matches!(diagnosis.condition, Condition::Sound | Condition::Sealed)
            || matches!(diagnosis.condition, Condition::OtherServer | Condition::Fenced | Condition::BeingBuilt(_));
        if !counts {
            return Ok(());
        }
        match self.outbox(recorded.partition, recorded.sequence, sequence).await? {
            Outbox::Odd(reason) => diagnosis.condition = Condition::Odd(reason),
            Outbox::GoesOn if sequence > recorded.sequence => {
                let mut first =
                    self.allocator.waiting_entries(recorded.partition, recorded.sequence, 1).await.unwrap_or_default();
                diagnosis.behind = sequence - recorded.sequence;
                diagnosis.waiting_since = first.pop().and_then(|entry| entry.event.ok()).map(|event| event.at);
            }
            Outbox::GoesOn => {}
            Outbox::Lacks => {
                // Or a daemon has written and trimmed it since the ledger was read.
                let now = self.ledger.progress().await?;
                if !now.iter().any(|now| now.partition == recorded.partition && now.sequence > recorded.sequence) {
                    diagnosis.condition = Condition::LedgerBehind;
                }
            }
        }
        Ok(())
    }
}

/// As the daemons judge it before they serve a partition, in finer words.
fn condition(seen: &Seen, recorded: &Progress, builder: Option<uuid::Uuid>) -> Condition {
    let Some(generation) = recorded.generation else {
        return if seen.head.is_none() { Condition::Unused } else { Condition::WrongLedger };
    };
    if let Some(builder) = builder {
        return Condition::BeingBuilt(builder);
    }
    let made_on = recorded.run_id.as_deref().unwrap_or_default();
    let same_server = seen.run_id.continues(&RunId::recorded(made_on));
    let Some(head) = &seen.head else {
        return if same_server && recorded.sequence == 0 { Condition::Unused } else { Condition::Empty };
    };
    let Some(held) = head.whole_generation() else { return Condition::HalfBuilt };
    if held > generation {
        Condition::LedgerBehind
    } else if held < generation || head.sequence < recorded.sequence {
        Condition::RedisBehind
    } else if head.generation == 0 {
        if is_sealed(head, made_on) { Condition::Sealed } else { Condition::Fenced }
    } else if !same_server {
        Condition::OtherServer
    } else {
        Condition::Sound
    }
}

/// A private Redis is fenced off before it is stopped, on the server that its generations were made on.
fn is_sealed(head: &Head, made_on: &str) -> bool {
    head.building.is_none() && head.fenced.as_ref().is_some_and(|(_, on)| on.as_str() == made_on)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN: Head =
        Head { generation: 2, sequence: 10, fenced: None, building: None, invites: None, is_laid_out: true };

    fn recorded(generation: Option<u64>, sequence: u64) -> Progress {
        let run_id = generation.map(|_| "a".to_owned());
        let stamp = Timestamp::from_unix_ms(0);
        Progress { partition: PartitionId::new(0), generation, sequence, stamp, run_id, writer: None }
    }

    fn of(head: Option<Head>, run_id: &str, recorded: &Progress) -> Condition {
        condition(&Seen { run_id: RunId::recorded(run_id), head }, recorded, None)
    }

    fn fenced(generation: u64, on: &str) -> Head {
        Head { generation: 0, fenced: Some((generation, RunId::recorded(on))), ..OPEN }
    }

    #[test]
    fn conditions_are_told_apart() {
        let known = recorded(Some(2), 10);
        let with = |generation, sequence| Some(Head { generation, sequence, ..OPEN });
        for (head, run_id, expected) in [
            (with(2, 10), "a", Condition::Sound),
            (with(2, 12), "a", Condition::Sound),
            (with(2, 12), "b", Condition::OtherServer),
            (with(2, 9), "a", Condition::RedisBehind),
            (with(1, 12), "a", Condition::RedisBehind),
            (with(3, 12), "b", Condition::LedgerBehind),
            (Some(fenced(2, "a")), "b", Condition::Sealed),
            (Some(fenced(2, "b")), "b", Condition::Fenced),
            (Some(fenced(3, "b")), "b", Condition::LedgerBehind),
            (Some(Head { building: Some(3), ..fenced(2, "a") }), "b", Condition::HalfBuilt),
            (None, "a", Condition::Empty),
        ] {
            assert_eq!(of(head.clone(), run_id, &known), expected, "{head:?} on {run_id}");
        }
        assert_eq!(of(None, "a", &recorded(None, 0)), Condition::Unused);
        assert_eq!(of(None, "a", &recorded(Some(1), 0)), Condition::Unused, "opened in the ledger only");
        assert_eq!(of(None, "b", &recorded(Some(1), 0)), Condition::Empty, "it may be served elsewhere");
        assert_eq!(of(Some(OPEN), "a", &recorded(None, 0)), Condition::WrongLedger);
        let (seen, builder) = (Seen { run_id: RunId::recorded("b"), head: Some(OPEN) }, uuid::Uuid::nil());
        assert_eq!(condition(&seen, &known, Some(builder)), Condition::BeingBuilt(builder));
    }
}

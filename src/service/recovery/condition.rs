//! What the state of a partition means, and what is to be done about it: judged here, for the daemon that opens and rebuilds
//! partitions and for `doctor`, which only looks.

use crate::{
    allocator::{Head, RunId, Seen},
    ledger::Progress,
};

/// Whether a partition can be served as it is, and why not.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Condition {
    /// It can.
    Sound,
    /// No daemon has ever used it.
    Unused,
    /// It was fenced off in peace, on the server that its generation was made on.
    Sealed,
    /// It is on another server than its generation was made on, or on one that has started again or was promoted since.
    OtherServer,
    /// An earlier version has laid out its records.
    EarlierLayout,
    /// It is fenced off, and no daemon is building its next generation.
    Fenced,
    /// Its next generation is half built, and its builder has gone.
    HalfBuilt,
    /// A daemon is building its next generation.
    BeingBuilt(uuid::Uuid),
    /// Redis holds nothing of it, and should.
    Empty,
    /// Redis is behind what the ledger has, or what this daemon has seen.
    RedisBehind,
    /// The ledger is behind what it had confirmed.
    LedgerBehind,
    /// Redis holds it, and the ledger has never heard of it.
    WrongLedger,
    /// Its outbox holds what no script of ours wrote.
    Odd(String),
    /// Its server gives no usable answer.
    Unreachable(String),
}

/// What is to be done about a partition that is closed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    /// Redis holds it, on the server that its generation was made on, and is not behind.
    Open,
    /// No daemon has ever used it.
    Create,
    /// It needs a new generation.
    Rebuild(String),
    /// It needs one, but others have to let go of it first.
    Wait(String),
    /// Serving it could give a number twice, and nothing here can be rebuilt from.
    Refuse(String),
}

/// What there is to compare.
pub(super) struct Evidence<'a> {
    /// What Redis holds.
    pub(super) seen: &'a Seen,
    /// What the ledger recorded.
    pub(super) recorded: &'a Progress,
    /// The last generation and sequence that this process has seen; zeros for one that only looks.
    pub(super) known: (u64, u64),
}

impl Evidence<'_> {
    pub(super) fn condition(&self) -> Condition {
        let Some(generation) = self.recorded.generation else {
            return if self.seen.head.is_none() { Condition::Unused } else { Condition::WrongLedger };
        };
        let Some(head) = &self.seen.head else {
            let is_new = self.same_server() && self.expected() == 0;
            return if is_new { Condition::Unused } else { Condition::Empty };
        };
        let Some(held) = head.whole_generation() else { return Condition::HalfBuilt };
        if held > generation {
            Condition::LedgerBehind
        } else if held < generation || head.sequence < self.expected() {
            Condition::RedisBehind
        } else if head.generation == 0 {
            if self.is_sealed() { Condition::Sealed } else { Condition::Fenced }
        } else if !head.is_laid_out {
            Condition::EarlierLayout
        } else if !self.same_server() {
            Condition::OtherServer
        } else {
            Condition::Sound
        }
    }

    pub(super) fn judgement(&self) -> Judgement {
        let condition = self.condition();
        match &condition {
            Condition::Sound => Judgement::Open,
            Condition::Unused => Judgement::Create,
            Condition::WrongLedger | Condition::Odd(_) => Judgement::Refuse(self.reason(&condition)),
            // That of a server that is unreachable is closed without being judged, and a builder judges what others build, too.
            Condition::BeingBuilt(_) | Condition::Unreachable(_) => Judgement::Wait(self.reason(&condition)),
            Condition::Sealed
            | Condition::OtherServer
            | Condition::EarlierLayout
            | Condition::Fenced
            | Condition::HalfBuilt
            | Condition::Empty
            | Condition::RedisBehind
            | Condition::LedgerBehind => Judgement::Rebuild(self.reason(&condition)),
        }
    }

    /// Whether the partition was fenced off in peace, on the server that its generation was made on: then nothing was added
    /// afterwards, and as the fence is there, so is all that came before it.
    pub(super) fn is_sealed(&self) -> bool {
        let Some(Head { generation: 0, fenced: Some((generation, on)), building: None, .. }) = &self.seen.head else {
            return false;
        };
        Some(*generation) == self.recorded.generation && Some(on.as_str()) == self.recorded.run_id.as_deref()
    }

    fn same_server(&self) -> bool {
        let made_on = self.recorded.run_id.as_deref().unwrap_or_default();
        self.seen.run_id.continues(&RunId::recorded(made_on))
    }

    /// The sequence that Redis must have reached.
    fn expected(&self) -> u64 {
        let (generation, known) = self.known;
        if self.recorded.generation == Some(generation) {
            self.recorded.sequence.max(known)
        } else {
            self.recorded.sequence
        }
    }

    /// A condition in words, with the figures that led to it, for the log and for callers.
    fn reason(&self, condition: &Condition) -> String {
        let expected = self.expected();
        let (sequence, generation) = self.seen.head.as_ref().map_or((0, 0), |head| (head.sequence, head.generation));
        match condition {
            Condition::WrongLedger => {
                format!("Redis is at event {sequence}, but the ledger knows nothing of it: they do not belong together")
            }
            Condition::Empty => {
                format!("Redis holds nothing of it, but {expected} events were seen: it lost data")
            }
            _ if generation == 0 => "it was fenced off, and is being rebuilt".to_owned(),
            Condition::EarlierLayout => "an earlier version has laid it out".to_owned(),
            Condition::OtherServer => {
                "its Redis was restarted, promoted or replaced: it needs a new generation".to_owned()
            }
            _ if self.recorded.generation == Some(generation) => {
                format!("Redis is at event {sequence}, behind event {expected} that was seen: it lost data")
            }
            _ => {
                let recorded = self.recorded.generation.unwrap_or_default();
                format!("Redis is at generation {generation}, the ledger at {recorded}: one of them lost data")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{PartitionId, Timestamp};

    const OPEN: Head =
        Head { generation: 2, sequence: 10, fenced: None, building: None, invites: None, is_laid_out: true };

    fn seen(head: Option<(u64, u64)>, run_id: &str) -> Seen {
        let head = head.map(|(generation, sequence)| Head { generation, sequence, ..OPEN });
        Seen { run_id: RunId::recorded(run_id), head }
    }

    fn recorded(generation: Option<u64>, sequence: u64) -> Progress {
        let run_id = generation.map(|_| "a".to_owned());
        let stamp = Timestamp::from_unix_ms(0);
        Progress { partition: PartitionId::new(0), generation, sequence, stamp, run_id, writer: None }
    }

    fn judge(seen: &Seen, recorded: &Progress, known: (u64, u64)) -> Judgement {
        Evidence { seen, recorded, known }.judgement()
    }

    fn of(head: Option<Head>, run_id: &str, recorded: &Progress) -> Condition {
        let seen = Seen { run_id: RunId::recorded(run_id), head };
        Evidence { seen: &seen, recorded, known: (0, 0) }.condition()
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
            (Some(Head { is_laid_out: false, ..OPEN }), "a", Condition::EarlierLayout),
            (None, "a", Condition::Empty),
        ] {
            assert_eq!(of(head.clone(), run_id, &known), expected, "{head:?} on {run_id}");
        }
        assert_eq!(of(None, "a", &recorded(None, 0)), Condition::Unused);
        assert_eq!(of(None, "a", &recorded(Some(1), 0)), Condition::Unused, "opened in the ledger only");
        assert_eq!(of(None, "b", &recorded(Some(1), 0)), Condition::Empty, "it may be served elsewhere");
        assert_eq!(of(Some(OPEN), "a", &recorded(None, 0)), Condition::WrongLedger);
    }

    #[test]
    fn only_a_partition_that_lost_nothing_is_opened() {
        let opens =
            |head, run_id, progress: Progress, known| judge(&seen(head, run_id), &progress, known) == Judgement::Open;
        assert!(opens(Some((1, 10)), "a", recorded(Some(1), 10), (1, 10)));
        assert!(opens(Some((1, 12)), "a", recorded(Some(1), 10), (1, 11)));
        assert!(opens(Some((2, 12)), "a", recorded(Some(2), 10), (1, 99)), "what was seen before says nothing");
        assert!(!opens(Some((1, 12)), "b", recorded(Some(1), 10), (1, 11)), "another server");
        assert!(!opens(Some((1, 9)), "a", recorded(Some(1), 10), (0, 0)), "behind the ledger");
        assert!(!opens(Some((1, 10)), "a", recorded(Some(1), 10), (1, 11)), "behind this daemon");
        assert!(!opens(Some((2, 10)), "a", recorded(Some(1), 10), (1, 10)), "another generation");
        assert!(!opens(Some((0, 10)), "a", recorded(Some(1), 10), (1, 10)), "fenced off");
        assert!(!opens(None, "a", recorded(Some(1), 10), (0, 0)), "an empty Redis");
    }

    #[test]
    fn a_ledger_that_knows_nothing_is_the_wrong_one() {
        let judged = judge(&seen(Some((1, 10)), "a"), &recorded(None, 0), (0, 0));
        assert!(matches!(judged, Judgement::Refuse(_)), "{judged:?}");
    }

    #[test]
    fn only_a_partition_without_history_is_created() {
        let creates =
            |run_id, progress: Progress, known| judge(&seen(None, run_id), &progress, known) == Judgement::Create;
        assert!(creates("a", recorded(None, 0), (0, 0)));
        assert!(creates("a", recorded(Some(1), 0), (0, 0)), "opened in the ledger, but not yet in Redis");
        assert!(!creates("b", recorded(Some(1), 0), (0, 0)), "it may be served elsewhere");
        assert!(!creates("a", recorded(Some(1), 1), (0, 0)));
        assert!(!creates("a", recorded(Some(1), 0), (1, 1)));
    }
}

//! What happens in a run, and when: drawn from a seed, so that a seed plays it again.

use std::fmt::{self, Display};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::faults::Fault;

/// One run.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    pub seed: u64,
    /// How long the tills work, at least: recoveries are waited for.
    pub length: Duration,
    /// How many daemons share the stores.
    pub daemons: usize,
    /// What the callers are promised.
    pub level: Level,
    pub topology: Topology,
    /// Tills that open for as long as a fault lasts, beside those that are always open.
    pub crowd: u64,
    pub steps: Vec<Step>,
}

/// The durability level that the daemons are set to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Level {
    /// The default.
    #[default]
    Memory,
    Fsync,
    Replica,
    Ledger,
}

impl Level {
    pub const ALL: [Self; 4] = [Self::Memory, Self::Fsync, Self::Replica, Self::Ledger];

    /// Its name in the settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Fsync => "fsync",
            Self::Replica => "replica",
            Self::Ledger => "ledger",
        }
    }
}

/// The Redis servers of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Topology {
    #[default]
    One,
    /// A master, two replicas, three sentinels.
    Sentinel,
    /// Three masters with a replica each.
    Cluster,
}

impl Topology {
    pub const ALL: [Self; 3] = [Self::One, Self::Sentinel, Self::Cluster];

    pub fn name(self) -> &'static str {
        match self {
            Self::One => "one",
            Self::Sentinel => "sentinel",
            Self::Cluster => "cluster",
        }
    }
}

/// One fault of a run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// Not before this time, and not before the world has recovered from the step before it.
    pub at: Duration,
    pub fault: Fault,
    /// How long it lasts until it is mended.
    pub lasts: Duration,
}

impl Plan {
    /// One fault in the middle of a few seconds of work.
    pub fn brief(fault: Fault) -> Self {
        let step = Step { at: Duration::from_millis(1200), fault, lasts: Duration::from_millis(1500) };
        Self {
            seed: rand::random(),
            length: Duration::from_secs(5),
            daemons: 1,
            level: Level::Memory,
            topology: Topology::One,
            crowd: 0,
            steps: vec![step],
        }
    }

    /// With this many daemons.
    #[must_use]
    pub fn with_daemons(self, daemons: usize) -> Self {
        Self { daemons, ..self }
    }

    /// On other servers than one Redis. There are two daemons, and time to see what goes on meanwhile.
    #[must_use]
    pub fn on(self, topology: Topology) -> Self {
        Self { topology, ..self.with_daemons(2) }.lasting(Duration::from_secs(3))
    }

    /// With faults that last this long.
    #[must_use]
    pub fn lasting(mut self, lasts: Duration) -> Self {
        self.length += lasts;
        self.steps.iter_mut().for_each(|step| step.lasts = lasts);
        self
    }

    /// With the same fault this many times.
    #[must_use]
    pub fn repeated(mut self, times: u32) -> Self {
        let first = self.steps[0];
        let every = first.at + first.lasts;
        self.steps = (0..times).map(|time| Step { at: first.at + every * time, ..first }).collect();
        self.length = every * times + Duration::from_secs(2);
        self
    }

    /// Many faults, one after the other.
    pub fn mixed(seed: u64, length: Duration, faults: &[Fault]) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut steps = Vec::new();
        let mut at = Duration::from_millis(rng.random_range(800..2000));
        while at < length {
            let fault = faults[rng.random_range(0..faults.len())];
            let lasts = Duration::from_millis(rng.random_range(200..2000));
            steps.push(Step { at, fault, lasts });
            at += lasts + Duration::from_millis(rng.random_range(800..2500));
        }
        let (level, topology) = (Level::Memory, Topology::One);
        Self { seed, length, daemons: 2, level, topology, crowd: 0, steps }
    }
}

impl Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, length, daemons, level, topology, crowd, steps } = self;
        let (seconds, level, faults) = (length.as_secs_f64(), level.name(), steps.len());
        write!(f, "seed {seed}: {seconds:.1} s, {daemons} daemon(s), level {level}, {faults} fault(s)")?;
        writeln!(f, ", a crowd of {crowd}, topology {}", topology.name())?;
        steps.iter().try_for_each(|step| writeln!(f, "  {step}"))
    }
}

impl Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:7.2} s  {} ({:.2} s)", self.at.as_secs_f64(), self.fault, self.lasts.as_secs_f64())
    }
}

#[test]
fn a_seed_gives_the_same_plan_again() {
    let plan = |seed| Plan::mixed(seed, Duration::from_secs(60), Fault::ALL);
    assert_eq!(plan(7), plan(7));
    assert_ne!(plan(7), plan(8));
    let text = plan(7).to_string();
    assert_eq!(text.lines().count(), plan(7).steps.len() + 1);
    assert!(text.starts_with("seed 7: 60.0 s, 2 daemon(s), level memory"), "{text}");
    assert!(plan(7).steps.windows(2).all(|pair| pair[0].at + pair[0].lasts < pair[1].at), "one after the other");
}

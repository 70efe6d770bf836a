//! What can go wrong, and how it is mended.
//!
//! A new fault is a variant with a name, a way to inject it and a way to heal it, and says what may be expected
//! meanwhile. Each is bounded: whatever it did is undone by `heal`.

use std::fmt::{self, Display};
use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;

use super::plan::{Level, Topology};
use super::world::{ClockOf, World};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A daemon is killed at a random moment, and started again.
    DaemonKilled,
    /// All daemons are.
    DaemonsKilled,
    /// A daemon kills itself on its way through a point, and is started again.
    DaemonDiesAt(Point),
    /// A clock is set, and set right again later.
    ClockSet {
        of: ClockOf,
        ahead_seconds: i64,
    },
    /// All clocks go, each as wrong as no other.
    ClocksDrift,
    /// Redis is flushed while the clock of Postgres is hours ahead: rests come back from there.
    FlushedWhilePostgresIsAhead,
    /// Answers of the daemons get lost on their way to the tills.
    AnswersLost,
    /// The connections of the tills are cut.
    TillsCut,
    /// The tills' connections are half-open.
    TillsBlackhole,
    RedisCut,
    RedisRefuses,
    RedisDelayed {
        ms: u64,
    },
    RedisBlackhole,
    /// What Redis did is not heard of.
    RedisAnswersLost,
    PostgresCut,
    PostgresBlackhole,
    PostgresAnswersLost,
    PostgresStopped,
    /// As a crash would.
    PostgresKilled,
    /// Stopped, so that it hangs with its connections open.
    RedisStalled,
    /// Busy with something else, as with a slow command of another client.
    RedisSleeps,
    /// Out of memory: it refuses what needs more.
    RedisFull,
    /// Ended in order, and started again.
    RedisRestarted,
    RedisKilled,
    /// Killed, and the end of its append-only file is gone: some bytes of it, at a random offset.
    AppendOnlyFileCut,
    /// Emptied under the daemons.
    Flushed,
    /// Another, empty one in its place.
    RedisReplaced,
    /// Back to an older copy of its data.
    RedisFellBack,
    /// Everything dies at once, and Redis loses the end of its file: what `memory` does not promise to survive.
    PowerLost,
    /// A master dies, and a replica takes its place.
    MasterKilled,
    /// The replicas have not heard of the last second when it does, and the ledger has not, either.
    StaleReplicaPromoted,
    /// The master is cut off from the replicas and the sentinels, with one daemon on its side.
    OldMasterWritable,
    /// A slot moves to another node of the cluster, key by key, and back.
    SlotMoved,
    /// All clients of all masters are cut, again and again.
    ClientsKilled,
}

/// A place in the program, by its name there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    BeforeReply,
    BetweenCommitAndTrim,
}

impl Point {
    fn name(self) -> &'static str {
        match self {
            Self::BeforeReply => "before_reply",
            Self::BetweenCommitAndTrim => "between_commit_and_trim",
        }
    }
}

pub const HOUR: i64 = 3600;
pub const DAY: i64 = 24 * HOUR;

/// How far back something may be lost where both Redis and the daemons are: the ledger has what is older.
const UNWRITTEN: Duration = Duration::from_secs(3);

impl Fault {
    /// All of them, for a mixed run.
    pub const ALL: &'static [Self] = &[
        Self::DaemonKilled,
        Self::DaemonsKilled,
        Self::DaemonDiesAt(Point::BeforeReply),
        Self::DaemonDiesAt(Point::BetweenCommitAndTrim),
        Self::ClockSet { of: ClockOf::Daemon, ahead_seconds: 400 * DAY },
        Self::ClockSet { of: ClockOf::Daemon, ahead_seconds: -5 * HOUR },
        Self::ClockSet { of: ClockOf::Redis, ahead_seconds: 90 },
        Self::ClockSet { of: ClockOf::Redis, ahead_seconds: -90 },
        Self::ClockSet { of: ClockOf::Redis, ahead_seconds: -1 },
        Self::ClockSet { of: ClockOf::Postgres, ahead_seconds: 400 * DAY },
        Self::ClockSet { of: ClockOf::Postgres, ahead_seconds: -5 * HOUR },
        Self::ClocksDrift,
        Self::FlushedWhilePostgresIsAhead,
        Self::AnswersLost,
        Self::TillsCut,
        Self::TillsBlackhole,
        Self::RedisCut,
        Self::RedisRefuses,
        Self::RedisDelayed { ms: 30 },
        Self::RedisBlackhole,
        Self::RedisAnswersLost,
        Self::PostgresCut,
        Self::PostgresBlackhole,
        Self::PostgresAnswersLost,
        Self::PostgresStopped,
        Self::PostgresKilled,
        Self::RedisStalled,
        Self::RedisSleeps,
        Self::RedisFull,
        Self::RedisRestarted,
        Self::RedisKilled,
        Self::AppendOnlyFileCut,
        Self::Flushed,
        Self::RedisReplaced,
        Self::RedisFellBack,
        Self::PowerLost,
        Self::MasterKilled,
        Self::StaleReplicaPromoted,
        Self::OldMasterWritable,
        Self::SlotMoved,
        Self::ClientsKilled,
    ];

    /// Whether it can happen to such servers.
    pub fn concerns(self, topology: Topology) -> bool {
        match self {
            Self::RedisCut
            | Self::RedisRefuses
            | Self::RedisDelayed { .. }
            | Self::RedisBlackhole
            | Self::RedisAnswersLost
            | Self::RedisStalled
            | Self::RedisSleeps
            | Self::RedisFull
            | Self::RedisRestarted
            | Self::RedisKilled
            | Self::AppendOnlyFileCut
            | Self::Flushed
            | Self::RedisReplaced
            | Self::RedisFellBack
            | Self::PowerLost
            | Self::ClockSet { of: ClockOf::Redis, .. }
            | Self::FlushedWhilePostgresIsAhead => topology == Topology::One,
            Self::MasterKilled => topology != Topology::One,
            Self::StaleReplicaPromoted | Self::OldMasterWritable => topology == Topology::Sentinel,
            Self::SlotMoved | Self::ClientsKilled => topology == Topology::Cluster,
            _ => true,
        }
    }

    /// Whether it can come after others: some need the first master, which is behind a door.
    pub fn can_be_mixed(self) -> bool {
        !matches!(self, Self::StaleReplicaPromoted | Self::OldMasterWritable)
    }

    /// What acknowledgements it may lose at this level, counted back from when it strikes.
    pub fn may_lose(self, level: Level) -> Option<Duration> {
        (self == Self::PowerLost && level == Level::Memory).then_some(UNWRITTEN)
    }

    /// Whether settings may be lost that the ledger did not have yet: daemons remember orders.
    pub fn may_lose_settings(self) -> bool {
        matches!(
            self,
            Self::AppendOnlyFileCut
                | Self::Flushed
                | Self::FlushedWhilePostgresIsAhead
                | Self::RedisReplaced
                | Self::RedisFellBack
                | Self::PowerLost
                | Self::MasterKilled
                | Self::StaleReplicaPromoted
                | Self::OldMasterWritable
        )
    }

    /// Whether it has Redis take less, or more, for a second than others do.
    pub fn sets_clock_of_redis(self) -> bool {
        matches!(self, Self::ClockSet { of: ClockOf::Redis, .. } | Self::ClocksDrift)
    }

    /// Whether two servers may take changes for a while. The daemons live, so nothing is forgotten.
    pub fn has_two_masters(self) -> bool {
        self == Self::OldMasterWritable
    }

    /// Whether the tills go on to get new orders while it lasts.
    pub fn orders_go_on(self) -> bool {
        match self {
            Self::PostgresCut
            | Self::PostgresBlackhole
            | Self::PostgresAnswersLost
            | Self::PostgresStopped
            | Self::PostgresKilled
            | Self::RedisCut
            | Self::TillsCut
            | Self::RedisDelayed { .. }
            | Self::ClientsKilled
            | Self::ClockSet { .. }
            | Self::ClocksDrift => true,
            // Another daemon goes on, if there is one.
            _ => false,
        }
    }

    /// Whether they go on to end orders.
    pub fn releases_go_on(self) -> bool {
        self.orders_go_on() || self == Self::RedisFull
    }

    /// Does it.
    pub async fn inject(self, world: &mut World, rng: &mut StdRng) {
        match self {
            Self::DaemonKilled => world.kill_daemon(rng.random_range(0..world.daemons.len())),
            Self::DaemonsKilled => world.kill_daemons(),
            Self::DaemonDiesAt(point) => {
                let daemon = rng.random_range(0..world.daemons.len());
                let passing = match point {
                    Point::BeforeReply => rng.random_range(1..200),
                    Point::BetweenCommitAndTrim => {
                        // One daemon writes, and the others leave it to that one.
                        world.kill_daemons();
                        rng.random_range(1..20)
                    }
                };
                world.let_daemon_die(daemon, point.name(), passing).await;
            }
            Self::ClockSet { of, ahead_seconds } => world.set_clock(of, ahead_seconds, rng),
            Self::ClocksDrift => world.let_clocks_drift(),
            Self::FlushedWhilePostgresIsAhead => {
                world.set_clock(ClockOf::Postgres, 5 * HOUR, rng);
                // A daemon that purges by it has the time to.
                tokio::time::sleep(Duration::from_millis(1500)).await;
                world.flush_redis().await;
            }
            Self::AnswersLost => world.daemons.iter().for_each(|daemon| daemon.door.lose_answers()),
            Self::TillsCut => world.daemons.iter().for_each(|daemon| daemon.door.cut()),
            Self::TillsBlackhole => world.daemons.iter().for_each(|daemon| daemon.door.blackhole()),
            Self::RedisCut => world.to_redis.cut(),
            Self::RedisRefuses => world.to_redis.refuse(),
            Self::RedisDelayed { ms } => world.to_redis.delay(Duration::from_millis(ms)),
            Self::RedisBlackhole => world.to_redis.blackhole(),
            Self::RedisAnswersLost => world.to_redis.lose_answers(),
            Self::PostgresCut => world.to_postgres.cut(),
            Self::PostgresBlackhole => world.to_postgres.blackhole(),
            Self::PostgresAnswersLost => world.to_postgres.lose_answers(),
            Self::PostgresStopped => tokio::task::block_in_place(|| world.postgres.stop()),
            Self::PostgresKilled => tokio::task::block_in_place(|| world.postgres.immediate()),
            Self::RedisStalled => world.redis().pause(),
            Self::RedisSleeps => world.put_redis_to_sleep(Duration::from_millis(2500)),
            Self::RedisFull => world.fill_redis().await,
            Self::RedisRestarted => tokio::task::block_in_place(|| world.redis().stop()),
            Self::RedisKilled => world.redis().kill9(),
            Self::AppendOnlyFileCut => {
                world.redis().kill9();
                world.cut_append_only_file(rng);
            }
            Self::Flushed => world.flush_redis().await,
            Self::RedisReplaced => {
                world.redis().kill9();
                world.redis().lose_data();
            }
            Self::RedisFellBack => {
                let copy = world.copy_redis();
                tokio::time::sleep(Duration::from_millis(1000)).await;
                world.redis().kill9();
                world.put_redis_back(&copy);
            }
            Self::PowerLost => {
                world.kill_daemons();
                world.redis().kill9();
                world.cut_append_only_file(rng);
            }
            Self::MasterKilled => world.kill_master(rng).await,
            Self::StaleReplicaPromoted => {
                world.to_postgres.refuse();
                world.hold_back_replicas();
                tokio::time::sleep(Duration::from_millis(1000)).await;
                world.kill_master(rng).await;
            }
            Self::OldMasterWritable => world.part_master().await,
            Self::SlotMoved => world.move_slot(rng).await,
            Self::ClientsKilled => world.kill_clients(8, Duration::from_millis(200)).await,
        }
    }

    /// Undoes it, as people who run the service would: it must do the rest by itself.
    pub async fn heal(self, world: &mut World) {
        match self {
            Self::DaemonKilled | Self::DaemonsKilled | Self::DaemonDiesAt(_) => world.start_daemons().await,
            Self::ClockSet { .. } | Self::ClocksDrift | Self::FlushedWhilePostgresIsAhead => world.put_clocks_right(),
            Self::AnswersLost | Self::TillsCut | Self::TillsBlackhole => {
                world.daemons.iter().for_each(|daemon| daemon.door.heal());
            }
            Self::RedisCut
            | Self::RedisRefuses
            | Self::RedisDelayed { .. }
            | Self::RedisBlackhole
            | Self::RedisAnswersLost => world.to_redis.heal(),
            Self::PostgresCut | Self::PostgresBlackhole | Self::PostgresAnswersLost => world.to_postgres.heal(),
            Self::PostgresStopped | Self::PostgresKilled => world.postgres.restart().await,
            Self::RedisStalled => world.redis().resume(),
            Self::RedisSleeps | Self::Flushed => {}
            Self::RedisFull => world.empty_redis().await,
            Self::RedisRestarted
            | Self::RedisKilled
            | Self::AppendOnlyFileCut
            | Self::RedisReplaced
            | Self::RedisFellBack => world.redis().restart().await,
            Self::PowerLost => {
                world.redis().restart().await;
                world.start_daemons().await;
            }
            Self::MasterKilled => world.restart_master().await,
            Self::StaleReplicaPromoted => {
                world.to_postgres.heal();
                world.let_replicas_follow();
                world.restart_master().await;
            }
            Self::OldMasterWritable => world.join_master(),
            Self::SlotMoved => world.move_slot_back().await,
            Self::ClientsKilled => {}
        }
    }
}

impl Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DaemonDiesAt(point) => write!(f, "a daemon dies at {}", point.name()),
            Self::ClockSet { of, ahead_seconds } => write!(f, "the clock of {of:?} is set {ahead_seconds} s ahead"),
            Self::ClocksDrift => f.write_str("all clocks drift apart"),
            Self::FlushedWhilePostgresIsAhead => f.write_str("Redis is flushed while Postgres's clock is ahead"),
            Self::RedisDelayed { ms } => write!(f, "Redis is {ms} ms further away"),
            Self::DaemonKilled => f.write_str("a daemon is killed"),
            Self::DaemonsKilled => f.write_str("all daemons are killed"),
            Self::AnswersLost => f.write_str("answers to the tills get lost"),
            Self::TillsCut => f.write_str("the tills are cut off for an instant"),
            Self::TillsBlackhole => f.write_str("the tills' connections are half-open"),
            Self::RedisCut => f.write_str("connections to Redis are cut"),
            Self::RedisRefuses => f.write_str("Redis refuses connections"),
            Self::RedisBlackhole => f.write_str("connections to Redis are half-open"),
            Self::RedisAnswersLost => f.write_str("answers of Redis get lost"),
            Self::PostgresCut => f.write_str("connections to Postgres are cut"),
            Self::PostgresBlackhole => f.write_str("connections to Postgres are half-open"),
            Self::PostgresAnswersLost => f.write_str("answers of Postgres get lost"),
            Self::PostgresStopped => f.write_str("Postgres is stopped"),
            Self::PostgresKilled => f.write_str("Postgres crashes"),
            Self::RedisStalled => f.write_str("Redis hangs"),
            Self::RedisSleeps => f.write_str("Redis is busy"),
            Self::RedisFull => f.write_str("Redis is full"),
            Self::RedisRestarted => f.write_str("Redis is restarted"),
            Self::RedisKilled => f.write_str("Redis is killed"),
            Self::AppendOnlyFileCut => f.write_str("Redis is killed and its file loses its end"),
            Self::Flushed => f.write_str("Redis is flushed"),
            Self::RedisReplaced => f.write_str("an empty Redis takes the place of Redis"),
            Self::RedisFellBack => f.write_str("Redis falls back to an older copy"),
            Self::MasterKilled => f.write_str("a master is killed"),
            Self::StaleReplicaPromoted => f.write_str("a master is killed, and its replicas are a second behind"),
            Self::OldMasterWritable => f.write_str("the master is cut off with one daemon"),
            Self::SlotMoved => f.write_str("a slot moves to another node"),
            Self::ClientsKilled => f.write_str("the clients of all masters are cut, again and again"),
            Self::PowerLost => f.write_str("everything dies and Redis loses the end of its file"),
        }
    }
}

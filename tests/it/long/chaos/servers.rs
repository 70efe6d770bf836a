//! The Redis servers of a run, and what happens to them where there are several.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use nowserving::domain::PartitionId;
use rand::RngExt;
use rand::rngs::StdRng;
use redis::aio::MultiplexedConnection;

use super::plan::Topology;
use super::world::{PARTITIONS, World};
use crate::support::cut::Address;
use crate::support::topology::{FROM_REPLICAS, FROM_SENTINELS, SERVICE};
use crate::support::{Clock, Cluster, Cut, OwnRedis, Sentinel};

/// Each daemon logs in under a name of its own, so that one of them can be cut.
const USERS: [&str; 2] = ["user daemon0 on >pass ~* &* +@all", "user daemon1 on >pass ~* &* +@all"];

pub enum Servers {
    One(OwnRedis),
    Sentinel { servers: Sentinel, killed: Option<usize> },
    Cluster { servers: Cluster, slots: BTreeMap<PartitionId, u16>, killed: Option<usize>, moved: Option<Move> },
}

/// A slot on its way.
#[derive(Debug, Clone, Copy)]
pub struct Move {
    slot: u16,
    from: usize,
    to: usize,
}

impl Servers {
    /// The clock is that of the one Redis.
    pub async fn start(topology: Topology, clock: &Clock) -> Self {
        match topology {
            Topology::One => Self::One(OwnRedis::start_with_clock(clock, &["--enable-debug-command", "local"]).await),
            Topology::Sentinel => {
                let door = Cut::tcp(Address::Tcp(nowhere())).await;
                Self::Sentinel { servers: Sentinel::start_with(&USERS, Some(door)).await, killed: None }
            }
            Topology::Cluster => {
                let servers = Cluster::start().await;
                let mut slots = BTreeMap::new();
                for partition in PartitionId::all(PARTITIONS) {
                    slots.insert(partition, servers.slot(&format!("{{{partition}}}")).await);
                }
                Self::Cluster { servers, slots, killed: None, moved: None }
            }
        }
    }

    /// For those that look from outside.
    pub fn url(&self) -> String {
        match self {
            Self::One(redis) => redis.url(),
            Self::Sentinel { servers, .. } => servers.url(),
            Self::Cluster { servers, .. } => servers.url(),
        }
    }

    /// What the daemons go through.
    pub async fn door_for_daemons(&self) -> Cut {
        match self {
            Self::One(redis) => Cut::unix("redis", Address::Unix(redis.socket())),
            Self::Sentinel { servers, .. } => {
                let sentinel = servers.sentinels[0].address().parse().expect("an address");
                Cut::tcp(Address::Tcp(sentinel)).await
            }
            Self::Cluster { .. } => Cut::tcp(Address::Tcp(nowhere())).await,
        }
    }

    /// For a daemon. With Sentinel, the first one knows no other way to the sentinels than its door.
    pub fn url_of_daemon(&self, at: usize, door: &Cut) -> String {
        match self {
            Self::One(_) => nowserving::local::redis::url(door.socket()),
            Self::Sentinel { servers, .. } if at < USERS.len() => {
                let login = format!("redis+sentinel://daemon{at}:pass@");
                match at {
                    0 => format!("{login}{}/{SERVICE}", door.tcp_address()),
                    _ => servers.url().replace("redis+sentinel://", &login),
                }
            }
            Self::Sentinel { .. } | Self::Cluster { .. } => self.url(),
        }
    }

    /// Connections to the masters that have partitions.
    pub async fn masters(&self) -> redis::RedisResult<Vec<MultiplexedConnection>> {
        Ok(match self {
            Self::One(redis) => vec![redis.connect().await],
            Self::Sentinel { servers, .. } => vec![servers.servers[servers.master().await].connect().await?],
            Self::Cluster { servers, slots, .. } => {
                let mut masters = BTreeSet::new();
                for slot in slots.values() {
                    masters.insert(servers.master_of(*slot).await);
                }
                let mut connections = Vec::new();
                for at in masters {
                    connections.push(servers.nodes[at].connect().await?);
                }
                connections
            }
        })
    }

    /// Cuts the clients of all servers that run, those too whose answers are on their way.
    pub async fn cut_clients(&self) {
        let nodes = match self {
            Self::One(_) => &Vec::new(),
            Self::Sentinel { servers, .. } => &servers.servers,
            Self::Cluster { servers, .. } => &servers.nodes,
        };
        for node in nodes.iter().filter(|node| node.is_running()) {
            // One that is cut off does not hear of it.
            node.try_send::<redis::Value>("CLIENT KILL TYPE normal").await.ok();
        }
    }

    /// The partitions that a killed master has nothing to do with.
    pub async fn spared(&self) -> Vec<PartitionId> {
        let Self::Cluster { servers, slots, killed: Some(killed), .. } = self else { return Vec::new() };
        let mut spared = Vec::new();
        for (partition, slot) in slots {
            let master = servers.master_of(*slot).await;
            // Its replica has its slots before long.
            if master % 3 != killed % 3 {
                spared.push(*partition);
            }
        }
        spared
    }
}

impl World {
    /// Kills the master, or one of those that have partitions.
    pub async fn kill_master(&mut self, rng: &mut StdRng) {
        match &mut self.servers {
            Servers::One(redis) => redis.kill9(),
            Servers::Sentinel { servers, killed } => {
                let master = servers.master().await;
                servers.servers[master].kill9();
                *killed = Some(master);
            }
            Servers::Cluster { servers, slots, killed, .. } => {
                let partition = PartitionId::new(rng.random_range(0..PARTITIONS));
                let master = servers.master_of(slots[&partition]).await;
                servers.nodes[master].kill9();
                *killed = Some(master);
            }
        }
    }

    /// Starts the one that was killed, as a replica of the one that has its place.
    pub async fn restart_master(&mut self) {
        match &mut self.servers {
            Servers::One(redis) => redis.restart().await,
            Servers::Sentinel { servers, killed } => {
                if let Some(killed) = killed.take() {
                    servers.fail_over_from(killed).await;
                    servers.restart_as_replica(killed).await;
                }
            }
            // It is told by the others.
            Servers::Cluster { servers, killed, .. } => {
                if let Some(killed) = killed.take() {
                    servers.nodes[killed].restart().await;
                }
            }
        }
    }

    /// What the first master writes no longer reaches its replicas, and no daemon notices for a while.
    pub fn hold_back_replicas(&self) {
        self.first_door().blackhole_from(&[FROM_REPLICAS]);
    }

    pub fn let_replicas_follow(&self) {
        self.first_door().heal();
    }

    /// The first master and the first daemon are alone; the others have another master before long.
    pub async fn part_master(&mut self) {
        let Servers::Sentinel { servers, .. } = &self.servers else { panic!("there are no sentinels") };
        for daemon in ["daemon0", "daemon1"] {
            let clients: String = servers.servers[0].send("CLIENT LIST").await;
            assert!(clients.contains(&format!("user={daemon} ")), "{daemon} is connected: {clients}");
        }
        self.to_redis.refuse();
        self.first_door().blackhole_from(&[FROM_REPLICAS, FROM_SENTINELS]);
        servers.fail_over_from(0).await;
        // Those on the other side lose what connections to it they still have: Sentinel may have told them already.
        let _cut: u32 = servers.servers[0].send("CLIENT KILL USER daemon1").await;
    }

    pub fn join_master(&self) {
        self.to_redis.heal();
        self.first_door().heal();
    }

    fn first_door(&self) -> &Cut {
        let Servers::Sentinel { servers, .. } = &self.servers else { panic!("there are no sentinels") };
        servers.door.as_ref().expect("it has one")
    }

    /// Moves the slot of a partition to another master, a few keys at a time.
    pub async fn move_slot(&mut self, rng: &mut StdRng) {
        let Servers::Cluster { servers, slots, moved, .. } = &mut self.servers else { panic!("there is no cluster") };
        let partition = PartitionId::new(rng.random_range(0..PARTITIONS));
        let slot = slots[&partition];
        let from = servers.master_of(slot).await;
        let mut masters = Vec::new();
        for slot in [0, 5461, 10923] {
            masters.push(servers.master_of(slot).await);
        }
        let to = masters.into_iter().find(|master| *master != from).expect("there are three");
        let there = Move { slot, from, to };
        carry_slot(servers, there).await;
        *moved = Some(there);
    }

    pub async fn move_slot_back(&mut self) {
        let Servers::Cluster { servers, moved, .. } = &mut self.servers else { panic!("there is no cluster") };
        if let Some(Move { slot, from, to }) = moved.take() {
            carry_slot(servers, Move { slot, from: to, to: from }).await;
        }
    }

    /// Cuts all clients of all masters, several times.
    pub async fn kill_clients(&self, times: u32, every: Duration) {
        let mut masters = self.servers.masters().await.expect("Redis answers");
        for _ in 0..times {
            for master in &mut masters {
                let mut kill = redis::cmd("CLIENT");
                kill.arg(&["KILL", "TYPE", "normal"]).exec_async(master).await.expect("Redis answers");
            }
            tokio::time::sleep(every).await;
        }
    }
}

async fn carry_slot(servers: &Cluster, Move { slot, from, to }: Move) {
    servers.begin_move(slot, from, to).await;
    while servers.move_keys(slot, from, to, 5).await > 0 {
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    servers.end_move(slot, from, to).await;
}

fn nowhere() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 9))
}

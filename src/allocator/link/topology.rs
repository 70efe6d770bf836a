//! Which server holds a partition: always the same one, the one that Sentinel names, or the one that has its slot.
//!
//! Plain connections to each master, and a small map. It is drawn anew when something speaks against what it says: a
//! connection that cannot be made or is lost, a server that is no master any more, a slot that no server serves, a
//! MOVED.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use redis::{RedisConnectionInfo, ServerErrorKind};
use tokio::sync::Mutex;

use super::{
    dial::Dial,
    scout::{Question, Scout, Served, named},
    server::Server,
};
use crate::{
    allocator::{
        AllocatorError,
        script::keys::{self, SLOTS},
    },
    config::{HostPort, RedisSettings, RedisUrl},
    domain::PartitionId,
};

/// What one server that belongs to a cluster answers with, in effect.
const IS_CLUSTER: &str = "it belongs to a cluster: write redis+cluster://… into redis_url (NOWSERVING_REDIS_URL)";

/// The map is drawn at most this often.
const DRAW_EVERY: Duration = Duration::from_millis(100);

pub(super) struct Topology {
    pub(super) dial: Dial,
    map: ArcSwap<Map>,
    /// None where there is only one server.
    finder: Option<Finder>,
}

/// How servers are found.
struct Finder {
    login: RedisConnectionInfo,
    tls: bool,
    /// One asks, the others wait for what comes of it.
    drawing: Mutex<Drawing>,
}

struct Drawing {
    scout: Scout,
    last: Option<(Instant, Result<(), AllocatorError>)>,
}

/// Which server has which slots. Where there is no cluster, one server has them all.
#[derive(Clone, Default)]
struct Map {
    runs: Vec<(u16, u16, Arc<Server>)>,
    /// What a MOVED said since the runs were learnt.
    moved: HashMap<u16, Arc<Server>>,
    /// Servers that only an ASK named so far.
    guests: Vec<Arc<Server>>,
}

impl Map {
    fn of(&self, slot: u16) -> Option<&Arc<Server>> {
        if let Some(server) = self.moved.get(&slot) {
            return Some(server);
        }
        let at = self.runs.partition_point(|(_, last, _)| *last < slot);
        self.runs.get(at).filter(|(first, _, _)| *first <= slot).map(|(_, _, server)| server)
    }

    /// Those that have slots, each once.
    fn servers(&self) -> Vec<Arc<Server>> {
        let mut found: Vec<Arc<Server>> = Vec::new();
        for server in self.runs.iter().map(|(_, _, server)| server).chain(self.moved.values()) {
            if !found.iter().any(|known| known.address() == server.address()) {
                found.push(Arc::clone(server));
            }
        }
        found
    }

    fn known(&self, address: &str) -> Option<Arc<Server>> {
        let all = self.runs.iter().map(|(_, _, server)| server).chain(self.moved.values()).chain(&self.guests);
        all.into_iter().find(|server| server.address() == address).map(Arc::clone)
    }
}

/// Where a server sends a call.
pub(super) struct Redirect {
    pub(in crate::allocator) server: Arc<Server>,
    /// Whether the slot is still moving, so that only a caller that sends ASKING is served there.
    pub(super) asking: bool,
}

impl Topology {
    pub(in crate::allocator) fn new(url: &str, settings: &RedisSettings) -> Result<Self, AllocatorError> {
        let dial = Dial::new(settings)?;
        let url = RedisUrl::parse(url).map_err(|e| AllocatorError::NoConnection(e.to_string()))?;
        let (map, finder) = match url {
            RedisUrl::One(info) => {
                let server = Arc::new(dial.server(info)?);
                (Map { runs: vec![(0, SLOTS - 1, server)], ..Map::default() }, None)
            }
            RedisUrl::Sentinel { sentinels, service, login, sentinel_login, tls } => {
                let scout = Scout::new(Question::Sentinel(service), sentinels, tls, sentinel_login);
                (Map::default(), Some(Finder::new(scout, login, tls)))
            }
            RedisUrl::Cluster { seeds, login, tls } => {
                let scout = Scout::new(Question::Cluster, seeds, tls, login.clone());
                (Map::default(), Some(Finder::new(scout, login, tls)))
            }
        };
        Ok(Self { dial, map: ArcSwap::from_pointee(map), finder })
    }

    /// Whether the master may change: a fail-over can lose what no replica had.
    pub(in crate::allocator) fn fails_over(&self) -> bool {
        self.finder.is_some()
    }

    pub(in crate::allocator) async fn server(&self, partition: PartitionId) -> Result<Arc<Server>, AllocatorError> {
        let slot = keys::slot(partition);
        let Some(finder) = &self.finder else {
            return self.map.load().of(slot).cloned().ok_or_else(|| no_server(slot));
        };
        if let Some(server) = self.map.load().of(slot)
            && !server.is_doubted()
        {
            return Ok(Arc::clone(server));
        }
        // Boxed, since every call comes by here and nearly none draws.
        let drawn = Box::pin(self.draw(finder, Instant::now())).await;
        // Where no server says otherwise, the one that is known is tried again.
        match (self.map.load().of(slot), drawn) {
            (Some(server), _) => Ok(Arc::clone(server)),
            (None, Err(error)) => Err(error),
            (None, Ok(())) => Err(no_server(slot)),
        }
    }

    /// All masters that have slots; draws the map where there is none.
    pub(in crate::allocator) async fn servers(&self) -> Result<Vec<Arc<Server>>, AllocatorError> {
        if let Some(finder) = &self.finder
            && self.map.load().runs.is_empty()
        {
            self.draw(finder, Instant::now()).await?;
        }
        Ok(self.map.load().servers())
    }

    /// All masters that are known, without asking a server.
    pub(in crate::allocator) fn known_servers(&self) -> Vec<Arc<Server>> {
        self.map.load().servers()
    }

    /// The server of a partition, without asking a server.
    pub(super) fn known_server(&self, partition: PartitionId) -> Option<Arc<Server>> {
        self.map.load().of(keys::slot(partition)).cloned()
    }

    /// The partitions, each list those of one server as far as is known.
    pub(in crate::allocator) fn groups(&self, partitions: impl Iterator<Item = PartitionId>) -> Vec<Vec<PartitionId>> {
        let map = self.map.load();
        let mut groups: Vec<(Option<&str>, Vec<PartitionId>)> = Vec::new();
        for partition in partitions {
            let address = map.of(keys::slot(partition)).map(|server| server.address());
            match groups.iter_mut().find(|(of, _)| of.is_some() && *of == address) {
                Some((_, group)) => group.push(partition),
                None => groups.push((address, vec![partition])),
            }
        }
        groups.into_iter().map(|(_, group)| group).collect()
    }

    /// Draws the map, unless that was done just now. Where that fails, what is known stays.
    pub(super) async fn refresh(&self) {
        let _ = self.locate().await;
    }

    /// As [`Topology::refresh`], and an error where that fails.
    pub(in crate::allocator) async fn locate(&self) -> Result<(), AllocatorError> {
        match &self.finder {
            Some(finder) => self.draw(finder, Instant::now()).await,
            None => Ok(()),
        }
    }

    /// Where an error of `asked` sends the call, if it does. Takes note of what moved for good.
    pub(super) fn redirect(&self, asked: &Server, error: &AllocatorError) -> Result<Option<Redirect>, AllocatorError> {
        let mut found = None;
        for (asking, slot, at) in redirections(asked, error) {
            let server = self.named(&at)?;
            if asking {
                server.set_asked();
                self.map.rcu(|map| {
                    let mut map = Map::clone(map);
                    if map.known(server.address()).is_none() {
                        map.guests.push(Arc::clone(&server));
                    }
                    map
                });
            } else {
                self.map.rcu(|map| {
                    let mut map = Map::clone(map);
                    map.moved.insert(slot, Arc::clone(&server));
                    map
                });
            }
            found = Some(Redirect { server, asking });
        }
        Ok(found)
    }

    async fn draw(&self, finder: &Finder, waiting_since: Instant) -> Result<(), AllocatorError> {
        let mut drawing = finder.drawing.lock().await;
        if let Some((at, outcome)) = &drawing.last
            && (*at >= waiting_since || at.elapsed() < DRAW_EVERY)
        {
            return outcome.clone();
        }
        let outcome = match drawing.scout.ask(&self.dial).await {
            Ok(served) => self.take_over(&served).map(|news| {
                drawing.scout.learn(&served);
                if !news {
                    drawing.scout.turn_away();
                }
            }),
            Err(error) => {
                // Said aloud once, not at each try.
                if !matches!(drawing.last, Some((_, Err(_)))) {
                    tracing::warn!(%error, "the masters of Redis cannot be looked up; those that are known are used");
                }
                Err(error)
            }
        };
        drawing.last = Some((Instant::now(), outcome.clone()));
        outcome
    }

    /// Makes what was said the map. Servers that are in it no more are dropped. False where there was a doubt, and what
    /// was said does not answer it.
    fn take_over(&self, served: &[Served]) -> Result<bool, AllocatorError> {
        let old = self.map.load_full();
        let mut map = Map::default();
        for (first, last, at) in served {
            // A new server with several runs of slots is made once.
            let server = match map.known(&address(at)) {
                Some(server) => server,
                None => self.named(at)?,
            };
            map.runs.push((*first, *last, server));
        }
        // A guest that no ASK has named since the last drawing is not needed any more.
        map.guests = old.guests.iter().filter(|guest| guest.was_asked()).cloned().collect();
        let mut helps = true;
        for server in map.servers() {
            helps &= !server.is_doubted();
            server.set_doubted(false);
        }
        self.map.store(Arc::new(map));
        Ok(helps)
    }

    fn named(&self, at: &HostPort) -> Result<Arc<Server>, AllocatorError> {
        if let Some(server) = self.map.load().known(&address(at)) {
            return Ok(server);
        }
        let Some(finder) = &self.finder else {
            return Err(AllocatorError::NoConnection(IS_CLUSTER.to_owned()));
        };
        let info = Dial::info(at, finder.tls, &finder.login)?;
        tracing::info!(address = address(at), "found a Redis master");
        Ok(Arc::new(self.dial.server(info)?))
    }
}

impl Finder {
    fn new(scout: Scout, login: RedisConnectionInfo, tls: bool) -> Self {
        Self { login, tls, drawing: Mutex::new(Drawing { scout, last: None }) }
    }
}

fn address((host, port): &HostPort) -> String {
    format!("{host}:{port}")
}

fn no_server(slot: u16) -> AllocatorError {
    AllocatorError::NoConnection(format!("no master of the cluster serves slot {slot}"))
}

/// Every MOVED and ASK in an error: whether it asks, its slot, and the address that it names.
fn redirections(asked: &Server, error: &AllocatorError) -> Vec<(bool, u16, HostPort)> {
    let AllocatorError::Redis(error) = error else { return Vec::new() };
    let errors = redis::RedisError::clone(error).into_server_errors();
    let redirection = |error: &redis::ServerError| {
        let asking = match error.kind()? {
            ServerErrorKind::Ask => true,
            ServerErrorKind::Moved => false,
            _ => return None,
        };
        let (slot, at) = error.details()?.split_once(' ')?;
        Some((asking, slot.parse().ok()?, named(at.trim(), asked.address())?))
    };
    errors.iter().flat_map(|errors| errors.iter()).filter_map(|(_, error)| redirection(error)).collect()
}

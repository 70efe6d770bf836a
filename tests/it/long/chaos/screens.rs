//! Screens that follow the restaurants while things go wrong, through all daemons, each in a manner of its own; and what
//! they are promised.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::StdRng;
use serde::Serialize;
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use super::checker::{Case, Check};
use super::history::Action;
use super::stores::{Event, STATUSES, Stores};
use super::world::World;
use crate::support::Screen;
use crate::support::heard::{self, Happens, Heard, Place};
use crate::support::screen::Told;

/// How many there are. They are spread over the restaurants: some have two, and most have none.
const SCREENS: u32 = 14;

/// Restaurants with a screen: those with tiny pools, where most happens, and one of each other kind.
const WATCHED: [u32; 10] = [1, 2, 3, 4, 5, 8, 9, 12, 15, 19];

/// How long one may take in the end to show what is so.
const CATCHING_UP: Duration = Duration::from_secs(30);

/// What a screen saw.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Watched {
    pub number: u32,
    pub restaurant: u32,
    pub told: Vec<Tale>,
    /// What it shows in the end.
    pub shows: BTreeMap<Uuid, Shown>,
}

/// Something that it was told.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub enum Tale {
    /// Where that stands in the feed.
    Heard(Heard),
    /// How often its live orders were called, after a [`Heard::Beginning`].
    Calls(BTreeMap<Uuid, u32>),
    /// A guest was called: the event, and how often by then.
    Called(Place, Uuid, u32),
    /// It was sent away, and whether it was told when to come back.
    Refused(u16, bool),
}

/// An order as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Shown {
    pub number: u32,
    pub status: String,
    pub version: u32,
}

/// Screens at work.
pub struct Screens {
    stop: Arc<AtomicBool>,
    screens: Vec<JoinHandle<(Screen, Watched)>>,
    urls: Vec<String>,
}

impl Screens {
    pub fn put_up(world: &World, seed: u64) -> Self {
        let urls: Vec<String> = world.daemons.iter().map(|station| station.door.http_url()).collect();
        let stop = Arc::<AtomicBool>::default();
        let follow = |number: u32| {
            let (urls, stop, key) = (urls.clone(), Arc::clone(&stop), world.key.clone());
            let mut rng = StdRng::seed_from_u64(seed ^ (u64::from(number) << 40));
            tokio::spawn(async move {
                let restaurant = WATCHED[number as usize % WATCHED.len()];
                let mut screen = Screen { key: Some(key), ..Screen::of(restaurant) };
                let mut watched = Watched { number, restaurant, ..Watched::default() };
                let happens = |screen: &mut Screen, happens| watched.note(screen, happens);
                heard::follow(&mut screen, &urls, number, &mut rng, &stop, happens).await;
                (screen, watched)
            })
        };
        let screens = (0..SCREENS).map(follow).collect();
        Self { stop, screens, urls }
    }

    /// Takes them down once each was told of the last event that the ledger has of its restaurant. Nothing happens any more.
    pub async fn take_down(self, stores: &Stores) -> Result<Vec<Watched>, String> {
        self.stop.store(true, Relaxed);
        let mut all = Vec::new();
        for (at, screen) in self.screens.into_iter().enumerate() {
            let (mut screen, mut watched) = screen.await.expect("a screen does not panic");
            let last = stores.events.iter().filter(|event| is_told(event, watched.restaurant)).map(place).max();
            watched.catch_up(&mut screen, &self.urls[at % self.urls.len()], last).await?;
            watched.shows = screen.orders.iter().map(|(id, order)| (uuid(id), Shown::of(order))).collect();
            all.push(watched);
        }
        Ok(all)
    }
}

impl Watched {
    fn note(&mut self, screen: &mut Screen, happens: Happens) {
        match happens {
            Happens::Connected => self.told.push(Tale::Heard(Heard::Connected)),
            Happens::Refused(stream) => {
                let says_when = stream.head.to_ascii_lowercase().contains("\r\nretry-after: ");
                self.told.push(Tale::Refused(stream.status(), says_when));
            }
            Happens::Told(told) => {
                self.told.extend(heard::heard(&told).map(Tale::Heard));
                self.told.extend(calls(&told));
                screen.show(told);
                // What matters of it is noted; a long run has many.
                screen.log.clear();
            }
        }
    }

    fn has_come_to(&self, last: Option<Place>) -> bool {
        let places = self.told.iter().filter_map(|tale| match tale {
            Tale::Heard(Heard::Beginning(place) | Heard::Event(place)) => Some(*place),
            _ => None,
        });
        let has_begun = self.told.iter().any(|tale| matches!(tale, Tale::Heard(Heard::Beginning(_))));
        has_begun && places.max() >= last
    }

    async fn catch_up(&mut self, screen: &mut Screen, url: &str, last: Option<Place>) -> Result<(), String> {
        let start = Instant::now();
        while !self.has_come_to(last) {
            if start.elapsed() > CATCHING_UP {
                return Err(format!("screen {} of restaurant {} is not told all", self.number, self.restaurant));
            }
            match timeout(Duration::from_secs(3), screen.connect(url)).await {
                Ok(Ok(mut stream)) if stream.status() == 200 => {
                    self.note(screen, Happens::Connected);
                    while !self.has_come_to(last)
                        && let Ok(Some(told)) = timeout(Duration::from_secs(3), stream.next()).await
                    {
                        self.note(screen, Happens::Told(told));
                    }
                }
                _ => sleep(Duration::from_millis(100)).await,
            }
        }
        Ok(())
    }
}

fn uuid(id: &str) -> Uuid {
    id.parse().expect("a UUID")
}

fn small(value: &Value) -> u32 {
    value.as_u64().and_then(|value| u32::try_from(value).ok()).expect("a small number")
}

fn calls(told: &Told) -> Option<Tale> {
    let of = |order: &Value| {
        let id = order["internal_order_id"].as_str().expect("an id");
        (uuid(id), small(&order["call_count"]))
    };
    match told.name.as_str() {
        "snapshot" => Some(Tale::Calls(told.data["orders"].as_array().expect("orders").iter().map(of).collect())),
        "call" => {
            let (order, calls) = of(&told.data["order"]);
            Some(Tale::Called(told.position().expect("that of its event"), order, calls))
        }
        _ => None,
    }
}

impl Shown {
    fn of(order: &Value) -> Self {
        Self {
            number: small(&order["display_order_number"]),
            status: order["status"].as_str().expect("a status").to_owned(),
            version: small(&order["version"]),
        }
    }
}

/// Whether the feed of a restaurant tells of it as an event of an order.
fn is_told(event: &Event, restaurant: u32) -> bool {
    event.restaurant == restaurant && event.order.is_some() && event.kind != "recycled"
}

fn place(event: &Event) -> Place {
    (event.generation.cast_unsigned(), event.sequence.cast_unsigned())
}

impl Case<'_> {
    /// Each screen was told all, in order; every call that was acknowledged was sounded; and what is shown in the end is so.
    pub(super) fn screens(&mut self) {
        let facts = self.facts;
        for watched in &facts.screens {
            let who = format!("screen {} of restaurant {}", watched.number, watched.restaurant);
            self.told_all(watched, &who);
            self.sounded(watched, &who);
            self.shows(watched, &who);
            for tale in &watched.told {
                match tale {
                    Tale::Refused(503, true) => {}
                    Tale::Refused(503, false) => self.violated(Check::RetryAfter, who.clone()),
                    Tale::Refused(..) => self.violated(Check::Answer, format!("{who}: {tale:?}")),
                    _ => {}
                }
            }
        }
    }

    fn told_all(&mut self, watched: &Watched, who: &str) {
        let events = self.stores.events.iter().filter(|event| is_told(event, watched.restaurant));
        let recorded: BTreeSet<Place> = events.map(place).collect();
        let heard = watched.told.iter().filter_map(|tale| match tale {
            Tale::Heard(heard) => Some(*heard),
            _ => None,
        });
        let faults = heard::faults(heard, &recorded);
        *self.report.special.entry("events shown").or_default() += faults.events;
        if !faults.missed.is_empty() {
            self.violated(Check::NotShown, format!("{who} missed {:?}", faults.missed));
        }
        for what in faults.disordered {
            self.violated(Check::ShownInDisorder, format!("{who} was told of {what}"));
        }
    }

    /// By its `call`; or where a screen began anew behind it, by the count in the snapshot, if the order is in there.
    fn sounded(&mut self, watched: &Watched, who: &str) {
        let called = self.stores.events.iter().filter(|event| event.kind == "called");
        let events: BTreeMap<&str, &Event> =
            called.filter_map(|event| Some((event.request.as_deref()?, event))).collect();
        let (mut heard, mut beginnings) = (BTreeSet::new(), Vec::new());
        let mut place_of_beginning = None;
        for tale in &watched.told {
            match tale {
                Tale::Heard(Heard::Beginning(place)) => place_of_beginning = Some(*place),
                Tale::Calls(calls) => beginnings.extend(place_of_beginning.map(|place| (place, calls))),
                Tale::Called(place, order, _) => {
                    heard.insert((*place, *order));
                }
                _ => {}
            }
        }
        let mut silent = Vec::new();
        for call in self.calls.iter().filter(|call| call.restaurant == watched.restaurant) {
            let (Action::Call { order }, Some(seen)) = (&call.action, call.seen()) else { continue };
            // A call that was none, since another one had just been made, has no event of its own.
            let Some(event) = events.get(call.request.as_str()) else { continue };
            if self.may_be_superseded(call) {
                continue;
            }
            let place = place(event);
            *self.report.special.entry("calls sounded").or_default() += 1;
            let is_counted = |(from, calls): &(Place, &BTreeMap<Uuid, u32>)| {
                *from >= place && calls.get(order).is_none_or(|count| *count >= seen.calls)
            };
            if !heard.contains(&(place, *order)) && !beginnings.iter().any(is_counted) {
                silent.push(format!("{who} did not sound {call:?}, which is at {place:?}"));
            }
        }
        for what in silent {
            self.violated(Check::NotSounded, what);
        }
    }

    fn shows(&mut self, watched: &Watched, who: &str) {
        let of_restaurant = self.stores.live.iter().filter(|order| order.restaurant == watched.restaurant);
        let live: BTreeMap<Uuid, Shown> = of_restaurant
            .map(|order| {
                let status = STATUSES[usize::from(order.status)].to_owned();
                (order.id, Shown { number: order.number, status, version: order.version })
            })
            .collect();
        if live != watched.shows {
            let (shown, live): (BTreeSet<_>, BTreeSet<_>) = (
                watched.shows.iter().map(|pair| format!("{pair:?}")).collect(),
                live.iter().map(|pair| format!("{pair:?}")).collect(),
            );
            let (more, less) = (shown.difference(&live), live.difference(&shown));
            let what = format!("{who} shows {:?} in place of {:?}", more.collect::<Vec<_>>(), less.collect::<Vec<_>>());
            self.violated(Check::ShowsOther, what);
        }
    }
}

//! What screens heard, held against the audit log; and screens that follow in manners of their own.

use std::collections::BTreeSet;
use std::ops::Bound::{Excluded, Included};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use rand::RngExt;
use rand::rngs::StdRng;
use serde::Serialize;
use tokio::time::{sleep, timeout};

use super::screen::{Screen, Stream, Told};

/// A position of the feed: generation and sequence.
pub type Place = (u64, u64);

/// What a screen heard, as far as its order goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Heard {
    /// It came back, or came for the first time.
    Connected,
    /// How things stood there.
    Beginning(Place),
    /// What happened to an order.
    Event(Place),
}

/// What was wrong with it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Events that it was not told, though it was told later ones.
    pub missed: Vec<Place>,
    /// What came out of order.
    pub disordered: Vec<String>,
    /// How many events were looked at.
    pub events: usize,
}

/// Between two beginnings a screen is told each event of its restaurant that is `recorded`, in order but for what is told
/// again when it comes back.
pub fn faults(heard: impl IntoIterator<Item = Heard>, recorded: &BTreeSet<Place>) -> Faults {
    let mut faults = Faults::default();
    let mut stretch: Option<(Place, BTreeSet<Place>)> = None;
    let mut last = None;
    for one in heard {
        match one {
            Heard::Connected => last = None,
            Heard::Beginning(place) => {
                faults.close(stretch.replace((place, BTreeSet::new())), recorded);
                last = Some(place);
            }
            Heard::Event(place) => {
                if last.is_some_and(|last| place <= last) {
                    faults.disordered.push(format!("{place:?} behind {last:?}"));
                }
                last = Some(place);
                match &mut stretch {
                    Some((from, seen)) if from.0 == place.0 && *from < place => {
                        seen.insert(place);
                    }
                    Some((from, _)) => faults.disordered.push(format!("{place:?} after it began with {from:?}")),
                    None => faults.disordered.push(format!("{place:?} before any beginning")),
                }
            }
        }
    }
    faults.close(stretch, recorded);
    faults
}

impl Faults {
    fn close(&mut self, stretch: Option<(Place, BTreeSet<Place>)>, recorded: &BTreeSet<Place>) {
        let Some((from, seen)) = stretch else { return };
        let Some(to) = seen.last() else { return };
        self.missed.extend(recorded.range((Excluded(from), Included(*to))).filter(|place| !seen.contains(place)));
        self.events += seen.len();
    }
}

/// The place of an event, as the order of what was heard goes.
pub fn heard(told: &Told) -> Option<Heard> {
    match told.name.as_str() {
        "snapshot" => Some(Heard::Beginning(told.position().expect("a position"))),
        // That of a call comes with its `call`.
        "order" => told.position().map(Heard::Event),
        "call" => Some(Heard::Event(told.position().expect("a position"))),
        _ => None,
    }
}

/// What happens to a screen.
pub enum Happens {
    /// It has a stream.
    Connected,
    /// It was sent away.
    Refused(Stream),
    Told(Told),
}

/// A heartbeat, or its place, comes each ten seconds: where none does, the connection is dead.
const DEAD_AFTER: Duration = Duration::from_secs(13);

/// Follows until it is told to stop, in the manner of a screen of this number: most are cut off now and then, one in three
/// comes back to another daemon, and one in five is slow.
pub async fn follow(
    screen: &mut Screen,
    urls: &[String],
    number: u32,
    rng: &mut StdRng,
    stop: &AtomicBool,
    mut happens: impl FnMut(&mut Screen, Happens),
) {
    let mut at = number as usize;
    while !stop.load(Relaxed) {
        at += usize::from(number.is_multiple_of(3));
        let connected = timeout(Duration::from_secs(3), screen.connect(&urls[at % urls.len()])).await;
        let Ok(Ok(mut stream)) = connected else {
            sleep(Duration::from_millis(50)).await;
            continue;
        };
        if stream.status() != 200 {
            happens(screen, Happens::Refused(stream));
            sleep(Duration::from_millis(100)).await;
            continue;
        }
        happens(screen, Happens::Connected);
        let cut_after = if number.is_multiple_of(4) { u32::MAX } else { rng.random_range(1..60) };
        let mut lived = Instant::now();
        let mut told = 0;
        while told < cut_after && lived.elapsed() < DEAD_AFTER {
            match timeout(Duration::from_millis(500), stream.next()).await {
                Ok(Some(event)) => {
                    (lived, told) = (Instant::now(), told + 1);
                    happens(screen, Happens::Told(event));
                }
                Ok(None) => break,
                Err(_) if stop.load(Relaxed) => break,
                Err(_) => {}
            }
            if number % 5 == 1 {
                sleep(Duration::from_millis(rng.random_range(0..30))).await;
            }
        }
    }
}

#[test]
fn what_is_wrong_is_found() {
    use Heard::{Beginning, Connected, Event};
    let recorded: BTreeSet<Place> = [(1, 3), (1, 5), (1, 8), (2, 9)].into();
    let of = |heard: &[Heard]| faults(heard.iter().copied(), &recorded);
    let missed = |heard: &[Heard]| of(heard).missed;
    let right = [Connected, Beginning((1, 2)), Event((1, 3)), Event((1, 5)), Connected, Event((1, 5)), Event((1, 8))];
    assert_eq!(of(&right), Faults { events: 3, ..Faults::default() });
    assert_eq!(missed(&[Connected, Beginning((1, 2)), Event((1, 8))]), [(1, 3), (1, 5)]);
    assert_eq!(missed(&[Connected, Beginning((1, 2)), Event((1, 3)), Connected, Event((1, 8))]), [(1, 5)]);
    // What it has not come to, and what a new beginning holds, is not missed.
    assert_eq!(missed(&[Connected, Beginning((1, 2)), Event((1, 3)), Beginning((1, 6))]), []);
    for disordered in [
        &[Connected, Beginning((1, 2)), Event((1, 5)), Event((1, 3)), Event((1, 8))][..],
        &[Connected, Beginning((1, 2)), Event((1, 3)), Event((1, 3))],
        &[Connected, Beginning((1, 5)), Event((1, 3))],
        &[Connected, Beginning((1, 2)), Connected, Event((1, 2))],
        &[Connected, Beginning((1, 8)), Event((2, 9))],
        &[Connected, Event((2, 9))],
    ] {
        assert!(!of(disordered).disordered.is_empty(), "{disordered:?}");
    }
}

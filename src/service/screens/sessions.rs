//! Sessions: which screen showed which restaurant when, as far as this daemon was asked for it.
//!
//! Streams come and go: a screen that connects anew soon after is in the same session. What changes is written with the
//! next piece; of a session that goes on, every minute that it does.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;
use uuid::Uuid;

use crate::{
    domain::{KeyId, RestaurantId, ScreenPage},
    ledger::{Ledger, LedgerError, SessionChange},
};

/// A stream that is opened so soon after the last one goes on with its session.
const RESUMED_WITHIN: Duration = Duration::from_mins(1);

/// How often it is written of a session that it goes on.
const TOLD_EVERY: Duration = Duration::from_mins(1);

/// A session is no longer: the next one begins. So what there was at an instant is found among those that began in the
/// hours before it.
const LONGEST: Duration = Duration::from_hours(6);

/// How many sessions are kept at a time: more than a daemon has connections.
const MOST: usize = 100_000;

/// How many are written, and forgotten, in one statement.
const AT_A_TIME: usize = 10_000;
const FORGOTTEN_AT_A_TIME: i64 = 10_000;

/// The sessions of this daemon that the ledger may have to be told of.
#[derive(Default)]
pub(super) struct Sessions(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    /// Those that go on, and those that have ended just now.
    present: HashMap<Shown, Session>,
    /// Those that were as long as may be, until the ledger knows.
    over: Vec<(Shown, Session)>,
}

/// Who shows what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Shown {
    screen: KeyId,
    restaurant: RestaurantId,
    page: Option<ScreenPage>,
}

#[derive(Debug, Clone)]
struct Session {
    id: Uuid,
    begun: Instant,
    streams: usize,
    /// When the last stream was closed; None while there is one.
    ended: Option<Instant>,
    /// When the ledger was told last, and whether that it has ended; None: it was not told of it yet.
    told: Option<(Instant, bool)>,
}

impl Session {
    fn new() -> Self {
        Self { id: Uuid::from_u128(rand::random()), begun: Instant::now(), streams: 0, ended: None, told: None }
    }

    /// Whether there is something to tell the ledger.
    fn is_due(&self, now: Instant) -> bool {
        self.told.is_none_or(|(at, ended)| match self.ended {
            Some(_) => !ended,
            None => ended || now.saturating_duration_since(at) >= TOLD_EVERY,
        })
    }
}

/// A stream that a screen has open. Dropped, it is closed.
pub(crate) struct ScreenStream(Option<(Arc<Sessions>, Shown)>);

impl ScreenStream {
    /// Of a caller that is no screen.
    pub(super) fn of_none() -> Self {
        Self(None)
    }
}

impl Drop for ScreenStream {
    fn drop(&mut self) {
        if let Some((sessions, shown)) = self.0.take() {
            sessions.closed(&shown);
        }
    }
}

impl Sessions {
    pub(super) fn opened(
        this: &Arc<Self>,
        screen: KeyId,
        restaurant: RestaurantId,
        page: Option<ScreenPage>,
    ) -> ScreenStream {
        let shown = Shown { screen, restaurant, page };
        let mut kept = this.kept();
        if kept.present.len() >= MOST && !kept.present.contains_key(&shown) {
            tracing::debug!("a screen's session is not recorded: there are too many");
            return ScreenStream::of_none();
        }
        let session = kept.present.entry(shown).or_insert_with(Session::new);
        session.streams += 1;
        session.ended = None;
        ScreenStream(Some((this.clone(), shown)))
    }

    fn closed(&self, shown: &Shown) {
        if let Some(session) = self.kept().present.get_mut(shown) {
            session.streams = session.streams.saturating_sub(1);
            if session.streams == 0 {
                session.ended = Some(Instant::now());
            }
        }
    }

    /// Ends all, whatever streams there are.
    pub(super) fn end_all(&self) {
        let now = Instant::now();
        for session in self.kept().present.values_mut() {
            session.ended = session.ended.or(Some(now));
        }
    }

    /// Tells the ledger what it does not know. On an error it is told with a later call.
    pub(super) async fn write(&self, ledger: &Ledger, daemon: Uuid) -> Result<(), LedgerError> {
        let now = Instant::now();
        let due = self.kept().due(now);
        for piece in due.chunks(AT_A_TIME) {
            let changes: Vec<_> = piece.iter().map(|(shown, session)| change(shown, session, now)).collect();
            ledger.write_sessions(daemon, &changes).await?;
            self.kept().were_told(piece, now);
        }
        self.kept().let_go(now);
        Ok(())
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    /// What the ledger is to be told. Sessions that are as long as may be end, and the next ones begin where they do.
    fn due(&mut self, now: Instant) -> Vec<(Shown, Session)> {
        for (shown, session) in &mut self.present {
            if session.ended.is_none() && now.saturating_duration_since(session.begun) >= LONGEST {
                let next = Session { begun: now, streams: session.streams, ..Session::new() };
                let over = std::mem::replace(session, next);
                self.over.push((*shown, Session { ended: Some(now), ..over }));
            }
        }
        // Those first that cannot be told better later.
        self.over.truncate(MOST);
        let present = self.present.iter().filter(|(_, session)| session.is_due(now));
        self.over.iter().cloned().chain(present.map(|(shown, session)| (*shown, session.clone()))).collect()
    }

    fn were_told(&mut self, told: &[(Shown, Session)], now: Instant) {
        for (shown, session) in told {
            match self.present.get_mut(shown).filter(|known| known.id == session.id) {
                Some(known) => known.told = Some((now, session.ended.is_some())),
                None => self.over.retain(|(_, over)| over.id != session.id),
            }
        }
    }

    /// Lets go of what has ended and is known; for a while it may be resumed.
    fn let_go(&mut self, now: Instant) {
        self.present.retain(|_, session| {
            let is_told = session.told.is_some_and(|(_, ended)| ended);
            let is_over = session.ended.is_some_and(|ended| now.saturating_duration_since(ended) >= RESUMED_WITHIN);
            !(is_told && is_over)
        });
    }
}

fn change(shown: &Shown, session: &Session, now: Instant) -> SessionChange {
    SessionChange {
        id: session.id,
        screen: shown.screen,
        restaurant: shown.restaurant,
        page: shown.page,
        begun: now.saturating_duration_since(session.begun),
        seen: session.ended.map_or(Duration::ZERO, |ended| now.saturating_duration_since(ended)),
        has_ended: session.ended.is_some(),
    }
}

/// Forgets what is older than is kept; 0: nothing.
pub(super) async fn forget(ledger: &Ledger, keep_days: u32) -> Result<(), LedgerError> {
    if keep_days > 0 {
        let kept = Duration::from_secs(u64::from(keep_days) * 86_400);
        // A bounded piece: the next call does the rest.
        ledger.forget_sessions(kept, FORGOTTEN_AT_A_TIME).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOMENT: Duration = Duration::from_secs(5);

    fn open(sessions: &Arc<Sessions>, page: ScreenPage) -> ScreenStream {
        let (screen, restaurant) = (KeyId::new(3).expect("in range"), RestaurantId::new(7).expect("an id"));
        Sessions::opened(sessions, screen, restaurant, Some(page))
    }

    /// What is due so long from now, and whether each has ended; told then.
    fn tell(sessions: &Sessions, later: Duration) -> Vec<(Uuid, bool)> {
        let (now, mut kept) = (Instant::now() + later, sessions.kept());
        let due = kept.due(now);
        kept.were_told(&due, now);
        kept.let_go(now);
        due.into_iter().map(|(_, session)| (session.id, session.ended.is_some())).collect()
    }

    #[test]
    fn a_screen_that_comes_back_soon_is_in_the_same_session() {
        let sessions = Arc::new(Sessions::default());
        let first = open(&sessions, ScreenPage::Board);
        let [(id, false)] = tell(&sessions, Duration::ZERO)[..] else { panic!("it has begun") };
        assert!(tell(&sessions, MOMENT).is_empty(), "that it goes on is told once a minute");
        assert_eq!(tell(&sessions, TOLD_EVERY), [(id, false)]);
        let second = open(&sessions, ScreenPage::Board);
        drop(first);
        assert!(tell(&sessions, TOLD_EVERY).is_empty(), "one stream is left");
        drop(second);
        assert_eq!(tell(&sessions, MOMENT), [(id, true)]);
        let third = open(&sessions, ScreenPage::Board);
        assert_eq!(tell(&sessions, MOMENT), [(id, false)], "it goes on");
        drop(third);
        assert_eq!(tell(&sessions, MOMENT), [(id, true)]);
        assert!(tell(&sessions, RESUMED_WITHIN + MOMENT).is_empty() && sessions.kept().present.is_empty());
        let _other = open(&sessions, ScreenPage::Board);
        assert!(matches!(tell(&sessions, MOMENT)[..], [(other, false)] if other != id));
    }

    #[test]
    fn no_session_is_longer_than_may_be() {
        let sessions = Arc::new(Sessions::default());
        let _streams = [open(&sessions, ScreenPage::Board), open(&sessions, ScreenPage::Kitchen)];
        let begun = tell(&sessions, Duration::ZERO);
        assert_eq!(begun.len(), 2, "each page is a session of its own");
        let told = tell(&sessions, LONGEST);
        assert_eq!(told.iter().filter(|(id, ended)| *ended && begun.contains(&(*id, false))).count(), 2, "{told:?}");
        assert_eq!(told.iter().filter(|(id, ended)| !*ended && !begun.contains(&(*id, false))).count(), 2, "{told:?}");
        assert!(sessions.kept().over.is_empty() && tell(&sessions, LONGEST + MOMENT).is_empty());
    }

    #[test]
    fn what_ends_with_the_daemon_ends_then() {
        let sessions = Arc::new(Sessions::default());
        let stream = open(&sessions, ScreenPage::Board);
        tell(&sessions, Duration::ZERO);
        sessions.end_all();
        assert!(matches!(tell(&sessions, MOMENT)[..], [(_, true)]));
        drop(stream);
    }
}

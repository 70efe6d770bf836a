//! The feed: server-sent events (WHATWG HTML, 9.2) of a restaurant, and of the whole chain.

use std::{collections::VecDeque, convert::Infallible, sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes},
    extract::{FromRequestParts, State},
    http::{HeaderValue, header, request::Parts},
    response::{IntoResponse, Response},
};
use futures_util::stream::unfold;
use rand::RngExt;
use serde::Serialize;
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Instant, Interval, MissedTickBehavior, interval_at},
};
use tokio_util::sync::CancellationToken;
use utoipa::IntoParams;

use super::views::OrderJson;
use crate::{
    domain::{
        ApiKey, ChainPosition, Colour, FeedPosition, LanguageTag, PoolOccupancy, PoolSettings, RestaurantId,
        ScreenPage, Sight, Timestamp,
    },
    http::{
        SharedState,
        code::Code,
        edge::caller::{CallerKey, CallerSight},
        extract::{FromQuery, InPath, NoQuery, Query, QueryReader, RestaurantInPath, word},
        listen::Endless,
        problem::{Problem, problems},
    },
    metrics::{self, Counted, FeedScope},
    service::{
        CaughtUp, ChainOpening, ChainStream, Feed, FeedEvent, KeyWatch, News, Opening, ResetReason, RestaurantStream,
        ScreenStream, Snapshot, TooSlow,
    },
};

/// How often a stream says that what it told is the present.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// After so many ms a client whose stream broke off comes back, drawn anew for each: not all at once.
const RETRY_MS: std::ops::Range<u64> = 1_000..3_000;

/// As [`RETRY_MS`], of a daemon that stops: others take over all of its streams.
const RETRY_AFTER_CLOSING_MS: std::ops::Range<u64> = 500..5_000;

/// Seconds after which a stream that finds no place may be asked for again.
const RETRY_WITHOUT_PLACE_SECONDS: u64 = 5;

/// The `Last-Event-ID` of a client that comes back.
#[derive(Debug)]
pub(crate) struct LastEventId<T> {
    /// All up to here was seen; None of a client that is new.
    position: Option<T>,
    /// Whether it names what no feed has given.
    is_unknown: bool,
}

impl<S: Sync, T: std::str::FromStr> FromRequestParts<S> for LastEventId<T> {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let named = parts.headers.get("last-event-id").filter(|value| !value.is_empty());
        let position = named.and_then(|value| value.to_str().ok()?.parse().ok());
        Ok(Self { is_unknown: named.is_some() && position.is_none(), position })
    }
}

/// `Last-Event-ID`, as a parameter.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "only its documentation is used")]
pub(crate) struct LastEventIdInHeader {
    /// The id of the last event that was seen, as browsers send it by themselves when they come back. The stream then goes
    /// on behind it, or begins with a `reset`.
    #[param(rename = "Last-Event-ID", value_type = Option<String>)]
    last_event_id: (),
}

/// How a restaurant is followed.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct FeedQuery {
    /// What a screen shows, for the list of sessions.
    #[param(value_type = Option<String>)]
    page: Option<ScreenPage>,
}

impl FromQuery for FeedQuery {
    fn from_query(query: &mut QueryReader<'_>) -> Option<Self> {
        Some(Self { page: query.optional("page", |text| word(text, &ScreenPage::ALL, ScreenPage::as_str)) })
    }
}

problems!(FeedProblems: RestaurantNotFound, InvalidParameter, TooManyStreams, Unavailable);

/// Follow a restaurant
///
/// Server-sent events: a `snapshot` of the live orders, then an `order` for each change of one, and a `call` for each call of
/// a number. `settings` tells of other settings. A `heartbeat` each ten seconds says that what was told is the present: a
/// screen that has had none for thirty seconds is not up to date. After a `reset` all that was told before is void; a
/// `snapshot` follows. `restaurant` in a snapshot says with `configured` whether the restaurant has settings of its own, as
/// each has from its first order on.
///
/// What is told was acknowledged, in the order in which it happened. A client that comes back with `Last-Event-ID`, as
/// browsers do, is told what it has missed, perhaps an event twice: of two states of an order the one with the higher
/// `version` holds. A key of role `screen` sees of an order what all guests may see.
#[utoipa::path(
    get, path = "/v1/restaurants/{restaurant_id}/feed", tag = "feed", operation_id = "follow_restaurant",
    params(RestaurantInPath, FeedQuery, LastEventIdInHeader),
    responses(
        (status = 200, description = "The events, without end.", body = String, content_type = "text/event-stream"),
        FeedProblems,
    ),
)]
pub(crate) async fn follow_restaurant(
    State(state): State<SharedState>,
    InPath(restaurant): InPath<RestaurantId>,
    Query(FeedQuery { page }): Query<FeedQuery>,
    CallerSight(sight): CallerSight,
    CallerKey(key): CallerKey,
    last: LastEventId<FeedPosition>,
) -> Result<Response, Problem> {
    let place = place(&state)?;
    let (opening, stream) = state.service.feed.open(restaurant, last.position).await?;
    let session = state.service.screens.opened(key.as_deref(), restaurant, page);
    let mut told = Told::new();
    match opening {
        Opening::New(snapshot) if last.is_unknown => told.begin_anew(ResetReason::UnknownPosition, &snapshot, sight),
        Opening::New(snapshot) => told.snapshot(&snapshot, sight),
        Opening::Missed(events) => events.iter().for_each(|event| told.event(event, sight)),
        Opening::Reset(reason, snapshot) => told.begin_anew(reason, &snapshot, sight),
    }
    let source = Source::Restaurant { stream: Box::new(stream), sight, _session: session };
    Ok(answer(&state, place, source, told, key))
}

problems!(ChainFeedProblems: InvalidParameter, TooManyStreams, Unavailable);

/// Follow the whole chain
///
/// As the feed of a restaurant, of all of them: `order`, `call` and `settings` events, each of which names its restaurant. It
/// begins with a `snapshot` without orders. The id of a `heartbeat` says how far all restaurants were told; a client that comes
/// back with it may be told some events twice, with the orders as they are now. A `reset` later than at the beginning ends the
/// stream.
#[utoipa::path(
    get, path = "/v1/feed", tag = "feed", operation_id = "follow_chain",
    params(LastEventIdInHeader),
    responses(
        (status = 200, description = "The events, without end.", body = String, content_type = "text/event-stream"),
        ChainFeedProblems,
    ),
)]
pub(crate) async fn follow_chain(
    State(state): State<SharedState>,
    Query(NoQuery {}): Query<NoQuery>,
    CallerKey(key): CallerKey,
    last: LastEventId<ChainPosition>,
) -> Result<Response, Problem> {
    let place = place(&state)?;
    let (opening, position, stream) = state.service.feed.open_chain(last.position).await?;
    let mut told = Told::new();
    let position = position.to_string();
    let at = state.service.feed.now()?;
    match opening {
        ChainOpening::New if last.is_unknown => told.reset(ResetReason::UnknownPosition),
        ChainOpening::Reset(reason) => told.reset(reason),
        ChainOpening::New | ChainOpening::Missed(_) => {}
    }
    match opening {
        ChainOpening::Missed(events) => {
            events.iter().for_each(|event| told.chain_event(event));
            if stream.is_present() {
                told.0.push_back(frame("heartbeat", Some(&position), &Heartbeat { at }));
            }
        }
        ChainOpening::New | ChainOpening::Reset(_) => {
            told.0.push_back(frame("snapshot", Some(&position), &Heartbeat { at }));
        }
    }
    Ok(answer(&state, place, Source::Chain(Box::new(stream)), told, key))
}

/// A stream's place among those that this daemon may have.
fn place(state: &SharedState) -> Result<OwnedSemaphorePermit, Problem> {
    state
        .streams
        .clone()
        .try_acquire_owned()
        .map_err(|_| Problem::plain(Code::TooManyStreams).retry_after(Some(RETRY_WITHOUT_PLACE_SECONDS)))
}

fn answer(
    state: &SharedState,
    place: OwnedSemaphorePermit,
    source: Source,
    told: Told,
    key: Option<Arc<ApiKey>>,
) -> Response {
    let mut heartbeat = interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let counted = metrics::feed_stream_open(source.scope());
    let teller = Teller {
        source,
        told,
        heartbeat,
        key: key.map(|key| state.service.keys.ring().watch(key)),
        closing: state.closing.clone(),
        feed: state.service.feed.clone(),
        ended: false,
        _counted: counted,
        _place: place,
    };
    let body = unfold(Box::new(teller), |mut teller| async {
        let bytes = teller.next().await?;
        Some((Ok::<_, Infallible>(bytes), teller))
    });
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        // nginx passes on what it is given at once only where this says so.
        (header::HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    let mut response = (headers, Body::from_stream(body)).into_response();
    response.extensions_mut().insert(Endless { speaks_every: HEARTBEAT });
    response
}

/// Where a stream's events come from.
enum Source {
    Restaurant {
        stream: Box<RestaurantStream>,
        sight: Sight,
        /// Says that a screen is connected.
        _session: ScreenStream,
    },
    Chain(Box<ChainStream>),
}

impl Source {
    const fn scope(&self) -> FeedScope {
        match self {
            Self::Restaurant { .. } => FeedScope::Restaurant,
            Self::Chain(_) => FeedScope::Chain,
        }
    }

    async fn next(&mut self) -> Result<Arc<FeedEvent>, ResetReason> {
        match self {
            Self::Restaurant { stream, .. } => stream.next().await.map_err(|TooSlow| ResetReason::Slow),
            Self::Chain(stream) => stream.next().await,
        }
    }
}

/// Tells a stream's events one after the other, until the client, the daemon or the key ends it.
struct Teller {
    source: Source,
    told: Told,
    heartbeat: Interval,
    key: Option<KeyWatch>,
    closing: CancellationToken,
    feed: Feed,
    ended: bool,
    _counted: Counted,
    _place: OwnedSemaphorePermit,
}

/// What happens next to a stream.
enum Next {
    Event(Result<Arc<FeedEvent>, ResetReason>),
    Heartbeat,
    Closing,
    KeyEnded,
}

impl Teller {
    /// What goes over the wire next; None at the end.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(bytes) = self.told.0.pop_front() {
                return Some(bytes);
            }
            if self.ended {
                return None;
            }
            let key = async {
                match &mut self.key {
                    Some(key) => key.ended().await,
                    None => std::future::pending().await,
                }
            };
            let next = tokio::select! {
                () = self.closing.cancelled() => Next::Closing,
                event = self.source.next() => Next::Event(event),
                _ = self.heartbeat.tick() => Next::Heartbeat,
                () = key => Next::KeyEnded,
            };
            match next {
                Next::Event(Ok(event)) => self.tell(&event),
                // Rare, and long: a stream that only waits is not to have room for it.
                Next::Event(Err(reason)) => Box::pin(self.begin_anew(reason)).await,
                Next::Heartbeat => self.beat(),
                Next::Closing => {
                    self.told.retry(RETRY_AFTER_CLOSING_MS);
                    self.end(ResetReason::Closing);
                }
                // Without a word: the client comes back, and is told then why it may not come in.
                Next::KeyEnded => self.ended = true,
            }
        }
    }

    fn tell(&mut self, event: &FeedEvent) {
        match &self.source {
            Source::Restaurant { sight, .. } => self.told.event(event, *sight),
            Source::Chain(_) => self.told.chain_event(event),
        }
    }

    /// Something was missed, and is not kept for the stream.
    async fn begin_anew(&mut self, reason: ResetReason) {
        match &mut self.source {
            Source::Restaurant { stream, sight, .. } => match stream.begin_anew().await {
                Ok(snapshot) => self.told.begin_anew(reason, &snapshot, *sight),
                Err(error) => {
                    tracing::debug!(%error, "a stream that missed something ends");
                    self.end(reason);
                }
            },
            // It comes back with the id of its last heartbeat.
            Source::Chain(_) => self.end(reason),
        }
    }

    fn end(&mut self, reason: ResetReason) {
        self.told.reset(reason);
        self.ended = true;
    }

    /// Says that what was told is the present, where it is. Where it is not, the connection alone is kept up.
    fn beat(&mut self) {
        let is_good = self.key.as_ref().is_none_or(|key| self.feed.now().is_ok_and(|now| key.is_good_at(now)));
        if !is_good {
            self.ended = true;
            return;
        }
        let (is_present, id) = match &mut self.source {
            Source::Restaurant { stream, .. } => (stream.is_present(), None),
            Source::Chain(stream) => {
                let is_present = stream.is_present();
                match stream.catch_up() {
                    Ok(CaughtUp { events, position }) => {
                        events.iter().for_each(|event| self.told.chain_event(event));
                        (is_present, Some(position.to_string()))
                    }
                    Err(reason) => return self.end(reason),
                }
            }
        };
        let beat = self.feed.now().ok().filter(|_| is_present);
        self.told.0.push_back(match beat {
            Some(at) => frame("heartbeat", id.as_deref(), &Heartbeat { at }),
            None => Bytes::from_static(b": not up to date\n\n"),
        });
    }
}

/// What is still to go over the wire.
struct Told(VecDeque<Bytes>);

impl Told {
    fn new() -> Self {
        let mut told = Self(VecDeque::with_capacity(2));
        told.retry(RETRY_MS);
        told
    }

    fn retry(&mut self, range: std::ops::Range<u64>) {
        let ms = rand::rng().random_range(range);
        self.0.push_back(Bytes::from(format!("retry: {ms}\n\n")));
    }

    fn snapshot(&mut self, snapshot: &Snapshot, sight: Sight) {
        self.0.push_back(snapshot.wire.bytes(sight, || {
            frame("snapshot", Some(&snapshot.position.to_string()), &SnapshotJson::of(snapshot, sight))
        }));
    }

    fn reset(&mut self, reason: ResetReason) {
        metrics::feed_reset(reason.as_str());
        self.0.push_back(frame("reset", None, &ResetJson { reason: reason.as_str() }));
    }

    fn begin_anew(&mut self, reason: ResetReason, snapshot: &Snapshot, sight: Sight) {
        self.reset(reason);
        self.snapshot(snapshot, sight);
    }

    fn event(&mut self, event: &FeedEvent, sight: Sight) {
        match &event.news {
            News::Reset(reason, snapshot) => self.begin_anew(*reason, snapshot, sight),
            _ => self.0.push_back(event.wire.bytes(sight, || told(event, sight, true))),
        }
    }

    /// An event without an id: only heartbeats have one that says how far the whole chain was told.
    fn chain_event(&mut self, event: &FeedEvent) {
        self.0.push_back(event.chain_wire.bytes(Sight::Whole, || told(event, Sight::Whole, false)));
    }
}

/// The frames of an event.
fn told(event: &FeedEvent, sight: Sight, with_id: bool) -> Bytes {
    let id = with_id.then(|| event.position.to_string());
    let id = id.as_deref();
    match &event.news {
        News::Order { kind, order, call } => {
            let order = OrderJson::from(sight.sees((**order).clone()));
            // A client that is cut off before the call must not seem to have heard it.
            let own_id = id.filter(|_| call.is_none());
            let mut frames = frame("order", own_id, &OrderEventJson { kind, order: &order, at: event.at });
            if let Some(call) = call {
                let place = call.place.as_deref();
                let called = frame("call", id, &CallJson { order: &order, place, at: event.at });
                frames = [frames, called].concat().into();
            }
            frames
        }
        News::Settings(settings) => {
            frame("settings", id, &SettingsJson { restaurant: RestaurantJson::of(event.restaurant, settings, true) })
        }
        // It has a snapshot of its own for each sight.
        News::Reset(..) => Bytes::new(),
    }
}

/// One event, as it goes over the wire. JSON has no line breaks of its own.
fn frame(name: &str, id: Option<&str>, data: &impl Serialize) -> Bytes {
    let mut frame = format!("event: {name}\n").into_bytes();
    if let Some(id) = id {
        frame.extend_from_slice(b"id: ");
        frame.extend_from_slice(id.as_bytes());
        frame.push(b'\n');
    }
    frame.extend_from_slice(b"data: ");
    if let Err(error) = serde_json::to_writer(&mut frame, data) {
        tracing::error!(%error, "an event cannot be written");
    }
    frame.extend_from_slice(b"\n\n");
    frame.into()
}

#[derive(Serialize)]
struct Heartbeat {
    at: Timestamp,
}

#[derive(Serialize)]
struct ResetJson {
    reason: &'static str,
}

#[derive(Serialize)]
struct OrderEventJson<'a> {
    kind: &'a str,
    order: &'a OrderJson,
    at: Timestamp,
}

#[derive(Serialize)]
struct CallJson<'a> {
    order: &'a OrderJson,
    place: Option<&'a str>,
    at: Timestamp,
}

#[derive(Serialize)]
struct SettingsJson {
    restaurant: RestaurantJson,
}

/// What pages need to know of a restaurant.
#[derive(Serialize)]
struct RestaurantJson {
    id: u32,
    /// Whether it has settings of its own, as each has from its first order on.
    configured: bool,
    name: Option<String>,
    languages: Vec<LanguageTag>,
    accent_colour: Option<Colour>,
    background_colour: Option<Colour>,
    max_calls: u32,
    time_zone: String,
    cooldown_seconds: u32,
}

impl RestaurantJson {
    fn of(restaurant: RestaurantId, settings: &PoolSettings, configured: bool) -> Self {
        Self {
            id: restaurant.get(),
            configured,
            name: settings.name.clone(),
            languages: settings.languages.clone(),
            accent_colour: settings.accent_colour,
            background_colour: settings.background_colour,
            max_calls: settings.max_calls,
            time_zone: settings.time_zone.to_string(),
            cooldown_seconds: settings.cooldown_seconds,
        }
    }
}

#[derive(Serialize)]
struct SnapshotJson {
    restaurant: RestaurantJson,
    at: Timestamp,
    orders: Vec<OrderJson>,
    pool: PoolJson,
}

#[derive(Serialize)]
struct PoolJson {
    size: u32,
    free: u32,
    live: u32,
    cooling: u32,
    utilization: f64,
}

impl SnapshotJson {
    fn of(snapshot: &Snapshot, sight: Sight) -> Self {
        let PoolOccupancy { capacity, free, live, cooling, utilization, .. } = snapshot.occupancy;
        Self {
            restaurant: RestaurantJson::of(snapshot.restaurant, &snapshot.settings, snapshot.is_configured),
            at: snapshot.at,
            orders: sight.sees_all(snapshot.orders.clone()).into_iter().map(OrderJson::from).collect(),
            pool: PoolJson { size: capacity, free, live, cooling, utilization },
        }
    }
}

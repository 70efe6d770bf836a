//! The one middleware: what every request goes through, whatever its route.
//!
//! One function instead of a stack of layers, because each layer costs every request: request id, span, limits, panics,
//! problem bodies and metrics all happen here.

pub(super) mod access;
pub(super) mod auth;
pub(super) mod caller;
pub(super) mod change;
pub(super) mod conditions;
pub(super) mod cookie;
pub(super) mod cors;
pub(super) mod host;
pub(super) mod load;
pub(super) mod request_id;
pub(super) mod same_origin;
pub(super) mod spelling;

use std::{
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    body::{Body, Bytes, HttpBody},
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use futures_util::{FutureExt, StreamExt};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tracing::{
    Instrument,
    field::{self, Empty},
};

use self::{
    auth::Doorkeeper,
    change::panic_message,
    cors::AllowedOrigins,
    host::{Hosts, Names},
    load::Load,
    request_id::{RequestId, X_REQUEST_ID},
};
use super::{code::Code, listen::arrival::Arrival, problem::Problem};
use crate::{
    config::HttpSettings,
    domain::BasePath,
    telemetry::{self, TraceParent},
};

/// The longest path and query together, in bytes.
const MAX_URI_BYTES: usize = 8 * 1024;

/// What the middleware holds its requests against.
#[derive(Clone)]
pub(crate) struct Edge {
    settings: Arc<HttpSettings>,
    hosts: Hosts,
    origins: AllowedOrigins,
    doorkeeper: Doorkeeper,
    load: Arc<Load>,
    /// See [`MOST_LONG_BODIES`].
    long_bodies: Arc<Semaphore>,
}

impl Edge {
    pub(crate) fn new(settings: Arc<HttpSettings>, hosts: Hosts, doorkeeper: Doorkeeper) -> Self {
        let load = Arc::new(Load::new(settings.max_concurrent_requests, settings.queue_timeout()));
        let origins = AllowedOrigins::new(&settings.allowed_origins);
        let long_bodies = Arc::new(Semaphore::new(MOST_LONG_BODIES));
        Self { settings, hosts, origins, doorkeeper, load, long_bodies }
    }
}

/// The middleware; see the module.
pub(crate) async fn edge(State(edge): State<Edge>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let request_id = RequestId::of(request.headers());
    request.extensions_mut().insert(request_id.clone());
    let matched = request.extensions().get::<MatchedPath>().cloned();
    let route = matched.as_ref().map_or("unmatched", MatchedPath::as_str);
    let method = method_label(request.method());
    let origin = edge.origins.of(request.headers()).cloned();
    // None where there is no connection, as in a unit test.
    let client = request.extensions().get().and_then(|arrival: &Arrival| arrival.client).map(field::display);
    let caller = trace_parent(request.headers());
    if let Some(caller) = caller {
        request.extensions_mut().insert(caller);
    }
    let span = tracing::info_span!(
        "request",
        method,
        route,
        client,
        request_id = request_id.as_str(),
        trace_id = caller.map(|caller| field::display(format!("{:032x}", caller.trace_id()))),
        durability = Empty,
        status = Empty,
        code = Empty
    );
    telemetry::begin(&span, caller.as_ref());

    let prefix = request.extensions().get::<BasePath>().cloned();
    let mut response = answer(&edge, route, request, next).instrument(span.clone()).await;
    if let Some(code) = Problem::write_body(&mut response, request_id.as_str()) {
        span.record("code", code.as_str());
        crate::metrics::problem(code.as_str());
    }
    let headers = response.headers_mut();
    if let Some(prefix) = prefix {
        refer_under(&prefix, headers);
    }
    headers.insert(X_REQUEST_ID, request_id.into_header());
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // What a till shows must be what is true now.
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    edge.origins.let_read(origin, headers);

    let status = response.status();
    let elapsed = started.elapsed();
    span.record("status", status.as_u16());
    tracing::debug!(parent: &span, elapsed_us = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX), "answered");
    super::observe(route, method, status, elapsed);
    response
}

/// Puts the path under which a proxy serves the daemon before what an answer refers to.
fn refer_under(prefix: &BasePath, headers: &mut HeaderMap) {
    let location = headers.get(header::LOCATION).and_then(|location| location.to_str().ok());
    let under = location.filter(|path| path.starts_with('/')).map(|path| format!("{prefix}{path}"));
    if let Some(under) = under.and_then(|under| HeaderValue::try_from(under).ok()) {
        headers.insert(header::LOCATION, under);
    }
}

/// The caller's span in its trace. A header that is not valid, or there twice, counts as none.
fn trace_parent(headers: &HeaderMap) -> Option<TraceParent> {
    let mut values = headers.get_all("traceparent").iter();
    let parent = values.next()?.to_str().ok()?.parse().ok()?;
    values.next().is_none().then_some(parent)
}

async fn answer(edge: &Edge, route: &str, request: Request, next: Next) -> Response {
    let Edge { settings, .. } = edge;
    if request.uri().path_and_query().is_some_and(|uri| uri.as_str().len() > MAX_URI_BYTES) {
        return Problem::plain(Code::UriTooLong).into_response();
    }
    // Before the body is waited for, which what comes from a stranger's page does not get to send.
    if let Err(problem) = keep_strangers_out(edge, route, &request) {
        return refused(problem, request).await;
    }
    // It has no key, and is told nothing of what one is needed for.
    if cors::is_preflight(&request) && edge.origins.of(request.headers()).is_some() {
        return cors::preflight(request.headers());
    }
    let request = match read_whole(edge, route, request).await {
        Ok(request) => request,
        Err(problem) => return last(problem),
    };
    let answered = admitted(edge, route, request, next);
    match timeout(settings.request_timeout(), AssertUnwindSafe(answered).catch_unwind()).await {
        Ok(Ok(response)) => response,
        Ok(Err(panic)) => {
            tracing::error!(panic = panic_message(panic.as_ref()), "a handler panicked");
            Problem::plain(Code::Internal).into_response()
        }
        Err(_) => {
            tracing::warn!("no answer in time");
            Problem::plain(Code::Timeout).retry_after(Some(1)).into_response()
        }
    }
}

/// Turns away what a page of another site may have sent, by its names and its origin. A page of an allowed origin has to
/// call by a good name all the same.
fn keep_strangers_out(edge: &Edge, route: &str, request: &Request) -> Result<(), Problem> {
    let arrival = request.extensions().get().copied().unwrap_or_default();
    let names = Names::of(request.version(), request.uri(), request.headers(), &arrival)?;
    edge.hosts.check(route, &names, &arrival)?;
    if edge.origins.of(request.headers()).is_some() {
        return Ok(());
    }
    same_origin::check(request.method(), route, request.headers(), &names, &arrival)
}

/// How long a body that is not wanted is read: long enough for one that came with its head, so that the client gets to
/// read the answer and can go on.
const UNWANTED_BODY: Duration = Duration::from_millis(50);

/// Answers a request without having read its body.
async fn refused(problem: Problem, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    if body.is_end_stream() {
        return problem.into_response();
    }
    // A client that waits for "100 Continue" sends nothing.
    let nothing_comes = parts.headers.contains_key(header::EXPECT);
    if !nothing_comes && matches!(timeout(UNWANTED_BODY, drain(body)).await, Ok(true)) {
        return problem.into_response();
    }
    last(problem)
}

/// Reads a body and throws it away; whether it came to its end.
async fn drain(body: Body) -> bool {
    let mut chunks = body.into_data_stream();
    let mut seen = 0;
    while let Some(chunk) = chunks.next().await {
        seen += chunk.map_or(MAX_DRAINED_BYTES, |chunk| chunk.len());
        if seen >= MAX_DRAINED_BYTES {
            return false;
        }
    }
    true
}

/// The last answer over a connection: part of the body may still be on its way, so that nothing else can be asked.
fn last(problem: Problem) -> Response {
    ([(header::CONNECTION, HeaderValue::from_static("close"))], problem).into_response()
}

/// Shows the request to the doorkeeper, and if it may come in, answers it when there is a permit for it.
async fn admitted(Edge { doorkeeper, load, .. }: &Edge, route: &str, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    // Before a permit is asked for: requests that are refused, which may take a moment, take no permit from others.
    if let Err(problem) = doorkeeper.admit(&mut parts).await {
        return problem.into_response();
    }
    if let Err(problem) =
        spelling::check(&parts.headers).and_then(|()| conditions::check(&parts.method, route, &parts.headers))
    {
        return problem.into_response();
    }
    // Not before the body is here: slow clients must not take the permits of others.
    let Ok(admitted) = load.admit(&parts.method, route).await else {
        return Problem::plain(Code::Overloaded).retry_after(Some(1)).into_response();
    };
    load::within(admitted, next.run(Request::from_parts(parts, body))).await
}

/// Paths whose bodies may be long. A restaurant's settings may be a list of thousands of blocked numbers: all that a range
/// up to 9999 can have, in lines of their own. An order may have fifty items, in letters of any script.
const LONG_BODY_ROUTES: [&str; 4] = [
    "/v1/restaurants/{restaurant_id}",
    "/v1/restaurants/{restaurant_id}/orders",
    "/v1/orders/{internal_order_id}",
    "/v1/orders/{internal_order_id}/status",
];
const LONG_BODY_BYTES: usize = 128 * 1024;
/// Bodies beyond the limit of other routes that are here at a time: they are read before the caller's key is looked at,
/// so many clients at once must not fill the memory with them.
const MOST_LONG_BODIES: usize = 32;

/// Reads the body at the door, whatever the route: so its limit holds everywhere, and no answer leaves bytes unread
/// behind it, for which the connection would be reset under the client.
async fn read_whole(edge: &Edge, route: &str, request: Request) -> Result<Request, Problem> {
    if request.body().is_end_stream() {
        return Ok(request);
    }
    let (mut parts, body) = request.into_parts();
    let usual = edge.settings.max_body_bytes;
    let most_bytes = if LONG_BODY_ROUTES.contains(&route) { usual.max(LONG_BODY_BYTES) } else { usual };
    // A client that waits for "100 Continue" is told before it sends anything.
    let declared = body.size_hint().lower();
    if declared > most_bytes as u64 && parts.headers.contains_key(header::EXPECT) {
        return Err(too_large(most_bytes));
    }
    let (bytes, permit) = timeout(edge.settings.body_timeout(), collect(body, most_bytes, edge))
        .await
        .map_err(|_| Problem::plain(Code::BodyTimeout))??;
    // Until the request is done with.
    if let Some(permit) = permit {
        parts.extensions.insert(Arc::new(permit));
    }
    Ok(Request::from_parts(parts, Body::from(bytes)))
}

/// How much of a body that is too large is read and thrown away, so that the client gets to read the answer.
const MAX_DRAINED_BYTES: usize = 16 * 1024 * 1024;

async fn collect(body: Body, most_bytes: usize, edge: &Edge) -> Result<(Bytes, Option<OwnedSemaphorePermit>), Problem> {
    let mut chunks = body.into_data_stream();
    let mut permit = None;
    let mut kept = Vec::new();
    let mut seen = 0;
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| {
            tracing::debug!(%error, "a body broke off");
            Problem::new(Code::MalformedRequest, "The body could not be read to its end; send it again.")
        })?;
        seen += chunk.len();
        if seen <= most_bytes {
            if seen > edge.settings.max_body_bytes && permit.is_none() {
                permit = edge.long_bodies.clone().acquire_owned().await.ok();
            }
            kept.extend_from_slice(&chunk);
        } else if seen > MAX_DRAINED_BYTES {
            break;
        }
    }
    if seen > most_bytes { Err(too_large(most_bytes)) } else { Ok((kept.into(), permit)) }
}

fn too_large(most_bytes: usize) -> Problem {
    Problem::new(Code::BodyTooLarge, format!("The body has more than {most_bytes} bytes; send less."))
}

/// The method as a label: callers can invent methods, and labels must not grow with them.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

/// Answers an address that does not exist.
pub(crate) async fn not_found() -> Problem {
    Problem::plain(Code::NotFound)
}

/// Answers a method that an address does not have; axum adds the `Allow` header.
pub(crate) async fn method_not_allowed() -> Problem {
    Problem::plain(Code::MethodNotAllowed)
}

/// Turns another library's bare 404 into ours.
pub(crate) async fn missing_as_problem(response: Response) -> Response {
    if response.status() == StatusCode::NOT_FOUND { not_found().await.into_response() } else { response }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use axum::{
        Router,
        routing::{get, post},
    };

    use super::*;
    use crate::http::testing::{self, json_body, request, send};

    fn app() -> Router {
        let routes = Router::new()
            .route("/ok", get(|| async { "ok" }))
            .route("/echo", post(|body: Bytes| async move { body }))
            .route("/panic", get(|| async { panic!("on purpose") as &'static str }))
            .route("/never", get(|| async { std::future::pending::<&'static str>().await }));
        testing::behind_the_edge(routes, HttpSettings { request_timeout_ms: 20, ..testing::settings() })
    }

    #[tokio::test]
    async fn a_sane_request_id_is_kept_and_another_replaced() {
        let long = "x".repeat(65);
        for (sent, kept) in
            [("till-7.42_a", true), ("", false), ("a b", false), ("é", false), (&long, false), ("x\"y", false)]
        {
            let response = send(&app(), request("GET", "/ok").header("X-Request-Id", sent).body(Body::empty())).await;
            let got = response.headers()[X_REQUEST_ID].to_str().expect("ASCII").to_owned();
            assert_eq!(got == sent, kept, "{sent:?} {got:?}");
            assert!(kept || got.len() == 16, "{got}");
        }
    }

    #[tokio::test]
    async fn every_problem_carries_the_request_id() {
        let sent = request("GET", "/nothing").header("X-Request-Id", "r1").body(Body::empty());
        let response = send(&app(), sent).await;
        assert_eq!(response.status(), 404);
        let body = json_body(response).await;
        assert_eq!((&body["code"], &body["request_id"]), (&"not_found".into(), &"r1".into()));
    }

    #[tokio::test]
    async fn a_wrong_method_names_the_right_ones() {
        let response = send(&app(), request("DELETE", "/echo").body(Body::empty())).await;
        assert_eq!(response.status(), 405);
        assert_eq!(response.headers()[header::ALLOW], "POST");
        assert_eq!(json_body(response).await["code"], "method_not_allowed");
    }

    #[tokio::test]
    async fn a_panic_is_an_internal_problem() {
        let response = send(&app(), request("GET", "/panic").body(Body::empty())).await;
        assert_eq!(response.status(), 500);
        let body = json_body(response).await;
        assert_eq!(body["code"], "internal");
        assert!(!body.to_string().contains("on purpose"));
    }

    #[tokio::test]
    async fn a_slow_answer_is_given_up() {
        let response = send(&app(), request("GET", "/never").body(Body::empty())).await;
        assert_eq!(
            (response.status().as_u16(), &response.headers()[header::RETRY_AFTER]),
            (503, &HeaderValue::from_static("1"))
        );
        assert_eq!(json_body(response).await["code"], "timeout");
    }

    #[tokio::test]
    async fn bodies_are_limited_with_and_without_a_length() {
        let chunked = |bytes: usize| {
            let chunks = (0..bytes).step_by(1000).map(move |at| (bytes - at).min(1000)).map(|size| vec![b'x'; size]);
            Body::from_stream(futures_util::stream::iter(chunks.map(Ok::<_, Infallible>)))
        };
        for (body, status) in [
            (Body::from(vec![b'x'; 16 * 1024]), 200),
            (Body::from(vec![b'x'; 16 * 1024 + 1]), 413),
            (chunked(16 * 1024), 200),
            (chunked(16 * 1024 + 1), 413),
            (chunked(20 * 1024 * 1024), 413),
        ] {
            let response = send(&app(), request("POST", "/echo").body(body)).await;
            assert_eq!(response.status().as_u16(), status);
        }
    }

    #[tokio::test]
    async fn a_broken_or_endless_body_is_refused() {
        let broken = Body::from_stream(futures_util::stream::iter([Err::<Bytes, _>(std::io::Error::other("gone"))]));
        assert_eq!(send(&app(), request("POST", "/echo").body(broken)).await.status(), 400);

        let limits = HttpSettings { body_timeout_ms: 20, ..testing::settings() };
        let app = testing::behind_the_edge(Router::new().route("/", post(|| async { "ok" })), limits);
        let endless = Body::from_stream(futures_util::stream::pending::<Result<Bytes, Infallible>>());
        assert_eq!(send(&app, request("POST", "/").body(endless)).await.status(), 408);
    }

    #[tokio::test]
    async fn a_gigantic_address_is_refused() {
        let response = send(&app(), request("GET", &format!("/ok?{}", "x".repeat(9000))).body(Body::empty())).await;
        assert_eq!(response.status(), 414);
        assert_eq!(json_body(response).await["code"], "uri_too_long");
    }

    /// What a stranger's page sends for its reader.
    fn cross_site(path: &str) -> axum::http::request::Builder {
        request("POST", path).header("Origin", "https://evil.example").header("Sec-Fetch-Site", "cross-site")
    }

    #[tokio::test]
    async fn a_request_of_a_strangers_page_needs_no_body_to_be_refused() {
        let limits = HttpSettings { body_timeout_ms: 3_600_000, ..testing::settings() };
        let app = testing::behind_the_edge(Router::new().route("/", post(|| async { "ok" })), limits);
        let endless = || Body::from_stream(futures_util::stream::pending::<Result<Bytes, Infallible>>());
        let broken = || Body::from_stream(futures_util::stream::iter([Err::<Bytes, _>(std::io::Error::other("gone"))]));
        for (body, expects, is_last) in [
            (Body::empty(), false, false),
            (Body::from("{}"), false, false),
            (endless(), false, true),
            (endless(), true, true),
            (broken(), false, true),
            (Body::from(vec![b'x'; MAX_DRAINED_BYTES]), false, true),
        ] {
            let mut sent = cross_site("/");
            if expects {
                sent = sent.header("Expect", "100-continue");
            }
            let response = send(&app, sent.body(body)).await;
            assert_eq!(response.headers().contains_key(header::CONNECTION), is_last);
            assert!(!response.headers().iter().any(|(name, _)| name.as_str().starts_with("access-control-")));
            let body = json_body(response).await;
            assert_eq!((&body["status"], &body["code"]), (&403.into(), &"cross_origin_request".into()));
        }
    }

    #[tokio::test]
    async fn what_comes_first_is_said_first() {
        let of = async |sent: axum::http::request::Builder| {
            json_body(send(&app(), sent.body(Body::empty())).await).await["code"].as_str().map(str::to_owned)
        };
        let elsewhere = |path: &str| axum::http::Request::builder().uri(path).header("Host", "evil.example");
        let long = format!("/ok?{}", "x".repeat(9000));
        for (sent, code) in [
            (elsewhere(&long), "uri_too_long"),
            (elsewhere("/ok").header("Host", "localhost"), "malformed_request"),
            (elsewhere("/ok").method("POST").header("Origin", "null"), "misdirected_request"),
            (elsewhere("/nothing"), "misdirected_request"),
            (cross_site("/nothing"), "cross_origin_request"),
            (cross_site("/ok"), "cross_origin_request"),
            (cross_site("/ok").method("OPTIONS"), "cross_origin_request"),
        ] {
            assert_eq!(of(sent).await.as_deref(), Some(code));
        }
        assert_eq!(send(&app(), cross_site("/ok").method("GET").body(Body::empty())).await.status(), 200);
    }

    #[tokio::test]
    async fn what_an_answer_refers_to_lies_under_the_path_of_the_proxy() {
        let to = |location: &'static str| get(move || async move { [(header::LOCATION, location)] });
        let routes = Router::new().route("/path", to("/v1/orders/7")).route("/other", to("https://shop.example/"));
        let app = testing::behind_the_edge(routes, testing::settings());
        for (path, prefix, location) in [
            ("/path", "/shop/orders", Some("/shop/orders/v1/orders/7")),
            ("/path", "", Some("/v1/orders/7")),
            ("/other", "/shop", Some("https://shop.example/")),
            ("/nothing", "/shop", None),
        ] {
            let prefix = BasePath::parse(prefix).expect("a base path");
            let response = send(&app, request("GET", path).extension(prefix).body(Body::empty())).await;
            let found = response.headers().get(header::LOCATION).and_then(|found| found.to_str().ok());
            assert_eq!(found, location, "{path}");
        }
    }

    #[tokio::test]
    async fn invented_methods_share_a_label() {
        assert_eq!(method_label(&Method::from_bytes(b"BREW").expect("a method")), "other");
    }
}

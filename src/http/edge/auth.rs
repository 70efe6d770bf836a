//! Authentication: the API key of each request, and whether it is good for what is asked.
//!
//! A key is in the Authorization header; that of a screen may be in a cookie, which counts where there is no such header, and
//! for pages of this service alone.
//!
//! Accepting costs a hash, a look-up in memory and a comparison. Every refusal of a key that was shown, whatever its
//! reason, first waits for the end of the next renewal of the ring: a new key is found by then, and how long a refusal
//! takes tells nothing of why. Nor do its words.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::MatchedPath,
    http::{HeaderMap, HeaderValue, header, request::Parts},
};
use uuid::Uuid;

use super::{
    access::{self, Access, Rule, Subject},
    cookie::{self, ScreenCookie},
    same_origin,
};
use crate::{
    domain::{ApiKey, KeyDigest, RestaurantId, Role, Scope},
    http::{
        code::Code,
        extract::{LegacySearchQuery, LookupQuery, admit, in_path, in_query, names_any},
        problem::Problem,
    },
    metrics::{self, AuthOutcome},
    service::{HeldKey, Renewed, Service, ServiceError},
    telemetry,
};

/// Seconds after which to try again with a key that could not be checked.
const RETRY_AFTER_SECONDS: u64 = 2;

/// What lets requests in.
#[derive(Clone)]
pub(crate) struct Doorkeeper(Option<Arc<Service>>);

/// Why a key is not let in.
enum Refused {
    Unknown,
    Expired,
    Forbidden,
    /// The cookie, from a page that is not of this service.
    ForeignPage,
    RateLimited(Duration),
    Unavailable(Problem),
}

impl Doorkeeper {
    /// Lets every request in: no keys are in force.
    pub(crate) fn without_keys() -> Self {
        Self(None)
    }

    /// Asks every client for a key of this service's ring, which a task has to keep up to date.
    pub(crate) fn asking_for_keys(service: Arc<Service>) -> Self {
        Self(Some(service))
    }

    /// Lets a request in, or gives the answer that turns it away. A client that is let in is named in the request's
    /// extensions; the key itself goes no further than here.
    pub(crate) async fn admit(&self, parts: &mut Parts) -> Result<(), Problem> {
        let shown = take_key(&mut parts.headers);
        let cookie = cookie::take(&mut parts.headers);
        let Some(service) = &self.0 else { return admit_without_key(parts) };
        // Nothing is at this address, which is no secret.
        let Some(route) = parts.extensions.get::<MatchedPath>().cloned() else { return Ok(()) };
        let rule = match access::find(&parts.method, route.as_str()) {
            Access::Rule(rule) if rule.roles.is_empty() => return admit_openly(parts, cookie),
            Access::Rule(rule) => rule,
            Access::OtherMethods(methods) => return Err(Problem::other_methods(&methods)),
            Access::Unlisted => {
                tracing::error!(route = route.as_str(), "a route has no row in the table of access");
                return Err(Problem::plain(Code::Forbidden));
            }
        };
        let (shown, cookie) = match (shown, cookie) {
            (Shown::Nothing, Some(cookie)) => (Shown::Key(Some(cookie.key().digest())), Some(cookie)),
            (shown, _) => (shown, None),
        };
        let judged = match shown {
            Shown::Nothing => Err(Refused::Unknown),
            Shown::Key(_) if cookie.is_some() && !cookie::is_of_own_page(parts) => Err(Refused::ForeignPage),
            Shown::Key(digest) => judge_in_time(service, digest.as_ref(), rule, parts).await,
        };
        // The cookie of a browser is for what its pages show, whichever key a person puts there.
        let judged = judged.and_then(|key| {
            let is_screen = matches!(key.is.role, Role::Screen | Role::Kitchen);
            if cookie.is_some() && !is_screen { Err(Refused::Forbidden) } else { Ok(key) }
        });
        metrics::authenticated(outcome(&judged));
        match judged {
            Ok(key) => {
                if let Some(cookie) = cookie {
                    parts.extensions.insert(cookie);
                }
                admit(parts, key);
                Ok(())
            }
            Err(refused) => Err(refused.into_problem()),
        }
    }
}

/// Lets in where no key is needed. What a screen has in its cookie may be no key yet: the handlers of pairings look at it.
/// Pages of other origins, allowed ones too, neither use the cookie nor have another one set.
fn admit_openly(parts: &mut Parts, cookie: Option<ScreenCookie>) -> Result<(), Problem> {
    let changes = !parts.method.is_safe();
    if (cookie.is_none() && !changes) || cookie::is_of_own_page(parts) {
        if let Some(cookie) = cookie {
            parts.extensions.insert(cookie);
        }
        return Ok(());
    }
    // A client that is no browser has no cookies.
    if changes && (cookie.is_some() || same_origin::is_of_a_page(&parts.headers)) {
        return Err(Problem::plain(Code::CrossOriginRequest));
    }
    Ok(())
}

/// Lets in where no keys are asked for, as a part of the caller's trace. There is no ring then either to hold a key
/// against.
fn admit_without_key(parts: &Parts) -> Result<(), Problem> {
    telemetry::follow(parts.extensions.get());
    let route = parts.extensions.get::<MatchedPath>().map_or("", MatchedPath::as_str);
    match access::find(&parts.method, route) {
        Access::Rule(rule) if rule.never_without_key => Err(Problem::new(
            Code::Unauthenticated,
            "Keys are made and revoked by callers with a key only, those of screens too, and this daemon asks for none: make \
             the first key with `nowserving keys create --name NAME --role admin`, and revoke one with `nowserving keys revoke`.",
        )),
        _ => Ok(()),
    }
}

/// What a request shows at the door.
enum Shown {
    Nothing,
    /// The digest of its key; None for what cannot be one.
    Key(Option<KeyDigest>),
}

/// Takes the key out of the headers, so that nothing behind this can log it.
fn take_key(headers: &mut HeaderMap) -> Shown {
    let values: Vec<HeaderValue> = headers.get_all(header::AUTHORIZATION).iter().cloned().collect();
    headers.remove(header::AUTHORIZATION);
    match values.as_slice() {
        [] => Shown::Nothing,
        [value] => Shown::Key(bearer(value.as_bytes()).and_then(KeyDigest::of_text)),
        // Which of them is meant?
        _ => Shown::Key(None),
    }
}

fn bearer(value: &[u8]) -> Option<&[u8]> {
    const SCHEME: &[u8] = b"bearer ";
    let (scheme, key) = value.split_at_checked(SCHEME.len())?;
    scheme.eq_ignore_ascii_case(SCHEME).then(|| key.trim_ascii())
}

/// Lets in at once, and turns away at the beat of the ring's renewals.
async fn judge_in_time(
    service: &Service,
    digest: Option<&KeyDigest>,
    rule: &Rule,
    parts: &Parts,
) -> Result<Arc<ApiKey>, Refused> {
    let refused = match judge(service, digest, rule, parts).await {
        Err(refused @ (Refused::Unknown | Refused::Expired | Refused::Forbidden)) => refused,
        judged => return judged,
    };
    match (service.keys.ring().renewed().await, refused) {
        (Renewed::Yes, Refused::Unknown) => judge(service, digest, rule, parts).await,
        (Renewed::LedgerUnreachable, Refused::Unknown) | (Renewed::TooMany, _) => {
            let detail = format!("The API key cannot be checked just now; try again in {RETRY_AFTER_SECONDS} s.");
            let problem = Problem::new(Code::Unavailable, detail).retry_after(Some(RETRY_AFTER_SECONDS));
            Err(Refused::Unavailable(problem))
        }
        (_, refused) => Err(refused),
    }
}

async fn judge(
    service: &Service,
    digest: Option<&KeyDigest>,
    rule: &Rule,
    parts: &Parts,
) -> Result<Arc<ApiKey>, Refused> {
    let held: Arc<HeldKey> = digest.and_then(|digest| service.keys.ring().find(digest)).ok_or(Refused::Unknown)?;
    let key = held.key();
    // Where it never expires, no time is needed.
    let is_over = key.revoked.is_some()
        || (key.is.expires_at.is_some() && !key.is_good_at(service.keys.now().map_err(Refused::unavailable)?));
    if is_over {
        return Err(Refused::Expired);
    }
    held.take_one().map_err(Refused::RateLimited)?;
    if !rule.roles.contains(&key.is.role) || !is_within(service, &key.is.scope, rule.subject, parts).await? {
        return Err(Refused::Forbidden);
    }
    telemetry::follow(parts.extensions.get());
    Ok(Arc::clone(key))
}

/// Whether what a request is about is within a key's restaurants. What cannot be read is not.
async fn is_within(service: &Service, scope: &Scope, subject: Subject, parts: &Parts) -> Result<bool, Refused> {
    if *scope == Scope::All {
        return Ok(true);
    }
    let of_order = async |id: Uuid| {
        // The key is good, and what is looked up now has a span within that of the request.
        telemetry::follow(parts.extensions.get());
        let restaurant = service.orders.restaurant_of(id).await.map_err(Refused::unavailable)?;
        Ok(restaurant.is_some_and(|restaurant| scope.has(restaurant)))
    };
    // Read as the handlers do, or one could be told of one restaurant here and of another one there.
    match subject {
        Subject::None => Ok(true),
        Subject::WholeChain => Ok(false),
        Subject::Restaurant => Ok(in_path::<RestaurantId>(parts).is_some_and(|restaurant| scope.has(restaurant))),
        Subject::Order => match in_path::<Uuid>(parts) {
            Some(id) => of_order(id).await,
            None => Ok(false),
        },
        // Without a name it is about the key's only restaurant, and with a key of several about none: the handler says so.
        Subject::LegacyLookup | Subject::LegacySearch if !names_any(parts, &["restaurant_id", "internal_id"]) => {
            Ok(true)
        }
        Subject::LegacyLookup => match in_query(parts) {
            Some(LookupQuery::Id(id)) => of_order(id).await,
            Some(LookupQuery::Number(restaurant, _)) => Ok(scope.has(restaurant)),
            None => Ok(false),
        },
        Subject::LegacySearch => {
            Ok(in_query::<LegacySearchQuery>(parts).is_some_and(|query| scope.has(query.restaurant())))
        }
    }
}

impl Refused {
    fn unavailable(error: ServiceError) -> Self {
        Self::Unavailable(error.into())
    }

    /// The same words whatever is the matter, as far as the status allows.
    fn into_problem(self) -> Problem {
        match self {
            Self::Unknown | Self::Expired => Problem::plain(Code::Unauthenticated),
            Self::Forbidden => Problem::plain(Code::Forbidden),
            Self::ForeignPage => Problem::plain(Code::CrossOriginRequest),
            Self::RateLimited(wait) => {
                let seconds = wait.as_millis().div_ceil(1000).max(1);
                Problem::plain(Code::RateLimited).retry_after(u64::try_from(seconds).ok())
            }
            Self::Unavailable(problem) => problem,
        }
    }
}

fn outcome(judged: &Result<Arc<ApiKey>, Refused>) -> AuthOutcome {
    match judged {
        Ok(_) => AuthOutcome::Accepted,
        Err(Refused::Unknown) => AuthOutcome::Unknown,
        Err(Refused::Expired) => AuthOutcome::Expired,
        Err(Refused::Forbidden | Refused::ForeignPage) => AuthOutcome::Forbidden,
        Err(Refused::RateLimited(_)) => AuthOutcome::RateLimited,
        Err(Refused::Unavailable(_)) => AuthOutcome::Unavailable,
    }
}

#[cfg(test)]
mod tests {
    use axum::{Router, body::Body, routing::get};

    use super::*;
    use crate::{
        domain::{KeyText, NewApiKey, OrderId, Timestamp},
        http::{
            behind_the_edge,
            edge::host::Hosts,
            testing::{self, request, send},
        },
        service::{ApiKeyChanges, testing::without_stores},
    };

    fn any_host() -> Hosts {
        Hosts::new(Vec::new(), true)
    }

    fn shown(values: &[&str]) -> Shown {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::AUTHORIZATION, HeaderValue::from_str(value).expect("a value"));
        }
        let shown = take_key(&mut headers);
        assert!(headers.is_empty(), "the key stays at the door");
        shown
    }

    #[test]
    fn a_key_is_a_bearer_token() {
        let text = KeyText::of([7; 32]);
        for scheme in ["Bearer", "bearer", "BEARER"] {
            let Shown::Key(digest) = shown(&[&format!("{scheme} {}", text.expose())]) else { panic!("{scheme}") };
            assert_eq!(digest, Some(text.digest()), "{scheme}");
        }
        let twice = format!("Bearer {}", text.expose());
        let basic = format!("Basic {}", text.expose());
        for bad in [&["Bearer"][..], &[""], &["Bearer "], &[text.expose()], &[basic.as_str()], &[&twice, &twice]] {
            assert!(matches!(shown(bad), Shown::Key(None)), "{bad:?}");
        }
        assert!(matches!(shown(&[]), Shown::Nothing));
    }

    /// A key of its own for each number, and the one of these that is in the ring.
    fn key(number: u8, scope: Scope, expires_at: Option<Timestamp>) -> (KeyDigest, Option<ApiKey>) {
        let mut key = testing::api_key();
        key.revoked = None;
        key.is = NewApiKey { scope, expires_at, rate_per_second: None, ..key.is };
        (KeyText::of([number; 32]).digest(), Some(key))
    }

    /// How long a refusal takes must not tell why it is one.
    #[tokio::test]
    async fn every_refusal_of_a_key_waits_for_the_same_beat() {
        let service = Arc::new(without_stores());
        let here = || Scope::of([testing::restaurant(7)]).expect("a list");
        let keys = vec![key(1, here(), None), key(2, here(), Some(Timestamp::from_unix_ms(1)))];
        service.keys.ring().take_in(&ApiKeyChanges { revision: 1, keys });
        let route = |path| Router::new().route(path, get(|| async { "let in" }));
        let routes = route("/v1/restaurants/{restaurant_id}/slots")
            .merge(route("/v1/keys"))
            .merge(route("/v1/orders/{internal_order_id}"))
            .merge(route("/v1/forgotten"));
        let app = behind_the_edge(
            routes,
            testing::settings().into(),
            any_host(),
            Doorkeeper::asking_for_keys(service.clone()),
        );
        let ask = |number: u8, path: &str| {
            let key = KeyText::of([number; 32]);
            let sent = request("GET", path).header("Authorization", format!("Bearer {}", key.expose()));
            let app = app.clone();
            Box::pin(async move { send(&app, sent.body(Body::empty())).await.status().as_u16() })
        };

        let order = OrderId::new(Timestamp::from_unix_ms(5), testing::restaurant(8), 5);
        let mut refusals = [
            (401, ask(9, "/v1/restaurants/7/slots")),
            (401, ask(2, "/v1/restaurants/7/slots")),
            (403, ask(1, "/v1/restaurants/8/slots")),
            (403, ask(1, "/v1/restaurants/x/slots")),
            (403, ask(1, &format!("/v1/orders/{order}"))),
            (403, ask(1, "/v1/keys")),
        ];
        for (expected, refusal) in &mut refusals {
            assert!(futures_util::poll!(refusal).is_pending(), "{expected}");
        }
        // A client that is let in does not wait, nor one that shows no key, nor one that is lost.
        assert_eq!(ask(1, "/v1/restaurants/7/slots").await, 200);
        let without = send(&app, request("GET", "/v1/restaurants/7/slots").body(Body::empty())).await;
        assert_eq!(without.status(), 401);
        assert_eq!(ask(1, "/v1/nothing").await, 404);
        assert_eq!(ask(1, "/v1/forgotten").await, 403);
        service.keys.ring().pretend_renewal(true);
        for (expected, refusal) in refusals {
            assert_eq!(refusal.await, expected);
        }
    }

    #[tokio::test]
    async fn a_key_that_came_meanwhile_is_let_in() {
        let service = Arc::new(without_stores());
        let routes = Router::new().route("/v1/restaurants/{restaurant_id}/slots", get(|| async { "let in" }));
        let app = behind_the_edge(
            routes,
            testing::settings().into(),
            any_host(),
            Doorkeeper::asking_for_keys(service.clone()),
        );
        let ask = || {
            let bearer = format!("Bearer {}", KeyText::of([1; 32]).expose());
            let sent = request("GET", "/v1/restaurants/7/slots").header("Authorization", bearer);
            let app = app.clone();
            Box::pin(async move { send(&app, sent.body(Body::empty())).await.status().as_u16() })
        };
        let (mut early, mut late) = (ask(), ask());
        assert!(futures_util::poll!(&mut early).is_pending());
        service.keys.ring().pretend_renewal(false);
        assert_eq!(early.await, 503);
        assert!(futures_util::poll!(&mut late).is_pending());
        service.keys.ring().take_in(&ApiKeyChanges { revision: 1, keys: vec![key(1, Scope::All, None)] });
        service.keys.ring().pretend_renewal(true);
        assert_eq!(late.await, 200);
    }
}

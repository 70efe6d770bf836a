//! `Idempotency-Key`, `If-Match`, `If-None-Match` and `Durability`.

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, HeaderName, HeaderValue, header, request::Parts},
};

use utoipa::IntoParams;

use crate::{
    domain::{Durability, Refusal},
    http::{code::Code, problem::Problem},
};

/// The `Idempotency-Key` header, if there is one: opaque text of 1 to 255 visible ASCII characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IdempotencyKey(pub Option<String>);

const IDEMPOTENCY_KEY: &str = "idempotency-key";
const MAX_KEY_CHARACTERS: usize = 255;

impl<S: Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let mut values = parts.headers.get_all(IDEMPOTENCY_KEY).iter();
        let Some(value) = values.next() else { return Ok(Self(None)) };
        if values.next().is_some() {
            return Err(invalid_key("it is there twice"));
        }
        let visible = |bytes: &[u8]| bytes.iter().all(|b| (b' '..=b'~').contains(b));
        match value.len() {
            0 => Err(invalid_key("it is empty")),
            n if n > MAX_KEY_CHARACTERS => Err(invalid_key(&format!("it has {n} characters"))),
            _ if !visible(value.as_bytes()) => Err(invalid_key("it has characters other than visible ASCII")),
            _ => Ok(Self(value.to_str().ok().map(str::to_owned))),
        }
    }
}

fn invalid_key(what: &str) -> Problem {
    let code = Code::InvalidIdempotencyKey;
    Problem::new(code, format!("The Idempotency-Key is not valid, {what}. {}", code.advice()))
}

/// The `If-Match` header (RFC 9110, section 13.1.1).
///
/// A tag that this service never gives, such as `"abc"`, is well-formed and matches nothing. Weak tags match nothing
/// either; they are refused as malformed, because a proxy that weakens tags would else send its client round in
/// circles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum IfMatch {
    /// No header, or `*`: any version will do.
    Any,
    /// The order must be at one of these versions; an empty list matches nothing.
    OneOf(Vec<u32>),
}

impl<S: Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Self::of(&parts.headers)
    }
}

impl IfMatch {
    fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let lines: Vec<&HeaderValue> = headers.get_all(header::IF_MATCH).iter().collect();
        match lines.as_slice() {
            [] => return Ok(Self::Any),
            [only] if only.as_bytes() == b"*" => return Ok(Self::Any),
            _ => {}
        }
        let mut versions = Vec::new();
        for line in lines {
            let text = line.to_str().map_err(|_| invalid_if_match(line))?;
            versions.extend(
                tags(text, Weak::Refused).ok_or_else(|| invalid_if_match(line))?.into_iter().filter_map(version),
            );
        }
        Ok(Self::OneOf(versions))
    }
}

/// The documentation of [`IfMatch`], of calls that change something.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "only its documentation is used")]
pub(crate) struct IfMatchInHeader {
    /// Change it only if it is at this version: an `ETag` as it was given, a list of them, or `*`. Weak tags (`W/"3"`) are
    /// refused, since they never match.
    #[param(rename = "If-Match", example = "\"3\"")]
    if_match: Option<String>,
}

/// The conditions of a call that reads one thing with a version: `If-Match` and `If-None-Match`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReadConditions {
    wanted: IfMatch,
    /// The versions that the caller has; None: any will do, as long as there is one.
    known: Option<Vec<u32>>,
}

/// The documentation of [`ReadConditions`].
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "only its documentation is used")]
pub(crate) struct ReadConditionsInHeader {
    /// Only if it is at this version: an `ETag`, a list of them, or `*`.
    #[param(rename = "If-Match", example = "\"3\"")]
    if_match: Option<String>,
    /// The versions that the caller has: `ETag`s as they were given. Where it is at one of them, the answer is 304 without a
    /// body.
    #[param(rename = "If-None-Match", example = "\"3\"")]
    if_none_match: Option<String>,
}

impl<S: Sync> FromRequestParts<S> for ReadConditions {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Self::of(&parts.headers)
    }
}

impl ReadConditions {
    fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let lines: Vec<&str> =
            headers.get_all(header::IF_NONE_MATCH).iter().map(|line| line.to_str().unwrap_or_default()).collect();
        // What cannot be read names no version: the whole answer is right then, too.
        let tags = lines.iter().flat_map(|line| tags(line, Weak::Read).unwrap_or_default());
        let known = if lines == ["*"] { None } else { Some(tags.filter_map(version).collect()) };
        Ok(Self { wanted: IfMatch::of(headers)?, known })
    }

    /// Whether what is at this version need not be shown, since the caller has it.
    ///
    /// # Errors
    /// `version_mismatch` where it is not at the version that the caller wants.
    pub(crate) fn spare(&self, current: u32) -> Result<bool, Problem> {
        match &self.wanted {
            IfMatch::OneOf(versions) if !versions.contains(&current) => {
                Err(Refusal::VersionMismatch { current }.into())
            }
            _ => Ok(self.known.as_ref().is_none_or(|known| known.contains(&current))),
        }
    }
}

/// What becomes of the tags of a list that are weak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Weak {
    /// They make the list malformed.
    Refused,
    /// They count as the others.
    Read,
}

/// The tags of a list, without their quotes; None where it is malformed.
pub(super) fn tags(list: &str, weak: Weak) -> Option<Vec<&str>> {
    let mut tags = Vec::new();
    let mut rest = list.trim();
    loop {
        if weak == Weak::Read {
            rest = rest.strip_prefix("W/").unwrap_or(rest);
        }
        let (tag, behind) = rest.strip_prefix('"')?.split_once('"')?;
        tags.push(tag);
        rest = behind.trim_start();
        if rest.is_empty() {
            return Some(tags);
        }
        rest = rest.strip_prefix(',')?.trim_start();
    }
}

/// The version that a tag names; None for a tag that was never given.
fn version(tag: &str) -> Option<u32> {
    tag.parse().ok().filter(|version: &u32| version.to_string() == tag)
}

fn invalid_if_match(line: &HeaderValue) -> Problem {
    let code = Code::InvalidIfMatch;
    Problem::new(code, format!("If-Match cannot be read: {line:?}. {}", code.advice()))
}

/// The `Durability` header, if there is one: the level that a change must have reached before it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AskedDurability(pub Option<Durability>);

/// The documentation of [`AskedDurability`].
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "only its documentation is used")]
pub(crate) struct LevelInHeader {
    /// The level that the change must have reached before it is answered; without it, the one of the settings.
    #[param(rename = "Durability")]
    durability: Option<Durability>,
}

/// Of requests and of answers.
pub(crate) const DURABILITY: HeaderName = HeaderName::from_static("durability");

impl<S: Sync> FromRequestParts<S> for AskedDurability {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let mut values = parts.headers.get_all(DURABILITY).iter();
        let Some(value) = values.next() else { return Ok(Self(None)) };
        if values.next().is_some() {
            return Err(invalid_durability("is there twice"));
        }
        let level = value.to_str().ok().and_then(|text| text.to_ascii_lowercase().parse().ok());
        level.map(|level| Self(Some(level))).ok_or_else(|| invalid_durability("names no level"))
    }
}

fn invalid_durability(what: &str) -> Problem {
    let code = Code::InvalidDurability;
    Problem::new(code, format!("The Durability header {what}. {}", code.advice()))
}

#[cfg(test)]
mod tests {
    use axum::{Router, body::Body, routing::get};

    use super::*;
    use crate::http::testing::{self, json_body, request, send};

    fn if_match(lines: &[&'static str]) -> Result<IfMatch, Code> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::IF_MATCH, HeaderValue::from_static(line));
        }
        IfMatch::of(&headers).map_err(|problem| problem.code())
    }

    #[test]
    fn versions_are_read_from_tags() {
        let versions = |list: &[u32]| Ok(IfMatch::OneOf(list.to_vec()));
        assert_eq!(if_match(&[]), Ok(IfMatch::Any));
        assert_eq!(if_match(&["*"]), Ok(IfMatch::Any));
        assert_eq!(if_match(&["\"3\""]), versions(&[3]));
        assert_eq!(if_match(&["\"3\" ,\"5\"", "\"8\""]), versions(&[3, 5, 8]));
        assert_eq!(if_match(&["\"abc\"", "\"03\", \"+3\", \"99999999999\", \"\""]), versions(&[]));
    }

    #[test]
    fn malformed_and_weak_tags_are_refused() {
        for bad in ["", "3", "\"3", "3\"", "W/\"3\"", "\"3\",", ",\"3\"", "\"3\" \"4\"", "*, \"3\"", "\"3\";"] {
            assert_eq!(if_match(&[bad]), Err(Code::InvalidIfMatch), "{bad}");
        }
        assert_eq!(if_match(&["*", "\"3\""]), Err(Code::InvalidIfMatch));
    }

    /// Whether an order at version 3 is spared the caller.
    fn spared(lines: &[(&'static str, &'static str)]) -> Result<bool, Code> {
        let mut headers = HeaderMap::new();
        for (name, line) in lines {
            headers.append(*name, HeaderValue::from_static(line));
        }
        ReadConditions::of(&headers).and_then(|conditions| conditions.spare(3)).map_err(|problem| problem.code())
    }

    #[test]
    fn a_version_that_the_caller_has_is_spared() {
        for (known, is_spared) in [
            ("\"3\"", true),
            ("W/\"3\"", true),
            ("\"2\", W/\"3\"", true),
            ("*", true),
            ("\"2\"", false),
            ("\"03\"", false),
            ("\"abc\"", false),
            // Malformed: the whole answer does no harm.
            ("3", false),
            ("\"3", false),
            ("", false),
            ("*, \"3\"", false),
        ] {
            assert_eq!(spared(&[("if-none-match", known)]), Ok(is_spared), "{known}");
        }
        assert_eq!(spared(&[]), Ok(false));
        assert_eq!(spared(&[("if-none-match", "\"2\""), ("if-none-match", "\"3\"")]), Ok(true));
    }

    #[test]
    fn a_version_that_is_not_wanted_is_refused_first() {
        let known = ("if-none-match", "\"3\"");
        assert_eq!(spared(&[("if-match", "\"3\"")]), Ok(false));
        assert_eq!(spared(&[("if-match", "*"), known]), Ok(true));
        assert_eq!(spared(&[("if-match", "\"3\", \"4\""), known]), Ok(true));
        assert_eq!(spared(&[("if-match", "\"4\""), known]), Err(Code::VersionMismatch));
        assert_eq!(spared(&[("if-match", "W/\"3\"")]), Err(Code::InvalidIfMatch));
    }

    #[tokio::test]
    async fn one_level_is_named_at_most() {
        let shown = |AskedDurability(level): AskedDurability| async move { format!("{level:?}") };
        let app = testing::behind_the_edge(Router::new().route("/", get(shown)), testing::settings());
        let get = || request("GET", "/");
        assert_eq!(testing::text(send(&app, get().body(Body::empty())).await).await, "None");
        for named in ["fsync", "Fsync", "FSYNC"] {
            let response = send(&app, get().header("durability", named).body(Body::empty())).await;
            assert_eq!(testing::text(response).await, "Some(Fsync)", "{named}");
        }
        let twice = get().header("Durability", "ledger").header("Durability", "ledger");
        for bad in ["", "disk", "fsync, replica"].map(|bad| get().header("Durability", bad)).into_iter().chain([twice])
        {
            let response = send(&app, bad.body(Body::empty())).await;
            assert_eq!(response.status(), 400);
            assert_eq!(json_body(response).await["code"], "invalid_durability");
        }
    }

    #[tokio::test]
    async fn idempotency_keys_are_visible_ascii() {
        let app = testing::behind_the_edge(
            Router::new().route("/", get(|IdempotencyKey(key): IdempotencyKey| async { key.unwrap_or_default() })),
            testing::settings(),
        );
        let longest = "k".repeat(255);
        for good in ["k", "7f0c2a5e-3b1d-4c8f-9a6e-1d2b3c4d5e6f", "\"quoted key\"", longest.as_str()] {
            let response = send(&app, request("GET", "/").header("Idempotency-Key", good).body(Body::empty())).await;
            assert_eq!(testing::text(response).await, good);
        }
        let too_long = "k".repeat(256);
        for bad in ["".as_bytes(), too_long.as_bytes(), "ключ".as_bytes(), b"a\tb", b"\xff"] {
            let response = send(&app, request("GET", "/").header("Idempotency-Key", bad).body(Body::empty())).await;
            assert_eq!(response.status(), 400, "{bad:?}");
            assert_eq!(json_body(response).await["code"], "invalid_idempotency_key");
        }
        let twice = request("GET", "/").header("Idempotency-Key", "a").header("Idempotency-Key", "b");
        assert_eq!(send(&app, twice.body(Body::empty())).await.status(), 400);
        assert_eq!(testing::text(send(&app, request("GET", "/").body(Body::empty())).await).await, "");
    }
}

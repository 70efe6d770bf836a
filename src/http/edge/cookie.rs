//! The cookie that a screen has its key in: pages cannot read it, and only pages of this service itself may use it.

use std::{fmt, sync::Arc, time::Duration};

use axum::http::{HeaderMap, HeaderValue, header, request::Parts};
use cookie::{Cookie, SameSite};

use super::{host::Names, same_origin};
use crate::{
    domain::{BasePath, KeyText},
    http::listen::arrival::{Arrival, Scheme},
};

/// Its name.
pub(crate) const SCREEN_COOKIE: &str = "nowserving_screen";

/// How long a browser keeps it since it was set last; none keeps one for longer.
const KEPT_FOR: Duration = Duration::from_hours(400 * 24);

/// The key that a request has shown in the cookie, for the few handlers that need its text. It prints masked.
#[derive(Clone)]
pub(crate) struct ScreenCookie(Arc<KeyText>);

impl ScreenCookie {
    /// The key.
    pub(crate) fn key(&self) -> &KeyText {
        &self.0
    }
}

impl fmt::Debug for ScreenCookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Takes all cookies out of the headers, so that nothing behind this can log them. Gives the key of ours; the first one,
/// where a browser has several: it is the one for the longest path. None where there is none, or what cannot be a key.
pub(crate) fn take(headers: &mut HeaderMap) -> Option<ScreenCookie> {
    // The usual case costs one look-up.
    if !headers.contains_key(header::COOKIE) {
        return None;
    }
    let lines: Vec<HeaderValue> = headers.get_all(header::COOKIE).iter().cloned().collect();
    headers.remove(header::COOKIE);
    let cookies = lines.iter().filter_map(|line| line.to_str().ok()).flat_map(Cookie::split_parse);
    let ours = cookies.filter_map(Result::ok).find(|cookie| cookie.name() == SCREEN_COOKIE)?;
    KeyText::read(ours.value()).map(|text| ScreenCookie(Arc::new(text)))
}

/// What sets the cookie, for the client that this request came from.
pub(crate) fn set(key: &KeyText, base_path: Option<&BasePath>, arrival: Option<&Arrival>) -> Option<HeaderValue> {
    let path = base_path.map_or_else(|| "/".to_owned(), |prefix| format!("{prefix}/"));
    let seconds = i64::try_from(KEPT_FOR.as_secs()).unwrap_or(i64::MAX);
    let cookie = Cookie::build((SCREEN_COOKIE, key.expose().to_owned()))
        .http_only(true)
        .same_site(SameSite::Strict)
        .secure(arrival.is_some_and(|arrival| arrival.scheme == Some(Scheme::Https)))
        .path(path)
        .max_age(cookie::time::Duration::seconds(seconds));
    let mut value = HeaderValue::try_from(cookie.to_string()).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Whether a request comes from a page of this service itself, so that the cookie may count.
pub(crate) fn is_of_own_page(parts: &Parts) -> bool {
    let arrival = parts.extensions.get().copied().unwrap_or_default();
    Names::of(parts.version, &parts.uri, &parts.headers, &arrival)
        .is_ok_and(|names| same_origin::is_own_page(&parts.method, &parts.headers, &names, &arrival))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(lines: &[&[u8]]) -> Option<ScreenCookie> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::COOKIE, HeaderValue::from_bytes(line).expect("a header value"));
        }
        let taken = take(&mut headers);
        assert!(headers.is_empty(), "the cookies stay at the door");
        taken
    }

    #[test]
    fn the_key_is_found_among_other_cookies() {
        let (ours, other) = (KeyText::of([7; 32]), KeyText::of([8; 32]));
        let cookie = |key: &KeyText| format!("{SCREEN_COOKIE}={}", key.expose());
        let (first, second) = (cookie(&ours), cookie(&other));
        for line in [
            first.clone(),
            format!("a=b; {first}; c"),
            format!(";; {first}"),
            format!("{first}; {second}"),
            format!("x=\"; {first}"),
        ] {
            assert!(taken(&[line.as_bytes()]).is_some_and(|found| *found.key() == ours), "{line}");
        }
        assert!(taken(&[b"a=b", first.as_bytes()]).is_some_and(|found| *found.key() == ours));
        let prefixed = format!("x{first}");
        let quoted = format!("{SCREEN_COOKIE}=nsk_short");
        for bad in [&b""[..], b"a=b", prefixed.as_bytes(), quoted.as_bytes(), b"nowserving_screen", b"\xff\xfe"] {
            assert!(taken(&[bad]).is_none(), "{bad:?}");
        }
        assert!(taken(&[]).is_none());
    }

    #[test]
    fn a_cookie_is_for_this_service_alone() {
        let key = KeyText::of([7; 32]);
        let of = |prefix: Option<&str>, scheme| {
            let prefix = prefix.map(|prefix| BasePath::parse(prefix).expect("a base path"));
            let arrival = Arrival { scheme, ..Arrival::default() };
            let value = set(&key, prefix.as_ref(), Some(&arrival)).expect("a header value");
            assert!(value.is_sensitive());
            value.to_str().expect("ASCII").to_owned()
        };
        let rest = "HttpOnly; SameSite=Strict;";
        let plain = of(None, None);
        assert!(plain.starts_with(&format!("{SCREEN_COOKIE}={}; {rest}", key.expose())), "{plain}");
        assert!(plain.contains("; Path=/; Max-Age=34560000") && !plain.contains("Secure"), "{plain}");
        let secure = of(Some("/shop/orders"), Some(Scheme::Https));
        assert!(secure.contains("; Secure; ") && secure.contains("; Path=/shop/orders/; "), "{secure}");
        assert!(!of(None, Some(Scheme::Http)).contains("Secure"));
        let printed = format!("{:?}", taken(&[plain.as_bytes()]).expect("it is read as it is set"));
        assert_eq!(printed, "nsk_***");
    }
}

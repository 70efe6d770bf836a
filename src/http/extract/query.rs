//! The query string: every parameter is known, there once, and valid; all faults are named at once.

use std::{borrow::Cow, fmt};

use axum::{extract::FromRequestParts, http::request::Parts};
use chrono::{DateTime, Utc};
use percent_encoding::percent_decode_str;
use utoipa::IntoParams;

use super::key::api_key;
use crate::{
    domain::{NotATime, RestaurantId, SearchQuery, Timestamp},
    http::{
        code::{FaultCode, Location},
        problem::{Fault, Problem},
    },
};

/// The query string as the type that the handler wants.
#[derive(Debug, Clone)]
pub(crate) struct Query<T>(pub T);

/// What a handler takes from the query string. The parameters that [`IntoParams`] documents are the ones it reads.
pub(crate) trait FromQuery: Sized + IntoParams {
    /// Reads the parameters; None if the reader noted a fault without which there is no value to give.
    fn from_query(query: &mut QueryReader<'_>) -> Option<Self>;
}

/// For handlers that take no parameters: all are refused.
#[derive(Debug, Clone, Copy, IntoParams)]
pub(crate) struct NoQuery {}

impl FromQuery for NoQuery {
    fn from_query(_: &mut QueryReader<'_>) -> Option<Self> {
        Some(Self {})
    }
}

impl<S: Sync, T: FromQuery> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        read(parts).map(Self)
    }
}

fn read<T: FromQuery>(parts: &Parts) -> Result<T, Problem> {
    let mut reader = QueryReader::of(parts);
    let value = T::from_query(&mut reader);
    reader.finish()?;
    value.ok_or_else(|| Problem::invalid_parameter(Vec::new()))
}

/// What [`Query`] finds, for those that have to know before the handler does.
pub(crate) fn in_query<T: FromQuery>(parts: &Parts) -> Option<T> {
    read(parts).ok()
}

/// Whether any of these parameters is there and not empty.
pub(crate) fn names_any(parts: &Parts, names: &[&str]) -> bool {
    let reader = QueryReader::of(parts);
    names.iter().any(|name| reader.has(name))
}

/// Why a parameter's text was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rejected {
    code: FaultCode,
    detail: String,
}

impl Rejected {
    /// With a word and a sentence.
    pub(crate) fn new(code: FaultCode, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into() }
    }

    /// A value of the wrong form or kind.
    pub(crate) fn invalid(detail: impl fmt::Display) -> Self {
        Self::new(FaultCode::InvalidValue, detail.to_string())
    }
}

/// Hands out the parameters one by one and remembers what was wrong with them.
#[derive(Debug)]
pub(crate) struct QueryReader<'a> {
    left: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    faults: Vec<Fault>,
    /// The only restaurant that the caller's key is good for.
    own: Option<RestaurantId>,
}

impl<'a> QueryReader<'a> {
    fn of(parts: &'a Parts) -> Self {
        let own = api_key(parts).and_then(|key| key.is.scope.only());
        Self { own, ..Self::new(parts.uri.query().unwrap_or_default()) }
    }

    fn new(query: &'a str) -> Self {
        let mut reader = Self { left: Vec::new(), faults: Vec::new(), own: None };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, text) = pair.split_once('=').unwrap_or((pair, ""));
            if let (Some(name), Some(text)) = (decoded(name), decoded(text)) {
                reader.left.push((name, text));
            } else {
                reader.fault(name, FaultCode::InvalidValue, "must be UTF-8 once percent-decoded");
            }
        }
        reader
    }

    /// Notes what is wrong with a parameter.
    pub(crate) fn fault(&mut self, name: &str, code: FaultCode, detail: impl Into<String>) {
        self.faults.push(Fault::new(Location::Query, format!("/{name}"), code, detail));
    }

    /// Whether a parameter is there and not empty.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.left.iter().any(|(key, text)| key == name && !text.is_empty())
    }

    /// Passes over parameters of which enough has been said.
    pub(crate) fn ignore(&mut self, names: &[&str]) {
        self.left.retain(|(key, _)| !names.contains(&&**key));
    }

    /// A parameter that may be absent. An empty one counts as absent, as HTML forms send it.
    pub(crate) fn optional<T>(&mut self, name: &str, parse: impl FnOnce(&str) -> Result<T, Rejected>) -> Option<T> {
        let mut texts = self.texts(name);
        let text = texts.pop()?;
        if !texts.is_empty() {
            self.fault(name, FaultCode::Duplicate, "must be given once");
            return None;
        }
        self.parsed(name, &text, parse)
    }

    /// A parameter that must be there.
    pub(crate) fn required<T>(&mut self, name: &str, parse: impl FnOnce(&str) -> Result<T, Rejected>) -> Option<T> {
        let noted = self.faults.len();
        let value = self.optional(name, parse);
        if value.is_none() && self.faults.len() == noted {
            self.fault(name, FaultCode::Missing, "must be given");
        }
        value
    }

    /// A restaurant. Where none is named, it is the only one that the caller's key is good for.
    pub(crate) fn restaurant(&mut self, name: &str) -> Option<RestaurantId> {
        let noted = self.faults.len();
        let named = self.optional(name, |text| {
            text.parse().map_err(|_| Rejected::invalid("must be a whole number from 1 to 2147483647"))
        });
        if named.is_some() || self.faults.len() > noted {
            return named;
        }
        if self.own.is_none() {
            let detail = "must be given: only with a key of one restaurant it may be left out";
            self.fault(name, FaultCode::Missing, detail);
        }
        self.own
    }

    /// A parameter that may be repeated, and may hold several values with commas between them.
    pub(crate) fn list<T>(&mut self, name: &str, parse: impl Fn(&str) -> Result<T, Rejected>) -> Vec<T> {
        let texts = self.texts(name);
        let texts = texts.iter().flat_map(|text| text.split(',')).filter(|text| !text.is_empty());
        texts.filter_map(|text| self.parsed(name, text, &parse)).collect()
    }

    fn texts(&mut self, name: &str) -> Vec<Cow<'a, str>> {
        let texts = self.left.extract_if(.., |(key, _)| key == name).map(|(_, text)| text);
        texts.filter(|text| !text.is_empty()).collect()
    }

    fn parsed<T>(&mut self, name: &str, text: &str, parse: impl FnOnce(&str) -> Result<T, Rejected>) -> Option<T> {
        if text.contains('\0') {
            self.fault(name, FaultCode::NulCharacter, "must not contain a NUL character");
            return None;
        }
        parse(text).map_err(|rejected| self.fault(name, rejected.code, rejected.detail)).ok()
    }

    fn finish(mut self) -> Result<(), Problem> {
        let unknown: Vec<_> = self.left.drain(..).map(|(name, _)| name).collect();
        for name in unknown {
            self.fault(&name, FaultCode::UnknownParameter, "is not a parameter of this call; leave it out");
        }
        if self.faults.is_empty() { Ok(()) } else { Err(Problem::invalid_parameter(self.faults)) }
    }
}

/// One of some words, in letters of any case; with `named`, as each is written.
pub(crate) fn word<T: Copy>(text: &str, known: &[T], named: impl Fn(T) -> &'static str) -> Result<T, Rejected> {
    let found = known.iter().find(|word| named(**word).eq_ignore_ascii_case(text));
    found.copied().ok_or_else(|| {
        let names: Vec<_> = known.iter().map(|word| named(*word)).collect();
        Rejected::invalid(format!("must be one of {}", names.join(", ")))
    })
}

/// `true` and `false`, and `1` and `0` as older clients write them; Python writes `True`.
pub(crate) fn boolean(text: &str) -> Result<bool, Rejected> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(Rejected::invalid("must be true or false")),
    }
}

/// A part of a query string, percent-decoded; None where that is not UTF-8.
fn decoded(part: &str) -> Option<Cow<'_, str>> {
    if part.contains('+') {
        let spaced = part.replace('+', " ");
        return percent_decode_str(&spaced).decode_utf8().ok().map(|text| Cow::Owned(text.into_owned()));
    }
    percent_decode_str(part).decode_utf8().ok()
}

/// RFC 3339. A `+` that was not percent-encoded has become a space; there is only one way to read that.
pub(crate) fn instant(text: &str) -> Result<Timestamp, Rejected> {
    let repaired = text.get(19..).filter(|zone| zone.contains(' ')).map(|_| {
        let at = text.rfind(' ').unwrap_or_default();
        format!("{}+{}", &text[..at], &text[at + 1..])
    });
    let parsed = DateTime::parse_from_rfc3339(repaired.as_deref().unwrap_or(text));
    parsed.map(|at| at.with_timezone(&Utc).into()).map_err(|_| Rejected::invalid(NotATime))
}

/// What to search for.
pub(crate) fn search_text(text: &str) -> Result<SearchQuery, Rejected> {
    if text.trim().is_empty() {
        return Err(Rejected::new(FaultCode::Missing, "must not be blank"));
    }
    SearchQuery::parse(text).map_err(|error| Rejected::new(FaultCode::TooLong, error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Result<u32, Rejected> {
        text.parse().map_err(Rejected::invalid)
    }

    fn faults(reader: QueryReader<'_>) -> Vec<(String, FaultCode)> {
        reader.faults.into_iter().map(|fault| (fault.pointer, fault.code)).collect()
    }

    #[test]
    fn values_are_decoded() {
        let mut reader = QueryReader::new("q=caf%C3%A9+42%2b&limit=7&status=a,b&status=c&flag=&&");
        assert_eq!(reader.required("q", |text| Ok(text.to_owned())).as_deref(), Some("café 42+"));
        assert_eq!(reader.optional("limit", number), Some(7));
        assert_eq!(reader.list("status", |text| Ok(text.to_owned())), ["a", "b", "c"]);
        assert_eq!(reader.optional("flag", boolean), None);
        assert!(reader.finish().is_ok());
    }

    #[test]
    fn words_are_read_in_letters_of_any_case() {
        let of = |text| word(text, &["ready", "served"], |known| known);
        assert_eq!((of("ready"), of("Ready"), of("SERVED")), (Ok("ready"), Ok("ready"), Ok("served")));
        for bad in ["", "eaten", "ready ", "ſerved"] {
            assert_eq!(of(bad), Err(Rejected::invalid("must be one of ready, served")), "{bad}");
        }
        assert_eq!((boolean("True"), boolean("FALSE"), boolean("1")), (Ok(true), Ok(false), Ok(true)));
        assert!(boolean("yes").is_err());
    }

    #[test]
    fn every_fault_is_noted() {
        let mut reader = QueryReader::new("a=x&b=1&b=2&c=%00&d=%ff&%ff=1&typo=1");
        assert_eq!(reader.optional("a", number), None);
        assert_eq!(reader.optional("b", number), None);
        assert_eq!(reader.optional("c", number), None);
        assert_eq!(reader.required("e", number), None);
        assert_eq!(
            faults(reader),
            [
                ("/d".into(), FaultCode::InvalidValue),
                ("/%ff".into(), FaultCode::InvalidValue),
                ("/a".into(), FaultCode::InvalidValue),
                ("/b".into(), FaultCode::Duplicate),
                ("/c".into(), FaultCode::NulCharacter),
                ("/e".into(), FaultCode::Missing),
            ]
        );
    }

    /// The handlers' own parameters: documented and read must be the same.
    #[test]
    fn every_documented_parameter_is_read() {
        fn check<T: FromQuery>() {
            let names: Vec<_> = T::into_params(|| None).into_iter().map(|parameter| parameter.name).collect();
            let query = names.iter().map(|name| format!("{name}=x")).collect::<Vec<_>>().join("&");
            let mut reader = QueryReader::new(&query);
            let _ = T::from_query(&mut reader);
            assert!(reader.left.is_empty(), "{:?} are documented, but not read", reader.left);
        }
        use crate::http::{
            api::{audit, keys, restaurants, usage},
            extract::{LegacySearchQuery, LookupQuery},
        };
        check::<restaurants::LiveQuery>();
        check::<restaurants::NumberQuery>();
        check::<restaurants::SearchParams>();
        check::<restaurants::CleanupQuery>();
        check::<keys::KeysQuery>();
        check::<usage::UsageQuery>();
        check::<usage::TopQuery>();
        check::<audit::OrderEventsQuery>();
        check::<audit::RestaurantEventsQuery>();
        check::<LookupQuery>();
        check::<LegacySearchQuery>();
    }

    #[test]
    fn a_parameter_that_is_not_known_is_refused() {
        assert!(QueryReader::new("limt=5").finish().is_err());
        assert!(QueryReader::new("").finish().is_ok());
    }
}

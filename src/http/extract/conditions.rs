//! `If-Match` and `If-None-Match` of calls about a restaurant's settings (RFC 9110, section 13.1).

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, HeaderName, HeaderValue, header, request::Parts},
};
use utoipa::IntoParams;

use super::headers::{Weak, tags};
use crate::{
    domain::{Precondition, Tags},
    http::{code::Code, problem::Problem},
};

/// What the caller demands of the present settings.
///
/// A tag that this service never gave is well-formed and matches nothing. In `If-Match` weak tags match nothing either,
/// and are refused: see `IfMatch`. In `If-None-Match` they match like strong ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SettingsConditions(pub Precondition);

/// The documentation of [`SettingsConditions`] of a read.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "only its documentation is used")]
pub(crate) struct SettingsReadInHeader {
    /// Answer only if the settings are these: an `ETag` as it was given, a list of them, or `*`.
    #[param(rename = "If-Match", example = "\"5-1f0c9a3be2d47706\"")]
    if_match: Option<String>,
    /// Answer 304 if the settings are these: an `ETag`, a list of them, or `*`.
    #[param(rename = "If-None-Match", example = "\"5-1f0c9a3be2d47706\"")]
    if_none_match: Option<String>,
}

/// The documentation of [`SettingsConditions`] of a change.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "only its documentation is used")]
pub(crate) struct SettingsChangeInHeader {
    /// Change the settings only if they are these: an `ETag` as it was given, a list of them, or `*`. Weak tags
    /// (`W/"…"`) are refused, since they never match.
    #[param(rename = "If-Match", example = "\"5-1f0c9a3be2d47706\"")]
    if_match: Option<String>,
    /// Change the settings only if they are none of these: `*` for a restaurant that has none of its own yet, or `ETag`s.
    #[param(rename = "If-None-Match", example = "*")]
    if_none_match: Option<String>,
}

impl<S: Sync> FromRequestParts<S> for SettingsConditions {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let if_match = read(&parts.headers, &header::IF_MATCH)?;
        let if_none_match = read(&parts.headers, &header::IF_NONE_MATCH)?;
        Ok(Self(Precondition { if_match, if_none_match }))
    }
}

fn read(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Tags>, Problem> {
    let lines: Vec<&HeaderValue> = headers.get_all(name).iter().collect();
    match lines.as_slice() {
        [] => return Ok(None),
        [only] if only.as_bytes() == b"*" => return Ok(Some(Tags::Any)),
        _ => {}
    }
    let mut named = Vec::new();
    for line in lines {
        let text = line.to_str().map_err(|_| unreadable(name, line))?;
        let weak = if name == header::IF_NONE_MATCH { Weak::Read } else { Weak::Refused };
        let tags = tags(text, weak).ok_or_else(|| unreadable(name, line))?;
        named.extend(tags.into_iter().map(str::to_owned));
    }
    Ok(Some(Tags::OneOf(named)))
}

fn unreadable(name: &HeaderName, line: &HeaderValue) -> Problem {
    let shown = if name == header::IF_MATCH { "If-Match" } else { "If-None-Match" };
    let detail = format!(
        "{shown} cannot be read: {line:?}. Send the ETag as it was given, such as \"5-1f0c9a3be2d47706\", a list of \
         those, or *; weak tags never match in If-Match."
    );
    Problem::new(Code::InvalidIfMatch, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conditions(headers: &[(HeaderName, &'static str)]) -> Result<Precondition, Code> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, HeaderValue::from_static(value));
        }
        let of = |name| read(&map, name).map_err(|problem| problem.code());
        Ok(Precondition { if_match: of(&header::IF_MATCH)?, if_none_match: of(&header::IF_NONE_MATCH)? })
    }

    #[test]
    fn tags_are_read_from_lists() {
        let tags = |list: &[&str]| Some(Tags::OneOf(list.iter().map(|tag| (*tag).to_owned()).collect()));
        let none = Precondition::default;
        let (if_match, if_none_match) = (header::IF_MATCH, header::IF_NONE_MATCH);
        assert_eq!(conditions(&[]), Ok(none()));
        let any = Precondition { if_match: Some(Tags::Any), if_none_match: Some(Tags::Any) };
        assert_eq!(conditions(&[(if_match.clone(), "*"), (if_none_match.clone(), "*")]), Ok(any));
        let several = [(if_match.clone(), "\"1-a\" , \"2-b\""), (if_match.clone(), "\"\"")];
        assert_eq!(conditions(&several), Ok(Precondition { if_match: tags(&["1-a", "2-b", ""]), ..none() }));
        let weak = [(if_none_match.clone(), "W/\"1-a\",\"W/2-b\"")];
        assert_eq!(conditions(&weak), Ok(Precondition { if_none_match: tags(&["1-a", "W/2-b"]), ..none() }));
        for bad in ["", "1-a", "\"1-a", "\"1-a\",", "*, \"1-a\"", "w/\"1-a\"", "\"1-a\" \"2-b\""] {
            for name in [&if_match, &if_none_match] {
                assert_eq!(conditions(&[(name.clone(), bad)]), Err(Code::InvalidIfMatch), "{name}: {bad}");
            }
        }
        assert_eq!(conditions(&[(if_match, "W/\"1-a\"")]), Err(Code::InvalidIfMatch));
    }
}

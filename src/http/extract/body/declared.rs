//! What a request says its body is.

use axum::http::{HeaderMap, Method, header};

use crate::http::{code::Code, problem::Problem};

/// Refuses a body that is not declared as JSON of the kind that is read here: in UTF-8, and not packed.
///
/// # Errors
/// `unsupported_media_type`.
pub(super) fn check(method: &Method, headers: &HeaderMap) -> Result<(), Problem> {
    let refused = |detail: String| Err(Problem::new(Code::UnsupportedMediaType, detail));
    let codings = headers.get_all(header::CONTENT_ENCODING).iter();
    // Anything that is not text is no `identity` either.
    let mut codings = codings.flat_map(|line| line.to_str().unwrap_or("?").split(',')).map(str::trim);
    if let Some(coding) = codings.find(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case("identity")) {
        return refused(format!("The body has the Content-Encoding {coding}, which is not read; send it as it is."));
    }
    let mut lines = headers.get_all(header::CONTENT_TYPE).iter().peekable();
    if lines.peek().is_none() {
        return Err(Problem::plain(Code::UnsupportedMediaType));
    }
    for line in lines {
        let Some(declared) = line.to_str().ok() else { return Err(Problem::plain(Code::UnsupportedMediaType)) };
        let (essence, parameters) = declared.split_once(';').unwrap_or((declared, ""));
        let kind = Kind::of(essence.trim()).ok_or_else(|| Problem::plain(Code::UnsupportedMediaType))?;
        if kind == Kind::JsonPatch {
            return refused(
                "JSON Patch (RFC 6902) is not read; send an object of the fields to change, as application/json or \
                 application/merge-patch+json."
                    .to_owned(),
            );
        }
        // It would be read as the whole, and what it leaves out be set back.
        if kind == Kind::MergePatch && *method == Method::PUT {
            return refused("PUT replaces the whole: send all fields as application/json, or use PATCH.".to_owned());
        }
        if let Some(charset) = charset(parameters).filter(|charset| !is_utf_8(charset)) {
            return refused(format!(
                "The body is declared to be in {charset}; send JSON in UTF-8, as RFC 8259 has it."
            ));
        }
    }
    Ok(())
}

/// What a media type has in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Json,
    JsonPatch,
    MergePatch,
}

impl Kind {
    /// `application/json`, or any type that ends in `+json`.
    fn of(essence: &str) -> Option<Self> {
        let essence = essence.to_ascii_lowercase();
        match essence.as_str() {
            "application/json" => Some(Self::Json),
            "application/json-patch+json" => Some(Self::JsonPatch),
            "application/merge-patch+json" => Some(Self::MergePatch),
            _ => essence.split_once('/').filter(|(_, kind)| kind.ends_with("+json")).map(|_| Self::Json),
        }
    }
}

/// The `charset` among the parameters of a media type. `application/json` has none, but many clients send one.
fn charset(parameters: &str) -> Option<&str> {
    let mut parameters = parameters.split(';').filter_map(|parameter| parameter.split_once('='));
    let (_, charset) = parameters.find(|(name, _)| name.trim().eq_ignore_ascii_case("charset"))?;
    Some(charset.trim().trim_matches('"'))
}

/// Under each of its names, ASCII as a part of it included.
fn is_utf_8(charset: &str) -> bool {
    let bare: String = charset.chars().filter(|c| !matches!(c, '-' | '_')).collect();
    ["utf8", "usascii", "ascii", ""].iter().any(|known| bare.eq_ignore_ascii_case(known))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn refusal(method: &Method, lines: &[(&'static str, &'static str)]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_static(value));
        }
        let problem = check(method, &headers).err()?;
        assert_eq!(problem.code(), Code::UnsupportedMediaType);
        Some(problem.detail().to_owned())
    }

    fn of_type(declared: &'static str) -> Option<String> {
        refusal(&Method::POST, &[("content-type", declared)])
    }

    #[test]
    fn json_is_read_under_each_of_its_names() {
        for good in [
            "application/json",
            "Application/JSON; Charset=UTF-8",
            "application/json;charset=utf8",
            "application/json; charset=\"utf-8\"",
            "application/json; charset=us-ascii",
            "application/json;",
            "application/json; charset=",
            "application/json; profile=\"x\"; charset=utf-8",
            "application/vnd.till+json",
            "application/merge-patch+json",
        ] {
            assert_eq!(of_type(good), None, "{good}");
        }
        let twice = [("content-type", "application/json"), ("content-type", "application/json; charset=utf-8")];
        assert_eq!(refusal(&Method::POST, &twice), None);
    }

    #[test]
    fn what_is_refused_is_told_why() {
        for (bad, said) in [
            ("text/plain", "Content-Type: application/json"),
            ("", "Content-Type: application/json"),
            ("json", "Content-Type: application/json"),
            ("application/jsonp", "Content-Type: application/json"),
            ("application/json, text/plain", "Content-Type: application/json"),
            ("multipart/form-data; boundary=x", "Content-Type: application/json"),
            ("application/json; charset=utf-16", "in utf-16; send JSON in UTF-8"),
            ("application/json; charset=ISO-8859-1", "in ISO-8859-1; send"),
            ("application/vnd.till+json; charset=\"windows-1252\"", "in windows-1252; send"),
            ("application/json-patch+json", "application/merge-patch+json"),
        ] {
            assert!(of_type(bad).is_some_and(|detail| detail.contains(said)), "{bad}: {:?}", of_type(bad));
        }
        assert!(refusal(&Method::POST, &[]).is_some());
        let two = [("content-type", "application/json"), ("content-type", "text/plain")];
        assert!(refusal(&Method::POST, &two).is_some());
    }

    #[test]
    fn a_part_does_not_replace_the_whole() {
        let merge = [("content-type", "application/merge-patch+json")];
        assert!(refusal(&Method::PUT, &merge).is_some_and(|detail| detail.contains("PATCH")));
        assert_eq!(refusal(&Method::PATCH, &merge), None);
    }

    #[test]
    fn packed_bodies_are_refused_by_name() {
        let json = ("content-type", "application/json");
        for (coding, is_good) in [
            ("identity", true),
            ("", true),
            ("gzip", false),
            ("GZIP", false),
            ("br", false),
            ("identity, deflate", false),
        ] {
            let refused = refusal(&Method::POST, &[json, ("content-encoding", coding)]);
            assert_eq!(refused.is_none(), is_good, "{coding}: {refused:?}");
        }
        let refused = refusal(&Method::POST, &[json, ("content-encoding", "gzip")]);
        assert!(refused.is_some_and(|detail| detail.contains("gzip")));
    }
}

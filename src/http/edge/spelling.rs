//! The address and the method of a request, where a client has another way to write them.
//!
//! Done before the request has its route, so that access, limits and metrics see what is meant and nothing else.

use axum::{
    extract::Request,
    http::{HeaderMap, Method, Uri},
};

use crate::http::{code::Code, problem::Problem};

/// Fields by which a client that can only POST names another method; libraries have three names for it.
const METHOD_OVERRIDES: [&str; 3] = ["x-http-method-override", "x-http-method", "x-method-override"];

/// What a POST may stand for. Not for what only reads: that would get past the checks of a request that changes something.
const OVERRIDING: [Method; 3] = [Method::PATCH, Method::PUT, Method::DELETE];

/// Pages whose addresses end with a slash, or are paths of files.
const PAGES: &str = "/docs/";

/// Gives a request the address and the method that it is meant to have.
pub(crate) fn settle(mut request: Request) -> Request {
    if let Some(uri) = without_last_slash(request.uri()) {
        *request.uri_mut() = uri;
    }
    if let Some(method) = overriding(request.method(), request.headers()) {
        *request.method_mut() = method;
        for name in METHOD_OVERRIDES {
            request.headers_mut().remove(name);
        }
    }
    request
}

/// The address without the one slash at the end of its path; None where there is none, or more.
fn without_last_slash(uri: &Uri) -> Option<Uri> {
    let path = uri.path();
    let shorter = path.strip_suffix('/').filter(|shorter| !shorter.is_empty() && !shorter.ends_with('/'))?;
    if path.starts_with(PAGES) {
        return None;
    }
    let shorter = match uri.query() {
        Some(query) => format!("{shorter}?{query}"),
        None => shorter.to_owned(),
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(shorter.parse().ok()?);
    Uri::from_parts(parts).ok()
}

/// The method that a request is meant to have; None where it says nothing, or nothing that is valid.
fn overriding(method: &Method, headers: &HeaderMap) -> Option<Method> {
    let mut asked = METHOD_OVERRIDES.iter().flat_map(|name| headers.get_all(*name));
    let first = asked.next()?;
    let named = |known: &Method| first.as_bytes().eq_ignore_ascii_case(known.as_str().as_bytes());
    // A client may say what it does anyway.
    let of_post = OVERRIDING.into_iter().filter(|_| *method == Method::POST);
    let meant = of_post.chain([method.clone()]).find(named)?;
    asked.all(|other| other.as_bytes().eq_ignore_ascii_case(first.as_bytes())).then_some(meant)
}

/// Refuses an override that was not followed: the client would take the answer for that of another call.
///
/// # Errors
/// `invalid_method_override`.
pub(crate) fn check(headers: &HeaderMap) -> Result<(), Problem> {
    match METHOD_OVERRIDES.iter().any(|name| headers.contains_key(*name)) {
        true => Err(Problem::plain(Code::InvalidMethodOverride)),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use axum::{
        Router,
        body::Body,
        extract::MatchedPath,
        http::HeaderValue,
        routing::{get, patch},
    };

    use super::*;
    use crate::http::testing::{self, json_body, request, send, text};

    #[test]
    fn one_slash_at_the_end_is_left_out() {
        let settled = |uri: &str| without_last_slash(&uri.parse().expect("an address")).map(|uri| uri.to_string());
        for (given, meant) in [
            ("/v1/keys/", "/v1/keys"),
            ("/v1/restaurants/7/orders/?limit=5&cursor=", "/v1/restaurants/7/orders?limit=5&cursor="),
            ("/v1/keys/?a=/", "/v1/keys?a=/"),
            ("/v1/keys/?", "/v1/keys?"),
            ("http://localhost:8042/v1/keys/?a", "http://localhost:8042/v1/keys?a"),
            ("/v1//keys/", "/v1//keys"),
            ("/a%2F/", "/a%2F"),
        ] {
            assert_eq!(settled(given).as_deref(), Some(meant), "{given}");
        }
        for kept in ["/", "//", "/v1/keys", "/v1/keys//", "/v1/keys%2F", "/v1/keys?a=/", "/docs/", "/docs/x/", "*"] {
            assert_eq!(settled(kept), None, "{kept}");
        }
    }

    #[test]
    fn a_post_may_stand_for_another_method() {
        let headers = |lines: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in lines {
                headers.append(*name, HeaderValue::from_static(value));
            }
            headers
        };
        for (method, lines, meant) in [
            ("POST", &[("x-http-method-override", "PATCH")][..], Some("PATCH")),
            ("POST", &[("x-http-method-override", "patch")], Some("PATCH")),
            ("POST", &[("x-http-method", "Put")], Some("PUT")),
            ("POST", &[("x-method-override", "DELETE")], Some("DELETE")),
            ("POST", &[("x-http-method-override", "POST")], Some("POST")),
            ("POST", &[("x-http-method-override", "PUT"), ("x-http-method", "put")], Some("PUT")),
            ("PATCH", &[("x-http-method-override", "PATCH")], Some("PATCH")),
            ("GET", &[("x-http-method-override", "get")], Some("GET")),
            ("POST", &[], None),
            ("POST", &[("x-http-method-override", "")], None),
            ("POST", &[("x-http-method-override", "GET")], None),
            ("POST", &[("x-http-method-override", "OPTIONS")], None),
            ("POST", &[("x-http-method-override", "BREW")], None),
            ("POST", &[("x-http-method-override", "PATCH, PUT")], None),
            ("POST", &[("x-http-method-override", "PATCH"), ("x-http-method-override", "PUT")], None),
            ("POST", &[("x-http-method-override", "PATCH"), ("x-http-method", "DELETE")], None),
            ("GET", &[("x-http-method-override", "DELETE")], None),
            ("PUT", &[("x-http-method-override", "PATCH")], None),
        ] {
            let method = method.parse().expect("a method");
            let got = overriding(&method, &headers(lines)).map(|method| method.to_string());
            assert_eq!(got.as_deref(), meant, "{method} {lines:?}");
        }
    }

    fn app() -> Router {
        let route = |route: MatchedPath| async move { route.as_str().to_owned() };
        let routes = Router::new().route("/v1/x/{id}", patch(route)).route("/v1/x", get(route));
        testing::behind_the_edge(routes, testing::settings())
    }

    #[tokio::test]
    async fn the_route_is_that_of_what_is_meant() {
        for (method, path, meant) in [
            ("GET", "/v1/x/", "/v1/x"),
            ("PATCH", "/v1/x/5/?a", "/v1/x/{id}"),
            ("POST", "/v1/x/5", "/v1/x/{id}"),
            ("POST", "/v1/x/5/", "/v1/x/{id}"),
        ] {
            let mut sent = request(method, path);
            if method == "POST" {
                sent = sent.header("X-HTTP-Method-Override", "patch");
            }
            assert_eq!(text(send(&app(), sent.body(Body::empty())).await).await, meant, "{method} {path}");
        }
    }

    #[tokio::test]
    async fn an_override_that_is_not_followed_is_refused() {
        for (method, path, named, status, code) in [
            ("POST", "/v1/x/5", "BREW", 400, "invalid_method_override"),
            ("POST", "/v1/x/5", "GET", 400, "invalid_method_override"),
            ("GET", "/v1/x", "DELETE", 400, "invalid_method_override"),
            ("POST", "/v1/x/5", "DELETE", 405, "method_not_allowed"),
            ("POST", "/v1/y", "PUT", 404, "not_found"),
        ] {
            let sent = request(method, path).header("X-HTTP-Method-Override", named);
            let answer = send(&app(), sent.body(Body::empty())).await;
            assert_eq!(answer.status(), status, "{method} {path} {named}");
            assert_eq!(json_body(answer).await["code"], code);
        }
    }

    /// A page of another origin cannot make a change look like a question.
    #[tokio::test]
    async fn an_override_gets_past_no_check_of_origins() {
        for (method, named) in [("POST", "PATCH"), ("POST", "GET"), ("POST", "HEAD"), ("POST", "")] {
            let sent = request(method, "/v1/x/5").header("Origin", "https://evil.example");
            let sent = sent.header("X-HTTP-Method-Override", named);
            assert_eq!(send(&app(), sent.body(Body::empty())).await.status(), 403, "{method} {named}");
        }
    }
}

//! The OpenAPI document, generated from the handlers, and the page that shows it.

use std::sync::LazyLock;

use axum::{
    Extension, Router,
    body::Bytes,
    http::{HeaderValue, Method, header},
    middleware,
    response::Response as AnyResponse,
    routing::get,
};
use utoipa::{
    OpenApi,
    openapi::{
        RefOr, Response, ResponseBuilder,
        path::{Operation, PathItem},
        schema::Schema,
        security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme},
        server::ServerBuilder,
    },
};
use utoipa_axum::{router::OpenApiRouter, routes};
use utoipa_swagger_ui::{Config, SwaggerUi};

use super::{
    SharedState,
    api::{audit, business_day, feed, health, keys, legacy, orders, pairings, restaurants, screens, special, usage},
    code::Code,
    edge::{
        self,
        access::{self, Access, Rule, Subject},
        cookie::SCREEN_COOKIE,
        host, same_origin,
    },
    problem::{ProblemBody, responses},
};
use crate::domain::{BasePath, Durability, Role};

#[derive(OpenApi)]
#[openapi(
    info(title = "nowserving"),
    components(schemas(Durability, ProblemBody)),
    tags(
        (name = "orders", description = "Create orders, follow them, close them."),
        (name = "numbers", description = "Who has a number, and how many are left."),
        (name = "feed", description = "What happens, as it happens."),
        (name = "restaurants", description = "Settings and clean-up."),
        (name = "keys", description = "Who may call what."),
        (name = "screens", description = "Boards and kitchens: paired by a code, and where they are."),
        (name = "audit", description = "Who changed what, and when."),
        (name = "legacy", description = "The older system's endpoints."),
        (name = "operations", description = "What machines ask."),
    ),
)]
struct Document;

/// The OpenAPI 3.1 document.
#[must_use]
pub fn openapi() -> utoipa::openapi::OpenApi {
    let mut document = routes().into_openapi();
    let here = ServerBuilder::new().url("/").description(Some("Where this document was found."));
    document.servers = Some(vec![here.build()]);
    // utoipa takes it from the package, and makes one without a name where that has none.
    document.info.license = None;
    for post in document.paths.paths.values_mut().filter_map(|path| path.post.as_mut()) {
        without_null(post);
    }
    defaults::settle(&mut document);
    if let Some(components) = &mut document.components {
        components.security_schemes.insert(BEARER.to_owned(), RefOr::T(bearer()));
        components.security_schemes.insert(COOKIE.to_owned(), RefOr::T(cookie()));
    }
    for (route, item) in &mut document.paths.paths {
        for (method, operation) in operations(item) {
            operation.responses.responses.insert("431".to_owned(), RefOr::T(head_too_large()));
            if !host::PROBES.contains(&route.as_str()) {
                refuses(operation, &[Code::MisdirectedRequest]);
            }
            if let Access::Rule(rule) = access::find(&method, route) {
                say_who_may_call(operation, rule, &method, route);
            }
        }
    }
    document
}

const BEARER: &str = "api_key";
const COOKIE: &str = "screen_cookie";

fn bearer() -> SecurityScheme {
    let description = "An API key, where they are asked for: `auth.mode` of the settings.";
    let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("nsk_…");
    SecurityScheme::Http(scheme.description(Some(description)).build())
}

fn cookie() -> SecurityScheme {
    let description = "The API key of a screen that was paired, for pages of this service alone: see `POST /v1/pairings`. A \
                       request with it has to come from the same origin, by `Sec-Fetch-Site` or `Origin`.";
    SecurityScheme::ApiKey(ApiKey::Cookie(ApiKeyValue::with_description(SCREEN_COOKIE, description)))
}

/// What any call may be answered before it gets as far as a handler.
fn head_too_large() -> Response {
    let description = "The request line and the header fields are more than `http.max_header_bytes`, or more than a \
                       hundred. From the HTTP library itself, and so without a problem body.";
    ResponseBuilder::new().description(description).build()
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = (Method, &mut Operation)> {
    let operations = [
        (Method::GET, item.get.as_mut()),
        (Method::POST, item.post.as_mut()),
        (Method::PUT, item.put.as_mut()),
        (Method::PATCH, item.patch.as_mut()),
        (Method::DELETE, item.delete.as_mut()),
    ];
    operations.into_iter().filter_map(|(method, operation)| operation.map(|operation| (method, operation)))
}

/// Writes into the document what the table of access says.
fn say_who_may_call(operation: &mut Operation, rule: &Rule, method: &Method, route: &str) {
    if rule.roles.is_empty() {
        operation.security = Some(Vec::new());
        return;
    }
    let by_cookie = rule.roles.iter().any(|role| matches!(role, Role::Screen | Role::Kitchen));
    let schemes = [BEARER].into_iter().chain(by_cookie.then_some(COOKIE));
    operation.security = Some(schemes.map(|scheme| SecurityRequirement::new(scheme, [] as [&str; 0])).collect());
    let roles: Vec<_> = rule.roles.iter().map(|role| role.as_str()).collect();
    let scope = match rule.subject {
        Subject::None => "",
        Subject::WholeChain => " Only for keys of all restaurants.",
        _ => " Only for keys whose restaurants include the one concerned.",
    };
    let always = if rule.never_without_key { " Refused with 401 where no keys are asked for." } else { "" };
    let who = format!("Roles: {}.{scope}{always}", roles.join(", "));
    let described = operation.description.take().filter(|text| !text.is_empty());
    operation.description = Some(described.map_or_else(|| who.clone(), |text| format!("{text}\n\n{who}")));
    operation.extensions.get_or_insert_default().insert("x-roles".to_owned(), roles.into());
    let mut codes = vec![Code::Unauthenticated, Code::Forbidden, Code::RateLimited];
    let not_for_strangers = by_cookie || !method.is_safe() || same_origin::is_stream(route);
    codes.extend(not_for_strangers.then_some(Code::CrossOriginRequest));
    refuses(operation, &codes);
}

/// Documents these problems, which the middleware gives; all of a status at once.
fn refuses(operation: &mut Operation, codes: &[Code]) {
    let of_these = |status: &str| codes.iter().any(|code| code.status().as_str() == status);
    for (status, refusal) in responses(codes).into_iter().filter(|(status, _)| of_these(status)) {
        operation.responses.responses.insert(status, refusal);
    }
}

/// utoipa writes a body that may be absent as one that may be `null`. That is read as well, but clients made from the
/// document should leave it out.
fn without_null(operation: &mut Operation) {
    let Some(RefOr::T(body)) = &mut operation.request_body else { return };
    for content in body.content.values_mut() {
        let RefOr::T(content) = content else { continue };
        if let Some(RefOr::T(Schema::OneOf(choice))) = &content.schema {
            content.schema = choice.items.first().cloned();
        }
    }
}

/// Every documented route.
pub(crate) fn routes() -> OpenApiRouter<SharedState> {
    let mut document = Document::openapi();
    document.info.description = Some(description());
    OpenApiRouter::with_openapi(document)
        .routes(routes!(orders::create_order, restaurants::list_orders))
        .routes(routes!(orders::get_order, orders::change_order))
        .routes(routes!(orders::release_order))
        .routes(routes!(orders::reopen_order))
        .routes(routes!(orders::call_order))
        .routes(routes!(orders::set_order_status))
        .routes(routes!(restaurants::get_restaurant, restaurants::put_restaurant, restaurants::patch_restaurant))
        .routes(routes!(restaurants::get_number))
        .routes(routes!(special::list_reservations))
        .routes(routes!(special::get_reservation, special::put_reservation, special::delete_reservation))
        .routes(routes!(special::put_quarantine, special::delete_quarantine))
        .routes(routes!(restaurants::search_orders))
        .routes(routes!(restaurants::get_slots))
        .routes(routes!(business_day::get_business_day, business_day::put_business_day))
        .routes(routes!(restaurants::clean_up))
        .routes(routes!(keys::create_key, keys::list_keys))
        .routes(routes!(keys::get_key, keys::revoke_key))
        .routes(routes!(pairings::begin_pairing))
        .routes(routes!(pairings::current_pairing))
        .routes(routes!(screens::pair_screen, screens::list_screens))
        .routes(routes!(screens::get_screen, screens::revoke_screen))
        .routes(routes!(screens::report_screen))
        .routes(routes!(screens::list_sessions))
        .routes(routes!(usage::get_usage))
        .routes(routes!(usage::get_top_usage))
        .routes(routes!(audit::list_order_events))
        .routes(routes!(audit::list_restaurant_events))
        .routes(routes!(feed::follow_restaurant))
        .routes(routes!(feed::follow_chain))
        .routes(routes!(legacy::lookup))
        .routes(routes!(legacy::search))
        .routes(routes!(health::healthz))
        .routes(routes!(health::readyz))
        .routes(routes!(health::metrics))
}

fn description() -> String {
    format!(
        "Order numbers for restaurants: short, unique among live orders, recycled after a rest.\n\n\
         Times are RFC 3339 in UTC with milliseconds. Lists take `limit` and `cursor` and give `next_cursor`. Unknown \
         query parameters and fields are refused, so that a slip of the pen does not go unnoticed. Every answer \
         carries an `X-Request-Id`: the caller's own (at most 64 of `A-Za-z0-9._-`) or a new one.\n\n\
         Whatever changes an order or settings takes a `Durability` header and answers when the change has reached that \
         level: `memory`, `fsync` (the disk of Redis), `replica` (its replicas) or `ledger` (Postgres). A level that is \
         not reached in time is a `durability_unknown`: the change was made, and a repeat waits for its level again.\n\n\
         Where API keys are asked for, each call but those that need none wants `Authorization: Bearer nsk_…`. A key has a \
         role, which says what it may call, and is good for all restaurants or for some. What a key is refused is refused \
         in the same words whether the restaurant or the order exists or not. Keys are made and revoked with a key only. A \
         screen that was paired by a code has its key in a cookie, which counts where there is no such header, and for pages \
         of this service alone.\n\n\
         A client that can only `GET` and `POST` names another method in `X-HTTP-Method-Override`. A slash at the end of a path \
         makes no difference, nor does the case of words such as a status. Every call looks at the conditions of RFC 9110 \
         (`If-Match` and its kin): one that it does not honour is a `condition_not_honoured`, and nothing is done.\n\n\
         A web page may change something only if it comes from this service, or from an origin in `http.allowed_origins`: \
         what a browser sends for a page of another origin, by `Origin` or `Sec-Fetch-Site`, is a `cross_origin_request`. Only \
         pages of allowed origins may read answers (CORS). Where no keys are asked for, and where `http.hosts` is set, a request that calls the service by a name it does not know is a \
         `misdirected_request`.\n\n\
         ## Problems\n\n\
         Whatever is not a success, a bare 431 excepted, is `application/problem+json` (RFC 9457) with one of these codes, \
         and has changed nothing, {} excepted. An id in the path that is no UUID is an `order_not_found`; other path and \
         query parameters are an `invalid_parameter`.\n\n{}",
        Code::that_may_have_changed(),
        Code::markdown_table()
    )
}

/// `/openapi.json`, and `/docs`, which comes with all it needs: it works without the internet.
pub(crate) fn documentation() -> Router<SharedState> {
    let json = get(|prefix: Option<Extension<BasePath>>| async move {
        ([(header::CONTENT_TYPE, "application/json")], document_under(prefix.map(|Extension(prefix)| prefix)))
    });
    Router::new().route("/openapi.json", json).merge(page())
}

/// The document for clients that find the daemon under a path.
fn document_under(prefix: Option<BasePath>) -> Bytes {
    // Rendered once: nothing else of it ever changes.
    static JSON: LazyLock<Bytes> = LazyLock::new(|| openapi().to_json().unwrap_or_default().into());
    static AROUND: LazyLock<Option<(&str, &str)>> =
        LazyLock::new(|| std::str::from_utf8(&JSON).ok()?.split_once(AT_THE_ROOT));
    match (prefix, *AROUND) {
        // Its characters stand for themselves in JSON.
        (Some(prefix), Some((before, behind))) => format!("{before}\"servers\":[{{\"url\":\"{prefix}\"{behind}").into(),
        _ => JSON.clone(),
    }
}

/// How the document begins to say where the calls are.
const AT_THE_ROOT: &str = r#""servers":[{"url":"/""#;

fn page<S: Clone + Send + Sync + 'static>() -> Router<S> {
    // From the page's own place, since a proxy may serve both under a path of its own. The online validator would call out
    // to the internet.
    let config = Config::from("../openapi.json").validator_url("none").try_it_out_enabled(true);
    Router::from(SwaggerUi::new("/docs").config(config))
        .layer(middleware::map_response(edge::missing_as_problem))
        .layer(middleware::map_response(alone))
}

/// A page around it could have its forms clicked by a user that sees something else.
async fn alone(mut response: AnyResponse) -> AnyResponse {
    let policy = HeaderValue::from_static("frame-ancestors 'none'");
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    response
}

mod defaults;
#[cfg(test)]
mod tests;

//! The pages for people: the start page, the board and the kitchen. They hold no data: what they show, they read from the
//! feed. A page is a shell of HTML (`shell`) and the modules and styles beside it (`assets`), all inside the binary; the
//! clips of the voice may come from a folder (`voice`).
//!
//! Nothing on a page comes from elsewhere and nothing is inline, so that the policy below holds.

mod assets;
mod shell;
mod voice;

use std::{path::Path as FilePath, sync::Arc};

use axum::{
    Extension, Router,
    extract::Path,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{Html, IntoResponse, Response},
    routing::get,
};
use maud::Markup;

use self::shell::Page;
use crate::domain::{BasePath, RestaurantId};

/// The routes of the pages. They are no part of the API or of its document.
pub(crate) fn routes(voice_dir: &FilePath) -> Router {
    let voices: Arc<FilePath> = voice_dir.into();
    Router::new()
        .route("/", get(start))
        .route("/board/{restaurant_id}", get(|id: Path<String>, prefix: Prefix| of_restaurant(Page::Board, id, prefix)))
        .route(
            "/kitchen/{restaurant_id}",
            get(|id: Path<String>, prefix: Prefix| of_restaurant(Page::Kitchen, id, prefix)),
        )
        .route("/assets/{hash}/{*file}", get(assets::asset))
        .route("/voice/{language}/{file}", get(voice::clip))
        .with_state(voices)
}

/// The path under which the client has found the daemon.
type Prefix = Option<Extension<BasePath>>;

async fn start(prefix: Prefix) -> Response {
    page(StatusCode::OK, &shell::start(&base(prefix)))
}

/// A page of a restaurant; whether there is such a restaurant is what its feed says.
async fn of_restaurant(page_of: Page, Path(id): Path<String>, prefix: Prefix) -> Response {
    let base = base(prefix);
    match id.parse::<RestaurantId>() {
        Ok(restaurant) => page(StatusCode::OK, &shell::screen(page_of, &base, restaurant)),
        Err(_) => page(StatusCode::NOT_FOUND, &shell::no_restaurant(page_of, &base, &id)),
    }
}

fn base(prefix: Prefix) -> BasePath {
    prefix.map(|Extension(prefix)| prefix).unwrap_or_default()
}

/// What a page may load, and who may show it in a frame: this daemon alone.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'self'; object-src 'none'",
);

fn page(status: StatusCode, markup: &Markup) -> Response {
    let headers: [(HeaderName, HeaderValue); 2] =
        [(header::CONTENT_SECURITY_POLICY, POLICY), (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"))];
    (status, headers, Html(markup.0.clone())).into_response()
}

#[cfg(test)]
mod tests;

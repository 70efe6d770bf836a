//! What is sent: headers, sizes, and that nothing of a page comes from elsewhere.

use std::collections::BTreeSet;

use axum::{Router, body::Body, http::header, response::Response};

use super::{
    assets::{ASSETS, HASH},
    routes,
    shell::Page,
};
use crate::{
    domain::BasePath,
    http::testing::{self, json_body, request, send, text},
};

/// What a browser loads before a board is seen, with a cold cache.
const FIRST_PAINT_BYTES: usize = 60 * 1024;

fn app(voices: &str) -> Router {
    testing::behind_the_edge(routes(voices.as_ref()), testing::settings())
}

async fn get(path: &str) -> Response {
    send(&app(""), request("GET", path).body(Body::empty())).await
}

fn asset(name: &str) -> String {
    format!("/assets/{}/{name}", *HASH)
}

fn source(name: &str) -> &'static str {
    std::str::from_utf8(&ASSETS[name].bytes).expect("text")
}

#[tokio::test]
async fn a_page_loads_nothing_from_elsewhere_and_says_so() {
    for path in ["/", "/board/7", "/kitchen/7", "/board/x", "/kitchen/0"] {
        let response = get(path).await;
        let headers = response.headers().clone();
        let policy = headers[header::CONTENT_SECURITY_POLICY].to_str().expect("ASCII");
        for part in [
            "default-src 'self'",
            "frame-ancestors 'self'",
            "base-uri 'none'",
            "form-action 'self'",
            "object-src 'none'",
        ] {
            assert!(policy.split("; ").any(|directive| directive == part), "{path}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(headers[header::REFERRER_POLICY], "no-referrer", "{path}");
        assert_eq!(headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff", "{path}");
        assert_eq!(headers[header::CONTENT_TYPE], "text/html; charset=utf-8", "{path}");
        assert_eq!(headers[header::CACHE_CONTROL], "no-store", "{path}");
        let html = text(response).await;
        for inline in ["<style", "style=", " onclick", "<script>", "http://", "https://", "javascript:"] {
            assert!(!html.contains(inline), "{path} has {inline}");
        }
    }
}

#[tokio::test]
async fn what_a_page_refers_to_is_there() {
    for page in Page::ALL {
        let path = if page == Page::Start { "/".to_owned() } else { format!("/{}/7", page.name()) };
        let html = text(get(&path).await).await;
        let references: Vec<_> = [" href=\"", " src=\""]
            .iter()
            .flat_map(|before| html.split(before).skip(1))
            .filter_map(|rest| rest.split('"').next())
            .collect();
        let files: Vec<_> = references.iter().filter(|path| path.starts_with("/assets/")).collect();
        assert!(files.len() > 4, "{files:?}");
        for path in files {
            let response = get(path).await;
            assert_eq!(response.status(), 200, "{path}");
            assert_eq!(response.headers()[header::CACHE_CONTROL], "public, max-age=31536000, immutable", "{path}");
        }
    }
}

/// Else a browser learns of one module by reading another, a round trip later.
#[test]
fn every_module_is_named_in_the_head() {
    for page in Page::ALL {
        let (mut reached, mut waiting) = (BTreeSet::new(), vec![page.name().to_owned()]);
        while let Some(module) = waiting.pop() {
            let text = source(&format!("{module}.js"));
            if reached.insert(module) {
                let imports = text.lines().filter(|line| line.starts_with("import ") || line.starts_with("} from "));
                waiting.extend(
                    imports.filter_map(|line| Some(line.split("\"./").nth(1)?.split(".js\"").next()?.to_owned())),
                );
            }
        }
        let named: BTreeSet<_> = page.modules().iter().map(|module| (*module).to_owned()).collect();
        assert_eq!(reached, named, "{page:?}");
    }
}

#[tokio::test]
async fn the_first_paint_of_a_screen_is_small() {
    for page in [Page::Board, Page::Kitchen] {
        let html = text(get(&format!("/{}/7", page.name())).await).await.len();
        let modules = page.modules().iter().map(|module| format!("{module}.js"));
        let files = modules.chain(["base.css".to_owned(), format!("{}.css", page.name()), "icon.svg".to_owned()]);
        let sent = |name: String| {
            let asset = &ASSETS[&name];
            asset.gzip.as_ref().unwrap_or(&asset.bytes).len()
        };
        let bytes: usize = html + files.map(sent).sum::<usize>();
        assert!(bytes <= FIRST_PAINT_BYTES, "{page:?}: {bytes} bytes");
    }
}

#[tokio::test]
async fn a_file_has_its_type_and_is_sent_compressed_where_that_is_understood() {
    for (name, content_type) in [
        ("board.js", "text/javascript; charset=utf-8"),
        ("base.css", "text/css; charset=utf-8"),
        ("icon.svg", "image/svg+xml"),
        ("voice/en/7.mp3", "audio/mpeg"),
    ] {
        let response = get(&asset(name)).await;
        assert_eq!(response.headers()[header::CONTENT_TYPE], content_type);
        assert!(!response.headers().contains_key(header::CONTENT_ENCODING), "{name}");
        assert_eq!(response.headers()[header::VARY], "accept-encoding");
    }
    for (accepted, compressed) in [
        ("gzip, deflate, br", true),
        ("br;q=1.0, GZIP;q=0.5", true),
        ("gzip;q=0", false),
        ("gzip; q=0.0, br", false),
        ("identity", false),
    ] {
        let asked = request("GET", &asset("board.js")).header(header::ACCEPT_ENCODING, accepted).body(Body::empty());
        let response = send(&app(""), asked).await;
        assert_eq!(response.headers().contains_key(header::CONTENT_ENCODING), compressed, "{accepted}");
    }
}

#[tokio::test]
async fn a_file_by_another_hash_is_not_kept_and_one_that_is_not_there_is_not_found() {
    let other = get("/assets/0123456789abcdef/board.js").await;
    assert_eq!(
        (other.status().as_u16(), &other.headers()[header::CACHE_CONTROL]),
        (200, &"no-store".parse().expect("a value"))
    );
    for path in
        ["tsconfig.json", "nothing.js", "../mod.rs", "%2e%2e/mod.rs", "voice", "voice/en/../../board.js", "/etc/passwd"]
    {
        assert_eq!(get(&asset(path)).await.status(), 404, "{path}");
    }
}

#[tokio::test]
async fn an_address_without_a_restaurant_is_answered_in_words() {
    for id in ["x", "0", "-1", "7.5", "2147483648", "%3Cscript%3E", "board"] {
        for page in ["board", "kitchen"] {
            let response = get(&format!("/{page}/{id}")).await;
            assert_eq!(response.status(), 404, "{id}");
            let html = text(response).await;
            assert!(html.contains("is not the number of a restaurant") && !html.contains("<script"), "{html}");
        }
    }
    assert_eq!(get("/board").await.status(), 404);
    assert_eq!(get("/board/7/").await.status(), 200);
}

#[tokio::test]
async fn pages_lie_under_the_path_of_the_proxy() {
    for path in ["/", "/board/7", "/kitchen/7", "/board/x"] {
        let mut asked = request("GET", path).body(Body::empty()).expect("a request");
        asked.extensions_mut().insert(BasePath::parse("/shop/orders").expect("a base path"));
        let html = text(send(&app(""), Ok(asked)).await).await;
        assert!(html.contains("data-base=\"/shop/orders\""), "{html}");
        let references = [" href=\"", " src=\""].into_iter().flat_map(|before| html.split(before).skip(1));
        for reference in references {
            assert!(reference.starts_with("/shop/orders/"), "{path}: {reference:.60}");
        }
    }
}

#[tokio::test]
async fn the_built_in_voice_says_every_number() {
    let list = json_body(get("/voice/en/clips.json").await).await;
    let clips: BTreeSet<_> =
        list["clips"].as_array().expect("a list").iter().filter_map(|clip| clip.as_str()).collect();
    let numbers = (0..20).chain((20..100).step_by(10)).map(|number| number.to_string());
    let letters = ('a'..='z').map(|letter| letter.to_string());
    for clip in numbers.chain(letters).chain(["chime".to_owned(), "order".to_owned()]) {
        assert!(clips.contains(format!("{clip}.mp3").as_str()), "{clip}");
    }
    let response = get("/voice/en/7.mp3").await;
    assert_eq!(
        (response.status().as_u16(), &response.headers()[header::CONTENT_TYPE]),
        (200, &"audio/mpeg".parse().expect("a value"))
    );
    for missing in ["/voice/de/clips.json", "/voice/de/7.mp3", "/voice/en/100.mp3"] {
        assert_eq!(get(missing).await.status(), 404, "{missing}");
    }
}

#[tokio::test]
async fn a_part_of_a_clip_may_be_asked_for() {
    let whole = ASSETS["voice/en/7.mp3"].bytes.len();
    for (range, status, content_range) in [
        ("bytes=0-1", 206, Some(format!("bytes 0-1/{whole}"))),
        ("bytes=10-", 206, Some(format!("bytes 10-{}/{whole}", whole - 1))),
        ("bytes=-2", 206, Some(format!("bytes {}-{}/{whole}", whole - 2, whole - 1))),
        ("bytes=99999999-", 416, Some(format!("bytes */{whole}"))),
        ("bytes=0-1,4-5", 200, None),
        ("lines=1-2", 200, None),
    ] {
        let asked = request("GET", "/voice/en/7.mp3").header(header::RANGE, range).body(Body::empty());
        let response = send(&app(""), asked).await;
        let got = response.headers().get(header::CONTENT_RANGE).map(|range| range.to_str().expect("ASCII").to_owned());
        assert_eq!((response.status().as_u16(), got), (status, content_range), "{range}");
    }
}

#[tokio::test]
async fn a_folder_of_voices_goes_before_the_built_in_one_and_shows_nothing_else() {
    let root = tempfile::tempdir().expect("a folder");
    let voices = root.path().join("voices");
    std::fs::create_dir_all(voices.join("de")).expect("a folder");
    for (name, text) in
        [("voices/de/42.mp3", "zwei"), ("voices/de/notes.txt", "x"), ("secret.mp3", "x"), ("voices/own.mp3", "x")]
    {
        std::fs::write(root.path().join(name), text).expect("a file");
    }
    let app = app(voices.to_str().expect("UTF-8"));
    let of = async |path: &str| send(&app, request("GET", path).body(Body::empty())).await;
    assert_eq!(json_body(of("/voice/de/clips.json").await).await["clips"], serde_json::json!(["42.mp3"]));
    assert_eq!(text(of("/voice/de/42.mp3").await).await, "zwei");
    assert_eq!(of("/voice/en/7.mp3").await.status(), 200, "built in");
    for path in [
        "/voice/de/notes.txt",
        "/voice/de/7.mp3",
        "/voice/../secret.mp3",
        "/voice/%2e%2e/secret.mp3",
        "/voice/de/%2e%2e%2fown.mp3",
        "/voice/de/..%2f..%2fsecret.mp3",
        "/voice/de%2f../own.mp3",
        "/voice/./own.mp3",
        "/voice/%2e/own.mp3",
        "/voice/de/42.mp3%00.mp3",
        "/voice/DE/42.mp3",
        "/voice//own.mp3",
        "/voice/de/.mp3",
    ] {
        assert_eq!(of(path).await.status(), 404, "{path}");
    }
}

/// Those without modules have an engine of 2014.
#[test]
fn the_plain_board_says_nothing_that_older_televisions_cannot_read() {
    let text = source("old.js");
    for line in text.lines().filter(|line| !line.trim_start().starts_with(['/', '*'])) {
        for word in ["const ", "let ", "=>", "`", "class ", "fetch(", "Promise", "new Map", ".includes(", ".find("] {
            assert!(!line.contains(word), "{line}");
        }
    }
}

/// They have Chromium 61 and its like. One word that these cannot read, and a television shows nothing at all.
#[test]
fn modules_say_nothing_that_old_televisions_cannot_read() {
    let newer = [
        "?.",
        "??",
        "catch {",
        " ** ",
        "import(",
        ".flat(",
        ".flatMap(",
        ".at(",
        ".replaceAll(",
        ".replaceChildren(",
        "fromEntries(",
        ".finally(",
        "allSettled(",
        "globalThis",
        "structuredClone(",
        "AbortController",
        "...",
        "for await",
        "async ",
        "innerHTML",
    ];
    for (path, asset) in ASSETS.iter().filter(|(path, _)| path.ends_with(".js")) {
        let text = std::str::from_utf8(&asset.bytes).expect("text");
        for line in text.lines().filter(|line| !line.trim_start().starts_with(['/', '*'])) {
            let found = newer.iter().find(|word| line.contains(**word));
            assert_eq!(found, None, "{path}: {line}");
        }
    }
    let newer = [
        "clamp(",
        " min(",
        " max(",
        ":is(",
        ":where(",
        ":has(",
        "inset:",
        "aspect-ratio",
        "dvh",
        "@layer",
        "@container",
        " gap:",
        ":focus-visible",
    ];
    for (path, asset) in ASSETS.iter().filter(|(path, _)| path.ends_with(".css")) {
        let text = std::str::from_utf8(&asset.bytes).expect("text");
        let after_comments = text.split("/*").map(|part| part.split_once("*/").map_or(part, |(_, rest)| rest));
        let text: String = after_comments.collect();
        for word in newer {
            assert!(!text.contains(word), "{path} has {word}");
        }
    }
}

//! The files of the pages, embedded in the binary.
//!
//! Their address has one hash over all of them, so that modules import each other by relative paths and any of them may be
//! kept for ever.

use std::{collections::BTreeMap, fmt::Write as _, io::Write as _, sync::LazyLock};

use axum::{
    body::Bytes,
    extract::Path,
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse, Response},
};
use flate2::{Compression, write::GzEncoder};
use rust_embed::RustEmbed;
use sha2::{Digest, Sha256};

use crate::http::edge;

#[derive(RustEmbed)]
#[folder = "src/http/pages/assets/"]
struct Files;

/// One file, as it is sent.
pub(super) struct Asset {
    pub bytes: Bytes,
    /// Compressed, where that makes it smaller.
    pub gzip: Option<Bytes>,
    content_type: HeaderValue,
}

/// All files by their paths: `board.js`, `voice/en/7.mp3`.
pub(super) static ASSETS: LazyLock<BTreeMap<String, Asset>> = LazyLock::new(|| {
    let file = |path: std::borrow::Cow<'static, str>| {
        let bytes = Files::get(&path)?.data.into_owned();
        Some((
            path.clone().into_owned(),
            Asset { gzip: gzip(&bytes), bytes: bytes.into(), content_type: content_type(&path) },
        ))
    };
    Files::iter().filter_map(file).collect()
});

/// Names the state of all files together.
pub(super) static HASH: LazyLock<String> = LazyLock::new(|| {
    let mut hash = Sha256::new();
    for (path, asset) in ASSETS.iter() {
        hash.update(path.as_bytes());
        hash.update((asset.bytes.len() as u64).to_be_bytes());
        hash.update(&asset.bytes);
    }
    hash.finalize().iter().take(8).fold(String::new(), |mut text, byte| {
        // Writing into a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
});

fn gzip(bytes: &[u8]) -> Option<Bytes> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).ok()?;
    let shorter = encoder.finish().ok()?;
    // A clip is compressed as it is.
    (shorter.len() < bytes.len() * 9 / 10).then(|| shorter.into())
}

/// What browsers are told that a file is; by its name, as they are told not to look into it.
pub(super) fn content_type(path: &str) -> HeaderValue {
    let guessed = mime_guess::from_path(path).first_or_octet_stream();
    let text = match guessed.type_() {
        mime_guess::mime::TEXT => format!("{guessed}; charset=utf-8"),
        _ => guessed.to_string(),
    };
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("application/octet-stream"))
}

/// A file of the pages. One that is asked for by another hash, as by a page of another version of this daemon, is the same
/// file, but must not be kept by that name.
pub(super) async fn asset(Path((hash, path)): Path<(String, String)>, headers: HeaderMap) -> Response {
    let Some(asset) = ASSETS.get(&path) else { return edge::not_found().await.into_response() };
    let kept = if hash == *HASH { "public, max-age=31536000, immutable" } else { "no-store" };
    let sent = [
        (header::CONTENT_TYPE, asset.content_type.clone()),
        (header::CACHE_CONTROL, HeaderValue::from_static(kept)),
        (header::VARY, HeaderValue::from_static("accept-encoding")),
    ];
    match &asset.gzip {
        Some(gzip) if takes_gzip(&headers) => {
            (sent, [(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"))], gzip.clone()).into_response()
        }
        _ => (sent, asset.bytes.clone()).into_response(),
    }
}

fn takes_gzip(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        let refused = weight.trim().strip_prefix("q=").is_some_and(|q| q.trim().parse() == Ok(0.0));
        name.trim().eq_ignore_ascii_case("gzip") && !refused
    })
}

//! The clips of which a board's voice is put together: those of a folder where the settings name one, else the English
//! ones of the binary.
//!
//! A folder has one folder a language (`de`, `pt-br`), and in it a file for each thing that is said: `7.mp3`, `order.mp3`,
//! `chime.mp3`, letters, and whole numbers from 10 to 99, as no two languages put these together in the same way.

use std::{path::Path, sync::Arc};

use axum::{
    Json,
    body::Bytes,
    extract::{Path as InPath, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::json;

use super::assets::{ASSETS, content_type};
use crate::http::edge;

/// The list of the clips of a language, made from what is there.
const LIST: &str = "clips.json";
/// A longer file is no clip: it would be read whole for each call.
const LONGEST_CLIP_BYTES: u64 = 1024 * 1024;
/// More files than any language needs.
const MOST_CLIPS: usize = 2000;
/// The formats that browsers play.
const FORMATS: [&str; 5] = [".mp3", ".ogg", ".opus", ".m4a", ".wav"];

/// A clip, or the list of them.
pub(super) async fn clip(
    State(voices): State<Arc<Path>>,
    InPath((language, file)): InPath<(String, String)>,
    headers: HeaderMap,
) -> Response {
    // Names of letters, digits and hyphens lead nowhere else.
    if !is_name(&language) || file != LIST && !is_clip(&file) {
        return edge::not_found().await.into_response();
    }
    let folder = voices.join(&language);
    let has_folder = !voices.as_os_str().is_empty() && folder.is_dir();
    if file == LIST {
        let clips = if has_folder { clips_in(&folder).await } else { built_in(&language) };
        return match clips.is_empty() {
            true => edge::not_found().await.into_response(),
            false => Json(json!({"clips": clips})).into_response(),
        };
    }
    let bytes = match has_folder {
        true => read(&folder.join(&file)).await,
        false => ASSETS.get(&format!("voice/{language}/{file}")).map(|asset| asset.bytes.clone()),
    };
    match bytes {
        Some(bytes) => whole_or_part(&file, bytes, &headers),
        None => edge::not_found().await.into_response(),
    }
}

fn is_name(text: &str) -> bool {
    (1..=40).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

fn is_clip(file: &str) -> bool {
    FORMATS.iter().filter_map(|format| file.strip_suffix(format)).any(is_name)
}

fn built_in(language: &str) -> Vec<String> {
    let prefix = format!("voice/{language}/");
    ASSETS.keys().filter_map(|path| path.strip_prefix(&prefix).map(str::to_owned)).collect()
}

async fn clips_in(folder: &Path) -> Vec<String> {
    let mut clips = Vec::new();
    let Ok(mut entries) = tokio::fs::read_dir(folder).await else { return clips };
    while let Ok(Some(entry)) = entries.next_entry().await {
        clips.extend(entry.file_name().into_string().ok().filter(|name| is_clip(name)));
        if clips.len() == MOST_CLIPS {
            break;
        }
    }
    clips.sort();
    clips
}

async fn read(path: &Path) -> Option<Bytes> {
    let about = tokio::fs::metadata(path).await.ok()?;
    if !about.is_file() || about.len() > LONGEST_CLIP_BYTES {
        return None;
    }
    tokio::fs::read(path).await.ok().map(Bytes::from)
}

/// Sends a clip; a part of it where that is asked for, without which some browsers play nothing.
fn whole_or_part(file: &str, bytes: Bytes, headers: &HeaderMap) -> Response {
    let length = bytes.len() as u64;
    let sent = [
        (header::CONTENT_TYPE, content_type(file)),
        // A folder may get other clips.
        (header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=3600")),
        (header::ACCEPT_RANGES, HeaderValue::from_static("bytes")),
    ];
    let asked = headers.get(header::RANGE).and_then(|range| range.to_str().ok());
    let Some(ranges) = asked.and_then(|range| http_range_header::parse_range_header(range).ok()) else {
        return (sent, bytes).into_response();
    };
    match ranges.validate(length).as_deref() {
        Ok([range]) => {
            let text = format!("bytes {}-{}/{length}", range.start(), range.end());
            let part = usize::try_from(*range.start()).ok().zip(usize::try_from(*range.end()).ok());
            match part {
                Some((first, last)) if last < bytes.len() => {
                    (StatusCode::PARTIAL_CONTENT, sent, [(header::CONTENT_RANGE, text)], bytes.slice(first..=last))
                        .into_response()
                }
                _ => (sent, bytes).into_response(),
            }
        }
        // Several parts may be answered with the whole.
        Ok(_) => (sent, bytes).into_response(),
        Err(_) => {
            let text = format!("bytes */{length}");
            (StatusCode::RANGE_NOT_SATISFIABLE, [(header::CONTENT_RANGE, text)]).into_response()
        }
    }
}

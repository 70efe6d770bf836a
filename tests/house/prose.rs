//! Plain words: sentences that are understood at the first reading, and whose subject is a thing.

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

use crate::{documents::documents, files};

/// Words of a sentence in a document. What is set as code counts as one, and a colon or a semicolon ends a sentence, too.
const WORDS: usize = 25;

/// A client, a daemon, an order does something; none of these does.
const RIDDLES: [&str; 6] = ["nobody", "whoever", "whomever", "somebody", "anybody", "everybody"];

/// Files that name the account `nobody`.
const ACCOUNTS: [&str; 2] = ["src/local/account.rs", "docs/operations/deploy.md"];

#[test]
fn sentences_are_short() {
    // What is made from the code follows the code.
    for (path, text) in documents().iter().filter(|(path, _)| !path.starts_with("docs/reference/")) {
        for paragraph in paragraphs(text) {
            for sentence in paragraph.split_inclusive(['.', '!', '?', ':', ';']).fold(Vec::new(), joined) {
                let words = sentence.split_whitespace().count();
                assert!(words <= WORDS, "{path}: {words} words: {sentence}");
            }
        }
    }
}

/// The paragraphs and the items of lists, without tables and pictures.
fn paragraphs(text: &str) -> Vec<String> {
    let (mut found, mut latest, mut outside) = (Vec::new(), String::new(), 0);
    for event in Parser::new_ext(text, Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH) {
        match event {
            Event::Start(Tag::Table(_) | Tag::CodeBlock(_) | Tag::Image { .. } | Tag::Heading { .. }) => outside += 1,
            Event::End(TagEnd::Table | TagEnd::CodeBlock | TagEnd::Image | TagEnd::Heading(_)) => outside -= 1,
            Event::Start(Tag::Paragraph | Tag::Item) | Event::End(TagEnd::Paragraph | TagEnd::Item) => {
                found.push(std::mem::take(&mut latest));
            }
            Event::Text(text) if outside == 0 => latest.push_str(&text),
            Event::Code(_) if outside == 0 => latest.push_str("code"),
            Event::SoftBreak | Event::HardBreak => latest.push(' '),
            _ => {}
        }
    }
    found.push(latest);
    found.retain(|paragraph| !paragraph.trim().is_empty());
    found
}

/// A point within a word ends no sentence: `7.0`, `localhost:8042`.
fn joined(mut sentences: Vec<String>, piece: &str) -> Vec<String> {
    match sentences.last_mut() {
        Some(last) if !piece.starts_with(char::is_whitespace) => last.push_str(piece),
        _ => sentences.push(piece.to_owned()),
    }
    sentences
}

#[test]
fn subjects_are_things() {
    let code = [("src", "rs"), ("lua", "lua"), ("benches", "rs"), ("grafana", "yaml")];
    let code = code.into_iter().flat_map(|(folder, extension)| files(folder, extension));
    for (path, text) in code.chain(documents()).filter(|(path, _)| !ACCOUNTS.contains(&path.as_str())) {
        for (i, line) in text.lines().enumerate() {
            let said = line.split(|c: char| !c.is_ascii_alphabetic()).map(str::to_ascii_lowercase);
            let riddle = said.into_iter().find(|word| RIDDLES.contains(&word.as_str()));
            assert_eq!(riddle, None, "{path}:{}: say which client, daemon or person it is", i + 1);
        }
    }
}

//! The constants of scripts, written into their text.
//!
//! A server makes every function of a script anew for each call, and ties to it each local of the script that it uses.
//! Of a short script's time a tenth goes into that for constants alone. As literals they cost nothing.

use std::collections::HashMap;

/// The text with the constants that it defines put in where their names stand. A constant is defined at the beginning of
/// a line: `local NAME, OTHER = 5, 'x'`, with literals only. Lines keep their numbers.
pub(super) fn inlined(text: &str) -> String {
    let literals: HashMap<&str, &str> = text.lines().filter_map(definitions).flatten().collect();
    let mut inlined = String::with_capacity(text.len());
    for line in text.lines() {
        if definitions(line).is_none() {
            let mut before = "";
            for token in tokens(line) {
                let literal = literals.get(token).filter(|_| before != ".");
                inlined.push_str(literal.unwrap_or(&token));
                before = token;
            }
        }
        inlined.push('\n');
    }
    inlined
}

/// The names that a line defines, each with its literal; None where it defines anything else.
pub(super) fn definitions(line: &str) -> Option<Vec<(&str, &str)>> {
    let (names, values) = line.strip_prefix("local ")?.split_once(" = ")?;
    let values = values.split(" -- ").next()?;
    let (names, values): (Vec<&str>, Vec<&str>) = (names.split(", ").collect(), values.split(", ").collect());
    let are_constants = names.iter().all(|name| is_constant(name)) && values.iter().all(|value| is_literal(value));
    (are_constants && names.len() == values.len()).then(|| names.into_iter().zip(values).collect())
}

fn is_constant(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_uppercase())
        && name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
}

/// A string, or a number without a sign: `-` before one that had it would begin a comment.
fn is_literal(value: &str) -> bool {
    let quoted = value.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\''));
    quoted.is_some_and(|text| !text.contains(['\'', '\\'])) || value.parse::<u64>().is_ok()
}

/// A text in pieces: names and numbers, strings, comments, and single characters between them.
pub(super) fn tokens(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let first = rest.chars().next()?;
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let length = if rest.starts_with("--") {
            rest.find('\n').unwrap_or(rest.len())
        } else if first == '\'' || first == '"' {
            length_of_string(rest, first)
        } else if is_word(first) {
            rest.find(|c| !is_word(c)).unwrap_or(rest.len())
        } else {
            first.len_utf8()
        };
        let (token, behind) = rest.split_at(length);
        rest = behind;
        Some(token)
    })
}

/// How long the string is that a text begins with, both of its quotes counted.
fn length_of_string(text: &str, quote: char) -> usize {
    let mut is_escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        if c == quote && !is_escaped {
            return at + 1;
        }
        is_escaped = c == '\\' && !is_escaped;
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_literals_and_nothing_else_does() {
        let text = "local MOST, FORM = 64, '>I2' -- the most\nlocal AWAY = -1\nlocal late = MOST\nlocal SUM = MOST + 1 -- MOST\n\
                    local function f(n)\n  return n.MOST, 'MOST', \"FORM\\\"MOST\", struct.pack(FORM, MOST), MOSTLY\nend";
        let expected = "\nlocal AWAY = -1\nlocal late = 64\nlocal SUM = 64 + 1 -- MOST\n\
                        local function f(n)\n  return n.MOST, 'MOST', \"FORM\\\"MOST\", struct.pack('>I2', 64), MOSTLY\nend\n";
        assert_eq!(inlined(text), expected);
    }
}

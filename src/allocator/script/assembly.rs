//! A script's text, put together from its file and its helpers so that a call makes as few functions as may be.
//!
//! A server makes every function of a script anew for each call, and frees it afterwards: of a short script's time a
//! tenth goes into that. So a helper that is one expression is written where it is called, and of the others those that
//! not every call needs are made when one of them is called, a file at a time. In `lua/` all of them look alike.

use std::{collections::HashMap, fmt::Write};

use super::constants::tokens;

/// A file of helpers: its name without the folder, and its text.
pub(super) type Helpers = (&'static str, String);

/// The helpers and the body of a script, joined. Those of `rarely` are made when a call needs them.
pub(super) fn joined(always: Vec<Helpers>, rarely: Vec<Helpers>, body: &str) -> String {
    let all = [&always[..], &rarely[..]].concat();
    let expressions = all.iter().flat_map(|(_, text)| expressions(text)).collect();
    let written_out = |text: &str| written_out(&without(text, &expressions), &expressions);
    let mut places = HashMap::new();
    for (file, text) in &rarely {
        places.extend(functions(text).filter(|name| !expressions.contains_key(name)).map(|name| (name, *file)));
    }
    let placed = |(file, text): &Helpers| (*file, found_by_file(&written_out(text), file, &places));
    let (always, rarely): (Vec<Helpers>, Vec<Helpers>) =
        (always.iter().map(placed).collect(), rarely.iter().map(placed).collect());
    let body = found_by_file(&written_out(body), "", &places);
    let joined: String = always.iter().map(|(_, text)| text.as_str()).collect();
    if rarely.is_empty() {
        return joined + &body;
    }
    let all: String =
        [joined.as_str(), body.as_str()].into_iter().chain(rarely.iter().map(|(_, text)| text.as_str())).collect();
    format!("local helpers, made\n{joined}{}{body}", finder(&rarely, &all))
}

/// The function that finds helpers by their file, and makes those of a file when it is asked for the first time.
fn finder(rarely: &[Helpers], all: &str) -> String {
    let mut finder =
        "function helpers(file)\n  local found = made and made[file]\n  if found then\n    return found\n".to_owned();
    for (file, text) in rarely {
        // The others are called by this file alone.
        let known = functions(text).filter(|name| all.contains(&format!("helpers('{file}').{name}(")));
        let known: Vec<String> = known.map(|name| format!("{name} = {name}")).collect();
        let _ = write!(finder, "  elseif file == '{file}' then\n{text}    found = {{ {} }}\n", known.join(", "));
    }
    finder + "  end\n  made = made or {}\n  made[file] = found\n  return found\nend\n"
}

/// A helper that is one expression.
struct Expression<'a> {
    parameters: Vec<&'a str>,
    value: &'a str,
    /// All of it, as it is defined.
    definition: &'a str,
}

type Expressions<'a> = HashMap<&'a str, Expression<'a>>;

/// The names of the functions that a text defines for all behind it.
fn functions(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| line.strip_prefix("local function ")?.split('(').next())
}

/// The helpers of a file that do nothing but return the value of one expression.
fn expressions(text: &str) -> Vec<(&str, Expression<'_>)> {
    const BEGIN: &str = "local function ";
    const END: &str = "\nend\n";
    let found = text.match_indices(BEGIN).filter(|(at, _)| *at == 0 || text[..*at].ends_with('\n'));
    let read = |(at, _)| {
        let (head, behind) = text[at + BEGIN.len()..].split_once(")\n  return ")?;
        let (name, parameters) = head.split_once('(').filter(|_| !head.contains('\n'))?;
        let (value, _) = behind.split_once(END)?;
        let is_one = value.lines().skip(1).all(|line| line.starts_with("    "));
        let is_plain = arguments(&tokens(value).collect::<Vec<_>>()).0.len() == 1 && !value.contains("function");
        let length = BEGIN.len() + head.len() + ")\n  return ".len() + value.len() + END.len();
        let definition = text.get(at..at + length)?;
        let parameters = parameters.split(", ").filter(|parameter| !parameter.is_empty()).collect();
        (is_one && is_plain).then_some((name, Expression { parameters, value, definition }))
    };
    found.filter_map(read).collect()
}

fn without(text: &str, expressions: &Expressions) -> String {
    expressions.values().fold(text.to_owned(), |text, expression| text.replace(expression.definition, ""))
}

/// A text with these expressions in place of their calls.
fn written_out(text: &str, expressions: &Expressions) -> String {
    let tokens: Vec<&str> = tokens(text).collect();
    let (mut out, mut at) = (String::with_capacity(text.len()), 0);
    while let Some(token) = tokens.get(at) {
        let expression = expressions.get(token).filter(|_| is_call(&tokens, at));
        if let Some(expression) = expression {
            let (given, length) = arguments(&tokens[at + 2..]);
            let given: Vec<String> = given.iter().map(|argument| written_out(argument.trim(), expressions)).collect();
            out.push_str(&written_out(&expression.of(token, &given), expressions));
            at += length + 3;
        } else {
            out.push_str(token);
            at += 1;
        }
    }
    out
}

impl Expression<'_> {
    /// What it is for these arguments.
    fn of(&self, name: &str, given: &[String]) -> String {
        let tokens: Vec<&str> = tokens(self.value).collect();
        let given: HashMap<&str, &str> =
            self.parameters.iter().copied().zip(given.iter().map(String::as_str)).collect();
        let mut value = String::new();
        let mut uses: HashMap<&str, usize> = HashMap::new();
        for (at, token) in tokens.iter().enumerate() {
            let argument = given.get(token).filter(|_| at == 0 || tokens[at - 1] != ".");
            let Some(argument) = argument else {
                value.push_str(token);
                continue;
            };
            *uses.entry(token).or_default() += 1;
            assert!(uses[token] == 1 || !calls_something(argument), "{name} would do {argument} twice");
            let is_one = argument.chars().all(|c| c.is_ascii_alphanumeric() || "_.'".contains(c));
            value.push_str(&if is_one { (*argument).to_owned() } else { format!("({argument})") });
        }
        // A call keeps all that it returns, which brackets would cut to the first.
        if is_one_call(&value) { value } else { format!("({value})") }
    }
}

/// Whether at this place a function is called by its name, and not defined, and no field is.
fn is_call(tokens: &[&str], at: usize) -> bool {
    let before = |back: usize| at.checked_sub(back).map(|at| tokens[at]);
    tokens.get(at + 1) == Some(&"(") && before(1) != Some(".") && before(2) != Some("function")
}

fn calls_something(text: &str) -> bool {
    let tokens: Vec<&str> = tokens(text).collect();
    tokens.windows(2).any(|pair| pair[1] == "(" && is_name(pair[0]))
}

/// Whether a text is a call from its beginning to its end.
fn is_one_call(text: &str) -> bool {
    let tokens: Vec<&str> = tokens(text).collect();
    let named = tokens.iter().take_while(|token| is_name(token) || **token == ".").count();
    named > 0 && tokens.get(named) == Some(&"(") && named + 1 + arguments(&tokens[named + 1..]).1 == tokens.len() - 1
}

fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
}

/// The arguments of a call whose bracket has been opened, and how many tokens they are up to the one that closes it.
fn arguments(tokens: &[&str]) -> (Vec<String>, usize) {
    let (mut depth, mut found) = (0_usize, vec![String::new()]);
    for (at, token) in tokens.iter().enumerate() {
        match *token {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" if depth == 0 => return (found, at),
            ")" | "]" | "}" => depth -= 1,
            "," if depth == 0 => {
                found.push(String::new());
                continue;
            }
            _ => {}
        }
        found.last_mut().expect("never empty").push_str(token);
    }
    (found, tokens.len())
}

/// A text of a file in which functions of other files that are made late are found by them.
fn found_by_file(text: &str, own: &str, places: &HashMap<&str, &str>) -> String {
    let tokens: Vec<&str> = tokens(text).collect();
    let mut out = String::with_capacity(text.len());
    for (at, token) in tokens.iter().enumerate() {
        if let Some(file) = places.get(token).filter(|file| **file != own && is_call(&tokens, at)) {
            let _ = write!(out, "helpers('{file}').");
        }
        out.push_str(token);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_written_where_they_are_called() {
        let helpers = "-- has(1, 2)\nlocal function has(flags, flag)\n  return flags % (2 * flag) >= flag\nend\n\
                       local function both(at)\n  return struct.unpack('>I3', at, 4)\nend\n\
                       local function long(a, b)\n  return first(a)\n    .. b\nend\n\
                       local function two()\n  return 1, 2\nend\n\
                       local function done(a)\n  f(a)\n  return a\nend\n";
        let body =
            "local x, y = both(t[1]), done(two())\nreturn not has(o.flags, 2 ^ (x - 1)), y.has(1), long(g(y), 'b')\n";
        let expected = "-- has(1, 2)\n\
                        local function two()\n  return 1, 2\nend\n\
                        local function done(a)\n  f(a)\n  return a\nend\n\
                        local x, y = struct.unpack('>I3', (t[1]), 4), done(two())\n\
                        return not (o.flags % (2 * (2 ^ (x - 1))) >= (2 ^ (x - 1))), y.has(1), (first((g(y)))\n    .. 'b')\n";
        assert_eq!(joined(vec![("a", helpers.to_owned())], vec![], body), expected);
    }

    #[test]
    #[should_panic(expected = "double would do f(1) twice")]
    fn no_argument_is_worked_out_twice() {
        let helpers = "local function double(n)\n  return n + n\nend\n".to_owned();
        joined(vec![("a", helpers)], vec![], "return double(f(1))\n");
    }

    #[test]
    fn what_few_calls_need_is_made_by_file() {
        let always = "local function a()\n  return b()\nend\n".replace("  return", "  f()\n  return");
        let late = "local function b()\n  f()\nend\nlocal function c()\n  b()\n  d()\nend\n".to_owned();
        let other = "local function d()\n  c()\nend\n".to_owned();
        let expected = "local helpers, made\n\
                        local function a()\n  f()\n  return helpers('x').b()\nend\n\
                        function helpers(file)\n  local found = made and made[file]\n  if found then\n    return found\n  \
                        elseif file == 'x' then\n\
                        local function b()\n  f()\nend\nlocal function c()\n  b()\n  helpers('y').d()\nend\n    \
                        found = { b = b, c = c }\n  \
                        elseif file == 'y' then\n\
                        local function d()\n  helpers('x').c()\nend\n    found = { d = d }\n  end\n  \
                        made = made or {}\n  made[file] = found\n  return found\nend\n\
                        return a() and helpers('y').d()\n";
        assert_eq!(joined(vec![("w", always)], vec![("x", late), ("y", other)], "return a() and d()\n"), expected);
    }
}

//! The import table: which room of `src` may name which others.

use super::Violation;
use super::lexer::{Source, Token};

/// Below a room lies what it may import. To add an arrow, edit this table in the commit that needs it.
const BASE: &[&str] = &["core", "wire", "timer", "metrics"];
const TABLE: &[(&str, &[&[&str]])] = &[
    ("core", &[]),
    ("wire", &[]),
    ("timer", &[]),
    ("metrics", &[]),
    ("auth", &[BASE]),
    // Secrets are one type, and the ceilings of a token one set of numbers, where they are judged.
    ("config", &[BASE, &["auth"]]),
    ("protocol", &[BASE]),
    ("engine", &[BASE]),
    ("api", &[BASE, BUILT]),
    ("webhooks", &[BASE, BUILT]),
    ("shard", &[BASE, BUILT, &["api"]]),
    ("admin", &[BASE, BUILT, &["api"]]),
    ("io", &[BASE, BUILT, &["api", "webhooks", "shard", "admin"]]),
    ("server", &[BASE, BUILT, &["api", "shard", "admin", "io"]]),
    // Flags to what is to be done: beside running a server that is making tokens and examining the machine.
    ("cli", &[BASE, BUILT, &["api", "shard", "admin", "io", "server"]]),
    ("main", &[BASE, BUILT, &["api", "shard", "admin", "io", "server", "cli"]]),
    // The crate's root only lists the rooms.
    ("lib", &[]),
];
const BUILT: &[&str] = &["auth", "config", "protocol", "engine"];

/// Every arrow in `source` that the table does not have. `path` is relative to `src`, parted by `/`.
pub fn check(path: &str, source: &Source) -> Vec<Violation> {
    let module = module_path(path);
    let room = module.first().map_or("lib", String::as_str);
    let Some((_, allowed)) = TABLE.iter().find(|(name, _)| *name == room) else {
        return vec![Violation::new(1, format!("room `{room}` is not in the import table"))];
    };
    let may = |target: &str| target == room || allowed.iter().any(|group| group.contains(&target));
    rooms_named(source, module.len())
        .into_iter()
        .filter(|(_, target)| !may(target))
        .map(|(line, target)| Violation::new(line, format!("`{room}` may not import `{target}`")))
        .collect()
}

/// `a/b.rs` and `a/b/mod.rs` are module `a::b`; the root is empty.
fn module_path(path: &str) -> Vec<String> {
    let mut parts: Vec<String> = path.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    if parts.last().is_some_and(|last| last == "mod") || parts == ["lib"] {
        parts.pop();
    }
    parts
}

/// Rooms named through `crate::`, `polycast::` or enough `super::` to leave the room, with their lines.
///
/// `depth`: how many modules lie between the crate's root and this file.
fn rooms_named(source: &Source, depth: usize) -> Vec<(usize, String)> {
    let tokens = &source.tokens;
    let mut named = Vec::new();
    let mut inline = InlineModules::default();
    let mut at = 0;
    while at < tokens.len() {
        inline.see(tokens, at);
        let text = tokens[at].text.as_str();
        let within_path = at >= 2 && is_path_separator(tokens, at - 2);
        if (text == "crate" || text == "polycast") && !within_path {
            if is_path_separator(tokens, at + 1) {
                heads(tokens, at + 3, &mut named);
            } else if text == "crate" && word(tokens, at + 1) == "as" {
                named.push((tokens[at].line, "(the whole crate under another name)".to_owned()));
            }
        } else if text == "super" && !within_path {
            let mut climbed = 1;
            while is_path_separator(tokens, at + 1) && word(tokens, at + 3) == "super" {
                climbed += 1;
                at += 3;
            }
            if climbed >= depth + inline.depth() && is_path_separator(tokens, at + 1) && depth > 0 {
                heads(tokens, at + 3, &mut named);
            }
        }
        at += 1;
    }
    named
}

/// The first name of a path that begins at `at`, or of each path in the braces there.
fn heads(tokens: &[Token], at: usize, named: &mut Vec<(usize, String)>) {
    if word(tokens, at) != "{" {
        if let Some(token) = tokens.get(at) {
            named.push((token.line, token.text.clone()));
        }
        return;
    }
    let mut nesting = 0;
    let mut expects_head = false;
    for token in &tokens[at..] {
        match token.text.as_str() {
            "{" => {
                nesting += 1;
                expects_head = nesting == 1;
            }
            "}" => {
                nesting -= 1;
                if nesting == 0 {
                    return;
                }
            }
            "," => expects_head = nesting == 1,
            _ if expects_head => {
                named.push((token.line, token.text.clone()));
                expects_head = false;
            }
            _ => {}
        }
    }
}

/// How many `mod name { … }` are open: each adds one `super` to the way up.
#[derive(Default)]
struct InlineModules {
    braces: usize,
    opened_at: Vec<usize>,
}

impl InlineModules {
    fn see(&mut self, tokens: &[Token], at: usize) {
        match tokens[at].text.as_str() {
            "{" => {
                if at >= 2 && tokens[at - 2].text == "mod" {
                    self.opened_at.push(self.braces);
                }
                self.braces += 1;
            }
            "}" => {
                self.braces = self.braces.saturating_sub(1);
                if self.opened_at.last() == Some(&self.braces) {
                    self.opened_at.pop();
                }
            }
            _ => {}
        }
    }

    fn depth(&self) -> usize {
        self.opened_at.len()
    }
}

fn is_path_separator(tokens: &[Token], at: usize) -> bool {
    word(tokens, at) == ":" && word(tokens, at + 1) == ":"
}

fn word(tokens: &[Token], at: usize) -> &str {
    tokens.get(at).map_or("", |token| token.text.as_str())
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::lexer::lex;

    #[test]
    fn arrows() {
        let table: [(&str, &str, &str, &[usize]); 22] = [
            ("downwards", "shard/mod.rs", "use crate::core::ids::ShardId;", &[]),
            ("own room", "core/ids.rs", "use crate::core::time::Now;", &[]),
            ("upwards", "core/ids.rs", "\nuse crate::io::ring::Ring;", &[2]),
            ("sideways at the bottom", "core/ids.rs", "use crate::wire::json;", &[1]),
            ("sideways above it", "auth/mod.rs", "use crate::config::Config;", &[1]),
            ("an arrow of its own", "config/mod.rs", "use crate::auth::secret::Secret;", &[]),
            ("an expression", "protocol/mod.rs", "fn f() {\n crate::shard::go();\n}", &[2]),
            ("braces", "core/x.rs", "use crate::{core::ids, io::{ring, slot},\n timer::Wheel};", &[1, 2]),
            ("braces, all allowed", "io/x.rs", "use crate::{core::{a, b}, shard::{self, c}};", &[]),
            ("glob of the crate", "server.rs", "use crate::*;", &[1]),
            ("another name for the crate", "core/x.rs", "use crate as all;", &[1]),
            ("comment and string", "core/x.rs", "// crate::io::a\nlet s = \"crate::io::b\";", &[]),
            ("super inside the room", "core/x.rs", "use super::ids::A;", &[]),
            ("super out of the room", "core/x.rs", "use super::super::io::A;", &[1]),
            ("super of a room's mod.rs", "core/mod.rs", "use super::wire::A;", &[1]),
            ("super from tests", "core/x.rs", "mod tests { use super::*; use super::super::ids; }", &[]),
            ("super out from tests", "core/x.rs", "mod tests { use super::super::super::io::A; }", &[1]),
            ("super after a closed module", "core/x.rs", "mod a { fn f() {} }\nuse super::super::io;", &[2]),
            ("visibility", "core/x.rs", "pub(crate) fn f() {} pub(in crate::core) fn g() {}", &[]),
            ("main sees the library", "main.rs", "use polycast::server::run;", &[]),
            ("a dependency's module of that name", "core/x.rs", "use other::polycast::io::A;", &[]),
            ("unknown room", "cellar/mod.rs", "fn f() {}", &[1]),
        ];
        for (name, path, text, want) in table {
            let lines: Vec<usize> = check(path, &lex(text)).iter().map(|violation| violation.line).collect();
            assert_eq!(lines, want, "{name}");
        }
    }

    #[test]
    fn the_message_names_both_rooms() {
        let violations = check("timer/mod.rs", &lex("use crate::shard::Shard;"));
        assert_eq!(violations[0].message, "`timer` may not import `shard`");
    }
}

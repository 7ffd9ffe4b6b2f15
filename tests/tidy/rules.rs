//! What one file may contain, apart from its imports.

use super::Violation;
use super::lexer::{Source, Token};

/// The longest file, in lines: beyond it a second idea is hiding in there.
pub const LINES_MAX: usize = 1_000;

/// How far above an unsafe block its `SAFETY` comment may begin, in lines.
const SAFETY_REACH: usize = 12;

/// Where a Rust file lies, which decides what it may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// `src/io`: clocks, sockets, threads, the ring, unsafe.
    Io,
    /// Every other room of `src`.
    Room,
    /// The load-test harness, a program of its own.
    Loadtest,
    /// Tests and benches.
    Test,
}

/// A name that only some places may use, as consecutive tokens.
struct Reserved {
    tokens: &'static [&'static str],
    places: &'static [Place],
    message: &'static str,
}

const ANYWHERE: &[Place] = &[];
const OUTSIDE_ROOMS: &[Place] = &[Place::Io, Place::Loadtest, Place::Test];
const NEAR_THE_KERNEL: &[Place] = &[Place::Io, Place::Loadtest];

const RESERVED: &[Reserved] = &[
    reserved(&["Instant", ":", ":", "now"], OUTSIDE_ROOMS, "only src/io reads a clock"),
    reserved(&["SystemTime", ":", ":", "now"], OUTSIDE_ROOMS, "only src/io reads a clock"),
    reserved(&["io_uring"], NEAR_THE_KERNEL, "only src/io names io_uring"),
    reserved(&["tokio_uring"], NEAR_THE_KERNEL, "only src/io names tokio_uring"),
    reserved(&["thread", ":", ":", "spawn"], OUTSIDE_ROOMS, "only src/io starts threads"),
    reserved(&["thread", ":", ":", "sleep"], OUTSIDE_ROOMS, "only src/io waits"),
    reserved(&["TcpStream"], OUTSIDE_ROOMS, "only src/io owns sockets"),
    reserved(&["TcpListener"], OUTSIDE_ROOMS, "only src/io owns sockets"),
    reserved(&["UdpSocket"], OUTSIDE_ROOMS, "only src/io owns sockets"),
    reserved(&["Mutex"], OUTSIDE_ROOMS, "shards share nothing; send a letter"),
    reserved(&["RwLock"], OUTSIDE_ROOMS, "shards share nothing; send a letter"),
    reserved(&["unsafe"], NEAR_THE_KERNEL, "unsafe lies in src/io"),
    reserved(&["unsafe_code", ")"], &[Place::Io, Place::Loadtest], "only src/io allows unsafe code"),
    reserved(&["todo", "!"], ANYWHERE, "unfinished code"),
    reserved(&["unimplemented", "!"], ANYWHERE, "unfinished code"),
    reserved(&["dbg", "!"], ANYWHERE, "left over from debugging"),
    reserved(&["#", "[", "ignore"], ANYWHERE, "a test that does not run is none"),
];

const fn reserved(
    tokens: &'static [&'static str],
    places: &'static [Place],
    message: &'static str,
) -> Reserved {
    Reserved { tokens, places, message }
}

/// Reserved names, unsafe blocks without a reason, and a missing introduction.
pub fn check_rust(path: &str, place: Place, source: &Source) -> Vec<Violation> {
    let mut violations = Vec::new();
    for at in 0..source.tokens.len() {
        for rule in RESERVED {
            if begins_with(&source.tokens[at..], rule.tokens) && !rule.places.contains(&place) {
                // The root of the crate is where unsafe code is denied.
                if path == "src/lib.rs" && rule.tokens[0] == "unsafe_code" {
                    continue;
                }
                let message = format!("`{}`: {}", rule.tokens.concat(), rule.message);
                violations.push(Violation::new(source.tokens[at].line, message));
            }
        }
        if needs_safety_comment(&source.tokens[at..]) && !has_safety_comment(source, source.tokens[at].line) {
            let message = "unsafe without a `// SAFETY:` comment above it".to_owned();
            violations.push(Violation::new(source.tokens[at].line, message));
        }
    }
    if path.ends_with("/mod.rs") || path == "src/lib.rs" {
        let introduced =
            source.comments.first().is_some_and(|(line, text)| *line == 1 && text.starts_with("//!"));
        if !introduced {
            violations.push(Violation::new(1, "a room begins with what it does (`//!`)".to_owned()));
        }
    }
    if path == "src/lib.rs" && !denies_unsafe(source) {
        violations.push(Violation::new(1, "the crate must deny unsafe code".to_owned()));
    }
    violations
}

/// Rules for every text of the project, whatever its language.
pub fn check_text(path: &str, text: &str) -> Vec<Violation> {
    let mut violations = Vec::new();
    let lines = text.lines().count();
    if lines > LINES_MAX && !is_generated(path) {
        violations.push(Violation::new(lines, format!("{lines} lines; at most {LINES_MAX}")));
    }
    // Parted, so that this file does not accuse itself.
    let homes = [concat!("/wo", "rk/"), concat!("/ho", "me/"), concat!("/ro", "ot/"), concat!("/Use", "rs/")];
    for (index, line) in text.lines().enumerate() {
        for home in homes {
            // Part of a longer path or an address is something else: `crates/…` names it, or a URL.
            let found = line.match_indices(home).any(|(at, _)| {
                line[..at].chars().next_back().is_none_or(|before| !before.is_alphanumeric() && before != '.')
            });
            if found {
                violations.push(Violation::new(index + 1, format!("`{home}…` exists on one machine only")));
            }
        }
        if path.ends_with("package-lock.json") && line.trim_start().starts_with("\"resolved\"") {
            violations.push(Violation::new(index + 1, "a lock file names no registry host".to_owned()));
        }
    }
    violations
}

/// Files that no hand writes: their length says nothing.
fn is_generated(path: &str) -> bool {
    path.ends_with(".lock") || path.ends_with("package-lock.json") || path.contains("vectors/")
}

fn denies_unsafe(source: &Source) -> bool {
    let deny = ["#", "!", "[", "deny", "(", "unsafe_code", ")", "]"];
    (0..source.tokens.len()).any(|at| begins_with(&source.tokens[at..], &deny))
}

/// `unsafe {`, `unsafe impl` and `unsafe extern`; an `unsafe fn` states its contract in its own documentation.
fn needs_safety_comment(tokens: &[Token]) -> bool {
    begins_with(tokens, &["unsafe", "{"]) || begins_with(tokens, &["unsafe", "impl"])
}

/// Whether a `SAFETY:` comment stands on the unsafe line or in the comment block right above it. Between them may lie
/// only the start of the statement that the block belongs to, and no other unsafe block.
fn has_safety_comment(source: &Source, line: usize) -> bool {
    let from = line.saturating_sub(SAFETY_REACH);
    let nearest = source
        .comments
        .iter()
        .filter(|(at, text)| (from..=line).contains(at) && text.contains("SAFETY:"))
        .map(|(at, _)| *at)
        .max();
    let Some(comment) = nearest else { return false };
    let between = |token: &&Token| token.line > comment && token.line < line;
    !source.tokens.iter().filter(between).any(|token| matches!(token.text.as_str(), ";" | "}" | "unsafe"))
}

fn begins_with(tokens: &[Token], want: &[&str]) -> bool {
    tokens.len() >= want.len() && tokens.iter().zip(want).all(|(token, want)| token.text == *want)
}

#[cfg(test)]
mod tests {
    use super::{LINES_MAX, Place, check_rust, check_text};
    use crate::lexer::lex;

    #[test]
    fn rust_files() {
        let explained = "// SAFETY: checked above.\nunsafe { f() };";
        let table: [(&str, Place, &str, &[usize]); 25] = [
            ("a clock in a room", Place::Room, "\nlet t = Instant::now();", &[2]),
            ("a wall clock in a room", Place::Room, "std::time::SystemTime::now()", &[1]),
            ("a clock passed as a function", Place::Room, "map(Instant::now)", &[1]),
            ("a clock in io", Place::Io, "Instant::now()", &[]),
            ("a clock in a test", Place::Test, "Instant::now()", &[]),
            ("a clock in a comment", Place::Room, "// Instant::now()", &[]),
            ("the ring in a room", Place::Room, "use io_uring::IoUring;", &[1]),
            ("the ring in io", Place::Io, "use io_uring::IoUring;", &[]),
            ("the ring in a test", Place::Test, "use tokio_uring::start;", &[1]),
            ("the ring in a text", Place::Room, "\"io_uring refused\"", &[]),
            ("a longer name", Place::Room, "fn io_uring_refused() {}", &[]),
            ("a lock", Place::Room, "use std::sync::Mutex;", &[1]),
            ("a socket", Place::Room, "use std::net::{IpAddr, TcpStream};", &[1]),
            ("a thread", Place::Room, "std::thread::spawn(f)", &[1]),
            ("unsafe in a room", Place::Room, explained, &[2]),
            ("unsafe in io", Place::Io, explained, &[]),
            ("unsafe in io, unexplained", Place::Io, "let a = 1;\nunsafe { f() };", &[2]),
            ("one reason for two blocks", Place::Io, "// SAFETY: x.\nunsafe { f() };\nunsafe { g() };", &[3]),
            ("reason above a statement", Place::Io, "// SAFETY: x.\nlet a =\n    unsafe { f() };", &[]),
            ("unsafe impl, unexplained", Place::Io, "unsafe impl Send for A {}", &[1]),
            ("allowing unsafe in a room", Place::Room, "#![allow(unsafe_code)]", &[1]),
            ("unfinished", Place::Test, "todo!()", &[1]),
            ("a left-over", Place::Loadtest, "dbg!(x)", &[1]),
            ("a test that does not run", Place::Test, "#[test]\n#[ignore = \"slow\"]\nfn f() {}", &[2]),
            ("a word like it", Place::Room, "let ignore = [ignore];", &[]),
        ];
        for (name, place, text, want) in table {
            let found = check_rust("src/x/y.rs", place, &lex(text));
            let lines: Vec<usize> = found.iter().map(|violation| violation.line).collect();
            assert_eq!(lines, want, "{name}: {found:?}");
        }
    }

    #[test]
    fn rooms_are_introduced_and_the_crate_denies_unsafe() {
        assert!(check_rust("src/x/mod.rs", Place::Room, &lex("//! A room.\n")).is_empty());
        assert_eq!(check_rust("src/x/mod.rs", Place::Room, &lex("// A room.\n")).len(), 1);
        assert!(
            check_rust("src/lib.rs", Place::Room, &lex("//! The map.\n#![deny(unsafe_code)]")).is_empty()
        );
        assert_eq!(check_rust("src/lib.rs", Place::Room, &lex("//! The map.\n")).len(), 1);
    }

    #[test]
    fn texts() {
        let home = concat!("/ho", "me/");
        let table: [(&str, &str, String, &[usize]); 7] = [
            ("a path of one machine", "README.md", format!("a\ncd {home}somebody/x"), &[2]),
            ("quoted", "tests/run", format!("cd \"{home}somebody\""), &[1]),
            ("part of an address", "README.md", format!("https://example.org{home}x"), &[]),
            ("relative", "README.md", concat!("frame", "wo", "rk/x and net", "wo", "rk/y").to_owned(), &[]),
            ("too long", "src/x.rs", "x\n".repeat(LINES_MAX + 1), &[LINES_MAX + 1]),
            ("long, but written by a tool", "Cargo.lock", "x\n".repeat(LINES_MAX + 1), &[]),
            ("a registry host", "tests/sdk/package-lock.json", "{\n  \"resolved\": \"x\"".to_owned(), &[2]),
        ];
        for (name, path, text, want) in table {
            let lines: Vec<usize> = check_text(path, &text).iter().map(|violation| violation.line).collect();
            assert_eq!(lines, want, "{name}");
        }
    }
}

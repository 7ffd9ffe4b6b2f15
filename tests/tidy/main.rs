//! The tree's own rules, which no compiler knows: who imports whom, who may touch clock, kernel and unsafe, how long
//! a file may be. A violation is named by file and line. The checkers are tested on bad samples beside them.

mod imports;
mod lexer;
mod rules;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use rules::Place;

/// One broken rule in one file.
#[derive(Debug)]
pub struct Violation {
    /// Counted from 1.
    pub line: usize,
    pub message: String,
}

impl Violation {
    pub fn new(line: usize, message: String) -> Self {
        Self { line, message }
    }
}

#[test]
fn imports_point_one_way() {
    each_file(|path, text| match path.strip_prefix("src/") {
        Some(inside) if path.ends_with(".rs") => imports::check(inside, &lexer::lex(text)),
        _ => Vec::new(),
    });
}

#[test]
fn clock_kernel_and_unsafe_stay_in_their_places() {
    each_file(|path, text| match place(path) {
        Some(place) => rules::check_rust(path, place, &lexer::lex(text)),
        None => Vec::new(),
    });
}

#[test]
fn texts_are_short_and_belong_to_no_machine() {
    each_file(rules::check_text);
}

fn place(path: &str) -> Option<Place> {
    if !path.ends_with(".rs") {
        return None;
    }
    let places = [
        ("src/io/", Place::Io),
        ("src/", Place::Room),
        ("loadtest/src/", Place::Loadtest),
        ("tests/", Place::Test),
        ("benches/", Place::Test),
    ];
    places.into_iter().find(|(prefix, _)| path.starts_with(prefix)).map(|(_, place)| place)
}

/// Applies `check` to every text of the project and fails with all violations at once.
fn each_file(check: impl Fn(&str, &str) -> Vec<Violation>) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    collect(root, &mut files);
    assert!(files.iter().any(|file| file.ends_with("src/lib.rs")), "the walk found no sources");
    files.sort();
    let mut report = String::new();
    for file in files {
        // What is not UTF-8 is a picture or a recording, no text of ours.
        let Ok(text) = fs::read_to_string(&file) else { continue };
        let path = file.strip_prefix(root).expect("the walk began at the root").to_string_lossy();
        for violation in check(&path, &text) {
            writeln!(report, "{path}:{}: {}", violation.line, violation.message).expect("a String takes all");
        }
    }
    assert!(report.is_empty(), "\n{report}");
}

/// Every file below `directory` that belongs to the project.
fn collect(directory: &Path, files: &mut Vec<PathBuf>) {
    let foreign =
        ["target", "node_modules", ".git", ".venv", ".cache", "__pycache__", ".pytest_cache", "artifacts"];
    for entry in fs::read_dir(directory).expect("the project's directories can be read") {
        let entry = entry.expect("the project's directories can be read");
        let path = entry.path();
        let name = entry.file_name();
        let kind = entry.file_type().expect("the file system tells what an entry is");
        if foreign.iter().any(|foreign| name == *foreign) {
            continue;
        }
        if kind.is_dir() {
            collect(&path, files);
        } else if kind.is_file() && !name.to_string_lossy().contains(".profraw") {
            files.push(path);
        }
    }
}

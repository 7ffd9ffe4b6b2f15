//! Rust source → tokens and comments with their lines.
//!
//! Just enough of the language that a rule never mistakes a comment or a string for code: identifiers, single
//! punctuation characters, and where literals stood. Numbers come out as identifiers; no rule looks at them.

/// One token of code and the line it begins on, counted from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    pub line: usize,
    pub text: String,
}

/// A source file taken apart.
#[derive(Debug, Default)]
pub struct Source {
    pub tokens: Vec<Token>,
    /// Every line of every comment: (line, text of the comment on that line).
    pub comments: Vec<(usize, String)>,
}

/// Takes `text` apart. Never fails: what is not Rust gives odd tokens, which the compiler refuses anyway.
pub fn lex(text: &str) -> Source {
    let mut lexer = Lexer { rest: text, line: 1, source: Source::default() };
    while !lexer.rest.is_empty() {
        lexer.step();
    }
    lexer.source
}

struct Lexer<'a> {
    rest: &'a str,
    line: usize,
    source: Source,
}

impl<'a> Lexer<'a> {
    fn step(&mut self) {
        let first = self.rest.chars().next().expect("the caller checked that text remains");
        if self.rest.starts_with("//") {
            let length = self.rest.find('\n').unwrap_or(self.rest.len());
            let text = self.take(length);
            self.comment(text);
        } else if self.rest.starts_with("/*") {
            let text = self.take(block_comment_length(self.rest));
            self.comment(text);
        } else if let Some(length) = literal_length(self.rest) {
            self.take(length);
        } else if first.is_alphanumeric() || first == '_' {
            let length =
                self.rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(self.rest.len());
            self.token(length);
        } else if first.is_whitespace() {
            self.take(first.len_utf8());
        } else {
            self.token(first.len_utf8());
        }
    }

    fn token(&mut self, length: usize) {
        let line = self.line;
        let text = self.take(length).to_owned();
        self.source.tokens.push(Token { line, text });
    }

    /// Records the comment that was just taken, line by line.
    fn comment(&mut self, text: &str) {
        let first = self.line - text.matches('\n').count();
        let lines = text.lines().enumerate().map(|(index, line)| (first + index, line.trim().to_owned()));
        self.source.comments.extend(lines);
    }

    fn take(&mut self, length: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(length);
        self.line += taken.matches('\n').count();
        self.rest = rest;
        taken
    }
}

/// Block comments nest in Rust.
fn block_comment_length(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        let rest = &text[at..];
        if rest.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// Length of the string or character literal at the front of `text`, if there is one.
fn literal_length(text: &str) -> Option<usize> {
    let prefix = ["br", "cr", "b", "c", "r", ""]
        .into_iter()
        .find(|prefix| {
            text.strip_prefix(prefix).is_some_and(|rest| {
                let quoted = rest.starts_with('"') || (rest.starts_with('\'') && matches!(*prefix, "b" | ""));
                quoted || (prefix.contains('r') && rest.trim_start_matches('#').starts_with('"'))
            })
        })?
        .len();
    let body = &text[prefix..];
    if text[..prefix].contains('r') {
        let hashes = body.len() - body.trim_start_matches('#').len();
        let end = format!("\"{}", "#".repeat(hashes));
        let open = prefix + hashes + 1;
        return Some(text[open..].find(&end).map_or(text.len(), |at| open + at + end.len()));
    }
    if body.starts_with('"') {
        return Some(prefix + quoted_length(body, '"'));
    }
    // A quote is a character ('a', '\n', '"') or a lifetime ('static): a lifetime has no closing quote.
    let mut inside = body.char_indices().skip(1);
    let (_, first) = inside.next()?;
    let closed = first == '\\' || matches!(inside.next(), Some((_, '\'')));
    Some(prefix + if closed { quoted_length(body, '\'') } else { 1 })
}

/// Length of `text` up to and with the closing `quote`; a backslash protects what follows it.
fn quoted_length(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, character) in text.char_indices().skip(1) {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if character == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::lex;

    fn words(text: &str) -> Vec<String> {
        lex(text).tokens.into_iter().map(|token| token.text).collect()
    }

    #[test]
    fn code_only() {
        let table: [(&str, &str, &[&str]); 11] = [
            ("line comment", "a // b \"\nc", &["a", "c"]),
            ("nested block comment", "a /* b /* c */ d */ e", &["a", "e"]),
            ("string", r#"a "b \" c" d"#, &["a", "d"]),
            ("raw string", "a r#\"b \" c\"# d", &["a", "d"]),
            ("raw string without hashes", r#"a r"b\" d"#, &["a", "d"]),
            ("byte and C strings", r#"a b"x" c"y" br"z" d"#, &["a", "d"]),
            ("characters", r"a 'b' '\'' '\u{1F600}' '/' b'c' d", &["a", "d"]),
            ("a quote character opens nothing", "a '\"' b", &["a", "b"]),
            ("lifetime", "&'a str", &["&", "a", "str"]),
            ("names that begin like prefixes", "break crate rx", &["break", "crate", "rx"]),
            ("path", "crate::io::x", &["crate", ":", ":", "io", ":", ":", "x"]),
        ];
        for (name, text, want) in table {
            assert_eq!(words(text), want, "{name}");
        }
    }

    #[test]
    fn lines_survive_strings_and_comments() {
        let source = lex("a\n\"x\ny\"\n/* p\nq */ b // r\nc");
        let lines: Vec<_> = source.tokens.iter().map(|token| (token.line, token.text.as_str())).collect();
        assert_eq!(lines, [(1, "a"), (5, "b"), (6, "c")]);
        let comments: Vec<_> = source.comments.iter().map(|(line, text)| (*line, text.as_str())).collect();
        assert_eq!(comments, [(4, "/* p"), (5, "q */"), (5, "// r")]);
    }
}

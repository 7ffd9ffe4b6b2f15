//! Commands written as a line, as people type them: words, quoted where they hold spaces.

use super::RespError;
use super::command::{Arguments, RespLimits};

/// Splits a line into its words: unescaped bytes, and where each word lies in them.
///
/// `"…"` with `\n \r \t \b \a \xHH \" \\`, `'…'` with `\'`; a quoted word ends at its quote and must be followed by
/// white space or the end. Source: `sdssplitargs` of Redis. O(length).
pub fn split(line: &[u8], arguments: &mut Arguments, limits: &RespLimits) -> Result<Vec<u8>, RespError> {
    let mut words = Vec::with_capacity(line.len());
    let mut count = 0;
    let mut rest = line;
    loop {
        rest = rest.trim_ascii_start();
        if rest.is_empty() {
            return Ok(words);
        }
        count += 1;
        if count > limits.arguments_max {
            return Err(RespError::Arguments { max: limits.arguments_max });
        }
        let from = words.len();
        rest = word(rest, &mut words)?;
        arguments.push(from..words.len());
    }
}

/// Appends the word at the front of `rest`; what lies behind it.
fn word<'l>(mut rest: &'l [u8], out: &mut Vec<u8>) -> Result<&'l [u8], RespError> {
    while let Some((first, behind)) = rest.split_first() {
        rest = match first {
            b'"' => return quoted(behind, b'"', out),
            b'\'' => return quoted(behind, b'\'', out),
            byte if byte.is_ascii_whitespace() => return Ok(rest),
            byte => {
                out.push(*byte);
                behind
            }
        };
    }
    Ok(rest)
}

fn quoted<'l>(mut rest: &'l [u8], quote: u8, out: &mut Vec<u8>) -> Result<&'l [u8], RespError> {
    loop {
        rest = match rest {
            [b'\\', b'x', high, low, behind @ ..]
                if quote == b'"' && high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                out.push(digit(*high) << 4 | digit(*low));
                behind
            }
            [b'\\', escaped, behind @ ..] if quote == b'"' => {
                out.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 8,
                    b'a' => 7,
                    other => *other,
                });
                behind
            }
            [b'\\', b'\'', behind @ ..] if quote == b'\'' => {
                out.push(b'\'');
                behind
            }
            [byte, behind @ ..] if *byte == quote => {
                let ends = behind.first().is_none_or(u8::is_ascii_whitespace);
                return if ends { Ok(behind) } else { Err(RespError::Quotes) };
            }
            [byte, behind @ ..] => {
                out.push(*byte);
                behind
            }
            [] => return Err(RespError::Quotes),
        };
    }
}

fn digit(hex: u8) -> u8 {
    char::from(hex).to_digit(16).map_or(0, |digit| digit as u8)
}

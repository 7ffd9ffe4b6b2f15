//! Finding where values begin and end. Made for checked text; on any other it still ends and never panics, in
//! time linear in the length.

use std::borrow::Cow;

use memchr::{memchr, memchr2};

/// Splits several JSON values written one after the other, with or without white space between them, into the
/// text of each. A line end inside a value does not split it. What is not JSON comes out as some text that does
/// not parse. O(length) over all documents, no allocation, no recursion.
pub fn documents(frame: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = frame;
    std::iter::from_fn(move || {
        let start = skip_space(rest, 0);
        let end = value_end(rest, start);
        let document = rest.get(start..end).filter(|document| !document.is_empty())?;
        rest = rest.get(end..).unwrap_or_default();
        Some(document)
    })
}

/// The first value in `rest` after separators, and what follows it.
pub(super) fn next_value(rest: &[u8]) -> Option<(&[u8], &[u8])> {
    let start = rest.iter().position(|byte| !is_space(*byte) && !matches!(byte, b',' | b':'))?;
    let end = value_end(rest, start);
    Some((rest.get(start..end)?, rest.get(end..)?))
}

/// Where the first byte at or after `at` is that is not white space.
fn skip_space(text: &[u8], at: usize) -> usize {
    let rest = text.get(at..).unwrap_or_default();
    rest.iter().position(|byte| !is_space(*byte)).map_or(text.len(), |count| at + count)
}

/// A text without the white space around it.
pub(super) fn trim(text: &[u8]) -> &[u8] {
    let start = skip_space(text, 0);
    let end = text.iter().rposition(|byte| !is_space(*byte)).map_or(start, |last| last + 1);
    text.get(start..end).unwrap_or_default()
}

/// Where the value that begins at `start` ends. The end of the text if it does not end before; always beyond
/// `start` unless the text ends there.
fn value_end(text: &[u8], start: usize) -> usize {
    match text.get(start) {
        None => text.len(),
        Some(b'"') => string_end(text, start),
        Some(b'{' | b'[') => container_end(text, start),
        Some(_) => {
            let rest = text.get(start + 1..).unwrap_or_default();
            let end = rest.iter().position(|byte| ENDS_WORD[usize::from(*byte)]);
            end.map_or(text.len(), |count| start + 1 + count)
        }
    }
}

/// Bytes behind which a number, `true`, `false` or `null` is over; looked up, because most words are numbers of ten digits.
const ENDS_WORD: [bool; 256] = {
    let mut ends = [false; 256];
    let bytes = *b" \t\n\r,:{}[]\"";
    let mut at = 0;
    while at < bytes.len() {
        ends[bytes[at] as usize] = true;
        at += 1;
    }
    ends
};

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// `start` is the opening quote.
fn string_end(text: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    loop {
        at = quote_or_backslash(text, at);
        match text.get(at) {
            None => return text.len(),
            Some(b'\\') => at += 2,
            Some(_) => return at + 1,
        }
    }
}

/// Names and most values end within a few bytes, before a call of `memchr2` would have begun to look.
fn quote_or_backslash(text: &[u8], at: usize) -> usize {
    let near = text.get(at..).and_then(|rest| rest.first_chunk::<16>());
    let Some(near) = near else { return find(text, at, |word| equal(word, b'"') | equal(word, b'\\')) };
    let end = find(near, 0, |word| equal(word, b'"') | equal(word, b'\\'));
    if end < near.len() {
        return at + end;
    }
    let from = at + near.len();
    memchr2(b'"', b'\\', &text[from..]).map_or(text.len(), |count| from + count)
}

/// `start` is the opening bracket. Kinds of brackets are not told apart: checked text has them in pairs.
fn container_end(text: &[u8], start: usize) -> usize {
    let mut depth = 0_usize;
    let mut at = start;
    loop {
        // Bit 5 is all that separates `[` from `{` and `]` from `}`.
        at = find(text, at, |word| {
            let folded = word | (ONES * 0x20);
            equal(word, b'"') | equal(folded, b'{') | equal(folded, b'}')
        });
        match text.get(at) {
            None => return text.len(),
            Some(b'"') => at = string_end(text, at),
            Some(b'{' | b'[') => {
                depth += 1;
                at += 1;
            }
            Some(_) => {
                depth -= 1;
                at += 1;
                if depth == 0 {
                    return at;
                }
            }
        }
    }
}

/// Where the first byte at or after `at` is that `hits` marks; the end of the text if there is none.
///
/// `hits` looks at eight bytes at once, the first one lowest, and sets the top bit of each that it marks. Bits above
/// the lowest one set may be wrong, as those of [`equal`] and [`below_space`] are.
#[inline]
pub(super) fn find(text: &[u8], at: usize, hits: impl Fn(u64) -> u64) -> usize {
    let mut at = at;
    while let Some(word) = text.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let marks = hits(u64::from_le_bytes(*word));
        if marks != 0 {
            return at + first(marks);
        }
        at += 8;
    }
    let rest = text.get(at..).unwrap_or_default();
    let mut word = [0_u8; 8];
    word[..rest.len()].copy_from_slice(rest);
    let marks = hits(u64::from_le_bytes(word));
    if marks == 0 { text.len() } else { text.len().min(at + first(marks)) }
}

fn first(marks: u64) -> usize {
    (marks.trailing_zeros() / 8) as usize
}

const ONES: u64 = 0x0101_0101_0101_0101;
const TOPS: u64 = 0x8080_8080_8080_8080;

/// Marks the bytes of a word that are `byte`.
#[inline]
pub(super) fn equal(word: u64, byte: u8) -> u64 {
    let zero_where_equal = word ^ (ONES * u64::from(byte));
    zero_where_equal.wrapping_sub(ONES) & !zero_where_equal & TOPS
}

/// Marks the bytes of a word that are below 0x20.
#[inline]
pub(super) fn below_space(word: u64) -> u64 {
    word.wrapping_sub(ONES * 0x20) & !word & TOPS
}

/// The content of a string without its quotes. `None`: not possible in checked text.
pub(super) fn unescape(inner: &[u8]) -> Option<Cow<'_, str>> {
    let escape = memchr(b'\\', inner);
    let inner = std::str::from_utf8(inner).ok()?;
    let Some((plain, mut rest)) = escape.map(|at| (&inner[..at], &inner[at + 1..])) else {
        return Some(Cow::Borrowed(inner));
    };
    let mut text = String::with_capacity(inner.len());
    text.push_str(plain);
    loop {
        let mut after = rest.chars();
        text.push(match after.next()? {
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => {
                let (character, length) = unicode_escape(after.as_str())?;
                after = after.as_str().get(length..)?.chars();
                character
            }
            itself @ ('"' | '\\' | '/') => itself,
            _ => return None,
        });
        let Some((plain, next)) = after.as_str().split_once('\\') else {
            text.push_str(after.as_str());
            return Some(Cow::Owned(text));
        };
        text.push_str(plain);
        rest = next;
    }
}

/// What follows `\u`: the character, and how many bytes of `rest` write it.
fn unicode_escape(rest: &str) -> Option<(char, usize)> {
    let unit = |from: usize| {
        let digits = rest.get(from..from + 4).filter(|digits| !digits.starts_with('+'))?;
        u16::from_str_radix(digits, 16).ok()
    };
    let first = unit(0)?;
    if let Some(character) = char::from_u32(first.into()) {
        return Some((character, 4));
    }
    if rest.get(4..6)? != "\\u" {
        return None;
    }
    let character = char::decode_utf16([first, unit(6)?]).next()?.ok()?;
    Some((character, 10))
}

/// Overwrites every number outside strings with `0` and spaces.
pub(super) fn zero_numbers(text: &mut [u8]) {
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        match byte {
            b'"' => at = string_end(text, at),
            b'-' | b'0'..=b'9' => {
                let end = value_end(text, at);
                if let Some(number) = text.get_mut(at..end).filter(|number| is_number(number)) {
                    number.fill(b' ');
                    number[0] = b'0';
                }
                at = end;
            }
            _ => at = value_end_or_next(text, at),
        }
    }
}

/// One byte further for punctuation and white space, to the end of any other token.
fn value_end_or_next(text: &[u8], at: usize) -> usize {
    match text.get(at) {
        Some(byte) if byte.is_ascii_alphabetic() => value_end(text, at),
        _ => at + 1,
    }
}

/// RFC 8259 section 6.
fn is_number(token: &[u8]) -> bool {
    let digits = |text: &[u8]| text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let rest = token.strip_prefix(b"-").unwrap_or(token);
    let whole = digits(rest);
    if whole == 0 || (whole > 1 && rest.starts_with(b"0")) {
        return false;
    }
    let mut rest = rest.get(whole..).unwrap_or_default();
    if let Some(fraction) = rest.strip_prefix(b".") {
        let count = digits(fraction);
        if count == 0 {
            return false;
        }
        rest = fraction.get(count..).unwrap_or_default();
    }
    if let Some(exponent) = rest.strip_prefix(b"e").or_else(|| rest.strip_prefix(b"E")) {
        let unsigned =
            exponent.strip_prefix(b"+").or_else(|| exponent.strip_prefix(b"-")).unwrap_or(exponent);
        let count = digits(unsigned);
        if count == 0 {
            return false;
        }
        rest = unsigned.get(count..).unwrap_or_default();
    }
    rest.is_empty()
}

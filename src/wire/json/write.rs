//! Appending JSON to a buffer.

use std::borrow::Cow;

use memchr::memchr2;

use super::scan::{below_space, equal, find};

/// Appends `text` as a JSON string, quotes included.
pub fn append_string(text: &str, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let special = |word| below_space(word) | equal(word, b'"') | equal(word, b'\\');
    let mut rest = text.as_bytes();
    out.push(b'"');
    loop {
        let (plain, escaped) = rest.split_at(find(rest, 0, special));
        out.extend_from_slice(plain);
        let Some((byte, after)) = escaped.split_first() else { break };
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            _ => {
                out.extend_from_slice(b"\\u00");
                out.extend([HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            }
        }
        rest = after;
    }
    out.push(b'"');
}

/// Appends a number in decimal.
pub fn append_u64(number: u64, out: &mut Vec<u8>) {
    let mut digits = [0_u8; 20];
    let mut start = digits.len();
    let mut rest = number;
    loop {
        start -= 1;
        digits[start] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}

/// A checked value with every line end between its tokens turned into a space, and otherwise unchanged. Inside
/// strings there are none: JSON wants them escaped there. Clients that frame messages by line ends depend on it.
pub fn without_raw_newlines(raw: &[u8]) -> Cow<'_, [u8]> {
    if memchr2(b'\n', b'\r', raw).is_none() {
        return Cow::Borrowed(raw);
    }
    Cow::Owned(raw.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }).collect())
}

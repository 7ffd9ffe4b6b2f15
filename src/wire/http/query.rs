//! Percent-decoding of paths and of query parameters.

use std::borrow::Cow;

/// The first value of parameter `name`, decoded as HTML forms encode it (`+` is a space).
///
/// `query`: without the `?`. `None`: absent, or a value that is not well encoded UTF-8. A parameter without `=`
/// has the empty value. Allocates only where something is to be decoded.
pub fn query_value<'a>(query: &'a str, name: &str) -> Option<Cow<'a, str>> {
    let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let (_, value) = pairs
        .filter(|(encoded, _)| !encoded.is_empty())
        .find(|(encoded, _)| decode(encoded, true).is_some_and(|decoded| decoded == name))?;
    decode(value, true)
}

/// Decodes `%XX`; `+` stays. `None`: a `%` without two hexadecimal digits, or the result is not UTF-8.
pub fn percent_decode(encoded: &str) -> Option<Cow<'_, str>> {
    decode(encoded, false)
}

fn decode(encoded: &str, plus_is_space: bool) -> Option<Cow<'_, str>> {
    let is_special = |byte: u8| byte == b'%' || (plus_is_space && byte == b'+');
    if !encoded.bytes().any(is_special) {
        return Some(Cow::Borrowed(encoded));
    }
    let mut decoded = Vec::with_capacity(encoded.len());
    let mut bytes = encoded.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => hex_digit(bytes.next()?)? * 16 + hex_digit(bytes.next()?)?,
            b'+' if plus_is_space => b' ',
            _ => byte,
        });
    }
    String::from_utf8(decoded).ok().map(Cow::Owned)
}

fn hex_digit(byte: u8) -> Option<u8> {
    (byte as char).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

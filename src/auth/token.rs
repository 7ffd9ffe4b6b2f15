//! Compact HS256 tokens: from text to the bytes of a payload that can be trusted.

use data_encoding::BASE64URL_NOPAD;
use memchr::memchr_iter;
use ring::hmac;

use super::error::{Malformed, Part, TokenError};
use super::secret::Secret;
use crate::wire::json::{Json, Kind, Object, Value};

/// Longest token, in bytes.
pub const TOKEN_BYTES_MAX: usize = 16 * 1024;

/// HMAC-SHA256 tags have this length.
const SIGNATURE_BYTES: usize = 32;
/// And so many characters in base64url.
const SIGNATURE_CHARACTERS: usize = 43;

/// What the usual libraries write for HS256, encoded: good as they stand, without decoding and parsing them (a fifth
/// of a verification).
const USUAL_HEADERS: [&str; 3] = [
    // {"alg":"HS256","typ":"JWT"}
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9",
    // {"typ":"JWT","alg":"HS256"}
    "eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzI1NiJ9",
    // {"alg":"HS256"}
    "eyJhbGciOiJIUzI1NiJ9",
];

/// The keys tokens may be signed with, prepared once.
#[derive(Debug, Clone)]
pub struct Keys {
    current: hmac::Key,
    previous: Option<hmac::Key>,
}

impl Keys {
    /// `None` if the current secret is empty. An empty previous one counts as none.
    pub fn new(current: &Secret, previous: Option<&Secret>) -> Option<Self> {
        let prepare = |secret: &Secret| {
            (!secret.is_empty()).then(|| hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes()))
        };
        Some(Self { current: prepare(current)?, previous: previous.and_then(prepare) })
    }

    /// From raw key bytes, as keys in JWK form have them.
    pub fn from_bytes(current: &[u8]) -> Option<Self> {
        (!current.is_empty())
            .then(|| Self { current: hmac::Key::new(hmac::HMAC_SHA256, current), previous: None })
    }

    /// Whether one of the keys made this tag over this text. Constant time per key.
    pub fn verify(&self, text: &[u8], tag: &[u8]) -> bool {
        hmac::verify(&self.current, text, tag).is_ok()
            || self.previous.as_ref().is_some_and(|key| hmac::verify(key, text, tag).is_ok())
    }

    /// The current key's tag over a text.
    pub(super) fn sign(&self, text: &[u8]) -> hmac::Tag {
        hmac::sign(&self.current, text)
    }
}

/// Verifies a token and returns its claims, not yet judged.
///
/// `payload` is where the claims live; what it held is discarded.
/// Errors: all of [`TokenError`] that need no look at a claim.
pub fn verify<'p>(
    token: &str,
    keys: &Keys,
    json: &mut Json,
    payload: &'p mut Vec<u8>,
) -> Result<Object<'p>, TokenError> {
    verify_signature(token, keys, json, payload)?;
    object(payload, Part::Payload, json)
}

/// Verifies everything but the payload's content, which is left decoded in `payload`. Cost: O(length), and the
/// length is bounded before anything is looked at.
///
/// Source: RFC 7515 section 5.2, and RFC 8725 for the order.
pub fn verify_signature(
    token: &str,
    keys: &Keys,
    json: &mut Json,
    payload: &mut Vec<u8>,
) -> Result<(), TokenError> {
    if token.is_empty() {
        return Err(TokenError::NoToken);
    }
    if token.len() > TOKEN_BYTES_MAX {
        return Err(TokenError::TooLarge { bytes: token.len() });
    }
    let Segments { header, body, signature, signed } = split(token).ok_or(Malformed::Segments)?;

    let tag = decode_tag(signature, payload)?;
    if !USUAL_HEADERS.contains(&header) {
        decode(header, Part::Header, payload)?;
        check_header(payload, json)?;
    }
    if signature.is_empty() {
        return Err(Malformed::EmptySignature.into());
    }
    if !tag.is_some_and(|tag| keys.verify(signed.as_bytes(), &tag)) {
        return Err(TokenError::BadSignature);
    }
    decode(body, Part::Payload, payload)
}

/// The parts of a token, encoded, and what the signature covers.
struct Segments<'t> {
    header: &'t str,
    body: &'t str,
    signature: &'t str,
    signed: &'t str,
}

/// `None`: not three segments.
fn split(token: &str) -> Option<Segments<'_>> {
    let mut dots = memchr_iter(b'.', token.as_bytes());
    let (Some(first), Some(second), None) = (dots.next(), dots.next(), dots.next()) else { return None };
    Some(Segments {
        header: &token[..first],
        body: &token[first + 1..second],
        signature: &token[second + 1..],
        signed: &token[..second],
    })
}

/// The bytes of the signature; `None`: it is none of HS256, for its length. `scratch` is overwritten.
fn decode_tag(signature: &str, scratch: &mut Vec<u8>) -> Result<Option<[u8; SIGNATURE_BYTES]>, TokenError> {
    if signature.len() != SIGNATURE_CHARACTERS {
        return decode(signature, Part::Signature, scratch).map(|()| None);
    }
    let mut tag = [0; SIGNATURE_BYTES];
    let decoded = BASE64URL_NOPAD.decode_mut(signature.as_bytes(), &mut tag);
    decoded.map_err(|_| Malformed::Base64 { part: Part::Signature })?;
    Ok(Some(tag))
}

/// Strict base64url: no padding, no other alphabet, no white space, no unused bits.
///
/// The text is known to who sent it, so the decoder need not run in constant time: a table is four times faster.
fn decode(segment: &str, part: Part, bytes: &mut Vec<u8>) -> Result<(), TokenError> {
    let length = BASE64URL_NOPAD.decode_len(segment.len()).map_err(|_| Malformed::Base64 { part })?;
    bytes.clear();
    bytes.resize(length, 0);
    let decoded =
        BASE64URL_NOPAD.decode_mut(segment.as_bytes(), bytes).map_err(|_| Malformed::Base64 { part })?;
    bytes.truncate(decoded);
    Ok(())
}

/// `kid`, `typ` and everything unknown are accepted and mean nothing: there is one key at a time, and nothing in a
/// token makes the server fetch or unpack anything.
fn check_header(header: &[u8], json: &mut Json) -> Result<(), TokenError> {
    let members = object(header, Part::Header, json)?
        .read(["alg", "typ", "kid", "crit"])
        .map_err(|error| Malformed::Json { part: Part::Header, error })?;
    let [alg, typ, kid, crit] = members;
    for (name, value) in [("alg", alg), ("typ", typ), ("kid", kid)] {
        if let Some(found) = value.map(Value::kind).filter(|kind| *kind != Kind::String) {
            return Err(Malformed::HeaderType { name, found: found.name() }.into());
        }
    }
    if !alg.is_some_and(|alg| alg.is_string("HS256")) {
        return Err(TokenError::AlgorithmNotAllowed);
    }
    if crit.is_some() {
        return Err(TokenError::CritUnsupported);
    }
    Ok(())
}

fn object<'b>(bytes: &'b [u8], part: Part, json: &mut Json) -> Result<Object<'b>, TokenError> {
    let value = json.parse(bytes).map_err(|error| Malformed::Json { part, error })?;
    let found = value.kind().name();
    value.as_object().ok_or_else(|| Malformed::NotAnObject { part, found }.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_headers_would_pass_the_check() {
        for header in USUAL_HEADERS {
            let mut bytes = Vec::new();
            decode(header, Part::Header, &mut bytes).expect("base64url");
            assert_eq!(check_header(&bytes, &mut Json::new()), Ok(()), "{header}");
        }
    }
}

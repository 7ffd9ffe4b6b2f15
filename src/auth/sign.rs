//! Making tokens: for the command line, the embedded default and tests.

use base64ct::{Base64UrlUnpadded, Encoding};

use super::token::Keys;

/// A compact JWS over `claims`, signed with the current key under HS256.
///
/// `claims`: the payload as JSON, taken as it is.
pub fn sign(claims: &[u8], keys: &Keys) -> String {
    let mut token = Base64UrlUnpadded::encode_string(br#"{"alg":"HS256","typ":"JWT"}"#);
    token.push('.');
    token.push_str(&Base64UrlUnpadded::encode_string(claims));
    let signature = keys.sign(token.as_bytes());
    token.push('.');
    token.push_str(&Base64UrlUnpadded::encode_string(signature.as_ref()));
    token
}

//! Making tokens: for the command line, the embedded default and tests.

use data_encoding::BASE64URL_NOPAD;

use super::token::Keys;

/// A compact JWS over `claims`, signed with the current key under HS256.
///
/// `claims`: the payload as JSON, taken as it is.
pub fn sign(claims: &[u8], keys: &Keys) -> String {
    let mut token = BASE64URL_NOPAD.encode(br#"{"alg":"HS256","typ":"JWT"}"#);
    token.push('.');
    BASE64URL_NOPAD.encode_append(claims, &mut token);
    let signature = keys.sign(token.as_bytes());
    token.push('.');
    BASE64URL_NOPAD.encode_append(signature.as_ref(), &mut token);
    token
}

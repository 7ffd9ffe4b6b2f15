//! What clients prove themselves with, made here so that every connection can be its own user: tokens, and signatures
//! under the app's key.

use std::fmt::Write;

use base64ct::{Base64UrlUnpadded, Encoding};
use ring::hmac;

/// `{"alg":"HS256","typ":"JWT"}` in base64url.
const HEADER: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9";

pub struct Mint {
    key: hmac::Key,
    app_key: String,
    expires_unix_s: u64,
}

impl Mint {
    /// `secret`: of tokens and of the app. `expires_unix_s`: the `exp` of every token.
    pub fn new(secret: &str, app_key: &str, expires_unix_s: u64) -> Mint {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        Mint { key, app_key: app_key.to_owned(), expires_unix_s }
    }

    /// The app's public key.
    pub fn app_key(&self) -> &str {
        &self.app_key
    }

    /// `<key>:<signature>` of a text, in hexadecimal digits.
    pub fn signed(&self, text: &str) -> String {
        let mut signed = format!("{}:", self.app_key);
        for byte in hmac::sign(&self.key, text.as_bytes()).as_ref() {
            let _ = write!(signed, "{byte:02x}");
        }
        signed
    }

    /// A compact JWS for user `u{number}`. Source: RFC 7515 section 3.1; RFC 7519 section 4.1.
    pub fn token(&self, number: u32) -> String {
        let claims = format!(r#"{{"sub":"u{number}","exp":{}}}"#, self.expires_unix_s);
        let mut token = format!("{HEADER}.{}", Base64UrlUnpadded::encode_string(claims.as_bytes()));
        let signature = hmac::sign(&self.key, token.as_bytes());
        token.push('.');
        token.push_str(&Base64UrlUnpadded::encode_string(signature.as_ref()));
        token
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_verifies_and_says_who_and_until_when() {
        let token = Mint::new("secret", "key", 1_900_000_000).token(42);
        let parts: Vec<&str> = token.split('.').collect();
        let [header, claims, signature] = parts[..] else { panic!("three parts in {token}") };
        let decode = |part: &str| Base64UrlUnpadded::decode_vec(part).expect("unpadded base64url");
        assert_eq!(decode(header), br#"{"alg":"HS256","typ":"JWT"}"#);
        assert_eq!(decode(claims), br#"{"sub":"u42","exp":1900000000}"#);
        let signed = format!("{header}.{claims}");
        let key = |secret: &str| hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        assert!(hmac::verify(&key("secret"), signed.as_bytes(), &decode(signature)).is_ok());
        assert!(hmac::verify(&key("other"), signed.as_bytes(), &decode(signature)).is_err());
    }

    /// The signature of these exact bytes as computed by `openssl dgst -sha256 -hmac secret`.
    #[test]
    fn a_token_is_the_one_another_implementation_makes() {
        assert_eq!(Mint::new("secret", "key", 1_900_000_000).token(1), KNOWN);
    }

    const KNOWN: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJ1MSIsImV4cCI6MTkwMDAwMDAwMH0.YKH22AJRfdC3J00280Dd4XKIEMsBGeL8izh5vb_HWfI";
}

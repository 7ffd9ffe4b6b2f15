//! Keys that backends present.

use ring::hmac;

use super::secret::Secret;

/// A configured API key, ready to be compared.
///
/// Both sides are hashed, so the time a comparison takes depends on what was presented, never on the key.
#[derive(Debug, Clone)]
pub struct ApiKey {
    hashing: hmac::Key,
    hash: hmac::Tag,
}

impl ApiKey {
    /// `None` if the key is empty: nothing would match it, and it would look as if something could.
    pub fn new(key: &Secret) -> Option<Self> {
        if key.is_empty() {
            return None;
        }
        let hashing = hmac::Key::new(hmac::HMAC_SHA256, b"polycast api key");
        let hash = hmac::sign(&hashing, key.expose().as_bytes());
        Some(Self { hashing, hash })
    }

    /// Whether `presented` is the key. Constant time for one length of `presented`.
    pub fn matches(&self, presented: &str) -> bool {
        hmac::verify(&self.hashing, presented.as_bytes(), self.hash.as_ref()).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_key_itself_matches() {
        let key = ApiKey::new(&Secret::from("api-key")).expect("not empty");
        assert!(key.matches("api-key"));
        for wrong in ["", "api-ke", "api-key ", "API-KEY", "api-keyapi-key", "api-key\0"] {
            assert!(!key.matches(wrong), "{wrong:?}");
        }
        assert!(ApiKey::new(&Secret::default()).is_none());
        assert!(!format!("{key:?}").contains("api-key"));
    }
}

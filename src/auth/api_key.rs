//! Keys that backends present.

use subtle::ConstantTimeEq;

use super::secret::Secret;

/// A configured API key, ready to be compared.
///
/// The time a comparison takes tells nothing of the key but its length.
#[derive(Debug, Clone)]
pub struct ApiKey(Secret);

impl ApiKey {
    /// `None` if the key is empty: nothing would match it, and it would look as if something could.
    pub fn new(key: &Secret) -> Option<Self> {
        if key.is_empty() {
            return None;
        }
        Some(Self(key.clone()))
    }

    /// Whether `presented` is the key. Constant time for one length of `presented`.
    pub fn matches(&self, presented: &str) -> bool {
        self.0.expose().as_bytes().ct_eq(presented.as_bytes()).into()
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

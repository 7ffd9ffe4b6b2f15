//! Signatures of the Pusher dialect: a client's proof of a channel or of who it is, a backend's requests, and what
//! the server tells backends.
//!
//! All are HMAC-SHA256 under the app's secret, written as 64 lower-case hexadecimal digits.

use data_encoding::HEXLOWER;

use super::secret::Secret;
use super::token::Keys;

const SIGNATURE_BYTES: usize = 32;

/// An app's public key and what signatures under it are made with.
#[derive(Debug, Clone)]
pub struct PusherKeys {
    key: Box<str>,
    secrets: Keys,
}

/// Why a proof proves nothing. Contains nothing of a secret nor of the signature that would have been right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    #[error("no auth was given")]
    Missing,
    /// Not `key:signature`, or the signature is not 64 lower-case hexadecimal digits.
    #[error("auth is not of the form key:signature")]
    Malformed,
    #[error("auth begins with another key than the connection's")]
    ForeignKey,
    #[error("the signature was not made with the secret of this app over this text")]
    BadSignature,
}

impl PusherKeys {
    /// `None` if the secret is empty. `previous`: what it was before it was changed; still right.
    pub fn new(key: &str, secret: &Secret, previous: Option<&Secret>) -> Option<Self> {
        Some(Self { key: key.into(), secrets: Keys::new(secret, previous)? })
    }

    /// The public key.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Checks `auth`, `<key>:<signature>` as a client's own backend made it, against the text it must be about.
    /// Constant time per secret for one length of text.
    pub fn verify(&self, auth: &str, text: &str) -> Result<(), SignatureError> {
        if auth.is_empty() {
            return Err(SignatureError::Missing);
        }
        let (key, signature) = auth.split_once(':').ok_or(SignatureError::Malformed)?;
        if *key != *self.key {
            return Err(SignatureError::ForeignKey);
        }
        self.verify_signature(signature, text.as_bytes()).map(|_| ())
    }

    /// Checks a bare signature; returns its bytes.
    pub fn verify_signature(
        &self,
        signature: &str,
        text: &[u8],
    ) -> Result<[u8; SIGNATURE_BYTES], SignatureError> {
        let mut tag = [0; SIGNATURE_BYTES];
        if signature.len() != 2 * SIGNATURE_BYTES
            || HEXLOWER.decode_mut(signature.as_bytes(), &mut tag).is_err()
        {
            return Err(SignatureError::Malformed);
        }
        if self.secrets.verify(text, &tag) { Ok(tag) } else { Err(SignatureError::BadSignature) }
    }

    /// The signature over a text, under the current secret.
    pub fn sign(&self, text: &[u8]) -> String {
        HEXLOWER.encode(self.secrets.sign(text).as_ref())
    }
}

/// What proves that a socket may subscribe to a channel. `channel_data` counts whatever the channel's class, if it
/// is not empty: the libraries sign it for private channels too.
pub fn channel_text(socket_id: &str, channel: &str, channel_data: &str) -> String {
    if channel_data.is_empty() {
        format!("{socket_id}:{channel}")
    } else {
        format!("{socket_id}:{channel}:{channel_data}")
    }
}

/// What proves that a socket belongs to a user.
pub fn user_text(socket_id: &str, user_data: &str) -> String {
    format!("{socket_id}::user::{user_data}")
}

/// What a backend's request is signed over.
///
/// `parameters`: names and decoded values of the query; `auth_signature` among them does not count, and their
/// order does not matter.
pub fn request_text(method: &str, path: &str, parameters: &[(&str, &str)]) -> String {
    let mut signed: Vec<(String, &str)> = parameters
        .iter()
        .map(|(name, value)| (name.to_lowercase(), *value))
        .filter(|(name, _)| name != "auth_signature")
        .collect();
    signed.sort_by(|(a, _), (b, _)| a.cmp(b));
    let mut text = format!("{method}\n{path}\n");
    for (place, (name, value)) in signed.iter().enumerate() {
        if place > 0 {
            text.push('&');
        }
        text.push_str(name);
        text.push('=');
        text.push_str(value);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Key and secret of the vendor's published examples.
    fn keys() -> PusherKeys {
        let secret = Secret::from("7ad3773142a6692b25b8");
        PusherKeys::new("278d425bdf160c739803", &secret, None).expect("not empty")
    }

    fn auth(signature: &str) -> String {
        format!("278d425bdf160c739803:{signature}")
    }

    #[test]
    fn published_proofs_are_right() {
        let socket = "1234.1234";
        let channels = r#"{"user_id":10,"user_info":{"name":"Mr. Channels"}}"#;
        let pusher = r#"{"user_id":10,"user_info":{"name":"Mr. Pusher"}}"#;
        let table = [
            (
                channel_text(socket, "private-foobar", ""),
                "58df8b0c36d6982b82c3ecf6b4662e34fe8c25bba48f5369f135bf843651c3a4",
            ),
            (
                user_text(socket, r#"{"id":"12345"}"#),
                "4708d583dada6a56435fb8bc611c77c359a31eebde13337c16ab43aa6de336ba",
            ),
            (
                channel_text(socket, "presence-foobar", channels),
                "31935e7d86dba64c2a90aed31fdc61869f9b22ba9d8863bba239c03ca481bc80",
            ),
            (
                channel_text(socket, "presence-foobar", pusher),
                "afaed3695da2ffd16931f457e338e6c9f2921fa133ce7dac49f529792be6304c",
            ),
        ];
        for (text, signature) in table {
            assert_eq!(keys().verify(&auth(signature), &text), Ok(()), "{text}");
            assert_eq!(keys().sign(text.as_bytes()), signature, "{text}");
        }
    }

    #[test]
    fn the_published_request_is_right() {
        let signature = "da454824c97ba181a32ccc17a72625ba02771f50b50e1e7430e47a1f3f457e6c";
        let parameters = [
            ("body_md5", "ec365a775a4cd0599faeb73354201b6f"),
            ("auth_signature", signature),
            ("auth_version", "1.0"),
            ("Auth_Key", "278d425bdf160c739803"),
            ("auth_timestamp", "1353088179"),
        ];
        let text = request_text("POST", "/apps/3/events", &parameters);
        let want = "POST\n/apps/3/events\nauth_key=278d425bdf160c739803&auth_timestamp=1353088179&\
                    auth_version=1.0&body_md5=ec365a775a4cd0599faeb73354201b6f";
        assert_eq!(text, want);
        assert!(keys().verify_signature(signature, text.as_bytes()).is_ok());
    }

    #[test]
    fn the_published_webhook_is_right() {
        let body =
            br#"{"time_ms":1327078148132,"events":[{"name":"channel_occupied","channel":"my-channel"}]}"#;
        assert_eq!(keys().sign(body), "c19001ae3963ccb13bf618e5b16ba9848e7e74df0993aa0689168e341c6833cf");
    }

    #[test]
    fn what_proves_nothing_is_refused() {
        let right = "58df8b0c36d6982b82c3ecf6b4662e34fe8c25bba48f5369f135bf843651c3a4";
        let text = "1234.1234:private-foobar";
        let table = [
            ("nothing", String::new(), SignatureError::Missing),
            ("no colon", right.to_owned(), SignatureError::Malformed),
            ("another app's key", format!("app-key:{right}"), SignatureError::ForeignKey),
            ("no key", format!(":{right}"), SignatureError::ForeignKey),
            ("upper case", auth(&right.to_uppercase()), SignatureError::Malformed),
            ("too short", auth(&right[..62]), SignatureError::Malformed),
            ("too long", auth(&format!("{right}00")), SignatureError::Malformed),
            ("no digits", auth(&"g".repeat(64)), SignatureError::Malformed),
            ("a second colon", auth(&format!("{right}:")), SignatureError::Malformed),
            ("empty signature", auth(""), SignatureError::Malformed),
            ("another signature", auth(&"0".repeat(64)), SignatureError::BadSignature),
        ];
        for (name, auth, want) in table {
            assert_eq!(keys().verify(&auth, text), Err(want), "{name}");
        }
        for text in ["1234.1235:private-foobar", "1234.1234:private-foobaz", "1234.1234:private-foobar:{}"] {
            assert_eq!(keys().verify(&auth(right), text), Err(SignatureError::BadSignature), "{text}");
        }
    }

    #[test]
    fn a_changed_secret_leaves_the_one_before_right() {
        let (old, new) = (Secret::from("old"), Secret::from("new"));
        let by =
            |secret: &Secret| PusherKeys::new("k", secret, None).expect("not empty").sign(b"1.1:private-a");
        let keys = PusherKeys::new("k", &new, Some(&old)).expect("not empty");
        for secret in [&old, &new] {
            assert_eq!(keys.verify(&format!("k:{}", by(secret)), "1.1:private-a"), Ok(()));
        }
        assert_eq!(keys.sign(b"1.1:private-a"), by(&new));
        assert!(PusherKeys::new("k", &Secret::default(), Some(&old)).is_none());
        let shown = format!("{keys:?}");
        assert!(!shown.contains("new") && !shown.contains("old"), "{shown}");
    }
}

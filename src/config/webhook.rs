//! `[[apps.pusher.webhooks]]`: whom to tell what.

use std::collections::BTreeMap;

use serde::Deserialize;
use tungstenite::http::{HeaderName, HeaderValue, Uri};

use super::error::ConfigError;
use crate::core::happening::{Kind, Kinds};

/// As it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawWebhook {
    pub url: String,
    pub event_types: Vec<String>,
    pub channel_name_starts_with: String,
    pub channel_name_ends_with: String,
    pub headers: BTreeMap<String, String>,
    pub batching: bool,
}

/// A backend that is told what happens in channels.
#[derive(Clone, PartialEq, Eq)]
pub struct Webhook {
    /// `http` or `https`, with a host.
    pub url: Box<str>,
    /// At least one.
    pub kinds: Kinds,
    /// Only channels with such names; empty: any.
    pub channel_name_starts_with: Box<str>,
    pub channel_name_ends_with: Box<str>,
    /// Sent with every request; none is one of its own headers.
    pub headers: Vec<(Box<str>, Box<str>)>,
    /// Several events to a request.
    pub batching: bool,
}

/// Headers may hold what a receiver lets in by, and so may addresses.
impl std::fmt::Debug for Webhook {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Webhook").field("kinds", &self.kinds).finish_non_exhaustive()
    }
}

/// Headers that every request has of its own.
const OWN_HEADERS: [&str; 7] = [
    "connection",
    "content-length",
    "content-type",
    "host",
    "transfer-encoding",
    "x-pusher-key",
    "x-pusher-signature",
];

/// `table`: the key of the list.
pub(super) fn webhooks(table: &str, raw: &[RawWebhook]) -> Result<Vec<Webhook>, ConfigError> {
    raw.iter().enumerate().map(|(index, raw)| webhook(&format!("{table}.{index}"), raw)).collect()
}

fn webhook(table: &str, raw: &RawWebhook) -> Result<Webhook, ConfigError> {
    let key = |name: &str| -> Box<str> { format!("{table}.{name}").into() };
    let uri = raw.url.parse::<Uri>().ok().filter(|uri| uri.host().is_some_and(|host| !host.is_empty()));
    if uri.is_none_or(|uri| !matches!(uri.scheme_str(), Some("http" | "https"))) {
        let want = "write an address like \"https://backend.example.com/pusher/webhooks\"";
        return Err(ConfigError::Value { key: key("url"), value: shown(&raw.url), want });
    }
    let mut kinds = Kinds::default();
    let want = "write some of channel_occupied, channel_vacated, member_added, member_removed, client_event, \
                cache_miss, subscription_count";
    for name in &raw.event_types {
        let kind = Kind::named(name);
        let value = || ConfigError::Value { key: key("event_types"), value: name.as_str().into(), want };
        kinds.insert(kind.ok_or_else(value)?);
    }
    if kinds.is_empty() {
        return Err(ConfigError::Missing { key: key("event_types"), want });
    }
    let mut headers = Vec::new();
    for (name, value) in &raw.headers {
        let want = "write names and values that HTTP allows, and none that the request has of its own";
        let is_right = HeaderName::try_from(name).is_ok_and(|name| !OWN_HEADERS.contains(&name.as_str()))
            && HeaderValue::try_from(value).is_ok();
        if !is_right {
            return Err(ConfigError::Value { key: key("headers"), value: name.as_str().into(), want });
        }
        headers.push((name.as_str().into(), value.as_str().into()));
    }
    Ok(Webhook {
        url: raw.url.as_str().into(),
        kinds,
        channel_name_starts_with: raw.channel_name_starts_with.as_str().into(),
        channel_name_ends_with: raw.channel_name_ends_with.as_str().into(),
        headers,
        batching: raw.batching,
    })
}

/// Without what may be secret in an address.
fn shown(url: &str) -> Box<str> {
    let end = url.find(['?', '#']).unwrap_or(url.len());
    let url = &url[..end];
    match (url.find("://"), url.rfind('@')) {
        (Some(scheme), Some(at)) if at > scheme => format!("{}{}", &url[..scheme + 3], &url[at + 1..]).into(),
        _ => url.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Webhook, String> {
        let raw: RawWebhook = toml::from_str(text).map_err(|error| error.to_string())?;
        let mut hooks = webhooks("hooks", &[raw]).map_err(|error| error.to_string())?;
        Ok(hooks.remove(0))
    }

    #[test]
    fn webhooks_are_read() {
        let hook = read(
            "url = \"https://u:p@a.example/x?secret=1\"\nevent_types = [\"channel_occupied\", \"cache_miss\"]\n\
             channel_name_starts_with = \"private-\"\nheaders = { X-Token = \"t\" }\nbatching = true",
        );
        let hook = hook.expect("valid");
        assert!(hook.kinds.contains(Kind::Occupied) && hook.kinds.contains(Kind::CacheMiss));
        assert!(!hook.kinds.contains(Kind::Vacated) && hook.batching);
        assert_eq!(hook.headers, [("X-Token".into(), "t".into())]);
        let shown = format!("{hook:?}");
        assert!(!shown.contains("secret") && !shown.contains("X-Token"), "{shown}");
    }

    #[test]
    fn wrong_webhooks_name_their_key() {
        let types = "event_types = [\"channel_occupied\"]";
        let table = [
            (types.to_owned(), "hooks.0.url: \"\" is not possible"),
            (format!("url = \"ftp://a/\"\n{types}"), "hooks.0.url: \"ftp://a/\" is not possible"),
            (format!("url = \"/path\"\n{types}"), "hooks.0.url: \"/path\" is not possible"),
            (
                format!("url = \"gopher://u:p@a/b?c=d\"\n{types}"),
                "hooks.0.url: \"gopher://a/b\" is not possible",
            ),
            (
                "url = \"http://a/\"".to_owned(),
                "hooks.0.event_types: missing; write some of channel_occupied",
            ),
            (
                "url = \"http://a/\"\nevent_types = [\"occupied\"]".to_owned(),
                "hooks.0.event_types: \"occupied\" is",
            ),
            (
                format!("url = \"http://a/\"\n{types}\nheaders = {{ Host = \"b\" }}"),
                "hooks.0.headers: \"Host\" is",
            ),
            (
                format!("url = \"http://a/\"\n{types}\nheaders = {{ \"a b\" = \"c\" }}"),
                "hooks.0.headers: \"a b\" is",
            ),
            (
                format!("url = \"http://a/\"\n{types}\nheaders = {{ a = \"b\\nc\" }}"),
                "hooks.0.headers: \"a\" is",
            ),
        ];
        for (text, want) in table {
            let error = read(&text).expect_err(&text);
            assert!(error.starts_with(want), "{error}");
        }
    }
}

//! What the operator may write. One struct per table; their `Default`s are the one place where defaults live.

use std::fmt;

use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};

use super::duration::Duration;
use super::webhook::RawWebhook;
use crate::core::namespace::SlowConsumer;
use crate::core::recovery::Mode;

/// The whole file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawConfig {
    pub server: RawServer,
    pub limits: RawLimits,
    pub apps: Vec<RawApp>,
}

/// `[server]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawServer {
    pub http: OneOrMany,
    pub tcp: OneOrMany,
    pub ops: String,
    pub shards: u64,
    pub control_threads: u64,
    pub accept_backlog: u64,
    pub trusted_proxies: Vec<String>,
    pub allowed_origins: Vec<String>,
    pub drain_grace: Duration,
    pub drain_spread: Duration,
    pub log_format: LogFormat,
    pub log_level: LogLevel,
}

impl Default for RawServer {
    fn default() -> Self {
        Self {
            http: OneOrMany(vec!["127.0.0.1:8000".to_owned()]),
            tcp: OneOrMany(vec!["127.0.0.1:8001".to_owned()]),
            ops: "127.0.0.1:8002".to_owned(),
            shards: 0,
            control_threads: 1,
            accept_backlog: 4_096,
            trusted_proxies: Vec::new(),
            allowed_origins: Vec::new(),
            drain_grace: Duration::from_s(5),
            drain_spread: Duration::from_s(20),
            log_format: LogFormat::default(),
            log_level: LogLevel::default(),
        }
    }
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

/// The least severe log line that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogLevel {
    Error,
    Warn,
    #[default]
    Info,
    Debug,
    Trace,
}

/// `[limits]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawLimits {
    pub connections_max: u64,
    pub connections_per_address_max: u64,
    pub handshakes_per_address_per_second: u64,
    pub header_bytes_max: u64,
    pub headers_max: u64,
    pub header_timeout: Duration,
    pub http_body_bytes_max: u64,
    pub message_bytes_max: u64,
    pub fragments_max: u64,
    pub fragment_timeout: Duration,
    pub pings_per_second_max: u64,
    pub errors_in_a_row_max: u64,
    pub subscribes_per_second_max: u64,
    pub commands_per_second_max: u64,
    pub publishes_per_second_max: u64,
    pub history_reads_per_second_max: u64,
    pub presence_reads_per_second_max: u64,
    pub user_commands_per_second_max: u64,
    pub user_subscribes_per_second_max: u64,
    pub user_publishes_per_second_max: u64,
    pub user_history_reads_per_second_max: u64,
    pub user_presence_reads_per_second_max: u64,
    pub rate_burst: Duration,
    pub info_bytes_max: u64,
    pub publication_bytes_max: u64,
    pub broadcast_channels_max: u64,
    pub write_timeout: Duration,
}

impl Default for RawLimits {
    fn default() -> Self {
        Self {
            connections_max: 0,
            connections_per_address_max: 0,
            handshakes_per_address_per_second: 0,
            header_bytes_max: 16 * 1_024,
            headers_max: 100,
            header_timeout: Duration::from_s(5),
            http_body_bytes_max: 1_024 * 1_024,
            message_bytes_max: 64 * 1_024,
            fragments_max: 1_024,
            fragment_timeout: Duration::from_s(30),
            pings_per_second_max: 100,
            errors_in_a_row_max: 50,
            subscribes_per_second_max: 1_000,
            commands_per_second_max: 0,
            publishes_per_second_max: 0,
            history_reads_per_second_max: 0,
            presence_reads_per_second_max: 0,
            user_commands_per_second_max: 0,
            user_subscribes_per_second_max: 0,
            user_publishes_per_second_max: 0,
            user_history_reads_per_second_max: 0,
            user_presence_reads_per_second_max: 0,
            rate_burst: Duration::from_s(2),
            info_bytes_max: 1_024,
            publication_bytes_max: 64 * 1_024,
            broadcast_channels_max: 10_000,
            write_timeout: Duration::from_s(10),
        }
    }
}

/// `[[apps]]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawApp {
    pub id: Option<String>,
    pub key: Option<String>,
    pub secret: Option<RawSecret>,
    pub previous_secret: Option<RawSecret>,
    pub token_hmac_secret_key: Option<RawSecret>,
    pub token_hmac_previous_secret_key: Option<RawSecret>,
    pub api_key: Option<RawSecret>,
    pub centrifuge: RawCentrifuge,
    pub pusher: RawPusher,
    pub namespaces: Vec<RawNamespace>,
}

/// Whose rules hold for what a namespace does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
pub(super) enum Compat {
    /// Centrifugo v3 to v6: nobody may do what is not allowed.
    #[default]
    #[serde(rename = "")]
    None,
    /// Centrifugo v1 and v2.
    #[serde(rename = "v2")]
    V2,
}

/// `[apps.centrifuge]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawCentrifuge {
    pub enabled: Option<bool>,
    pub compat: Compat,
    pub ping_interval: Duration,
    pub pong_timeout: Duration,
    pub stale_close_delay: Duration,
    pub expired_close_delay: Duration,
    pub channel_position_check_delay: Duration,
    pub channel_max_length: u64,
    pub channel_limit: u64,
    pub queue_max_size: u64,
    pub allow_anonymous_connect_without_token: bool,
    pub disallow_anonymous_connection_tokens: bool,
    pub user_subscribe_to_personal: bool,
    pub user_personal_channel_namespace: String,
    pub user_personal_single_connection: bool,
    pub token_audience: String,
    pub token_issuer: String,
}

impl Default for RawCentrifuge {
    fn default() -> Self {
        Self {
            enabled: None,
            compat: Compat::default(),
            ping_interval: Duration::from_s(25),
            pong_timeout: Duration::from_s(8),
            stale_close_delay: Duration::from_s(10),
            expired_close_delay: Duration::from_s(25),
            channel_position_check_delay: Duration::from_s(40),
            channel_max_length: 255,
            channel_limit: 128,
            queue_max_size: 1_024 * 1_024,
            allow_anonymous_connect_without_token: false,
            disallow_anonymous_connection_tokens: false,
            user_subscribe_to_personal: false,
            user_personal_channel_namespace: String::new(),
            user_personal_single_connection: false,
            token_audience: String::new(),
            token_issuer: String::new(),
        }
    }
}

/// `[apps.pusher]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawPusher {
    pub enabled: Option<bool>,
    pub path_prefix: String,
    pub activity_timeout: Duration,
    pub pong_timeout: Duration,
    pub client_events: bool,
    pub client_events_per_second: u64,
    pub user_authentication: bool,
    pub watchlist_events: bool,
    pub watchlist_limit: u64,
    pub subscription_count: bool,
    pub authorized_connections: bool,
    pub authorized_connections_timeout: Duration,
    pub debug: bool,
    pub channel_max_length: u64,
    pub channel_limit: u64,
    pub queue_max_size: u64,
    pub message_max_size: u64,
    pub event_name_max_length: u64,
    pub event_data_max_size: u64,
    pub event_channels_limit: u64,
    pub batch_limit: u64,
    pub presence_members_limit: u64,
    pub presence_user_max_size: u64,
    pub user_id_max_length: u64,
    pub cache_ttl: Duration,
    pub auth_timestamp_window: Duration,
    pub replay_cache: u64,
    pub webhooks: Vec<RawWebhook>,
}

impl Default for RawPusher {
    fn default() -> Self {
        Self {
            enabled: None,
            path_prefix: String::new(),
            activity_timeout: Duration::from_s(120),
            pong_timeout: Duration::from_s(30),
            client_events: true,
            client_events_per_second: 10,
            user_authentication: true,
            watchlist_events: true,
            watchlist_limit: 100,
            subscription_count: false,
            authorized_connections: false,
            authorized_connections_timeout: Duration::from_s(30),
            debug: false,
            channel_max_length: 200,
            channel_limit: 128,
            queue_max_size: 1_024 * 1_024,
            message_max_size: 16 * 1_024,
            event_name_max_length: 200,
            event_data_max_size: 10 * 1_024,
            event_channels_limit: 100,
            batch_limit: 10,
            presence_members_limit: 100,
            presence_user_max_size: 1_024,
            user_id_max_length: 128,
            cache_ttl: Duration::from_s(30 * 60),
            auth_timestamp_window: Duration::from_s(600),
            replay_cache: 0,
            webhooks: Vec::new(),
        }
    }
}

/// `[[apps.namespaces]]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawNamespace {
    pub name: Option<String>,
    /// Unless it is written: whether the rules of Centrifugo v2 hold. So are the others that are optional.
    pub allow_subscribe_for_client: Option<bool>,
    pub allow_subscribe_for_anonymous: bool,
    pub allow_publish_for_client: bool,
    pub allow_publish_for_subscriber: bool,
    pub allow_publish_for_anonymous: bool,
    pub allow_user_limited_channels: Option<bool>,
    pub history_size: u64,
    pub history_ttl: Duration,
    /// [`HISTORY_META_TTL`] unless it is written.
    pub history_meta_ttl: Option<Duration>,
    pub allow_history_for_client: bool,
    pub allow_history_for_subscriber: Option<bool>,
    pub allow_history_for_anonymous: bool,
    pub allow_positioning: bool,
    pub force_positioning: bool,
    pub allow_recovery: bool,
    pub force_recovery: bool,
    pub force_recovery_mode: RawMode,
    pub auto_cache_recover: bool,
    pub allow_tags_filter: bool,
    pub allowed_delta_types: Vec<RawDelta>,
    pub delta_publish: bool,
    pub presence: bool,
    pub join_leave: bool,
    pub force_push_join_leave: Option<bool>,
    pub allow_presence_for_client: bool,
    pub allow_presence_for_subscriber: Option<bool>,
    pub allow_presence_for_anonymous: bool,
    pub slow_consumer: RawSlowConsumer,
}

/// Thirty days.
pub(super) const HISTORY_META_TTL: Duration = Duration::from_s(30 * 24 * 3_600);

/// [`Mode`] as it is written.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum RawMode {
    #[default]
    Stream,
    Cache,
}

impl From<RawMode> for Mode {
    fn from(raw: RawMode) -> Self {
        match raw {
            RawMode::Stream => Self::Stream,
            RawMode::Cache => Self::Cache,
        }
    }
}

/// A kind of difference between publications.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum RawDelta {
    Fossil,
}

/// [`SlowConsumer`] as it is written.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum RawSlowConsumer {
    #[default]
    Disconnect,
    DropOldest,
    Conflate,
}

impl From<RawSlowConsumer> for SlowConsumer {
    fn from(raw: RawSlowConsumer) -> Self {
        match raw {
            RawSlowConsumer::Disconnect => Self::Disconnect,
            RawSlowConsumer::DropOldest => Self::DropOldest,
            RawSlowConsumer::Conflate => Self::Conflate,
        }
    }
}

/// One text or a list of texts.
#[derive(Debug)]
pub(super) struct OneOrMany(pub Vec<String>);

impl<'de> Deserialize<'de> for OneOrMany {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Texts;
        impl<'de> Visitor<'de> for Texts {
            type Value = OneOrMany;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a text or a list of texts")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<OneOrMany, E> {
                Ok(OneOrMany(vec![text.to_owned()]))
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<OneOrMany, A::Error> {
                let mut texts = Vec::new();
                while let Some(text) = list.next_element()? {
                    texts.push(text);
                }
                Ok(OneOrMany(texts))
            }
        }
        deserializer.deserialize_any(Texts)
    }
}

/// A secret as it is written. Shows as `***`, and a value of the wrong type is not repeated in the error.
pub(super) struct RawSecret(pub String);

impl fmt::Debug for RawSecret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("***")
    }
}

impl<'de> Deserialize<'de> for RawSecret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match toml::Value::deserialize(deserializer)? {
            toml::Value::String(secret) => Ok(Self(secret)),
            _ => Err(de::Error::custom("a secret must be a text in quotes")),
        }
    }
}

//! What the operator wrote, and the validated form that the rest of the program sees.
//!
//! Three steps: the file and the environment become one tree, the tree becomes the `raw` structs (unknown keys are
//! refused), and those become [`Config`], which is valid by construction. No file, clock or environment is read
//! here: the caller hands in texts, variables, a function that reads a secret's file, and random bytes.
//!
//! Invariants:
//! - Whoever holds a [`Config`] need not check anything in it again.
//! - No error and no warning contains a secret; secrets show as `***`.
//! - Defaults live in `raw` alone; the files that `default-config` writes are tested against it.

mod duration;
mod environment;
mod error;
mod migration;
mod network;
mod raw;
mod read;
mod reload;
mod validate;
mod webhook;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::num::NonZeroU16;

use self::duration::Duration;
pub use self::error::{ConfigError, ConfigWarning};
pub use self::migration::{Migration, MigrationError, default_config};
pub use self::network::Network;
pub use self::raw::{LogFormat, LogLevel};
pub use self::reload::AppsDiffer;
pub use self::webhook::Webhook;
use crate::auth::secret::Secret;
use crate::core::channel::namespace_name;
use crate::core::namespace::Namespace;
use crate::core::rates::Rates;
use crate::wire::origin::OriginPattern;

/// The whole configuration.
#[derive(Debug)]
pub struct Config {
    pub server: Server,
    pub limits: Limits,
    /// In the order they were written; the first serves requests that name none. At least one.
    pub apps: Vec<App>,
    pub warnings: Vec<ConfigWarning>,
}

/// Listeners, threads and the end of the process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// At least one, without repetition.
    pub http: Vec<SocketAddr>,
    /// Where backends publish with Redis clients; empty: nowhere.
    pub tcp: Vec<SocketAddr>,
    pub ops: SocketAddr,
    /// `None`: one per core.
    pub shards: Option<NonZeroU16>,
    /// Connections that wait in the kernel for being accepted, per listener.
    pub accept_backlog: u32,
    pub trusted_proxies: Vec<Network>,
    /// Pages that may connect beside those of the same origin.
    pub allowed_origins: Vec<OriginPattern>,
    /// From the order to stop until the first close.
    pub drain_grace_ms: u32,
    /// From the first close to the last.
    pub drain_spread_ms: u32,
    pub log_format: LogFormat,
    pub log_level: LogLevel,
}

/// Bounds on what peers may do. Everything in bytes, milliseconds or pieces.
#[derive(Debug, PartialEq, Eq)]
pub struct Limits {
    /// 0: 90 % of the rings' descriptor tables.
    pub connections_max: u32,
    /// 0: no bound.
    pub connections_per_address_max: u32,
    /// 0: no bound.
    pub handshakes_per_address_per_second: u32,
    pub header_bytes_max: u16,
    pub headers_max: u16,
    pub header_timeout_ms: u32,
    pub http_body_bytes_max: usize,
    pub message_bytes_max: u32,
    pub fragments_max: u32,
    pub fragment_timeout_ms: u32,
    pub pings_per_second_max: u32,
    pub errors_in_a_row_max: u32,
    /// Subscribe and unsubscribe commands of one connection.
    pub subscribes_per_second_max: u32,
    /// What one connection may ask.
    pub connection_rates: Rates,
    /// What a user may ask over all of its connections.
    pub user_rates: Rates,
    /// A token's `info`.
    pub info_bytes_max: usize,
    pub publication_bytes_max: usize,
    pub broadcast_channels_max: usize,
    pub write_timeout_ms: u32,
}

/// One tenant: its own users, channels and secrets.
#[derive(Debug)]
pub struct App {
    /// 1 to 64 of `[A-Za-z0-9_-]`; no path that the server uses itself.
    pub id: Box<str>,
    /// Public: in the paths and signatures of Pusher clients. Of no other app.
    pub key: Option<Box<str>>,
    /// What those signatures are made with.
    pub secret: Option<Secret>,
    pub previous_secret: Option<Secret>,
    pub token_hmac_secret_key: Option<Secret>,
    pub token_hmac_previous_secret_key: Option<Secret>,
    /// `None`: the backend API refuses everybody.
    pub api_key: Option<Secret>,
    /// `None`: the dialect is off.
    pub centrifuge: Option<Centrifuge>,
    /// `None`: the dialect is off. Otherwise the app has a key and a secret.
    pub pusher: Option<Pusher>,
    /// Sorted by name; `""` is always there.
    namespaces: Vec<Namespace>,
}

impl App {
    /// The settings of a channel; `None`: it names a namespace that is not configured. O(log namespaces), no
    /// allocation.
    pub fn namespace(&self, channel: &str) -> Option<&Namespace> {
        // The unnamed one is not compared with: comparing an empty text costs some hundred cycles where `memcmp`
        // loads through a mask and the text has no address of its own.
        let (unnamed, named) = self.namespaces.split_first()?;
        let name = namespace_name(channel);
        if name.is_empty() {
            return Some(unnamed);
        }
        let at = named.binary_search_by(|namespace| (*namespace.name).cmp(name)).ok()?;
        named.get(at)
    }

    /// Sorted by name; `""` comes first and is always there.
    pub fn namespaces(&self) -> &[Namespace] {
        &self.namespaces
    }
}

/// Options of the Centrifuge dialect, named as in Centrifugo v6.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Centrifuge {
    /// Whole seconds: it is announced in seconds.
    pub ping_interval_ms: u32,
    /// Less than the ping interval.
    pub pong_timeout_ms: u32,
    pub stale_close_delay_ms: u32,
    pub expired_close_delay_ms: u32,
    pub channel_position_check_delay_ms: u32,
    pub channel_max_length: usize,
    /// Subscriptions of one connection.
    pub channel_limit: usize,
    /// Bytes that may wait for one connection.
    pub queue_max_size: usize,
    pub allow_anonymous_connect_without_token: bool,
    pub disallow_anonymous_connection_tokens: bool,
    /// Every user is subscribed to `<prefix>#<user>` from the start; `None`: nobody is. The prefix is empty or a
    /// namespace's with its colon.
    pub personal_channel: Option<Box<str>>,
    /// A user's new connection ends its older one. Only with a personal channel.
    pub single_connection: bool,
    /// Demanded of `aud`, if set.
    pub token_audience: Option<Box<str>>,
    /// Demanded of `iss`, if set.
    pub token_issuer: Option<Box<str>>,
}

/// Options of the Pusher dialect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pusher {
    /// What stands before `/app/…` and `/apps/…`: empty, or with a leading and no trailing slash.
    pub path_prefix: Box<str>,
    /// Whole seconds: clients are told.
    pub activity_timeout_ms: u32,
    pub pong_timeout_ms: u32,
    /// Clients may send to the other subscribers of private and presence channels.
    pub client_events: bool,
    /// Of one connection.
    pub client_events_per_second: u16,
    /// Clients may sign in as users.
    pub user_authentication: bool,
    /// Users whom a client that signs in may watch; `None`: nobody is watched.
    pub watched_max: Option<usize>,
    /// Subscribers are told how many they are.
    pub subscription_count: bool,
    /// How long a connection may prove nothing; `None`: for ever.
    pub authorized_within_ms: Option<u32>,
    /// Refusals say which text had to be signed.
    pub debug: bool,
    pub channel_max_length: usize,
    /// Subscriptions of one connection.
    pub channel_limit: usize,
    /// Bytes that may wait for one connection.
    pub queue_max_size: usize,
    /// Bytes of one message of a client.
    pub message_max_size: u32,
    pub event_name_max_length: usize,
    /// Bytes of an event's data.
    pub event_data_max_size: usize,
    /// Channels of one event.
    pub event_channels_limit: usize,
    /// Events of one batch.
    pub batch_limit: usize,
    /// Distinct users of one presence channel.
    pub presence_members_limit: u32,
    /// Bytes of what a presence channel tells of a user.
    pub presence_user_max_size: usize,
    pub user_id_max_length: usize,
    /// How long a cache channel remembers its last event.
    pub cache_ttl_s: u32,
    /// How far the clock of who signs a request may be off.
    pub auth_timestamp_window_s: u32,
    /// Signed requests that are remembered and refused when they come again; 0: none.
    pub replay_cache: usize,
    pub webhooks: Vec<Webhook>,
}

/// A span of time in milliseconds, written as in the file: `25` (seconds), `300ms`, `1h30m`. `None`: it is none.
pub fn duration_ms(text: &str) -> Option<u64> {
    Duration::parse(text).map(|duration| duration.ms)
}

/// Reads a secret's file for a `…_FILE` variable.
pub type ReadFile<'a> = &'a mut dyn FnMut(&str) -> std::io::Result<Vec<u8>>;

impl Config {
    /// Reads a configuration file's `text` and what the environment changes in it.
    ///
    /// `variables`: all of the environment; those that do not begin with `POLYCAST_` are passed over.
    pub fn load(
        text: &str,
        variables: impl IntoIterator<Item = (String, String)>,
        read_file: ReadFile<'_>,
    ) -> Result<Self, ConfigError> {
        let (raw, warnings) = read::read(text, variables, read_file)?;
        validate::validate(raw, warnings)
    }

    /// What runs without a file: loopback, in memory, secrets made up here. `random` fills its argument with
    /// unpredictable bytes.
    pub fn embedded(random: &mut dyn FnMut(&mut [u8])) -> Result<Self, ConfigError> {
        let mut no_file = |_: &str| Err(std::io::ErrorKind::NotFound.into());
        Self::embedded_with(std::iter::empty(), &mut no_file, random)
    }

    /// As [`embedded`](Self::embedded), with what the environment changes in it.
    ///
    /// Errors: `OpenWithoutSecrets` where a listener is reachable from elsewhere and a secret was made up.
    pub fn embedded_with(
        variables: impl IntoIterator<Item = (String, String)>,
        read_file: ReadFile<'_>,
        random: &mut dyn FnMut(&mut [u8]),
    ) -> Result<Self, ConfigError> {
        let (mut raw, warnings) = read::read(EMBEDDED, variables, read_file)?;
        let made = raw.make_missing_secrets(random);
        let config = validate::validate(raw, warnings)?;
        let server = &config.server;
        let http = server.http.iter().map(|address| ("server.http", address));
        let tcp = server.tcp.iter().map(|address| ("server.tcp", address));
        let open = http.chain(tcp).chain([("server.ops", &server.ops)]).find(|(_, a)| !a.ip().is_loopback());
        match (open, made) {
            (Some((key, address)), Some(secret)) => {
                Err(ConfigError::OpenWithoutSecrets { key: key.into(), address: *address, secret })
            }
            _ => Ok(config),
        }
    }
}

/// Everything else is as in `raw`.
const EMBEDDED: &str = r#"
[server]
http = ["127.0.0.1:8000", "[::1]:8000"]
tcp = ["127.0.0.1:8001", "[::1]:8001"]
ops = "127.0.0.1:8002"
[[apps]]
id = "1"
[[apps.namespaces]]
name = ""
allow_subscribe_for_client = true
allow_subscribe_for_anonymous = true
allow_publish_for_client = true
allow_publish_for_subscriber = true
"#;

//! An app's configuration, prepared for use: keys ready to verify with, and what every dialect's rules come to.

use crate::auth::{ApiKey, Keys, Policy};
use crate::config::{App, Centrifuge, Config};
use crate::protocol::{Dialect, Variant};

/// One app.
#[derive(Debug)]
pub struct AppSettings {
    pub token_keys: Option<Keys>,
    pub api_key: Option<ApiKey>,
    /// By dialect; `None`: it is off.
    rules: [Option<Rules>; Dialect::COUNT],
    /// Bytes that may wait for one connection, by variant.
    pub queue_bytes_max: [u32; Variant::COUNT],
}

/// What a dialect's options mean to a shard. The dialects name them differently; here each has one name.
#[derive(Debug)]
pub struct Rules {
    pub policy: Policy,
    pub allow_without_token: bool,
    /// Until the first successful authentication.
    pub authentication_ms: u32,
    /// Between the expiry of a token and the end of its connection.
    pub expiry_grace_ms: u32,
    pub ping_interval_ms: u32,
    pub pong_timeout_ms: u32,
    pub channel_bytes_max: usize,
    /// Subscriptions of one connection.
    pub channels_max: usize,
    /// Every user is subscribed to `<prefix>#<user>`; `None`: nobody is.
    pub personal_channel: Option<Box<str>>,
    queue_bytes_max: u32,
}

/// Where no dialect that is on says otherwise.
const QUEUE_BYTES_MAX: u32 = 1024 * 1024;

/// Prepares every app of a configuration, in its order.
pub fn prepare(config: &Config) -> Vec<AppSettings> {
    config.apps.iter().map(|app| AppSettings::new(config, app)).collect()
}

impl AppSettings {
    fn new(config: &Config, app: &App) -> Self {
        let rules = Dialect::ALL.map(|dialect| match dialect {
            Dialect::Centrifuge => app.centrifuge.as_ref().map(|options| centrifuge(config, options)),
        });
        let queue_bytes_max = Variant::ALL.map(|variant| {
            rules[variant.dialect().index()].as_ref().map_or(QUEUE_BYTES_MAX, |rules| rules.queue_bytes_max)
        });
        let (secret, previous) = (&app.token_hmac_secret_key, app.token_hmac_previous_secret_key.as_ref());
        Self {
            token_keys: secret.as_ref().and_then(|secret| Keys::new(secret, previous)),
            api_key: app.api_key.as_ref().and_then(ApiKey::new),
            rules,
            queue_bytes_max,
        }
    }

    /// The rules of a dialect; `None`: it is off.
    pub fn rules(&self, dialect: Dialect) -> Option<&Rules> {
        self.rules[dialect.index()].as_ref()
    }
}

fn centrifuge(config: &Config, options: &Centrifuge) -> Rules {
    Rules {
        policy: Policy {
            audience: options.token_audience.clone(),
            issuer: options.token_issuer.clone(),
            disallow_anonymous: options.disallow_anonymous_connection_tokens,
            info_bytes_max: config.limits.info_bytes_max,
        },
        allow_without_token: options.allow_anonymous_connect_without_token,
        authentication_ms: options.stale_close_delay_ms,
        expiry_grace_ms: options.expired_close_delay_ms,
        ping_interval_ms: options.ping_interval_ms,
        pong_timeout_ms: options.pong_timeout_ms,
        channel_bytes_max: options.channel_max_length,
        channels_max: options.channel_limit,
        personal_channel: options.personal_channel.clone(),
        queue_bytes_max: u32::try_from(options.queue_max_size).unwrap_or(u32::MAX),
    }
}

//! An app's configuration, prepared for use: keys ready to verify with, and what every dialect's rules come to.

use crate::auth::{ApiKey, Keys, Policy, PusherKeys};
use crate::config::{App, Centrifuge, Config, Pusher};
use crate::core::happening::Kinds;
use crate::protocol::{Dialect, PersonLimits, Variant};

/// One app.
#[derive(Debug)]
pub struct AppSettings {
    pub token_keys: Option<Keys>,
    /// What signatures are checked with.
    pub signature_keys: Option<PusherKeys>,
    pub api_key: Option<ApiKey>,
    /// What somebody outside wants to be told of.
    pub told: Kinds,
    /// How long channels that keep their last publication keep it; 0: there are none.
    pub latest_ttl_s: u32,
    /// Users in presence channels are counted: some dialect tells of them instead of clients.
    pub lists_users: bool,
    /// Subscribers are told how many they are.
    pub counts_subscribers: bool,
    /// By dialect; `None`: it is off.
    rules: [Option<Rules>; Dialect::COUNT],
    /// Bytes that may wait for one connection, by variant.
    pub queue_bytes_max: [u32; Variant::COUNT],
    /// Between two looks whether a channel is up to date.
    pub position_check_ms: u32,
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
    /// A user's new connection ends its older one.
    pub single_connection: bool,
    /// One message of a client.
    pub message_bytes_max: u32,
    /// The data of a client's publication, and the name of its event.
    pub data_bytes_max: usize,
    pub event_bytes_max: usize,
    /// Clients may publish, where the namespace lets them.
    pub may_publish: bool,
    /// Publications of one client; 0: no bound.
    pub publishes_per_second: u16,
    /// Clients that came without a user may sign in as one.
    pub may_sign_in: bool,
    /// Users whom a client that signs in may watch; `None`: it watches nobody.
    pub watched_max: Option<usize>,
    /// How long a client may go without signing in or proving that it may hear a channel; 0: for ever.
    pub proof_ms: u32,
    /// Distinct users of one presence channel that its clients may be.
    pub users_max: u32,
    /// What may be said of a user, and of a client in a channel.
    pub people: PersonLimits,
    /// Refusals of proofs say what had to be proven.
    pub explains: bool,
    queue_bytes_max: u32,
}

/// Where no dialect that is on says otherwise.
const QUEUE_BYTES_MAX: u32 = 1024 * 1024;

/// Where the dialect that has it is off.
const POSITION_CHECK_MS: u32 = 40_000;

/// Prepares every app of a configuration, in its order.
pub fn prepare(config: &Config) -> Vec<AppSettings> {
    config.apps.iter().map(|app| AppSettings::new(config, app)).collect()
}

impl AppSettings {
    fn new(config: &Config, app: &App) -> Self {
        let rules = Dialect::ALL.map(|dialect| match dialect {
            Dialect::Centrifuge => app.centrifuge.as_ref().map(|options| centrifuge(config, options)),
            Dialect::Pusher => app.pusher.as_ref().map(|options| pusher(config, options)),
        });
        let queue_bytes_max = Variant::ALL.map(|variant| {
            rules[variant.dialect().index()].as_ref().map_or(QUEUE_BYTES_MAX, |rules| rules.queue_bytes_max)
        });
        let (secret, previous) = (&app.token_hmac_secret_key, app.token_hmac_previous_secret_key.as_ref());
        Self {
            token_keys: secret.as_ref().and_then(|secret| Keys::new(secret, previous)),
            signature_keys: app
                .key
                .as_deref()
                .zip(app.secret.as_ref())
                .and_then(|(key, secret)| PusherKeys::new(key, secret, app.previous_secret.as_ref())),
            api_key: app.api_key.as_ref().and_then(ApiKey::new),
            told: told(app),
            latest_ttl_s: app.pusher.as_ref().map_or(0, |options| options.cache_ttl_s),
            lists_users: app.pusher.is_some(),
            counts_subscribers: app.pusher.as_ref().is_some_and(|options| options.subscription_count),
            rules,
            queue_bytes_max,
            // No other dialect has clients who are promised a position.
            position_check_ms: app
                .centrifuge
                .as_ref()
                .map_or(POSITION_CHECK_MS, |options| options.channel_position_check_delay_ms),
        }
    }

    /// The rules of a dialect; `None`: it is off.
    pub fn rules(&self, dialect: Dialect) -> Option<&Rules> {
        self.rules[dialect.index()].as_ref()
    }
}

fn told(app: &App) -> Kinds {
    let hooks = app.pusher.iter().flat_map(|options| &options.webhooks);
    hooks.fold(Kinds::default(), |told, hook| told.union(hook.kinds))
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
        single_connection: options.single_connection,
        message_bytes_max: config.limits.message_bytes_max,
        data_bytes_max: config.limits.publication_bytes_max,
        event_bytes_max: usize::MAX,
        may_publish: true,
        publishes_per_second: 0,
        may_sign_in: false,
        watched_max: None,
        proof_ms: 0,
        users_max: u32::MAX,
        people: PersonLimits { id_bytes_max: 0, info_bytes_max: 0 },
        explains: false,
        queue_bytes_max: u32::try_from(options.queue_max_size).unwrap_or(u32::MAX),
    }
}

fn pusher(config: &Config, options: &Pusher) -> Rules {
    Rules {
        // There are no tokens.
        policy: Policy::default(),
        allow_without_token: false,
        authentication_ms: 0,
        expiry_grace_ms: 0,
        ping_interval_ms: options.activity_timeout_ms,
        pong_timeout_ms: options.pong_timeout_ms,
        channel_bytes_max: options.channel_max_length,
        channels_max: options.channel_limit,
        personal_channel: None,
        single_connection: false,
        message_bytes_max: options.message_max_size.min(config.limits.message_bytes_max),
        data_bytes_max: options.event_data_max_size.min(config.limits.publication_bytes_max),
        event_bytes_max: options.event_name_max_length,
        may_publish: options.client_events,
        publishes_per_second: options.client_events_per_second,
        may_sign_in: options.user_authentication,
        watched_max: options.watched_max,
        proof_ms: options.authorized_within_ms.unwrap_or(0),
        users_max: options.presence_members_limit,
        people: PersonLimits {
            id_bytes_max: options.user_id_max_length,
            info_bytes_max: options.presence_user_max_size,
        },
        explains: options.debug,
        queue_bytes_max: u32::try_from(options.queue_max_size).unwrap_or(u32::MAX),
    }
}

//! Raw structs → [`Config`]: ranges, and the relations between keys.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU16;
use std::ops::RangeInclusive;

use super::duration::Duration;
use super::error::{ConfigError, ConfigWarning};
use super::network::Network;
use super::raw::{
    Compat, HISTORY_META_TTL, RawApp, RawCentrifuge, RawConfig, RawLimits, RawNamespace, RawPusher,
    RawSecret, RawServer,
};
use super::webhook::webhooks;
use super::{App, Centrifuge, Config, Limits, Pusher, Server};
use crate::auth::secret::Secret;
use crate::auth::token::TOKEN_BYTES_MAX;
use crate::core::namespace::{Namespace, SlowConsumer};
use crate::core::rates::Rates;
use crate::wire::http::HEADERS_MAX;
use crate::wire::origin::OriginPattern;

/// First segments of paths that the server uses itself, in this or a later version: an app of that name could
/// not be reached through its path prefix.
const RESERVED_SEGMENTS: [&str; 14] = [
    "admin",
    "api",
    "app",
    "apps",
    "connect",
    "connection",
    "emulation",
    "guest",
    "health",
    "metrics",
    "ready",
    "socketio",
    "stream",
    "users",
];
const SECRET_BYTES_RECOMMENDED: usize = 32;
const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;
const YEAR_S: u64 = 365 * 24 * 3_600;
const MIB: u64 = 1_024 * 1_024;

pub(super) fn validate(raw: RawConfig, mut warnings: Vec<ConfigWarning>) -> Result<Config, ConfigError> {
    if raw.apps.is_empty() {
        return Err(ConfigError::Missing { key: "apps".into(), want: "write at least one [[apps]] table" });
    }
    let server = server(raw.server)?;
    let limits = limits(&raw.limits)?;
    let mut apps: Vec<App> = Vec::with_capacity(raw.apps.len());
    for (index, app) in raw.apps.into_iter().enumerate() {
        let table = Table(format!("apps.{index}"));
        let app = self::app(&table, app, &mut warnings)?;
        for (other, before) in apps.iter().enumerate() {
            if before.id == app.id {
                return Err(table.duplicate("id", &app.id, format!("apps.{other}")));
            }
            if let Some(key) = app.key.as_ref().filter(|key| before.key.as_ref() == Some(key)) {
                return Err(table.duplicate("key", key, format!("apps.{other}")));
            }
        }
        apps.push(app);
    }
    Ok(Config { server, limits, apps, warnings })
}

fn server(raw: RawServer) -> Result<Server, ConfigError> {
    let table = Table("server".into());
    let http = listeners(&table, "http", &raw.http.0)?;
    if http.is_empty() {
        return Err(ConfigError::Missing { key: table.key("http"), want: "write at least one address" });
    }
    // In an environment variable a list cannot be empty; a text can.
    let written: Vec<String> = raw.tcp.0.into_iter().filter(|text| !text.is_empty()).collect();
    let tcp = listeners(&table, "tcp", &written)?;
    if let Some(address) = tcp.iter().find(|address| address.port() != 0 && http.contains(address)) {
        return Err(table.duplicate("tcp", &address.to_string(), "server.http".into()));
    }
    let ops = match addresses(&table, "ops", &raw.ops)?[..] {
        [address, ..] => address,
        [] => return Err(ConfigError::Missing { key: table.key("ops"), want: "write an address" }),
    };
    for (key, taken) in [("server.http", &http), ("server.tcp", &tcp)] {
        if ops.port() != 0 && taken.contains(&ops) {
            return Err(table.duplicate("ops", &raw.ops, key.into()));
        }
    }
    let mut trusted_proxies = Vec::new();
    for text in &raw.trusted_proxies {
        let want = "write an address like \"10.0.0.7\" or a range like \"10.0.0.0/8\"";
        let network = Network::parse(text).ok_or_else(|| table.value("trusted_proxies", text, want))?;
        trusted_proxies.push(network);
    }
    let mut allowed_origins: Vec<OriginPattern> = Vec::new();
    for text in &raw.allowed_origins {
        let want =
            "write \"https://example.com\", \"https://*.example.com\", \"*.example.com\", \"null\" or \"*\"";
        allowed_origins.push(text.parse().map_err(|_| table.value("allowed_origins", text, want))?);
    }
    if raw.control_threads != 1 {
        let want = "one control thread is all this version serves; write 1, or remove the key";
        return Err(table.value("control_threads", &raw.control_threads.to_string(), want));
    }
    Ok(Server {
        http,
        tcp,
        ops,
        shards: NonZeroU16::new(table.number("shards", raw.shards, 0..=256, "shards")?),
        accept_backlog: table.number("accept_backlog", raw.accept_backlog, 1..=65_535, "connections")?,
        trusted_proxies,
        allowed_origins,
        drain_grace_ms: table.ms("drain_grace", raw.drain_grace, 0..=HOUR_MS)?,
        drain_spread_ms: table.ms("drain_spread", raw.drain_spread, 0..=HOUR_MS)?,
        log_format: raw.log_format,
        log_level: raw.log_level,
    })
}

/// All addresses of one key, none twice.
fn listeners(table: &Table, name: &str, texts: &[String]) -> Result<Vec<SocketAddr>, ConfigError> {
    let mut listeners = Vec::new();
    for text in texts {
        for address in addresses(table, name, text)? {
            if listeners.contains(&address) {
                return Err(table.duplicate(name, text, format!("server.{name}")));
            }
            listeners.push(address);
        }
    }
    Ok(listeners)
}

/// `localhost` stands for both loopback addresses; every other name would need a resolver.
fn addresses(table: &Table, name: &str, text: &str) -> Result<Vec<SocketAddr>, ConfigError> {
    if let Some(port) = text.strip_prefix("localhost:").and_then(|port| port.parse::<u16>().ok()) {
        return Ok(vec![(Ipv4Addr::LOCALHOST, port).into(), (Ipv6Addr::LOCALHOST, port).into()]);
    }
    let want = "write an address and a port, like \"127.0.0.1:8000\" or \"[::]:8000\"";
    text.parse().map(|address| vec![address]).map_err(|_| table.value(name, text, want))
}

fn limits(raw: &RawLimits) -> Result<Limits, ConfigError> {
    let table = Table("limits".into());
    let t = &table;
    let many = 0..=u64::from(u32::MAX);
    let bytes = 1_024..=64 * MIB;
    let rate = |name, value| t.number(name, value, 0..=1_000_000, "commands");
    let burst_ms = t.ms("rate_burst", raw.rate_burst, 1_000..=HOUR_MS)?;
    Ok(Limits {
        connections_max: t.number("connections_max", raw.connections_max, many.clone(), "connections")?,
        connections_per_address_max: t.number(
            "connections_per_address_max",
            raw.connections_per_address_max,
            many.clone(),
            "connections",
        )?,
        handshakes_per_address_per_second: t.number(
            "handshakes_per_address_per_second",
            raw.handshakes_per_address_per_second,
            many,
            "handshakes",
        )?,
        header_bytes_max: t.number("header_bytes_max", raw.header_bytes_max, 1_024..=65_535, "bytes")?,
        headers_max: t.number("headers_max", raw.headers_max, 16..=HEADERS_MAX as u64, "headers")?,
        header_timeout_ms: t.ms("header_timeout", raw.header_timeout, 100..=HOUR_MS)?,
        http_body_bytes_max: t.number(
            "http_body_bytes_max",
            raw.http_body_bytes_max,
            bytes.clone(),
            "bytes",
        )?,
        message_bytes_max: t.number("message_bytes_max", raw.message_bytes_max, bytes.clone(), "bytes")?,
        fragments_max: t.number("fragments_max", raw.fragments_max, 1..=1_000_000, "fragments")?,
        fragment_timeout_ms: t.ms("fragment_timeout", raw.fragment_timeout, 100..=HOUR_MS)?,
        pings_per_second_max: t.number(
            "pings_per_second_max",
            raw.pings_per_second_max,
            1..=u64::from(u16::MAX - 1),
            "pings",
        )?,
        errors_in_a_row_max: t.number(
            "errors_in_a_row_max",
            raw.errors_in_a_row_max,
            1..=u64::from(u8::MAX),
            "errors",
        )?,
        subscribes_per_second_max: t.number(
            "subscribes_per_second_max",
            raw.subscribes_per_second_max,
            1..=u64::from(u16::MAX - 1),
            "commands",
        )?,
        connection_rates: Rates {
            all: rate("commands_per_second_max", raw.commands_per_second_max)?,
            // Always bounded, and counted more cheaply: see above.
            subscribe: 0,
            publish: rate("publishes_per_second_max", raw.publishes_per_second_max)?,
            history: rate("history_reads_per_second_max", raw.history_reads_per_second_max)?,
            presence: rate("presence_reads_per_second_max", raw.presence_reads_per_second_max)?,
            burst_ms,
        },
        user_rates: Rates {
            all: rate("user_commands_per_second_max", raw.user_commands_per_second_max)?,
            subscribe: rate("user_subscribes_per_second_max", raw.user_subscribes_per_second_max)?,
            publish: rate("user_publishes_per_second_max", raw.user_publishes_per_second_max)?,
            history: rate("user_history_reads_per_second_max", raw.user_history_reads_per_second_max)?,
            presence: rate("user_presence_reads_per_second_max", raw.user_presence_reads_per_second_max)?,
            burst_ms,
        },
        info_bytes_max: t.number(
            "info_bytes_max",
            raw.info_bytes_max,
            0..=TOKEN_BYTES_MAX as u64,
            "bytes",
        )?,
        publication_bytes_max: t.number(
            "publication_bytes_max",
            raw.publication_bytes_max,
            bytes,
            "bytes",
        )?,
        broadcast_channels_max: t.number(
            "broadcast_channels_max",
            raw.broadcast_channels_max,
            1..=1_000_000,
            "channels",
        )?,
        write_timeout_ms: t.ms("write_timeout", raw.write_timeout, 100..=HOUR_MS)?,
    })
}

fn app(table: &Table, raw: RawApp, warnings: &mut Vec<ConfigWarning>) -> Result<App, ConfigError> {
    let want = "write 1 to 64 letters, digits, \"_\" or \"-\"";
    let id = raw.id.ok_or_else(|| ConfigError::Missing { key: table.key("id"), want })?;
    if !is_name(&id) {
        return Err(table.value("id", &id, want));
    }
    if RESERVED_SEGMENTS.contains(&id.as_str()) {
        return Err(table.value("id", &id, "paths of the server begin with it; choose another"));
    }
    let want = "write 1 to 64 letters, digits, \"_\" or \"-\"";
    if let Some(key) = raw.key.as_deref().filter(|key| !is_name(key)) {
        return Err(table.value("key", key, want));
    }
    let mut secret = |name, raw, may_be_empty| secret(table, name, raw, may_be_empty, warnings);
    let mut app = App {
        key: raw.key.map(Into::into),
        secret: secret("secret", raw.secret, false)?,
        previous_secret: secret("previous_secret", raw.previous_secret, true)?,
        token_hmac_secret_key: secret("token_hmac_secret_key", raw.token_hmac_secret_key, false)?,
        token_hmac_previous_secret_key: secret(
            "token_hmac_previous_secret_key",
            raw.token_hmac_previous_secret_key,
            true,
        )?,
        api_key: secret("api_key", raw.api_key, false)?,
        centrifuge: None,
        pusher: None,
        namespaces: namespaces(table, &raw.namespaces, raw.centrifuge.compat)?,
        id: id.into(),
    };
    if app.api_key.is_none() {
        warnings.push(ConfigWarning::ApiOff { key: table.key("api_key"), app: app.id.clone() });
    }
    let centrifuge = centrifuge(&Table(format!("{}.centrifuge", table.0)), &raw.centrifuge)?;
    let possible = app.token_hmac_secret_key.is_some() || centrifuge.allow_anonymous_connect_without_token;
    match (raw.centrifuge.enabled, possible) {
        (Some(false), _) => {}
        (Some(true), false) => {
            return Err(ConfigError::NobodyCanConnect { key: table.key("centrifuge.enabled") });
        }
        (None, false) => {
            let key = table.key("token_hmac_secret_key");
            warnings.push(ConfigWarning::CentrifugeOff { key, app: app.id.clone() });
        }
        (_, true) => app.centrifuge = Some(centrifuge),
    }
    let pusher = pusher(&Table(format!("{}.pusher", table.0)), &raw.pusher)?;
    let missing = [("key", app.key.is_none()), ("secret", app.secret.is_none())];
    let missing = missing.into_iter().filter_map(|(name, is_missing)| is_missing.then_some(name));
    match (raw.pusher.enabled, missing.collect::<Vec<_>>().as_slice()) {
        (Some(false), _) => {}
        (_, []) => app.pusher = Some(pusher),
        (Some(true), _) => return Err(ConfigError::NoPusherKey { key: table.key("pusher.enabled") }),
        // Half of what is needed was written, so the other half was forgotten.
        (None, [name]) => {
            warnings.push(ConfigWarning::PusherOff { key: table.key(name), app: app.id.clone() });
        }
        (None, _) => {}
    }
    Ok(app)
}

/// What an id is made of: it appears in paths.
fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
}

fn secret(
    table: &Table,
    name: &str,
    raw: Option<RawSecret>,
    may_be_empty: bool,
    warnings: &mut Vec<ConfigWarning>,
) -> Result<Option<Secret>, ConfigError> {
    let Some(RawSecret(text)) = raw else { return Ok(None) };
    if text.is_empty() {
        return if may_be_empty { Ok(None) } else { Err(ConfigError::EmptySecret { key: table.key(name) }) };
    }
    if text.len() < SECRET_BYTES_RECOMMENDED {
        warnings.push(ConfigWarning::ShortSecret { key: table.key(name), bytes: text.len() });
    }
    Ok(Some(Secret::from(text)))
}

fn centrifuge(table: &Table, raw: &RawCentrifuge) -> Result<Centrifuge, ConfigError> {
    let text = |text: &str| (!text.is_empty()).then(|| text.into());
    let ping_interval_ms: u32 = table.ms("ping_interval", raw.ping_interval, 1_000..=HOUR_MS)?;
    if !ping_interval_ms.is_multiple_of(1_000) {
        let want = "clients are told whole seconds; write one like \"25s\"";
        return Err(table.value("ping_interval", &format!("{ping_interval_ms}ms"), want));
    }
    let pong_timeout_ms: u32 = table.ms("pong_timeout", raw.pong_timeout, 100..=HOUR_MS)?;
    if pong_timeout_ms >= ping_interval_ms {
        let (pong_ms, ping_ms) = (raw.pong_timeout.ms, raw.ping_interval.ms);
        return Err(ConfigError::PongTimeout { key: table.key("pong_timeout"), pong_ms, ping_ms });
    }
    if raw.user_personal_single_connection && !raw.user_subscribe_to_personal {
        let want = "it goes with user_subscribe_to_personal, as in Centrifugo: set that too";
        return Err(table.value("user_personal_single_connection", "true", want));
    }
    Ok(Centrifuge {
        ping_interval_ms,
        pong_timeout_ms,
        stale_close_delay_ms: table.ms("stale_close_delay", raw.stale_close_delay, 100..=HOUR_MS)?,
        expired_close_delay_ms: table.ms("expired_close_delay", raw.expired_close_delay, 0..=DAY_MS)?,
        channel_position_check_delay_ms: table.ms(
            "channel_position_check_delay",
            raw.channel_position_check_delay,
            1_000..=HOUR_MS,
        )?,
        channel_max_length: table.number("channel_max_length", raw.channel_max_length, 1..=4_096, "bytes")?,
        channel_limit: table.number("channel_limit", raw.channel_limit, 1..=100_000, "channels")?,
        queue_max_size: table.number("queue_max_size", raw.queue_max_size, 4_096..=1_024 * MIB, "bytes")?,
        allow_anonymous_connect_without_token: raw.allow_anonymous_connect_without_token,
        disallow_anonymous_connection_tokens: raw.disallow_anonymous_connection_tokens,
        personal_channel: raw.user_subscribe_to_personal.then(|| {
            let namespace = &*raw.user_personal_channel_namespace;
            if namespace.is_empty() { "".into() } else { format!("{namespace}:").into() }
        }),
        single_connection: raw.user_personal_single_connection,
        token_audience: text(&raw.token_audience),
        token_issuer: text(&raw.token_issuer),
    })
}

fn pusher(table: &Table, raw: &RawPusher) -> Result<Pusher, ConfigError> {
    let want = "write a path like \"/realtime\", without a slash at its end, or \"\"";
    let is_prefix = |prefix: &str| prefix.split('/').skip(1).all(is_name) && prefix.starts_with('/');
    if !raw.path_prefix.is_empty() && !is_prefix(&raw.path_prefix) {
        return Err(table.value("path_prefix", &raw.path_prefix, want));
    }
    let whole_s = |name, duration: Duration, range: RangeInclusive<u64>| -> Result<u32, ConfigError> {
        if !duration.ms.is_multiple_of(1_000) {
            let want = "write whole seconds, like \"120s\"";
            return Err(table.value(name, &format!("{}ms", duration.ms), want));
        }
        table.number(name, duration.ms / 1_000, range, "seconds")
    };
    let authorized_within_ms: u32 =
        table.ms("authorized_connections_timeout", raw.authorized_connections_timeout, 100..=HOUR_MS)?;
    let t = table;
    let watched_max: usize = t.number("watchlist_limit", raw.watchlist_limit, 1..=10_000, "users")?;
    Ok(Pusher {
        path_prefix: raw.path_prefix.as_str().into(),
        activity_timeout_ms: 1_000 * whole_s("activity_timeout", raw.activity_timeout, 1..=3_600)?,
        pong_timeout_ms: t.ms("pong_timeout", raw.pong_timeout, 100..=HOUR_MS)?,
        client_events: raw.client_events,
        client_events_per_second: t.number(
            "client_events_per_second",
            raw.client_events_per_second,
            1..=u64::from(u16::MAX - 1),
            "events",
        )?,
        user_authentication: raw.user_authentication,
        watched_max: raw.watchlist_events.then_some(watched_max),
        subscription_count: raw.subscription_count,
        authorized_within_ms: raw.authorized_connections.then_some(authorized_within_ms),
        debug: raw.debug,
        channel_max_length: t.number("channel_max_length", raw.channel_max_length, 1..=4_096, "bytes")?,
        channel_limit: t.number("channel_limit", raw.channel_limit, 1..=100_000, "channels")?,
        queue_max_size: t.number("queue_max_size", raw.queue_max_size, 4_096..=1_024 * MIB, "bytes")?,
        message_max_size: t.number("message_max_size", raw.message_max_size, 1_024..=64 * MIB, "bytes")?,
        event_name_max_length: t.number(
            "event_name_max_length",
            raw.event_name_max_length,
            1..=4_096,
            "bytes",
        )?,
        event_data_max_size: t.number(
            "event_data_max_size",
            raw.event_data_max_size,
            0..=64 * MIB,
            "bytes",
        )?,
        event_channels_limit: t.number(
            "event_channels_limit",
            raw.event_channels_limit,
            1..=100_000,
            "channels",
        )?,
        batch_limit: t.number("batch_limit", raw.batch_limit, 1..=100_000, "events")?,
        presence_members_limit: t.number(
            "presence_members_limit",
            raw.presence_members_limit,
            1..=1_000_000,
            "users",
        )?,
        presence_user_max_size: t.number(
            "presence_user_max_size",
            raw.presence_user_max_size,
            2..=MIB,
            "bytes",
        )?,
        user_id_max_length: t.number("user_id_max_length", raw.user_id_max_length, 1..=255, "bytes")?,
        cache_ttl_s: whole_s("cache_ttl", raw.cache_ttl, 1..=YEAR_S)?,
        auth_timestamp_window_s: whole_s("auth_timestamp_window", raw.auth_timestamp_window, 1..=86_400)?,
        replay_cache: t.number("replay_cache", raw.replay_cache, 0..=10_000_000, "requests")?,
        webhooks: webhooks(&table.key("webhooks"), &raw.webhooks)?,
    })
}

/// Channels without a namespace always exist, as in Centrifugo; unconfigured, nobody may do anything in them.
fn namespaces(app: &Table, raw: &[RawNamespace], compat: Compat) -> Result<Vec<Namespace>, ConfigError> {
    let mut namespaces: Vec<Namespace> = Vec::with_capacity(raw.len() + 1);
    for (index, raw) in raw.iter().enumerate() {
        let table = Table(format!("{}.namespaces.{index}", app.0));
        let namespace = namespace(&table, raw, compat)?;
        if let Some(other) = namespaces.iter().position(|before| before.name == namespace.name) {
            return Err(table.duplicate("name", &namespace.name, format!("{}.namespaces.{other}", app.0)));
        }
        namespaces.push(namespace);
    }
    if !namespaces.iter().any(|namespace| namespace.name.is_empty()) {
        let unwritten = RawNamespace { name: Some(String::new()), ..RawNamespace::default() };
        namespaces.push(namespace(app, &unwritten, compat)?);
    }
    namespaces.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(namespaces)
}

fn namespace(table: &Table, raw: &RawNamespace, compat: Compat) -> Result<Namespace, ConfigError> {
    let want = "write \"\" for channels without a namespace, or at least two letters, digits, \"_\" or \"-\"";
    let name = raw.name.as_deref().ok_or_else(|| ConfigError::Missing { key: table.key("name"), want })?;
    if !name.is_empty() && (name.len() < 2 || !is_name(name)) {
        return Err(table.value("name", name, want));
    }
    let history_size: u32 = table.number("history_size", raw.history_size, 0..=1_000_000, "publications")?;
    if !raw.history_ttl.ms.is_multiple_of(1_000) {
        let want = "write whole seconds, like \"300s\"";
        return Err(table.value("history_ttl", &format!("{}ms", raw.history_ttl.ms), want));
    }
    let history_ttl_s: u32 =
        table.number("history_ttl", raw.history_ttl.ms / 1_000, 0..=YEAR_S, "seconds")?;
    let history_meta_ttl = raw.history_meta_ttl.unwrap_or(HISTORY_META_TTL);
    if !history_meta_ttl.ms.is_multiple_of(1_000) {
        let want = "write whole seconds, like \"720h\"";
        return Err(table.value("history_meta_ttl", &format!("{}ms", history_meta_ttl.ms), want));
    }
    let history_meta_ttl_s: u32 =
        table.number("history_meta_ttl", history_meta_ttl.ms / 1_000, 1..=YEAR_S, "seconds")?;
    if history_size > 0 && history_meta_ttl_s < history_ttl_s {
        let want =
            "positions must be remembered at least as long as publications: write more than history_ttl";
        return Err(table.value("history_meta_ttl", &format!("{history_meta_ttl_s}s"), want));
    }
    let slow_consumer = SlowConsumer::from(raw.slow_consumer);
    if (history_size == 0) != (history_ttl_s == 0) {
        let half = if history_size == 0 { "history_size" } else { "history_ttl" };
        return Err(ConfigError::HalfHistory { key: table.key(half) });
    }
    for (name, value, is_on) in [
        ("allow_positioning", "true", raw.allow_positioning),
        ("force_positioning", "true", raw.force_positioning),
        ("allow_recovery", "true", raw.allow_recovery),
        ("force_recovery", "true", raw.force_recovery),
        ("allowed_delta_types", "fossil", !raw.allowed_delta_types.is_empty()),
        ("delta_publish", "true", raw.delta_publish),
    ] {
        if is_on && history_size == 0 {
            let want = "only channels with a history have positions: set history_size and history_ttl too";
            return Err(table.value(name, value, want));
        }
    }
    let recovers_cache = raw.force_recovery && matches!(raw.force_recovery_mode, super::raw::RawMode::Cache);
    if raw.auto_cache_recover && !recovers_cache {
        let want = "set force_recovery = true and force_recovery_mode = \"cache\" too";
        return Err(table.value("auto_cache_recover", "true", want));
    }
    if history_size > 0 && slow_consumer != SlowConsumer::Disconnect {
        return Err(ConfigError::LossyWithHistory { key: table.key("slow_consumer") });
    }
    let is_open = compat == Compat::V2;
    Ok(Namespace {
        name: name.into(),
        allow_subscribe_for_client: raw.allow_subscribe_for_client.unwrap_or(is_open),
        allow_subscribe_for_anonymous: raw.allow_subscribe_for_anonymous,
        allow_publish_for_client: raw.allow_publish_for_client,
        allow_publish_for_subscriber: raw.allow_publish_for_subscriber,
        allow_publish_for_anonymous: raw.allow_publish_for_anonymous,
        allow_user_limited_channels: raw.allow_user_limited_channels.unwrap_or(is_open),
        history_size,
        history_ttl_s,
        history_meta_ttl_s,
        allow_history_for_client: raw.allow_history_for_client,
        allow_history_for_subscriber: raw.allow_history_for_subscriber.unwrap_or(is_open),
        allow_history_for_anonymous: raw.allow_history_for_anonymous,
        allow_positioning: raw.allow_positioning,
        force_positioning: raw.force_positioning,
        allow_recovery: raw.allow_recovery,
        force_recovery: raw.force_recovery,
        force_recovery_mode: raw.force_recovery_mode.into(),
        auto_cache_recover: raw.auto_cache_recover,
        allow_tags_filter: raw.allow_tags_filter,
        allow_fossil_delta: !raw.allowed_delta_types.is_empty(),
        delta_publish: raw.delta_publish,
        presence: raw.presence,
        join_leave: raw.join_leave,
        force_push_join_leave: raw.force_push_join_leave.unwrap_or(is_open && raw.join_leave),
        allow_presence_for_client: raw.allow_presence_for_client,
        allow_presence_for_subscriber: raw.allow_presence_for_subscriber.unwrap_or(is_open),
        allow_presence_for_anonymous: raw.allow_presence_for_anonymous,
        slow_consumer,
    })
}

/// Where keys are, for errors: `apps.0.centrifuge`.
struct Table(String);

impl Table {
    fn key(&self, name: &str) -> Box<str> {
        format!("{}.{name}", self.0).into()
    }

    fn value(&self, name: &str, value: &str, want: &'static str) -> ConfigError {
        ConfigError::Value { key: self.key(name), value: value.into(), want }
    }

    fn duplicate(&self, name: &str, value: &str, by: String) -> ConfigError {
        ConfigError::Duplicate { key: self.key(name), value: value.into(), by: by.into() }
    }

    /// `value` as `T`, which must be wide enough for `range`.
    fn number<T: TryFrom<u64>>(
        &self,
        name: &str,
        value: u64,
        range: RangeInclusive<u64>,
        unit: &'static str,
    ) -> Result<T, ConfigError> {
        let (min, max) = (*range.start(), *range.end());
        let number = T::try_from(value).ok().filter(|_| range.contains(&value));
        number.ok_or_else(|| ConfigError::Range { key: self.key(name), value, min, max, unit })
    }

    fn ms(&self, name: &str, value: Duration, range: RangeInclusive<u64>) -> Result<u32, ConfigError> {
        self.number(name, value.ms, range, "milliseconds")
    }
}

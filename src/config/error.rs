//! What is wrong with a configuration, for the operator: the key, and what to do about it.

use std::net::SocketAddr;

/// Why a configuration is refused. Never contains a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Not TOML, an unknown key, or a value of the wrong type.
    #[error("line {line}: {key}{message}", key = key.as_ref().map(|key| format!("{key}: ")).unwrap_or_default())]
    Syntax { line: usize, key: Option<Box<str>>, message: Box<str> },
    #[error("environment variable {variable}: {message}")]
    Environment { variable: Box<str>, message: Box<str> },
    #[error("environment variable {variable}: cannot read {path:?}: {message}")]
    SecretFile { variable: Box<str>, path: Box<str>, message: Box<str> },
    #[error("{key}: not served by this version; remove it")]
    NotServed { key: Box<str> },
    #[error("{key}: missing; {want}")]
    Missing { key: Box<str>, want: &'static str },
    #[error("{key}: {value:?} is not possible; {want}")]
    Value { key: Box<str>, value: Box<str>, want: &'static str },
    #[error("{key}: {value} is out of range; choose {min} to {max} {unit}")]
    Range { key: Box<str>, value: u64, min: u64, max: u64, unit: &'static str },
    #[error(
        "{key}: an empty secret protects nothing; set one of at least 32 random bytes, or remove the key"
    )]
    EmptySecret { key: Box<str> },
    #[error("{key}: {value:?} is already used by {by}")]
    Duplicate { key: Box<str>, value: Box<str>, by: Box<str> },
    #[error("{key}: {pong_ms} ms must be less than ping_interval ({ping_ms} ms)")]
    PongTimeout { key: Box<str>, pong_ms: u64, ping_ms: u64 },
    #[error(
        "{key}: a channel with history promises every publication; use \"disconnect\", or set history_size = 0"
    )]
    LossyWithHistory { key: Box<str> },
    #[error("{key}: history needs both history_size and history_ttl; set both, or neither")]
    HalfHistory { key: Box<str> },
    #[error(
        "{key}: Centrifuge clients could not connect; set token_hmac_secret_key, or allow_anonymous_connect_without_token"
    )]
    NobodyCanConnect { key: Box<str> },
    #[error("{key}: Pusher clients could not connect; set both key and secret of the app")]
    NoPusherKey { key: Box<str> },
    #[error(
        "{key}: {address} is reachable from other machines but {secret} was made up at this start; set it, or use a loopback address"
    )]
    OpenWithoutSecrets { key: Box<str>, address: SocketAddr, secret: Box<str> },
}

/// What an operator should know though the configuration works.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigWarning {
    #[error("{key}: {bytes} bytes are easier to guess than 32 or more")]
    ShortSecret { key: Box<str>, bytes: usize },
    #[error("{key}: not set, so Centrifuge clients cannot connect to app {app:?}")]
    CentrifugeOff { key: Box<str>, app: Box<str> },
    #[error("{key}: not set, so Pusher clients cannot connect to app {app:?}")]
    PusherOff { key: Box<str>, app: Box<str> },
    #[error("{key}: not set, so the backend API refuses every request for app {app:?}")]
    ApiOff { key: Box<str>, app: Box<str> },
    #[error("environment variable {variable} is ignored; did you mean {meant}?")]
    VariableIgnored { variable: Box<str>, meant: Box<str> },
}

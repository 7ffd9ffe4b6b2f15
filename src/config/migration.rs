//! The files that `default-config` writes: every key with its default and what it does.

/// Where an operator comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Migration {
    /// Centrifugo v3 to v6.
    Centrifugo,
    /// Centrifugo v1 and v2, where every user may subscribe to everything.
    CentrifugoV2,
    /// Pusher Channels, and what speaks its protocol.
    Pusher,
}

/// Why there is no file for a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MigrationError {
    #[error("--for {name}: not served by this version; choose centrifugo-v2, centrifugo or pusher")]
    NotServed { name: Box<str> },
    #[error("--for {name}: not known; choose centrifugo-v2, centrifugo or pusher")]
    Unknown { name: Box<str> },
}

impl std::str::FromStr for Migration {
    type Err = MigrationError;

    fn from_str(name: &str) -> Result<Self, MigrationError> {
        match name {
            "centrifugo" => Ok(Self::Centrifugo),
            "centrifugo-v2" => Ok(Self::CentrifugoV2),
            "pusher" => Ok(Self::Pusher),
            "socketio" | "carotene" | "stream" => Err(MigrationError::NotServed { name: name.into() }),
            _ => Err(MigrationError::Unknown { name: name.into() }),
        }
    }
}

/// A commented configuration file. Secrets are left for the operator to set: a file with known ones would sooner
/// or later face the internet.
pub fn default_config(migration: Option<Migration>) -> &'static str {
    match migration {
        None => include_str!("default.toml"),
        Some(Migration::Centrifugo) => include_str!("centrifugo.toml"),
        Some(Migration::CentrifugoV2) => include_str!("centrifugo_v2.toml"),
        Some(Migration::Pusher) => include_str!("pusher.toml"),
    }
}

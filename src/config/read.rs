//! File and environment → raw structs.

use std::fmt::Write as _;

use serde::Deserialize;
use toml::{Table, Value};

use super::error::{ConfigError, ConfigWarning};
use super::raw::{RawConfig, RawSecret};
use super::{ReadFile, environment};

/// Keys that are documented but belong to what this version does not serve. By table, as in the error.
const NOT_SERVED: [(&[&str], &[&str]); 3] = [
    (&["apps"], &["socketio", "carotene", "stream"]),
    (&["apps", "centrifuge"], &["user_connection_limit"]),
    (
        &["apps", "namespaces"],
        &[
            "allow_subscribe_for_guest",
            "allow_publish_for_guest",
            "channel_regex",
            "publication_data_format",
            "subscribe_proxy_enabled",
            "publish_proxy_enabled",
            "sub_refresh_proxy_enabled",
            "subscribe_stream_proxy_enabled",
        ],
    ),
];

/// Reads the file, then applies the environment to it.
pub(super) fn read(
    text: &str,
    variables: impl IntoIterator<Item = (String, String)>,
    read_file: ReadFile<'_>,
) -> Result<(RawConfig, Vec<ConfigWarning>), ConfigError> {
    let mut table: Table = text.parse().map_err(|error| at_line(text, &error))?;
    refuse_what_is_not_served(&table)?;
    // From the text, not from the table: only so an error knows its line.
    let raw: RawConfig = toml::from_str(text).map_err(|error| at_line(text, &error))?;
    let (overrides, warnings) = environment::overrides(variables, read_file)?;
    if overrides.is_empty() {
        return Ok((raw, warnings));
    }
    for entry in overrides {
        entry.apply(&mut table)?;
    }
    Ok((from_table(&table)?, warnings))
}

/// The raw structs of a merged tree.
pub(super) fn from_table(table: &Table) -> Result<RawConfig, ConfigError> {
    refuse_what_is_not_served(table)?;
    let error = match RawConfig::deserialize(table.clone()) {
        Ok(raw) => return Ok(raw),
        Err(error) => error,
    };
    Err(ConfigError::Syntax { line: 0, key: None, message: error.message().into() })
}

fn refuse_what_is_not_served(table: &Table) -> Result<(), ConfigError> {
    for (path, names) in NOT_SERVED {
        refuse_below(table, path, names, &mut String::new())?;
    }
    Ok(())
}

/// `path` leads from `table` to the tables in question; a list of tables on the way stands for each of them.
fn refuse_below(table: &Table, path: &[&str], names: &[&str], at: &mut String) -> Result<(), ConfigError> {
    let Some((first, path)) = path.split_first() else {
        return match names.iter().find(|name| table.contains_key(**name)) {
            Some(name) => Err(ConfigError::NotServed { key: format!("{at}{name}").into() }),
            None => Ok(()),
        };
    };
    let from = at.len();
    match table.get(*first) {
        Some(Value::Table(inner)) => {
            let _ = write!(at, "{first}.");
            refuse_below(inner, path, names, at)?;
        }
        Some(Value::Array(list)) => {
            for (index, inner) in list.iter().enumerate() {
                at.truncate(from);
                let _ = write!(at, "{first}.{index}.");
                if let Value::Table(inner) = inner {
                    refuse_below(inner, path, names, at)?;
                }
            }
        }
        _ => {}
    }
    at.truncate(from);
    Ok(())
}

/// The parser's own text quotes the line, secret and all; so line and key are found here.
fn at_line(text: &str, error: &toml::de::Error) -> ConfigError {
    let start = error.span().map_or(0, |span| span.start).min(text.len());
    let before = text.get(..start).unwrap_or(text);
    let line = before.matches('\n').count();
    let content = text.lines().nth(line).unwrap_or_default();
    let key = content.split_once('=').map(|(key, _)| key.trim());
    let is_key = |key: &str| {
        key.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
    };
    let key = key.filter(|key| !key.is_empty() && is_key(key)).map(Into::into);
    ConfigError::Syntax { line: line + 1, key, message: error.message().into() }
}

impl RawConfig {
    /// Gives every app the key and the secrets that this version uses and that are not set. Answers the name of
    /// the first secret made up.
    pub fn make_missing_secrets(&mut self, random: &mut dyn FnMut(&mut [u8])) -> Option<Box<str>> {
        let mut made = None;
        for (index, app) in self.apps.iter_mut().enumerate() {
            if app.key.is_none() {
                // Public, so nothing depends on it.
                app.key = Some(random_hex::<KEY_BYTES>(random));
            }
            let secrets = [
                ("secret", &mut app.secret),
                ("token_hmac_secret_key", &mut app.token_hmac_secret_key),
                ("api_key", &mut app.api_key),
            ];
            for (name, secret) in secrets {
                if secret.is_none() {
                    *secret = Some(RawSecret(random_hex::<SECRET_BYTES>(random)));
                    made.get_or_insert_with(|| format!("apps.{index}.{name}").into());
                }
            }
        }
        made
    }
}

const SECRET_BYTES: usize = 32;

/// As long as those that Pusher gives out.
const KEY_BYTES: usize = 10;

/// Random bytes as two digits each.
fn random_hex<const BYTES: usize>(random: &mut dyn FnMut(&mut [u8])) -> String {
    let mut bytes = [0_u8; BYTES];
    random(&mut bytes);
    bytes.iter().fold(String::with_capacity(2 * BYTES), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

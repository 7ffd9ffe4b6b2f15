//! Claims of Centrifuge connection tokens.

use std::sync::Arc;

use data_encoding::BASE64;

use super::error::{Malformed, Part, Problem, TokenError};
use super::token::{self, Keys};
use crate::core::publication::Payload;
use crate::wire::json::{Json, JsonError, Kind, Object, Value, without_raw_newlines};

/// Longest user id, in bytes.
pub const USER_BYTES_MAX: usize = 255;

/// Most channels the claims `channels` and `subs` may name.
pub const CHANNELS_MAX: usize = 128;

/// Times further ahead are brought this near: nothing is scheduled for longer.
const AHEAD_S_MAX: u64 = 365 * 24 * 60 * 60;

/// The last second of the year 9999. What lies beyond was meant in milliseconds.
const YEAR_9999_S: f64 = 253_402_300_799.0;

/// Longest `info` unless configured otherwise, in bytes: every publication of the client repeats it to every
/// subscriber.
const INFO_BYTES_MAX: usize = 1_024;

/// What a deployment asks of tokens beyond their signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// `aud` must be this or contain it; `None`: it is not looked at.
    pub audience: Option<Box<str>>,
    /// `iss` must be this; `None`: it is not looked at.
    pub issuer: Option<Box<str>>,
    /// Tokens without a user are refused.
    pub disallow_anonymous: bool,
    /// Longest `info`, in bytes as it is kept.
    pub info_bytes_max: usize,
}

impl Default for Policy {
    fn default() -> Self {
        Self { audience: None, issuer: None, disallow_anonymous: false, info_bytes_max: INFO_BYTES_MAX }
    }
}

/// Who a connection token says somebody is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Empty: anonymous.
    pub user: Box<str>,
    /// Shown to others along with the user.
    pub info: Option<Arc<Payload>>,
    /// Unix time in seconds, ahead of now and at most a year; `None`: the token does not expire.
    pub token_expires_s: Option<u64>,
    /// When the connection it opens expires, at most a year ahead. **May lie in the past** if the token says so by
    /// `expire_at`: such a connect is answered with [`crate::core::error::ClientError::Expired`].
    pub connection_expires_s: Option<u64>,
}

/// Verifies a connection token and reads who it is about.
///
/// `now_s`: Unix time. `exp` and `nbf` get no leeway; a fraction of a second of `exp` does not count, so it expires
/// in the second it names. `iat` and unknown claims are ignored.
pub fn verify_connection(
    token: &str,
    keys: &Keys,
    policy: &Policy,
    json: &mut Json,
    now_s: u64,
) -> Result<Identity, TokenError> {
    let mut payload = Vec::new();
    let claims = token::verify(token, keys, json, &mut payload)?;
    let claims = Claims::read(claims)?;

    claims.check_shape()?;
    claims.check_audience(policy)?;
    let user = claims.user()?;
    let info = claims.info(json, policy.info_bytes_max)?.map(Arc::new);
    let expire_at_s = claims.expire_at.map(|value| time_s("expire_at", value)).transpose()?;
    let nbf_s = claims.nbf.map(|value| time_s("nbf", value)).transpose()?;
    let exp_s = claims.exp.map(|value| time_s("exp", value)).transpose()?.map(whole_s);

    // Casts of floats saturate; seconds up to the year 9999 are exact in them.
    if let Some(nbf_s) = nbf_s.filter(|nbf_s| *nbf_s > now_s as f64) {
        return Err(TokenError::NotYetValid { nbf_s: nbf_s.ceil() as u64, now_s });
    }
    if let Some(exp_s) = exp_s.filter(|exp_s| *exp_s <= now_s) {
        return Err(TokenError::Expired { exp_s, now_s });
    }
    if user.is_empty() && policy.disallow_anonymous {
        return Err(TokenError::NoUser);
    }
    let near = |time_s: u64| time_s.min(now_s.saturating_add(AHEAD_S_MAX));
    Ok(Identity {
        user,
        info,
        token_expires_s: exp_s.map(near),
        connection_expires_s: match expire_at_s {
            Some(0.0) => None,
            Some(expire_at_s) => Some(near(whole_s(expire_at_s))),
            None => exp_s.map(near),
        },
    })
}

/// The claims that mean something here, as they were written.
struct Claims<'t> {
    sub: Option<Value<'t>>,
    exp: Option<Value<'t>>,
    nbf: Option<Value<'t>>,
    aud: Option<Value<'t>>,
    iss: Option<Value<'t>>,
    info: Option<Value<'t>>,
    b64info: Option<Value<'t>>,
    expire_at: Option<Value<'t>>,
    channel: Option<Value<'t>>,
    channels: Option<Value<'t>>,
    subs: Option<Value<'t>>,
}

impl<'t> Claims<'t> {
    fn read(claims: Object<'t>) -> Result<Self, TokenError> {
        let names = [
            "sub",
            "exp",
            "nbf",
            "aud",
            "iss",
            "info",
            "b64info",
            "expire_at",
            "channel",
            "channels",
            "subs",
            "meta",
        ];
        let found = claims.read(names).map_err(|error| match error {
            JsonError::RepeatedName { name } => TokenError::DuplicateClaim { claim: name },
            error => Malformed::Json { part: Part::Payload, error }.into(),
        })?;
        // `meta` may be anything; naming it above refuses two of them.
        let [sub, exp, nbf, aud, iss, info, b64info, expire_at, channel, channels, subs, _meta] = found;
        Ok(Self { sub, exp, nbf, aud, iss, info, b64info, expire_at, channel, channels, subs })
    }

    fn check_shape(&self) -> Result<(), TokenError> {
        // Otherwise a token made for one subscription would open a whole connection.
        if self.channel.is_some() {
            return bad("channel", Problem::Unexpected);
        }
        if let Some(value) = present(self.channels) {
            let wanted = "an array of strings";
            let Some(channels) = value.as_array() else { return wrong_type("channels", value, wanted) };
            if channels.clone().nth(CHANNELS_MAX).is_some() {
                return bad("channels", Problem::TooManyChannels { max: CHANNELS_MAX });
            }
            if let Some(other) = { channels }.find(|channel| channel.kind() != Kind::String) {
                return wrong_type("a channel in channels", other, "a string");
            }
        }
        if let Some(value) = present(self.subs) {
            let Some(subs) = value.as_object() else { return wrong_type("subs", value, "an object") };
            if subs.members().nth(CHANNELS_MAX).is_some() {
                return bad("subs", Problem::TooManyChannels { max: CHANNELS_MAX });
            }
            if let Some((_, other)) = subs.members().find(|(_, options)| options.kind() != Kind::Object) {
                return wrong_type("a channel's options in subs", other, "an object");
            }
        }
        Ok(())
    }

    fn check_audience(&self, policy: &Policy) -> Result<(), TokenError> {
        if let Some(issuer) = &policy.issuer {
            let Some(value) = self.iss else { return bad("iss", Problem::Missing) };
            if value.kind() != Kind::String {
                return wrong_type("iss", value, "a string");
            }
            if !value.is_string(issuer) {
                return bad("iss", Problem::Mismatch);
            }
        }
        if let Some(audience) = &policy.audience {
            let Some(value) = self.aud else { return bad("aud", Problem::Missing) };
            let listed = match (value.kind(), value.as_array()) {
                (Kind::String, _) => value.is_string(audience),
                (_, Some(mut list)) => list.any(|one| one.is_string(audience)),
                _ => return wrong_type("aud", value, "a string or an array of strings"),
            };
            if !listed {
                return bad("aud", Problem::Mismatch);
            }
        }
        Ok(())
    }

    /// Empty if there is none.
    fn user(&self) -> Result<Box<str>, TokenError> {
        let Some(value) = self.sub else { return Ok(Box::default()) };
        let Some(user) = value.as_str() else { return wrong_type("sub", value, "a string") };
        if user.len() > USER_BYTES_MAX {
            return bad("sub", Problem::TooLong { bytes: user.len(), bytes_max: USER_BYTES_MAX });
        }
        if user.contains(char::is_control) {
            return bad("sub", Problem::ControlCharacter);
        }
        Ok(user.into())
    }

    /// `b64info` wins over `info`.
    fn info(&self, json: &mut Json, bytes_max: usize) -> Result<Option<Payload>, TokenError> {
        let bounded = |claim, payload: Payload| {
            let bytes = payload.len();
            if bytes > bytes_max {
                bad(claim, Problem::TooLong { bytes, bytes_max })
            } else {
                Ok(Some(payload))
            }
        };
        if let Some(value) = present(self.b64info) {
            let Some(encoded) = value.as_str() else { return wrong_type("b64info", value, "a string") };
            let Ok(bytes) = BASE64.decode(encoded.as_bytes()) else {
                return bad("b64info", Problem::NotBase64);
            };
            if !bytes.is_empty() {
                let text = json.text_of(&bytes).map(|text| Payload::Json(text.into()));
                return bounded("b64info", text.unwrap_or_else(|| Payload::Binary(bytes.into())));
            }
        }
        match present(self.info) {
            Some(value) => bounded("info", Payload::Json(without_raw_newlines(value.raw()).into())),
            None => Ok(None),
        }
    }
}

/// Libraries write `null` for an optional claim that was not set.
fn present(claim: Option<Value<'_>>) -> Option<Value<'_>> {
    claim.filter(|value| !value.is_null())
}

/// Unix time in seconds; fractions and exponents are allowed, as in RFC 7519 section 2 (NumericDate).
fn time_s(claim: &'static str, value: Value<'_>) -> Result<f64, TokenError> {
    if value.kind() != Kind::Number {
        return wrong_type(claim, value, "a number");
    }
    match value.as_f64() {
        None => bad(claim, Problem::NotFinite),
        Some(time_s) if time_s > YEAR_9999_S => bad(claim, Problem::Milliseconds),
        Some(time_s) => Ok(time_s),
    }
}

/// Times before 1970 count as 1970: they are as long gone.
fn whole_s(time_s: f64) -> u64 {
    time_s.max(0.0) as u64
}

fn wrong_type<T>(claim: &'static str, value: Value<'_>, wanted: &'static str) -> Result<T, TokenError> {
    bad(claim, Problem::Type { found: value.kind().name(), wanted })
}

fn bad<T>(claim: &'static str, problem: Problem) -> Result<T, TokenError> {
    Err(TokenError::BadClaim { claim, problem })
}

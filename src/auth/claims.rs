//! Claims of Centrifuge connection tokens.

use std::sync::Arc;

use super::error::{Problem, TokenError};
use super::grant::{Grant, Granted};
use super::reading::{Audience, Bytes, Times, bad, members, present, user, wrong_type};
use super::token::{self, Keys};
use crate::core::publication::Payload;
use crate::wire::json::{Json, Object, Value, without_raw_newlines};

/// Most channels the claims `channels` and `subs` may name.
pub const CHANNELS_MAX: usize = 128;

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
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Identity {
    /// Empty: anonymous.
    pub user: Box<str>,
    /// Shown to others along with the user.
    pub info: Option<Arc<Payload>>,
    /// Kept at the server, for backends; never shown to clients.
    pub meta: Option<Arc<Payload>>,
    /// Server-side subscriptions, each channel once. Whether there are such channels is not judged here.
    pub subscriptions: Box<[Granted]>,
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

    // Otherwise a token made for one subscription would open a whole connection.
    if claims.channel.is_some() {
        return bad("channel", Problem::Unexpected);
    }
    claims.audience.check(policy)?;
    let user = user(claims.sub)?;
    let info = claims.info.read(json, policy.info_bytes_max)?.map(Arc::new);
    let subscriptions = claims.subscriptions(json, policy)?;
    let meta =
        present(claims.meta).map(|meta| Arc::new(Payload::Json(without_raw_newlines(meta.raw()).into())));
    let expiry = claims.times.judge(now_s)?;
    if user.is_empty() && policy.disallow_anonymous {
        return Err(TokenError::NoUser);
    }
    Ok(Identity {
        user,
        info,
        meta,
        subscriptions,
        token_expires_s: expiry.token_s,
        connection_expires_s: expiry.granted_s,
    })
}

/// The claims that mean something here, as they were written.
struct Claims<'t> {
    sub: Option<Value<'t>>,
    times: Times<'t>,
    audience: Audience<'t>,
    info: Bytes<'t>,
    channel: Option<Value<'t>>,
    channels: Option<Value<'t>>,
    subs: Option<Value<'t>>,
    meta: Option<Value<'t>>,
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
        let [sub, exp, nbf, aud, iss, info, b64info, expire_at, channel, channels, subs, meta] =
            members(claims, names)?;
        Ok(Self {
            sub,
            times: Times { exp, nbf, expire_at },
            audience: Audience { aud, iss },
            info: Bytes { text_claim: "info", text: info, base64_claim: "b64info", base64: b64info },
            channel,
            channels,
            subs,
            meta,
        })
    }

    /// `subs` wins over `channels`, and must name each channel once.
    fn subscriptions(&self, json: &mut Json, policy: &Policy) -> Result<Box<[Granted]>, TokenError> {
        let channels = self.channels()?;
        let Some(value) = present(self.subs) else { return Ok(channels) };
        let Some(subs) = value.as_object() else { return wrong_type("subs", value, "an object") };
        if subs.members().nth(CHANNELS_MAX).is_some() {
            return bad("subs", Problem::TooManyChannels { max: CHANNELS_MAX });
        }
        let mut granted: Vec<Granted> = Vec::new();
        for (channel, options) in subs.members() {
            let channel: Box<str> = channel.as_str().unwrap_or_default().into();
            if granted.iter().any(|other| other.channel == channel) {
                return Err(TokenError::DuplicateClaim { claim: "a channel in subs" });
            }
            let Some(options) = options.as_object() else {
                return wrong_type("a channel's options in subs", options, "an object");
            };
            granted.push(Granted { channel, grant: Grant::read(options, json, policy)? });
        }
        Ok(granted.into())
    }

    /// Each channel once, in the order they were written.
    fn channels(&self) -> Result<Box<[Granted]>, TokenError> {
        let Some(value) = present(self.channels) else { return Ok(Box::default()) };
        let Some(channels) = value.as_array() else {
            return wrong_type("channels", value, "an array of strings");
        };
        let mut granted: Vec<Granted> = Vec::new();
        for (place, channel) in channels.enumerate() {
            if place == CHANNELS_MAX {
                return bad("channels", Problem::TooManyChannels { max: CHANNELS_MAX });
            }
            let Some(name) = channel.as_str() else {
                return wrong_type("a channel in channels", channel, "a string");
            };
            if granted.iter().all(|other| *other.channel != *name) {
                granted.push(Granted { channel: name.into(), grant: Grant::default() });
            }
        }
        Ok(granted.into())
    }
}

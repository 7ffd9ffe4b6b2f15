//! Claims of Centrifuge subscription tokens.

use super::claims::Policy;
use super::error::{Problem, TokenError};
use super::grant::Grant;
use super::reading::{Audience, Times, bad, members, present, user, wrong_type};
use super::token::{self, Keys};
use crate::core::ids::ClientId;
use crate::wire::json::{Json, Value};

/// For which subscription a token must have been made.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    pub channel: &'a str,
    /// Empty: the connection is anonymous.
    pub user: &'a str,
    pub client: ClientId,
    /// The connection speaks the protocol's first generation. Its backends make tokens about a `client` instead of
    /// a user, which are good here alone: a client id is no secret among those who see each other.
    pub is_legacy: bool,
}

/// A right token for this very subscription.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Permission {
    pub grant: Grant,
    /// When the subscription expires: Unix time in seconds, at most a year ahead. **May lie in the past** if the
    /// token says so by `expire_at`: such a subscribe is answered with
    /// [`crate::core::error::ClientError::Expired`].
    pub expires_s: Option<u64>,
}

/// Verifies a subscription token.
///
/// `now_s`: Unix time. Errors: `ForAnother` if the token is right, but for another channel, user or client: whoever
/// sends that is up to no good. `Expired` and `NotYetValid` call for a fresh token. All others: it is none.
pub fn verify_subscription(
    token: &str,
    keys: &Keys,
    policy: &Policy,
    wanted: &Wanted<'_>,
    json: &mut Json,
    now_s: u64,
) -> Result<Permission, TokenError> {
    let mut payload = Vec::new();
    let object = token::verify(token, keys, json, &mut payload)?;
    let [channel, client, sub, exp, nbf, expire_at, aud, iss, eto] =
        members(object, ["channel", "client", "sub", "exp", "nbf", "expire_at", "aud", "iss", "eto"])?;

    let Some(channel) = present(channel) else { return bad("channel", Problem::Absent) };
    let channel = text("channel", channel)?;
    let client = present(client).map(|client| text("client", client)).transpose()?;
    let user = user(sub)?;
    let exp_is_for_token_only = match present(eto) {
        None => false,
        Some(value) => value.as_bool().map_or_else(|| wrong_type("eto", value, "a boolean"), Ok)?,
    };
    Audience { aud, iss }.check(policy)?;
    let grant = Grant::read(object, json, policy)?;
    let expiry = Times { exp, nbf, expire_at }.judge(now_s)?;

    if *channel != *wanted.channel {
        return Err(TokenError::ForAnother { claim: "channel" });
    }
    let client = client.filter(|client| !client.is_empty());
    if client.as_ref().is_some_and(|client| **client != *wanted.client.text().as_str()) {
        return Err(TokenError::ForAnother { claim: "client" });
    }
    let is_about_client = wanted.is_legacy && sub.is_none() && client.is_some();
    if !is_about_client && *user != *wanted.user {
        return Err(TokenError::ForAnother { claim: "sub" });
    }
    let expires = !(wanted.is_legacy && exp_is_for_token_only);
    Ok(Permission { grant, expires_s: expiry.granted_s.filter(|_| expires) })
}

fn text<'t>(claim: &'static str, value: Value<'t>) -> Result<std::borrow::Cow<'t, str>, TokenError> {
    value.as_str().map_or_else(|| wrong_type(claim, value, "a string"), Ok)
}

//! Calls about the connections of a user, or one of them: their subscriptions, their expiry, their end.

use std::sync::Arc;

use data_encoding::BASE64;

use super::fields::{
    flag, missing, not_available, payload_of_base64, position, present, read, text, time_s, too_long,
    wrong_type,
};
use crate::api::call::{ApiError, Call, Errand, Whose};
use crate::auth::{Grant, Overrides};
use crate::config::Limits;
use crate::core::disconnect::Disconnect;
use crate::core::ids::ClientId;
use crate::core::publication::Payload;
use crate::wire::json::{Json, Object, Value, without_raw_newlines};

/// As much as a close frame carries (RFC 6455 section 5.5).
const REASON_BYTES_MAX: usize = 123;

/// Subscribes them to a channel.
pub(super) fn subscribe(params: Object<'_>, json: &mut Json, limits: &Limits) -> Result<Call, ApiError> {
    let [channel, info, b64info, data, b64data, expire_at, since, overrides] = read(
        params,
        ["channel", "info", "b64info", "data", "b64data", "expire_at", "recover_since", "override"],
    )?;
    let whose = whose(params)?;
    let channel = text("channel", channel)?.ok_or_else(|| missing("channel"))?;
    let info = payload(("info", info), ("b64info", b64info), limits.info_bytes_max, json)?;
    let data = payload(("data", data), ("b64data", b64data), limits.publication_bytes_max, json)?;
    let grant = Grant { info: info.map(Arc::new), data, overrides: self::overrides(overrides)? };
    let expires_s = time_s("expire_at", expire_at)?;
    let since = position(["recover_since", "recover_since.offset", "recover_since.epoch"], since)?;
    Ok(Call::Users { whose, errand: Errand::Subscribe { channel: channel.into(), grant, expires_s, since } })
}

/// Ends their subscription to a channel, or to all channels if none is named.
pub(super) fn unsubscribe(params: Object<'_>) -> Result<Call, ApiError> {
    let [channel] = read(params, ["channel"])?;
    let channel = text("channel", channel)?.unwrap_or_default().into();
    Ok(Call::Users { whose: whose(params)?, errand: Errand::Unsubscribe { channel } })
}

/// Moves their expiry, or ends them as expired.
pub(super) fn refresh(params: Object<'_>, json: &mut Json, limits: &Limits) -> Result<Call, ApiError> {
    let [expired, expire_at, info, b64info] = read(params, ["expired", "expire_at", "info", "b64info"])?;
    let whose = whose(params)?;
    let info = payload(("info", info), ("b64info", b64info), limits.info_bytes_max, json)?.map(Arc::new);
    let expires_s = time_s("expire_at", expire_at)?;
    let errand = if flag("expired", expired)? {
        Errand::Disconnect { whitelist: Box::default(), disconnect: Disconnect::Expired }
    } else {
        Errand::Refresh { expires_s, info }
    };
    Ok(Call::Users { whose, errand })
}

/// Ends them.
pub(super) fn disconnect(params: Object<'_>) -> Result<Call, ApiError> {
    let [whitelist, disconnect] = read(params, ["whitelist", "disconnect"])?;
    let whose = whose(params)?;
    let mut clients = Vec::new();
    if let Some(list) = present(whitelist) {
        let wrong = || wrong_type("whitelist", "an array of client ids");
        for client in list.as_array().ok_or_else(wrong)? {
            clients.push(client_id("whitelist", client)?.ok_or_else(wrong)?);
        }
    }
    let disconnect = present(disconnect).map_or(Ok(Disconnect::ForceDisconnect), custom_disconnect)?;
    Ok(Call::Users { whose, errand: Errand::Disconnect { whitelist: clients.into(), disconnect } })
}

fn whose(params: Object<'_>) -> Result<Whose, ApiError> {
    let [user, client, session] = read(params, ["user", "client", "session"])?;
    // Sessions belong to transports that this version does not have.
    if text("session", session)?.is_some() {
        return Err(not_available("session"));
    }
    let user = text("user", user)?;
    let client = present(client).map(|client| client_id("client", client)).transpose()?.flatten();
    // Without either, every anonymous connection would be meant.
    match (user, client) {
        (None, None) => Err(missing("user")),
        (user, client) => Ok(Whose { user: user.unwrap_or_default().into(), client }),
    }
}

/// `Ok(None)`: the empty string. No other text than a UUID was ever given out as an id.
pub(super) fn client_id(field: &'static str, value: Value<'_>) -> Result<Option<ClientId>, ApiError> {
    let text = value.as_str().ok_or_else(|| wrong_type(field, "a client id"))?;
    if text.is_empty() {
        return Ok(None);
    }
    ClientId::parse(&text).map(Some).ok_or_else(|| wrong_type(field, "a client id"))
}

/// A field in two forms: any JSON, or bytes in base64, which win.
fn payload(
    (name, value): (&'static str, Option<Value<'_>>),
    (encoded_name, encoded): (&'static str, Option<Value<'_>>),
    bytes_max: usize,
    json: &mut Json,
) -> Result<Option<Payload>, ApiError> {
    let (name, payload) = match text(encoded_name, encoded)? {
        Some(encoded) => {
            let bytes = BASE64.decode(encoded.as_bytes());
            let bytes = bytes.map_err(|_| wrong_type(encoded_name, "standard base64 with padding"))?;
            (encoded_name, payload_of_base64(bytes, json))
        }
        None => match present(value) {
            Some(value) => (name, Payload::Json(without_raw_newlines(value.raw()).into())),
            None => return Ok(None),
        },
    };
    if payload.len() > bytes_max { Err(too_long(name, bytes_max)) } else { Ok(Some(payload)) }
}

fn overrides(value: Option<Value<'_>>) -> Result<Overrides, ApiError> {
    let Some(value) = present(value) else { return Ok(Overrides::default()) };
    let object = value.as_object().ok_or_else(|| wrong_type("override", "an object"))?;
    let [presence, join_leave, force_push_join_leave, force_positioning, force_recovery] = read(
        object,
        ["presence", "join_leave", "force_push_join_leave", "force_positioning", "force_recovery"],
    )?;
    Ok(Overrides {
        presence: setting(presence)?,
        join_leave: setting(join_leave)?,
        force_push_join_leave: setting(force_push_join_leave)?,
        force_positioning: setting(force_positioning)?,
        force_recovery: setting(force_recovery)?,
    })
}

/// `{"value":true}`.
fn setting(value: Option<Value<'_>>) -> Result<Option<bool>, ApiError> {
    let wrong = || wrong_type("a setting in override", "an object with a boolean value");
    let Some(value) = present(value) else { return Ok(None) };
    let [value] = read(value.as_object().ok_or_else(wrong)?, ["value"])?;
    present(value).map(|value| value.as_bool().ok_or_else(wrong)).transpose()
}

fn custom_disconnect(value: Value<'_>) -> Result<Disconnect, ApiError> {
    let object = value.as_object().ok_or_else(|| wrong_type("disconnect", "an object"))?;
    let [code, reason] = read(object, ["code", "reason"])?;
    let code = present(code).ok_or_else(|| missing("disconnect.code"))?;
    // Below lie the transport's own codes, above what RFC 6455 has none for.
    let code =
        code.as_u64().and_then(|code| u16::try_from(code).ok()).filter(|code| (3_000..5_000).contains(code));
    let code = code.ok_or_else(|| wrong_type("disconnect.code", "a number from 3000 to 4999"))?;
    let reason = match present(reason) {
        Some(reason) => reason.as_str().ok_or_else(|| wrong_type("disconnect.reason", "a string"))?,
        None => "".into(),
    };
    if reason.len() > REASON_BYTES_MAX {
        return Err(too_long("disconnect.reason", REASON_BYTES_MAX));
    }
    Ok(Disconnect::Custom { code, reason: reason.as_ref().into() })
}

//! Body → calls.

use std::collections::HashSet;

use data_encoding::BASE64;

use super::fields::{
    flag, missing, not_available, payload_of_base64, position, present, read, repeated, text, too_long,
    wrong_type,
};
use super::users::{self, client_id};
use super::{Batch, Entry, Style};
use crate::api::call::{ApiError, Call, Excluded, Message, Tags};
use crate::api::pattern::PATTERN_BYTES_MAX;
use crate::config::Limits;
use crate::core::history::Range;
use crate::core::publication::{AsText, Payload, Terms};
use crate::wire::json::{Json, JsonError, Object, Value, documents, without_raw_newlines};

/// Commands of one request in the old style. An answer is longer than the shortest command.
const COMMANDS_MAX: usize = 10_000;
/// Idempotency keys and epochs of versions are kept.
const KEY_BYTES_MAX: usize = 255;

/// Why a request is answered by its HTTP status alone, without carrying out any of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadBody {
    #[error("the body is not JSON: {0}")]
    Json(#[from] JsonError),
    #[error("the body must be a JSON object")]
    NotAnObject,
    #[error("id must be a whole number below 2^32")]
    Id,
    #[error("method must be a name or a number")]
    Method,
    #[error("more than {COMMANDS_MAX} commands")]
    TooManyCommands,
    #[error("there is no such method")]
    UnknownMethod,
}

impl BadBody {
    pub fn status(self) -> u16 {
        match self {
            Self::Json(_) | Self::NotAnObject | Self::Id | Self::Method => 400,
            Self::TooManyCommands => 413,
            Self::UnknownMethod => 404,
        }
    }
}

/// Reads a whole request. `method`: what follows `/api/` in the path; `None`: the path is `/api` itself.
///
/// `json`: scratch space. Of `limits` those of publications and broadcasts count; the body's own was judged before.
pub fn parse(method: Option<&str>, body: &[u8], json: &mut Json, limits: &Limits) -> Result<Batch, BadBody> {
    let Some(name) = method else { return parse_commands(body, json, limits) };
    let method = METHODS.iter().find(|(known, _)| *known == name).ok_or(BadBody::UnknownMethod)?.1;
    let params = json.parse(body)?.as_object().ok_or(BadBody::NotAnObject)?;
    let call = call(method, params, json, limits);
    Ok(Batch { style: Style::Method, entries: vec![Entry { id: 0, call }] })
}

fn parse_commands(body: &[u8], json: &mut Json, limits: &Limits) -> Result<Batch, BadBody> {
    let mut entries = Vec::new();
    for document in documents(body) {
        if entries.len() == COMMANDS_MAX {
            return Err(BadBody::TooManyCommands);
        }
        let command = json.parse(document)?.as_object().ok_or(BadBody::NotAnObject)?;
        let [id, method, params] = command.read(["id", "method", "params"])?.map(present);
        let id = match id {
            None => 0,
            Some(id) => id.as_u64().and_then(|id| u32::try_from(id).ok()).ok_or(BadBody::Id)?,
        };
        let call = match (old_method(method)?, params.map(Value::as_object)) {
            (None, _) => Err(ApiError::MethodNotFound),
            (Some(_), Some(None)) => Err(wrong_type("params", "an object")),
            (Some(method), Some(Some(params))) => call(method, params, json, limits),
            (Some(method), None) => {
                let none = json.parse(b"{}")?.as_object().ok_or(BadBody::NotAnObject)?;
                call(method, none, json, limits)
            }
        };
        entries.push(Entry { id, call });
    }
    if entries.is_empty() {
        return Err(BadBody::Json(JsonError::Empty));
    }
    Ok(Batch { style: Style::Commands, entries })
}

/// A command's method. Old senders write numbers, and leave out zero. `Ok(None)`: there is none of that name.
fn old_method(method: Option<Value<'_>>) -> Result<Option<Method>, BadBody> {
    let Some(method) = method else { return Ok(Some(Method::Publish)) };
    if let Some(name) = method.as_str() {
        return Ok(METHODS
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(&name))
            .map(|(_, method)| *method));
    }
    let number = method.as_u64().ok_or(BadBody::Method)?;
    let old = usize::try_from(number).ok().and_then(|number| METHODS[..OLD_METHODS].get(number));
    Ok(old.map(|(_, method)| *method))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Method {
    Publish,
    Broadcast,
    Subscribe,
    Unsubscribe,
    Refresh,
    Disconnect,
    Channels,
    Info,
    Presence,
    PresenceStats,
    History,
    HistoryRemove,
    /// Centrifugo has it, this version has not.
    NotServed,
}

/// The old methods stand where their numbers say.
const METHODS: [(&str, Method); 21] = [
    ("publish", Method::Publish),
    ("broadcast", Method::Broadcast),
    ("unsubscribe", Method::Unsubscribe),
    ("disconnect", Method::Disconnect),
    ("presence", Method::Presence),
    ("presence_stats", Method::PresenceStats),
    ("history", Method::History),
    ("history_remove", Method::HistoryRemove),
    ("channels", Method::Channels),
    ("info", Method::Info),
    ("rpc", Method::NotServed),
    ("subscribe", Method::Subscribe),
    ("refresh", Method::Refresh),
    ("batch", Method::NotServed),
    ("map_publish", Method::NotServed),
    ("map_remove", Method::NotServed),
    ("map_read_state", Method::NotServed),
    ("map_read_stream", Method::NotServed),
    ("map_stats", Method::NotServed),
    ("map_clear", Method::NotServed),
    ("shared_poll_publish", Method::NotServed),
];
const OLD_METHODS: usize = 13;

fn call(method: Method, params: Object<'_>, json: &mut Json, limits: &Limits) -> Result<Call, ApiError> {
    match method {
        Method::Publish => {
            let ([channel, _], message) = message(params, json, limits)?;
            let channel = text("channel", channel)?.ok_or_else(|| missing("channel"))?;
            Ok(Call::Publish { channel: channel.into(), message })
        }
        Method::Broadcast => {
            let ([_, channels], message) = message(params, json, limits)?;
            Ok(Call::Broadcast { channels: self::channels(channels, limits)?, message })
        }
        Method::Subscribe => users::subscribe(params, json, limits),
        Method::Unsubscribe => users::unsubscribe(params),
        Method::Refresh => users::refresh(params, json, limits),
        Method::Disconnect => users::disconnect(params),
        Method::Channels => {
            let [pattern] = read(params, ["pattern"])?;
            let pattern = text("pattern", pattern)?.unwrap_or_default();
            if pattern.len() > PATTERN_BYTES_MAX {
                return Err(too_long("pattern", PATTERN_BYTES_MAX));
            }
            Ok(Call::Channels { pattern: pattern.into(), users: false })
        }
        Method::Info => Ok(Call::Info),
        Method::History => history(params),
        Method::HistoryRemove => Ok(Call::HistoryRemove { channel: channel(params)? }),
        Method::Presence => Ok(Call::Presence { channel: channel(params)? }),
        Method::PresenceStats => Ok(Call::PresenceStats { channel: channel(params)? }),
        Method::NotServed => Err(not_available("this version does not have the method")),
    }
}

/// The fields `channel` and `channels`, and the message, in one pass over what may be a long text.
fn message<'t>(
    params: Object<'t>,
    json: &mut Json,
    limits: &Limits,
) -> Result<([Option<Value<'t>>; 2], Message), ApiError> {
    let [channel, channels, data, b64data, tags, skip_history, key, delta, version, epoch, exclude] = read(
        params,
        [
            "channel",
            "channels",
            "data",
            "b64data",
            "tags",
            "skip_history",
            "idempotency_key",
            "delta",
            "version",
            "version_epoch",
            "exclude",
        ],
    )?;
    let terms = self::terms(skip_history, key, version, epoch)?;
    let data = self::data(data, b64data, json)?;
    let tags = self::tags(tags)?;
    // Tags travel with the data to every subscriber, so they count.
    let bytes = tags.iter().fold(data.len(), |bytes, (name, value)| bytes + name.len() + value.len());
    if bytes > limits.publication_bytes_max {
        return Err(too_long("data with tags", limits.publication_bytes_max));
    }
    let exclude = present(exclude).map(|client| client_id("exclude", client)).transpose()?.flatten();
    let exclude = exclude.map(Excluded::Client);
    let delta = flag("delta", delta)?;
    let message = Message { data, as_text: AsText::Quoted, event: None, tags, delta, terms, exclude };
    Ok(([channel, channels], message))
}

fn channel(params: Object<'_>) -> Result<Box<str>, ApiError> {
    let [channel] = read(params, ["channel"])?;
    text("channel", channel)?.map(Into::into).ok_or_else(|| missing("channel"))
}

/// What is asked for beyond publishing; `None`: nothing.
fn terms(
    skip_history: Option<Value<'_>>,
    key: Option<Value<'_>>,
    version: Option<Value<'_>>,
    epoch: Option<Value<'_>>,
) -> Result<Option<Box<Terms>>, ApiError> {
    let key = text("idempotency_key", key)?;
    if key.as_ref().is_some_and(|key| key.len() > KEY_BYTES_MAX) {
        return Err(too_long("idempotency_key", KEY_BYTES_MAX));
    }
    let version = present(version).map_or(Some(0), Value::as_u64);
    let version_epoch = text("version_epoch", epoch)?.unwrap_or_default();
    if version_epoch.len() > KEY_BYTES_MAX {
        return Err(too_long("version_epoch", KEY_BYTES_MAX));
    }
    let terms = Terms {
        skip_history: flag("skip_history", skip_history)?,
        idempotency_key: key.map(|key| key.into()),
        version: version.ok_or_else(|| wrong_type("version", "a whole number"))?,
        version_epoch: version_epoch.into(),
    };
    Ok((terms != Terms::default()).then(|| Box::new(terms)))
}

/// Without a limit only where the stream stands; with a negative one all there is.
fn history(params: Object<'_>) -> Result<Call, ApiError> {
    let [channel, limit, since, reverse] = read(params, ["channel", "limit", "since", "reverse"])?;
    let channel = text("channel", channel)?.ok_or_else(|| missing("channel"))?;
    let limit = present(limit).map_or(Some(0), Value::as_i64);
    let limit = limit.ok_or_else(|| wrong_type("limit", "a whole number"))?;
    let limit = if limit < 0 { u32::MAX } else { u32::try_from(limit).unwrap_or(u32::MAX) };
    let since = position(["since", "since.offset", "since.epoch"], since)?;
    let range = Range { since, limit, reverse: flag("reverse", reverse)? };
    Ok(Call::History { channel: channel.into(), range })
}

/// `b64data` goes before `data`, in which `null` is a value like any other.
fn data(data: Option<Value<'_>>, b64data: Option<Value<'_>>, json: &mut Json) -> Result<Payload, ApiError> {
    if let Some(encoded) = text("b64data", b64data)? {
        let bytes = BASE64.decode(encoded.as_bytes());
        let bytes = bytes.map_err(|_| wrong_type("b64data", "standard base64 with padding"))?;
        return Ok(payload_of_base64(bytes, json));
    }
    let data = data.ok_or_else(|| missing("data"))?;
    Ok(Payload::Json(without_raw_newlines(data.raw()).into()))
}

fn tags(tags: Option<Value<'_>>) -> Result<Tags, ApiError> {
    let Some(tags) = present(tags) else { return Ok(Tags::default()) };
    let wrong = || wrong_type("tags", "an object of strings");
    let mut seen = HashSet::new();
    let mut pairs = Vec::new();
    for (name, value) in tags.as_object().ok_or_else(wrong)?.members() {
        let name = name.as_str().ok_or_else(wrong)?;
        let value = value.as_str().ok_or_else(wrong)?;
        pairs.push((name.as_ref().into(), value.into()));
        if !seen.insert(name) {
            return Err(repeated("a name in tags"));
        }
    }
    Ok(pairs.into())
}

fn channels(list: Option<Value<'_>>, limits: &Limits) -> Result<Vec<Box<str>>, ApiError> {
    let wrong = || wrong_type("channels", "an array of strings");
    let list = present(list).ok_or_else(|| missing("channels"))?;
    let mut channels = Vec::new();
    for channel in list.as_array().ok_or_else(wrong)? {
        if channels.len() == limits.broadcast_channels_max {
            return Err(ApiError::LimitExceeded);
        }
        channels.push(channel.as_str().ok_or_else(wrong)?.into());
    }
    if channels.is_empty() { Err(missing("channels")) } else { Ok(channels) }
}

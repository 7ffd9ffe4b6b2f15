//! What both generations share on the way in: the methods and their parameters.

use crate::core::command::{Command, Connect, Subscribe};
use crate::core::disconnect::Disconnect;
use crate::core::error::ClientError;
use crate::core::publication::Payload;
use crate::wire::json::{Object, Value, without_raw_newlines};

/// What can be asked. The numbers are v1's, the names both generations'.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    Connect = 0,
    Subscribe = 1,
    Unsubscribe = 2,
    Publish = 3,
    Presence = 4,
    PresenceStats = 5,
    History = 6,
    Ping = 7,
    Send = 8,
    Rpc = 9,
    Refresh = 10,
    SubRefresh = 11,
}

impl Method {
    /// In the order of their numbers.
    pub(super) const ALL: [(Self, &'static str); 12] = [
        (Self::Connect, "connect"),
        (Self::Subscribe, "subscribe"),
        (Self::Unsubscribe, "unsubscribe"),
        (Self::Publish, "publish"),
        (Self::Presence, "presence"),
        (Self::PresenceStats, "presence_stats"),
        (Self::History, "history"),
        (Self::Ping, "ping"),
        (Self::Send, "send"),
        (Self::Rpc, "rpc"),
        (Self::Refresh, "refresh"),
        (Self::SubRefresh, "sub_refresh"),
    ];
}

/// A command's id; 0 if there is none. What is no id cannot be answered.
pub(super) fn tag(id: Option<Value<'_>>) -> Result<u32, Disconnect> {
    match present(id) {
        None => Ok(0),
        Some(id) => id.as_u64().and_then(|id| u32::try_from(id).ok()).ok_or(Disconnect::BadRequest),
    }
}

/// `null` is as good as nothing, except for data.
pub(super) fn present(value: Option<Value<'_>>) -> Option<Value<'_>> {
    value.filter(|value| !value.is_null())
}

/// The command a method and its parameters make; `params` absent: all of them are. [`Method::Send`] has no answer
/// and is the caller's to judge.
pub(super) fn decode(method: Method, params: Option<Value<'_>>) -> Command {
    let params = match present(params) {
        None => Ok(None),
        Some(params) => params.as_object().map(Some).ok_or(ClientError::BadRequest),
    };
    params.and_then(|params| command(method, params)).unwrap_or_else(Command::Refuse)
}

fn command(method: Method, params: Option<Object<'_>>) -> Result<Command, ClientError> {
    match method {
        Method::Connect => {
            let [token] = read(params, ["token"])?;
            Ok(Command::Connect(Connect { token: text(token)?, ..Connect::default() }))
        }
        Method::Subscribe => {
            // Recovery is not offered: what is asked about it is ignored, as is everything unknown.
            let [channel, token] = read(params, ["channel", "token"])?;
            Ok(Command::Subscribe(Subscribe {
                channel: text(channel)?,
                token: text(token)?,
                ..Subscribe::default()
            }))
        }
        Method::Unsubscribe => {
            let [channel] = read(params, ["channel"])?;
            Ok(Command::Unsubscribe { channel: text(channel)? })
        }
        Method::Publish => {
            let [channel, data] = read(params, ["channel", "data"])?;
            let data = without_raw_newlines(data.ok_or(ClientError::BadRequest)?.raw());
            Ok(Command::Publish { channel: text(channel)?, data: Payload::Json(data.into()) })
        }
        Method::Refresh => {
            let [token] = read(params, ["token"])?;
            Ok(Command::Refresh { token: text(token)? })
        }
        Method::Ping => Ok(Command::Ping),
        Method::Presence
        | Method::PresenceStats
        | Method::History
        | Method::Rpc
        | Method::Send
        | Method::SubRefresh => Err(ClientError::NotAvailable),
    }
}

fn read<'t, const N: usize>(
    params: Option<Object<'t>>,
    names: [&'static str; N],
) -> Result<[Option<Value<'t>>; N], ClientError> {
    params.map_or(Ok([None; N]), |params| params.read(names).map_err(|_| ClientError::BadRequest))
}

/// Empty if absent, as everywhere in this protocol.
fn text(value: Option<Value<'_>>) -> Result<Box<str>, ClientError> {
    present(value).map_or(Ok(Box::default()), |value| {
        value.as_str().map(|text| text.into_owned().into_boxed_str()).ok_or(ClientError::BadRequest)
    })
}

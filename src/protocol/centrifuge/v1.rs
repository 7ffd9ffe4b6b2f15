//! The legacy generation: `{"id","method","params"}` and `{"id","result"}`.

use std::borrow::Cow;

use crate::core::command::{Command, Request};
use crate::core::disconnect::Disconnect;
use crate::core::error::ClientError;
use crate::core::event::{Body, DropCause, Event};
use crate::core::publication::Publication;
use crate::wire::json::{Object, Value, append_string, append_u64, leading_string};

use super::Generation;
use super::codes;
use super::command::{self, Method, present};
use super::encode::*;

/// One command. `Err` ends the connection.
pub(super) fn decode(fields: Object<'_>) -> Result<Request, Disconnect> {
    let [id, method, params] = fields.read(["id", "method", "params"]).map_err(|_| Disconnect::BadRequest)?;
    let tag = command::tag(id)?;
    let command = match self::method(present(method)) {
        // It expects no answer, so the only way to say no is to end the connection.
        Ok(Method::Send) => return Err(Disconnect::NotAvailable),
        _ if tag == 0 => return Err(Disconnect::BadRequest),
        Ok(method) => command::decode(method, params),
        Err(error) => Command::Refuse(error),
    };
    Ok(Request { tag, command })
}

/// By number, by name or by name in capitals; connect if absent.
fn method(method: Option<Value<'_>>) -> Result<Method, ClientError> {
    let Some(value) = method else { return Ok(Method::Connect) };
    let found = if let Some(number) = value.as_i64() {
        Method::ALL.iter().find(|(method, _)| *method as i64 == number)
    } else {
        let name = value.as_str().ok_or(ClientError::BadRequest)?;
        let is_upper = name.bytes().all(|byte| !byte.is_ascii_lowercase());
        Method::ALL
            .iter()
            .find(|(_, known)| *known == name || (is_upper && known.eq_ignore_ascii_case(&name)))
    };
    found.map(|(method, _)| *method).ok_or(ClientError::MethodNotFound)
}

pub(super) fn encode(event: &Event<'_>, out: &mut Vec<u8>) {
    match *event {
        Event::Connected {
            tag,
            client,
            decimal: _,
            expires_in_s,
            ping_interval_s: _,
            data,
            subscriptions,
        } => {
            append_result(tag, b"{", out);
            append_session(client, expires_in_s, out);
            append_welcome(Generation::V1, data, subscriptions, out);
            out.extend_from_slice(b"}}");
        }
        Event::Refreshed { tag, client, expires_in_s } => {
            append_result(tag, b"{", out);
            append_session(client, expires_in_s, out);
            out.extend_from_slice(b"}}");
        }
        Event::Subscribed { tag, channel: _, subscription } => {
            append_result(tag, b"", out);
            append_subscription(Generation::V1, &subscription, out);
            out.push(b'}');
        }
        Event::Unsubscribed { tag, .. } | Event::Published { tag, .. } | Event::Pong { tag } => {
            append_result(tag, b"{}}", out);
        }
        Event::Presence { tag, channel: _, clients } => {
            append_result(tag, b"", out);
            append_presence(clients, out);
            out.push(b'}');
        }
        Event::PresenceStats { tag, channel: _, clients_count, users_count } => {
            append_result(tag, b"", out);
            append_presence_stats(clients_count, users_count, out);
            out.push(b'}');
        }
        Event::History { tag, channel: _, publications, position } => {
            append_result(tag, b"", out);
            append_history(publications, position, out);
            out.push(b'}');
        }
        Event::SubscriptionRefreshed { tag, channel: _, expires_in_s } => {
            append_result(tag, b"{", out);
            append_expiry(expires_in_s, out);
            out.extend_from_slice(b"}}");
        }
        Event::Refused { tag, error, .. } => {
            append_id(tag, out);
            append_error(codes::error(error), false, out);
            out.push(b'}');
        }
        _ => encode_push(event, out),
    }
}

/// Events that answer no command.
fn encode_push(event: &Event<'_>, out: &mut Vec<u8>) {
    match *event {
        Event::Publication { channel, publication, offset, body } => {
            encode_publication(channel, publication, offset, body, out);
        }
        Event::Join { channel, info } => {
            append_push(PushType::Join, channel, out);
            append_somebody(info, out);
            out.extend_from_slice(b"}}");
        }
        Event::Leave { channel, info } => {
            append_push(PushType::Leave, channel, out);
            append_somebody(info, out);
            out.extend_from_slice(b"}}");
        }
        Event::Added { channel, subscription } => {
            append_push(PushType::Subscribe, channel, out);
            append_added(&subscription, out);
            out.extend_from_slice(b"}}");
        }
        Event::Dropped { channel, cause } => {
            let Some(resubscribes) = resubscribes(cause) else { return };
            append_push(PushType::Unsubscribe, channel, out);
            out.extend_from_slice(if resubscribes { b"{\"resubscribe\":true}}}" } else { b"{}}}" });
        }
        // Its clients know nothing of a moved expiry. They ping by themselves, and an empty message would mute them.
        Event::ExpiryMoved { .. } | Event::Ping => {}
        // This dialect has no message for it.
        Event::SignedIn { .. }
        | Event::UserJoined { .. }
        | Event::UserLeft { .. }
        | Event::NothingLatest { .. }
        | Event::SubscribersCount { .. }
        | Event::Watched { .. }
        | Event::Ended { .. } => {}
        Event::Connected { .. }
        | Event::Subscribed { .. }
        | Event::Unsubscribed { .. }
        | Event::Published { .. }
        | Event::Presence { .. }
        | Event::PresenceStats { .. }
        | Event::History { .. }
        | Event::Refreshed { .. }
        | Event::SubscriptionRefreshed { .. }
        | Event::Pong { .. }
        | Event::Refused { .. } => unreachable!("answers are no pushes"),
    }
}

/// Kinds of pushes, by their numbers; publications are number 0, which goes without saying.
#[derive(Debug, Clone, Copy)]
pub(super) enum PushType {
    Join = 1,
    Leave = 2,
    Unsubscribe = 3,
    Subscribe = 5,
}

/// Whether a client comes back to a channel it was dropped from. `None`: its clients know no such end, and the
/// caller ends the connection where nothing is appended.
pub(super) fn resubscribes(cause: DropCause) -> Option<bool> {
    match cause {
        DropCause::Server => Some(false),
        DropCause::InsufficientState | DropCause::StateInvalidated => Some(true),
        DropCause::Expired => None,
    }
}

/// `{"id":7,"result":` and what is to follow.
fn append_result(tag: u32, rest: &[u8], out: &mut Vec<u8>) {
    append_id(tag, out);
    out.extend_from_slice(b"\"result\":");
    out.extend_from_slice(rest);
}

/// `{"result":{"type":1,"channel":"chat","data":`.
fn append_push(push: PushType, channel: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"result\":{\"type\":");
    append_u64(push as u64, out);
    out.extend_from_slice(b",\"channel\":");
    append_string(channel, out);
    out.extend_from_slice(b",\"data\":");
}

pub(super) fn encode_publication(
    channel: &str,
    publication: &Publication,
    offset: u64,
    body: Body<'_>,
    out: &mut Vec<u8>,
) {
    out.extend_from_slice(b"{\"result\":{\"channel\":");
    append_string(channel, out);
    out.extend_from_slice(b",\"data\":");
    append_publication(publication, offset, body, out);
    out.extend_from_slice(b"}}");
}

/// The channel, if the message is a publication: every other push begins with its type, every reply with its id.
pub(super) fn publication_channel(message: &[u8]) -> Option<Cow<'_, str>> {
    let (channel, rest) = leading_string(message.strip_prefix(b"{\"result\":{\"channel\":")?)?;
    rest.starts_with(b",\"data\":{").then_some(channel)
}

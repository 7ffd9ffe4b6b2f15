//! The current generation: `{"id","<command>":{}}` both ways.

use std::borrow::Cow;

use crate::core::command::{Command, Request};
use crate::core::disconnect::Disconnect;
use crate::core::error::ClientError;
use crate::core::event::{Body, Event};
use crate::core::publication::Publication;
use crate::wire::json::{Object, append_string, append_u64, leading_string};

use super::Generation;
use super::codes;
use super::command::{self, Method, present};
use super::encode::*;

/// One command. `Err` ends the connection.
pub(super) fn decode(fields: Object<'_>) -> Result<Request, Disconnect> {
    const COUNT: usize = Method::ALL.len();
    const NAMES: [&str; COUNT + 1] = {
        let mut names = ["id"; COUNT + 1];
        let mut at = 0;
        while at < COUNT {
            names[at + 1] = Method::ALL[at].1;
            at += 1;
        }
        names
    };
    let [id, methods @ ..] = fields.read(NAMES).map_err(|_| Disconnect::BadRequest)?;
    let tag = command::tag(id)?;
    let mut asked =
        Method::ALL.iter().zip(methods).filter_map(|((method, _), params)| Some((*method, present(params)?)));
    let command = match (asked.next(), asked.next()) {
        // It expects no answer, so the only way to say no is to end the connection.
        (Some((Method::Send, _)), None) => return Err(Disconnect::NotAvailable),
        // Whatever else has no id is the answer to a ping.
        _ if tag == 0 => Command::Pong,
        (None, _) => return Err(Disconnect::BadRequest),
        (Some(_), Some(_)) => Command::Refuse(ClientError::BadRequest),
        // A leftover of the first generation that no client sends.
        (Some((Method::Ping, _)), None) => Command::Refuse(ClientError::NotAvailable),
        (Some((method, params)), None) => command::decode(method, Some(params)),
    };
    Ok(Request { tag, command })
}

pub(super) fn encode(event: &Event<'_>, frame_pings: bool, out: &mut Vec<u8>) {
    match *event {
        Event::Connected { tag, client, decimal: _, expires_in_s, ping_interval_s, data, subscriptions } => {
            append_reply(tag, "connect", out);
            out.push(b'{');
            append_session(client, expires_in_s, out);
            append_welcome(Generation::V2, data, subscriptions, out);
            if ping_interval_s != 0 && !frame_pings {
                out.extend_from_slice(b",\"ping\":");
                append_u64(ping_interval_s.into(), out);
                out.extend_from_slice(b",\"pong\":true");
            }
            out.extend_from_slice(b"}}");
        }
        Event::Refreshed { tag, client, expires_in_s } => {
            append_reply(tag, "refresh", out);
            out.push(b'{');
            append_session(client, expires_in_s, out);
            out.extend_from_slice(b"}}");
        }
        Event::Subscribed { tag, channel: _, subscription } => {
            append_reply(tag, "subscribe", out);
            append_subscription(Generation::V2, &subscription, out);
            out.push(b'}');
        }
        Event::Unsubscribed { tag, .. } => append_done(tag, "unsubscribe", out),
        Event::Published { tag, .. } => append_done(tag, "publish", out),
        Event::Presence { tag, channel: _, clients } => {
            append_reply(tag, "presence", out);
            append_presence(clients, out);
            out.push(b'}');
        }
        Event::PresenceStats { tag, channel: _, clients_count, users_count } => {
            append_reply(tag, "presence_stats", out);
            append_presence_stats(clients_count, users_count, out);
            out.push(b'}');
        }
        Event::History { tag, channel: _, publications, position } => {
            append_reply(tag, "history", out);
            append_history(publications, position, out);
            out.push(b'}');
        }
        Event::SubscriptionRefreshed { tag, channel: _, expires_in_s } => {
            append_reply(tag, "sub_refresh", out);
            out.push(b'{');
            append_expiry(expires_in_s, out);
            out.extend_from_slice(b"}}");
        }
        Event::Pong { tag } => append_done(tag, "ping", out),
        Event::Refused { tag, error, .. } => {
            append_id(tag, out);
            append_error(codes::error(error), error.is_temporary(), out);
            out.push(b'}');
        }
        Event::Ping if frame_pings => {}
        Event::Ping => out.extend_from_slice(b"{}"),
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
            append_push(channel, b",\"join\":", out);
            append_somebody(info, out);
            out.extend_from_slice(b"}}");
        }
        Event::Leave { channel, info } => {
            append_push(channel, b",\"leave\":", out);
            append_somebody(info, out);
            out.extend_from_slice(b"}}");
        }
        Event::Added { channel, subscription } => {
            append_push(channel, b",\"subscribe\":", out);
            append_added(&subscription, out);
            out.extend_from_slice(b"}}");
        }
        Event::Dropped { channel, cause } => {
            let (code, reason) = codes::unsubscribe(cause);
            append_push(channel, b",\"unsubscribe\":{\"code\":", out);
            append_u64(code.into(), out);
            out.extend_from_slice(b",\"reason\":");
            append_string(reason, out);
            out.extend_from_slice(b"}}}");
        }
        Event::ExpiryMoved { expires_in_s } => {
            out.extend_from_slice(b"{\"push\":{\"refresh\":{");
            append_expiry(expires_in_s, out);
            out.extend_from_slice(b"}}}");
        }
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
        | Event::Refused { .. }
        | Event::Ping => unreachable!("answers and pings are no pushes"),
    }
}

/// `{"id":7,"subscribe":`.
fn append_reply(tag: u32, name: &str, out: &mut Vec<u8>) {
    append_id(tag, out);
    out.push(b'"');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

fn append_done(tag: u32, name: &str, out: &mut Vec<u8>) {
    append_reply(tag, name, out);
    out.extend_from_slice(b"{}}");
}

/// `{"push":{"channel":"chat"` and what is to follow.
fn append_push(channel: &str, rest: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"push\":{\"channel\":");
    append_string(channel, out);
    out.extend_from_slice(rest);
}

pub(super) fn encode_publication(
    channel: &str,
    publication: &Publication,
    offset: u64,
    body: Body<'_>,
    out: &mut Vec<u8>,
) {
    append_push(channel, b",\"pub\":", out);
    append_publication(publication, offset, body, out);
    out.extend_from_slice(b"}}");
}

/// The channel, if the message is a publication. Other pushes name their channel too; what they are comes after.
pub(super) fn publication_channel(message: &[u8]) -> Option<Cow<'_, str>> {
    let (channel, rest) = leading_string(message.strip_prefix(b"{\"push\":{\"channel\":")?)?;
    rest.starts_with(b",\"pub\":{").then_some(channel)
}

//! The current generation: `{"id","<command>":{}}` both ways.

use std::borrow::Cow;

use crate::core::command::{Command, Request};
use crate::core::disconnect::Disconnect;
use crate::core::error::ClientError;
use crate::core::event::Event;
use crate::core::publication::Publication;
use crate::wire::json::{Object, append_string, append_u64, leading_string};

use super::codes;
use super::command::{self, Method, present};
use super::encode::{append_error, append_id, append_publication, append_session};

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
        Event::Connected { tag, client, expires_in_s, ping_interval_s, .. } => {
            append_id(tag, out);
            out.extend_from_slice(b"\"connect\":{");
            append_session(client, expires_in_s, out);
            if ping_interval_s != 0 && !frame_pings {
                out.extend_from_slice(b",\"ping\":");
                append_u64(ping_interval_s.into(), out);
                out.extend_from_slice(b",\"pong\":true");
            }
            out.extend_from_slice(b"}}");
        }
        Event::Refreshed { tag, client, expires_in_s } => {
            append_id(tag, out);
            out.extend_from_slice(b"\"refresh\":{");
            append_session(client, expires_in_s, out);
            out.extend_from_slice(b"}}");
        }
        Event::Subscribed { tag, .. } => append_done(tag, b"\"subscribe\":{}}", out),
        Event::Unsubscribed { tag, .. } => append_done(tag, b"\"unsubscribe\":{}}", out),
        Event::Published { tag, .. } => append_done(tag, b"\"publish\":{}}", out),
        Event::Pong { tag } => append_done(tag, b"\"ping\":{}}", out),
        Event::Refused { tag, error, .. } => {
            append_id(tag, out);
            append_error(codes::error(error), error.is_temporary(), out);
            out.push(b'}');
        }
        Event::Publication { channel, publication, offset, .. } => {
            encode_publication(channel, publication, offset, out);
        }
        Event::Dropped { channel, cause } => {
            let (code, reason) = codes::unsubscribe(cause);
            out.extend_from_slice(b"{\"push\":{\"channel\":");
            append_string(channel, out);
            out.extend_from_slice(b",\"unsubscribe\":{\"code\":");
            append_u64(code, out);
            out.extend_from_slice(b",\"reason\":");
            append_string(reason, out);
            out.extend_from_slice(b"}}}");
        }
        Event::Ping if frame_pings => {}
        Event::Ping => out.extend_from_slice(b"{}"),
        Event::Presence { .. }
        | Event::PresenceStats { .. }
        | Event::History { .. }
        | Event::SubscriptionRefreshed { .. }
        | Event::Join { .. }
        | Event::Leave { .. }
        | Event::Added { .. }
        | Event::ExpiryMoved { .. } => {}
    }
}

fn append_done(tag: u32, rest: &[u8], out: &mut Vec<u8>) {
    append_id(tag, out);
    out.extend_from_slice(rest);
}

pub(super) fn encode_publication(channel: &str, publication: &Publication, offset: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"push\":{\"channel\":");
    append_string(channel, out);
    out.extend_from_slice(b",\"pub\":");
    append_publication(publication, offset, out);
    out.extend_from_slice(b"}}");
}

/// The channel, if the message is a publication. Other pushes name their channel too; what they are comes after.
pub(super) fn publication_channel(message: &[u8]) -> Option<Cow<'_, str>> {
    let (channel, rest) = leading_string(message.strip_prefix(b"{\"push\":{\"channel\":")?)?;
    rest.starts_with(b",\"pub\":{").then_some(channel)
}

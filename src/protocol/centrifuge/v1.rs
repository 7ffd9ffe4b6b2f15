//! The legacy generation: `{"id","method","params"}` and `{"id","result"}`.

use std::borrow::Cow;

use crate::core::command::{Command, Request};
use crate::core::disconnect::Disconnect;
use crate::core::error::ClientError;
use crate::core::event::{DropCause, Event};
use crate::core::publication::Publication;
use crate::wire::json::{Object, Value, append_string, leading_string};

use super::codes;
use super::command::{self, Method, present};
use super::encode::{append_error, append_id, append_publication, append_session};

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
        Event::Connected { tag, client, expires_in_s, .. }
        | Event::Refreshed { tag, client, expires_in_s } => {
            append_id(tag, out);
            out.extend_from_slice(b"\"result\":{");
            append_session(client, expires_in_s, out);
            out.extend_from_slice(b"}}");
        }
        Event::Subscribed { tag, .. }
        | Event::Unsubscribed { tag, .. }
        | Event::Published { tag, .. }
        | Event::Pong { tag } => {
            append_id(tag, out);
            out.extend_from_slice(b"\"result\":{}}");
        }
        Event::Refused { tag, error, .. } => {
            append_id(tag, out);
            append_error(codes::error(error), false, out);
            out.push(b'}');
        }
        Event::Publication { channel, publication, offset, .. } => {
            encode_publication(channel, publication, offset, out);
        }
        // Its clients know no such thing: the caller ends the connection where nothing is appended.
        Event::Dropped { cause: DropCause::Expired, .. } => {}
        Event::Dropped { channel, cause } => {
            out.extend_from_slice(b"{\"result\":{\"type\":3,\"channel\":");
            append_string(channel, out);
            out.extend_from_slice(match cause {
                DropCause::Server => b",\"data\":{}}}".as_slice(),
                DropCause::InsufficientState | DropCause::Expired | DropCause::StateInvalidated => {
                    b",\"data\":{\"resubscribe\":true}}}"
                }
            });
        }
        // Its clients ping by themselves, and an empty message would mute them.
        Event::Ping => {}
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

pub(super) fn encode_publication(channel: &str, publication: &Publication, offset: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"result\":{\"channel\":");
    append_string(channel, out);
    out.extend_from_slice(b",\"data\":");
    append_publication(publication, offset, out);
    out.extend_from_slice(b"}}");
}

/// The channel, if the message is a publication: every other push begins with its type, every reply with its id.
pub(super) fn publication_channel(message: &[u8]) -> Option<Cow<'_, str>> {
    let (channel, rest) = leading_string(message.strip_prefix(b"{\"result\":{\"channel\":")?)?;
    rest.starts_with(b",\"data\":{").then_some(channel)
}

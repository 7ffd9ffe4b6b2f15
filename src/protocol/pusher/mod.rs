//! The Pusher Channels client protocol, versions 5 to 7, which differ in nothing that the server says.
//!
//! Every message is one JSON object in a text frame: `{"event","channel"?,"data"?,"user_id"?}`. Names of events that
//! begin with `pusher:` or `pusher_internal:` belong to the protocol. The server speaks first; there is no connect
//! command. What the server itself has to say lies in `data` as JSON within a string; what is published lies there as
//! the publisher's text.
//!
//! Invariants:
//! - a message that cannot be understood is refused in its turn and ends nothing;
//! - `data` is always there: the Java client reads it without looking;
//! - a name of the protocol never leaves as the name of a published event.

mod codes;
mod command;
mod data;
mod encode;
mod people;
mod upgrade;

#[cfg(test)]
mod tests;

pub use codes::close_frame;
pub use data::from_text;
pub use encode::{encode, encode_publication, publication_channel};
pub use people::{member, user};
pub use upgrade::for_upgrade;

use super::Message;
use crate::core::channel::{SERVER_TO_USER, is_presence};
use crate::core::command::Request;
use crate::wire::json::Json;

/// What refusals are about: the protocol numbers no commands, so their kind takes the number's place.
mod about {
    pub const OTHER: u32 = 0;
    pub const SUBSCRIBE: u32 = 1;
    pub const CLIENT_EVENT: u32 = 2;
    pub const SIGN_IN: u32 = 3;
}

/// Names of events that are the protocol's own.
const RESERVED_PREFIXES: [&str; 2] = ["pusher:", "pusher_internal:"];

/// What the name of an event is unless the publisher says another.
const DEFAULT_EVENT: &str = "message";

/// Whether only the server itself may say this.
pub fn is_reserved_event(name: &str) -> bool {
    RESERVED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Whether channels can have this name: the vendor's libraries let no other pass. A colon in it would let one
/// signature open another channel.
pub fn is_channel(name: &str) -> bool {
    let rest = name.strip_prefix(SERVER_TO_USER).unwrap_or(name);
    let is_allowed = |byte: u8| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'=' | b'@' | b',' | b'.' | b';')
    };
    !rest.is_empty() && rest.bytes().all(is_allowed)
}

/// Whether clients may send events into the channel at all.
pub fn takes_client_events(channel: &str) -> bool {
    channel.starts_with("private-") || is_presence(channel)
}

/// See [`super::Codec::decode`].
pub fn decode(message: Message<'_>, json: &mut Json, requests: &mut Vec<Request>) {
    match message {
        Message::Text(text) => requests.extend(command::decode(text, json)),
        Message::Binary(_) => requests.push(command::not_understood()),
    }
}

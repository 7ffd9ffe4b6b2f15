//! The Centrifuge client protocol in JSON, both generations on one URL.
//!
//! - **v1**: `{"id","method":<number or name>,"params"}` and `{"id","result"}`, spoken by centrifuge-js 2.x and the
//!   SDKs of that era (Centrifugo v2, v3).
//! - **v2**: `{"id","<command>":{}}` both ways, spoken by everything since (Centrifugo v4 to v6).
//!
//! Which one a client speaks is said by its first command, or by the query of its URL. Until then it is answered in
//! v2's form. One text frame holds one or more commands; they come out in their order.
//!
//! Invariants:
//! - a command that cannot be understood is refused in its turn where its id is known; the connection ends
//!   ([`Disconnect::BadRequest`]) where it is not, where the frame is not JSON, or where it is empty;
//! - no message contains a raw line end: clients split frames by them;
//! - a v1 client never gets `{}`: centrifuge-js 2.8.5 silently ignores everything after it.
//!
//! Which command may come when (connect first, one pong per ping) is for the session to say, not for the codec.

mod codes;
mod command;
mod detect;
mod encode;
mod v1;
mod v2;

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use crate::core::command::Request;
use crate::core::disconnect::{CloseFrame, Disconnect};
use crate::core::event::{Body, Event};
use crate::core::publication::Publication;
use crate::wire::json::{Json, documents};

use super::{Heartbeat, Message, Variant};

pub use detect::for_upgrade;

/// Most commands in one frame.
pub const COMMANDS_PER_FRAME_MAX: usize = 256;

/// What a client is told the server is.
pub const VERSION: &str = concat!("Polycast ", env!("CARGO_PKG_VERSION"));

/// The two shapes of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Generation {
    V1,
    V2,
}

/// What is known about one connection's dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Codec {
    /// `None` until the first command.
    generation: Option<Generation>,
    /// The client asked for WebSocket ping frames instead of ping messages.
    frame_pings: bool,
}

impl Codec {
    /// See [`super::Codec::decode`]. The two kinds of frames are not told apart, as upstream.
    pub fn decode(
        &mut self,
        message: Message<'_>,
        json: &mut Json,
        requests: &mut Vec<Request>,
    ) -> Result<(), Disconnect> {
        let (Message::Text(frame) | Message::Binary(frame)) = message;
        let mut count = 0;
        for document in documents(frame) {
            if count == COMMANDS_PER_FRAME_MAX {
                return Err(Disconnect::BadRequest);
            }
            count += 1;
            let command = json.parse(document).ok().and_then(|value| value.as_object());
            let command = command.ok_or(Disconnect::BadRequest)?;
            if self.generation.is_none() {
                self.generation = detect::generation(command)?;
            }
            requests.push(match self.answering() {
                Generation::V1 => v1::decode(command)?,
                Generation::V2 => v2::decode(command)?,
            });
        }
        if count == 0 { Err(Disconnect::BadRequest) } else { Ok(()) }
    }

    /// See [`super::Codec::encode`].
    pub fn encode(&self, event: &Event<'_>, out: &mut Vec<u8>) {
        match self.answering() {
            Generation::V1 => v1::encode(event, out),
            Generation::V2 => v2::encode(event, self.frame_pings, out),
        }
    }

    /// See [`super::Codec::close_frame`].
    pub fn close_frame(&self, disconnect: &Disconnect) -> CloseFrame {
        match self.answering() {
            Generation::V1 => codes::close_frame_v1(disconnect),
            Generation::V2 => codes::close_frame_v2(disconnect),
        }
    }

    pub fn variant(&self) -> Variant {
        match self.answering() {
            Generation::V1 => Variant::CentrifugeV1Json,
            Generation::V2 => Variant::CentrifugeV2Json,
        }
    }

    pub fn heartbeat(&self) -> Heartbeat {
        match self.answering() {
            Generation::V1 => Heartbeat::Frame,
            Generation::V2 if self.frame_pings => Heartbeat::Frame,
            Generation::V2 => Heartbeat::Application,
        }
    }

    pub fn name(&self) -> &'static str {
        match self.generation {
            None => "centrifuge",
            Some(Generation::V1) => "centrifuge-v1-json",
            Some(Generation::V2) => "centrifuge-v2-json",
        }
    }

    /// The generation to speak, known or not.
    fn answering(&self) -> Generation {
        self.generation.unwrap_or(Generation::V2)
    }
}

/// The channel of a publication among messages of our own making; `None`: a reply or any other push.
pub fn publication_channel(generation: Generation, message: &[u8]) -> Option<Cow<'_, str>> {
    match generation {
        Generation::V1 => v1::publication_channel(message),
        Generation::V2 => v2::publication_channel(message),
    }
}

/// Appends one publication as one message, without framing. `offset` 0: not numbered.
pub fn encode_publication(
    generation: Generation,
    channel: &str,
    publication: &Publication,
    offset: u64,
    body: Body<'_>,
    out: &mut Vec<u8>,
) {
    match generation {
        Generation::V1 => v1::encode_publication(channel, publication, offset, body, out),
        Generation::V2 => v2::encode_publication(channel, publication, offset, body, out),
    }
}

/// Appends one event that does not depend on what a single connection asked for, without framing.
pub fn encode_push(generation: Generation, event: &Event<'_>, out: &mut Vec<u8>) {
    match generation {
        Generation::V1 => v1::encode(event, out),
        Generation::V2 => v2::encode(event, false, out),
    }
}

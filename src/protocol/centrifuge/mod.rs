//! The Centrifuge client protocol, both generations and both encodings on one URL.
//!
//! - **v1**: `{"id","method":<number or name>,"params"}` and `{"id","result"}`, spoken by centrifuge-js 2.x and the
//!   SDKs of that era (Centrifugo v2, v3).
//! - **v2**: `{"id","<command>":{}}` both ways, spoken by everything since (Centrifugo v4 to v6).
//!
//! Which one a client speaks is said by its first command, or by the query of its URL. Until then it is answered in
//! v2's form. Messages are JSON unless the upgrade asked for Protobuf, which has a room of its own in here. One frame
//! holds one or more commands; they come out in their order.
//!
//! Invariants:
//! - a command that cannot be understood is refused in its turn where its id is known; the connection ends
//!   ([`Disconnect::BadRequest`]) where it is not, where the frame is not what the encoding says, or where it is empty;
//! - no message in JSON contains a raw line end: clients split frames by them;
//! - a v1 client never gets `{}`: centrifuge-js 2.8.5 silently ignores everything after it.
//!
//! Which command may come when (connect first, one pong per ping) is for the session to say, not for the codec.

mod codes;
mod command;
mod detect;
mod encode;
mod protobuf;
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
pub use encode::{append_history, append_presence, append_presence_stats};

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

/// How messages are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Encoding {
    #[default]
    Json,
    Protobuf,
}

/// Everything that what the server says depends on, apart from single connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Form {
    pub generation: Generation,
    pub encoding: Encoding,
}

impl Form {
    /// See [`Variant::encode_publication`].
    pub fn encode_publication(
        self,
        channel: &str,
        publication: &Publication,
        offset: u64,
        body: Body<'_>,
        out: &mut Vec<u8>,
    ) {
        match (self.encoding, self.generation) {
            (Encoding::Json, Generation::V1) => {
                v1::encode_publication(channel, publication, offset, body, out);
            }
            (Encoding::Json, Generation::V2) => {
                v2::encode_publication(channel, publication, offset, body, out);
            }
            (Encoding::Protobuf, generation) => {
                protobuf::append_push(generation, channel, publication, offset, body, out);
            }
        }
    }

    /// See [`Variant::publication_channel`].
    pub fn publication_channel(self, message: &[u8]) -> Option<Cow<'_, str>> {
        match (self.encoding, self.generation) {
            (Encoding::Json, Generation::V1) => v1::publication_channel(message),
            (Encoding::Json, Generation::V2) => v2::publication_channel(message),
            (Encoding::Protobuf, generation) => {
                protobuf::publication_channel(generation, message).map(Cow::Borrowed)
            }
        }
    }

    /// See [`super::Codec::encode`] and [`Variant::encode_push`]. `frame_pings`: the server sends no ping messages.
    pub fn encode(self, frame_pings: bool, event: &Event<'_>, out: &mut Vec<u8>) {
        match (self.encoding, self.generation) {
            (Encoding::Json, Generation::V1) => v1::encode(event, out),
            (Encoding::Json, Generation::V2) => v2::encode(event, frame_pings, out),
            (Encoding::Protobuf, generation) => protobuf::append_event(generation, frame_pings, event, out),
        }
    }
}

/// What is known about one connection's dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Codec {
    /// `None` until the first command.
    generation: Option<Generation>,
    encoding: Encoding,
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
        match self.encoding {
            Encoding::Json => self.decode_json(frame, json, requests),
            Encoding::Protobuf => self.decode_protobuf(frame, json, requests),
        }
    }

    fn decode_json(
        &mut self,
        frame: &[u8],
        json: &mut Json,
        requests: &mut Vec<Request>,
    ) -> Result<(), Disconnect> {
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

    fn decode_protobuf(
        &mut self,
        mut frame: &[u8],
        json: &mut Json,
        requests: &mut Vec<Request>,
    ) -> Result<(), Disconnect> {
        let mut count = 0;
        while !frame.is_empty() {
            if count == COMMANDS_PER_FRAME_MAX {
                return Err(Disconnect::BadRequest);
            }
            count += 1;
            let message = protobuf::next_message(&mut frame).ok_or(Disconnect::BadRequest)?;
            let envelope = protobuf::Envelope::read(message)?;
            if self.generation.is_none() {
                self.generation = envelope.generation();
            }
            requests.push(match self.answering() {
                Generation::V1 => envelope.command_v1(json)?,
                Generation::V2 => envelope.command_v2(json)?,
            });
        }
        if count == 0 { Err(Disconnect::BadRequest) } else { Ok(()) }
    }

    /// See [`super::Codec::encode`].
    pub fn encode(&self, event: &Event<'_>, out: &mut Vec<u8>) {
        let form = Form { generation: self.answering(), encoding: self.encoding };
        form.encode(self.frame_pings, event, out);
    }

    /// See [`super::Codec::close_frame`].
    pub fn close_frame(&self, disconnect: &Disconnect) -> CloseFrame {
        match self.answering() {
            Generation::V1 => codes::close_frame_v1(disconnect),
            Generation::V2 => codes::close_frame_v2(disconnect),
        }
    }

    pub fn variant(&self) -> Variant {
        match (self.answering(), self.encoding) {
            (Generation::V1, Encoding::Json) => Variant::CentrifugeV1Json,
            (Generation::V2, Encoding::Json) => Variant::CentrifugeV2Json,
            (Generation::V1, Encoding::Protobuf) => Variant::CentrifugeV1Protobuf,
            (Generation::V2, Encoding::Protobuf) => Variant::CentrifugeV2Protobuf,
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
        match (self.generation, self.encoding) {
            (None, _) => "centrifuge",
            (Some(Generation::V1), Encoding::Json) => "centrifuge-v1-json",
            (Some(Generation::V2), Encoding::Json) => "centrifuge-v2-json",
            (Some(Generation::V1), Encoding::Protobuf) => "centrifuge-v1-protobuf",
            (Some(Generation::V2), Encoding::Protobuf) => "centrifuge-v2-protobuf",
        }
    }

    /// Whether the client is of the first generation, for what its tokens may look like.
    pub fn is_legacy(&self) -> bool {
        self.answering() == Generation::V1
    }

    /// The generation to speak, known or not.
    fn answering(&self) -> Generation {
        self.generation.unwrap_or(Generation::V2)
    }
}

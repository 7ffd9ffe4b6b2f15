//! Dialects: messages of one client ↔ commands and events of the core. No socket, no clock, no task.
//!
//! A dialect is one folder here and one arm in each `match` of this file; the compiler lists the places. Rules
//! that hold for every dialect (may this user subscribe?) are not here but in [`crate::core`].

pub mod centrifuge;

use std::borrow::Cow;

use crate::core::command::Request;
use crate::core::disconnect::{CloseFrame, Disconnect};
use crate::core::event::{Body, Event};
use crate::core::publication::Publication;
use crate::wire::json::Json;

use centrifuge::{Encoding, Form, Generation};

/// A whole message as its transport delivered it. Mutable: decoders may work in place.
#[derive(Debug)]
pub enum Message<'a> {
    /// Valid UTF-8.
    Text(&'a mut [u8]),
    Binary(&'a mut [u8]),
}

/// What clients may speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    Centrifuge,
}

impl Dialect {
    /// All of them, in the order of [`Self::index`].
    pub const ALL: [Self; 1] = [Self::Centrifuge];

    /// How many there are: tables per dialect have this length.
    pub const COUNT: usize = Self::ALL.len();

    /// Place in a table per dialect.
    pub fn index(self) -> usize {
        self as usize
    }
}

/// How the server finds out that a peer is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heartbeat {
    /// The dialect has a ping message of its own, answered by [`crate::core::command::Command::Pong`].
    Application,
    /// WebSocket ping frames.
    Frame,
}

/// The key under which a publication is encoded once for all connections that share it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Variant {
    CentrifugeV1Json,
    CentrifugeV2Json,
    CentrifugeV1Protobuf,
    CentrifugeV2Protobuf,
}

impl Variant {
    /// All of them, in the order of [`Self::index`].
    pub const ALL: [Self; 4] = [
        Self::CentrifugeV1Json,
        Self::CentrifugeV2Json,
        Self::CentrifugeV1Protobuf,
        Self::CentrifugeV2Protobuf,
    ];

    /// How many there are: tables per variant have this length.
    pub const COUNT: usize = Self::ALL.len();

    /// The dialect whose variant it is.
    pub fn dialect(self) -> Dialect {
        match self {
            Self::CentrifugeV1Json
            | Self::CentrifugeV2Json
            | Self::CentrifugeV1Protobuf
            | Self::CentrifugeV2Protobuf => Dialect::Centrifuge,
        }
    }

    /// Place in a table per variant.
    pub fn index(self) -> usize {
        self as usize
    }

    /// Appends one publication as one message of this variant, without framing. `offset` 0: not numbered. No
    /// allocation but in `out`.
    pub fn encode_publication(
        self,
        channel: &str,
        publication: &Publication,
        offset: u64,
        body: Body<'_>,
        out: &mut Vec<u8>,
    ) {
        self.form().encode_publication(channel, publication, offset, body, out);
    }

    /// The channel of a publication among messages of our own making; `None`: a reply or any other push. For
    /// queues that must be thinned out.
    pub fn publication_channel(self, message: &[u8]) -> Option<Cow<'_, str>> {
        self.form().publication_channel(message)
    }

    /// Appends an event that answers no command as one message of this variant, without framing: the same for all
    /// connections that share the variant. Appends nothing where it has no such event.
    pub fn encode_push(self, event: &Event<'_>, out: &mut Vec<u8>) {
        self.form().encode(false, event, out);
    }

    /// Whether its messages travel in text frames.
    pub fn is_text(self) -> bool {
        match self {
            Self::CentrifugeV1Json | Self::CentrifugeV2Json => true,
            Self::CentrifugeV1Protobuf | Self::CentrifugeV2Protobuf => false,
        }
    }

    fn form(self) -> Form {
        let (generation, encoding) = match self {
            Self::CentrifugeV1Json => (Generation::V1, Encoding::Json),
            Self::CentrifugeV2Json => (Generation::V2, Encoding::Json),
            Self::CentrifugeV1Protobuf => (Generation::V1, Encoding::Protobuf),
            Self::CentrifugeV2Protobuf => (Generation::V2, Encoding::Protobuf),
        };
        Form { generation, encoding }
    }
}

/// What a WebSocket upgrade request asks for, as far as a dialect cares.
#[derive(Debug, Clone, Copy)]
pub struct UpgradeRequest<'a> {
    /// Path without the app prefix and without the query.
    pub path: &'a str,
    /// After the `?`, undecoded; empty if there is none.
    pub query: &'a str,
    /// Offered subprotocols, in order, comma-separated as received.
    pub subprotocols: &'a str,
}

/// A dialect's answer to an upgrade request.
#[derive(Debug)]
pub struct Accepted {
    pub codec: Codec,
    /// The subprotocol to confirm.
    pub subprotocol: Option<&'static str>,
}

/// One connection's dialect, with the little state a dialect keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    Centrifuge(centrifuge::Codec),
}

impl Codec {
    /// The dialect that serves this path, or `None`: nobody does. `Err`: a dialect does, but not this request.
    pub fn for_upgrade(request: &UpgradeRequest<'_>) -> Option<Result<Accepted, UpgradeError>> {
        centrifuge::for_upgrade(request)
    }

    /// Reads one message and appends its commands in order. `Err` ends the connection; commands already
    /// appended are still to be carried out first.
    pub fn decode(
        &mut self,
        message: Message<'_>,
        json: &mut Json,
        requests: &mut Vec<Request>,
    ) -> Result<(), Disconnect> {
        match self {
            Self::Centrifuge(codec) => codec.decode(message, json, requests),
        }
    }

    /// Appends one event as one message, without framing. Appends nothing where the dialect has no such event.
    pub fn encode(&self, event: &Event<'_>, out: &mut Vec<u8>) {
        match self {
            Self::Centrifuge(codec) => codec.encode(event, out),
        }
    }

    /// The close frame for this end; `None`: the transport closes without one.
    pub fn close_frame(&self, disconnect: &Disconnect) -> Option<CloseFrame> {
        match self {
            Self::Centrifuge(codec) => Some(codec.close_frame(disconnect)),
        }
    }

    pub fn dialect(&self) -> Dialect {
        match self {
            Self::Centrifuge(_) => Dialect::Centrifuge,
        }
    }

    pub fn variant(&self) -> Variant {
        match self {
            Self::Centrifuge(codec) => codec.variant(),
        }
    }

    pub fn heartbeat(&self) -> Heartbeat {
        match self {
            Self::Centrifuge(codec) => codec.heartbeat(),
        }
    }

    /// Whether tokens about a client instead of a user are good for its subscriptions.
    pub fn takes_client_tokens(&self) -> bool {
        match self {
            Self::Centrifuge(codec) => codec.is_legacy(),
        }
    }

    /// Stable name for logs and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Centrifuge(codec) => codec.name(),
        }
    }
}

/// Why a dialect refuses an upgrade to a path it serves; answered with status 400 and this text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UpgradeError {
    #[error("unknown protocol version: cf_protocol_version must be v1 or v2")]
    ProtocolVersion,
}

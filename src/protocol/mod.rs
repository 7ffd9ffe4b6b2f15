//! Dialects: messages of one client ↔ commands and events of the core. No socket, no clock, no task.
//!
//! A dialect is one folder here and one arm in each `match` of this file; the compiler lists the places. Rules
//! that hold for every dialect (may this user subscribe?) are not here but in [`crate::core`].

pub mod centrifuge;
pub mod pusher;

use std::borrow::Cow;

use crate::core::command::Request;
use crate::core::disconnect::{CloseFrame, Disconnect};
use crate::core::event::{Body, Event};
use crate::core::publication::{Payload, Publication};
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
    Pusher,
}

impl Dialect {
    /// All of them, in the order of [`Self::index`].
    pub const ALL: [Self; 2] = [Self::Centrifuge, Self::Pusher];

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
    /// WebSocket ping frames, but only after silence; whatever arrives counts as the pong. Clients ask by a message of
    /// their own after as long a silence.
    Silence,
}

/// What proves that a client may hear a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// A token made for the subscription.
    Token,
    /// A signature over the connection's id and the channel's name.
    Signature,
}

/// The key under which a publication is encoded once for all connections that share it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Variant {
    CentrifugeV1Json,
    CentrifugeV2Json,
    CentrifugeV1Protobuf,
    CentrifugeV2Protobuf,
    Pusher,
}

impl Variant {
    /// All of them, in the order of [`Self::index`].
    pub const ALL: [Self; 5] = [
        Self::CentrifugeV1Json,
        Self::CentrifugeV2Json,
        Self::CentrifugeV1Protobuf,
        Self::CentrifugeV2Protobuf,
        Self::Pusher,
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
            Self::Pusher => Dialect::Pusher,
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
        match self.form() {
            Some(form) => form.encode_publication(channel, publication, offset, body, out),
            None => pusher::encode_publication(channel, publication, out),
        }
    }

    /// The channel of a publication among messages of our own making; `None`: a reply or any other push. For
    /// queues that must be thinned out.
    pub fn publication_channel(self, message: &[u8]) -> Option<Cow<'_, str>> {
        match self.form() {
            Some(form) => form.publication_channel(message),
            None => pusher::publication_channel(message),
        }
    }

    /// Appends an event that answers no command as one message of this variant, without framing: the same for all
    /// connections that share the variant. Appends nothing where it has no such event.
    pub fn encode_push(self, event: &Event<'_>, out: &mut Vec<u8>) {
        match self.form() {
            Some(form) => form.encode(false, event, out),
            None => pusher::encode(event, out),
        }
    }

    /// Whether its messages travel in text frames.
    pub fn is_text(self) -> bool {
        match self {
            Self::CentrifugeV1Json | Self::CentrifugeV2Json | Self::Pusher => true,
            Self::CentrifugeV1Protobuf | Self::CentrifugeV2Protobuf => false,
        }
    }

    /// Which Centrifuge form it is; `None`: it is Pusher's, which has but one.
    fn form(self) -> Option<Form> {
        let (generation, encoding) = match self {
            Self::CentrifugeV1Json => (Generation::V1, Encoding::Json),
            Self::CentrifugeV2Json => (Generation::V2, Encoding::Json),
            Self::CentrifugeV1Protobuf => (Generation::V1, Encoding::Protobuf),
            Self::CentrifugeV2Protobuf => (Generation::V2, Encoding::Protobuf),
            Self::Pusher => return None,
        };
        Some(Form { generation, encoding })
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

impl<'a> UpgradeRequest<'a> {
    /// The first value of a query parameter as it was written, empty if it has none. What matters here is never
    /// percent-encoded, and what is written in another way is wrong rather than absent.
    fn parameter(&self, name: &str) -> Option<&'a str> {
        let mut pairs = self.query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        pairs.find_map(|(found, value)| (found == name).then_some(value))
    }
}

/// A dialect's answer to an upgrade request.
#[derive(Debug)]
pub struct Accepted<'r> {
    pub codec: Codec,
    /// The subprotocol to confirm.
    pub subprotocol: Option<&'static str>,
    pub app: AppNamed<'r>,
    /// What the connection comes to as soon as it is open; `None`: it may go on.
    pub end: Option<Disconnect>,
}

/// How a request says which app it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppNamed<'r> {
    /// By the path's first segment, or not at all.
    ByPath,
    /// By the app's key. `prefix`: what stands before the dialect's own part of the path.
    ByKey { prefix: &'r str, key: &'r str },
}

/// One connection's dialect, with the little state a dialect keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    Centrifuge(centrifuge::Codec),
    Pusher,
}

impl Codec {
    /// The dialect that serves this path, or `None`: nobody does. `Err`: a dialect does, but not this request.
    pub fn for_upgrade<'r>(request: &UpgradeRequest<'r>) -> Option<Result<Accepted<'r>, UpgradeError>> {
        centrifuge::for_upgrade(request).or_else(|| pusher::for_upgrade(request).map(Ok))
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
            Self::Pusher => {
                pusher::decode(message, json, requests);
                Ok(())
            }
        }
    }

    /// Appends one event as one message, without framing. Appends nothing where the dialect has no such event.
    pub fn encode(&self, event: &Event<'_>, out: &mut Vec<u8>) {
        match self {
            Self::Centrifuge(codec) => codec.encode(event, out),
            Self::Pusher => pusher::encode(event, out),
        }
    }

    /// The close frame for this end; `None`: the transport closes without one.
    pub fn close_frame(&self, disconnect: &Disconnect) -> Option<CloseFrame> {
        match self {
            Self::Centrifuge(codec) => Some(codec.close_frame(disconnect)),
            Self::Pusher => Some(pusher::close_frame(disconnect)),
        }
    }

    pub fn dialect(&self) -> Dialect {
        match self {
            Self::Centrifuge(_) => Dialect::Centrifuge,
            Self::Pusher => Dialect::Pusher,
        }
    }

    pub fn variant(&self) -> Variant {
        match self {
            Self::Centrifuge(codec) => codec.variant(),
            Self::Pusher => Variant::Pusher,
        }
    }

    pub fn heartbeat(&self) -> Heartbeat {
        match self {
            Self::Centrifuge(codec) => codec.heartbeat(),
            Self::Pusher => Heartbeat::Silence,
        }
    }

    /// Whether tokens about a client instead of a user are good for its subscriptions.
    pub fn takes_client_tokens(&self) -> bool {
        match self {
            Self::Centrifuge(codec) => codec.is_legacy(),
            Self::Pusher => false,
        }
    }

    /// Stable name for logs and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Centrifuge(codec) => codec.name(),
            Self::Pusher => "pusher",
        }
    }

    /// Whether the server speaks first: there is no connect command, and the client is nobody until it signs in.
    pub fn greets_first(&self) -> bool {
        match self {
            Self::Centrifuge(_) => false,
            Self::Pusher => true,
        }
    }

    /// Whether a page of a foreign origin is told so after the upgrade, because its client sees nothing of a refusal
    /// before.
    pub fn refuses_after_upgrade(&self) -> bool {
        match self {
            Self::Centrifuge(_) => false,
            Self::Pusher => true,
        }
    }

    /// Whether clients know themselves by a [`crate::core::ids::DecimalId`].
    pub fn has_decimal_ids(&self) -> bool {
        match self {
            Self::Centrifuge(_) => false,
            Self::Pusher => true,
        }
    }

    /// What proves that a client may hear a channel.
    pub fn proof(&self) -> Proof {
        match self {
            Self::Centrifuge(_) => Proof::Token,
            Self::Pusher => Proof::Signature,
        }
    }

    /// Reads what a client says of its user, which was proven.
    pub fn read_user(
        &self,
        text: &str,
        limits: PersonLimits,
        json: &mut Json,
    ) -> Result<Person, PersonError> {
        match self {
            Self::Centrifuge(_) => Err(PersonError::Malformed),
            Self::Pusher => pusher::user(text, limits, json),
        }
    }

    /// Reads what a client says of itself in one channel, which was proven.
    pub fn read_member(
        &self,
        text: &str,
        limits: PersonLimits,
        json: &mut Json,
    ) -> Result<Person, PersonError> {
        match self {
            Self::Centrifuge(_) => Err(PersonError::Malformed),
            Self::Pusher => pusher::member(text, limits, json),
        }
    }

    /// Whether the dialect's clients can name the channel, by rules of their own that narrow the common ones.
    pub fn can_name(&self, channel: &str) -> bool {
        match self {
            Self::Centrifuge(_) => true,
            Self::Pusher => pusher::is_channel(channel),
        }
    }

    /// Whether subscribers of presence channels are told who is there, and those of channels that keep their last
    /// publication are told that.
    pub fn sets_scenes(&self) -> bool {
        match self {
            Self::Centrifuge(_) => false,
            Self::Pusher => true,
        }
    }

    /// Whether clients may publish into the channel at all.
    pub fn can_publish_to(&self, channel: &str) -> bool {
        match self {
            Self::Centrifuge(_) => true,
            Self::Pusher => pusher::takes_client_events(channel),
        }
    }

    /// Whether a command that fails only for now ends the connection: its client would take the refusal for final.
    pub fn ends_when_busy(&self) -> bool {
        match self {
            Self::Centrifuge(_) => false,
            Self::Pusher => true,
        }
    }
}

/// Who a client is by the word of its app's backend, apart from tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// Not empty.
    pub id: Box<str>,
    /// For others to see.
    pub info: Option<Payload>,
    /// Users whose coming and going it wants to hear of.
    pub watches: Vec<Box<str>>,
}

/// How much may be said of a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PersonLimits {
    pub id_bytes_max: usize,
    pub info_bytes_max: usize,
}

/// Why what is said of a person is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PersonError {
    #[error("what is said of the user is not JSON of the right form")]
    Malformed,
    #[error("the user's id is missing, too long, or of characters that it must not have")]
    Id,
    #[error("what is said of the user is too long")]
    TooLarge,
}

/// Why a dialect refuses an upgrade to a path it serves; answered with status 400 and this text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UpgradeError {
    #[error("unknown protocol version: cf_protocol_version must be v1 or v2")]
    ProtocolVersion,
}

//! One message in a channel, the same value for every dialect.

use std::sync::Arc;

use super::ids::{Address, ClientId};

/// Bytes a publisher or a token supplied, kept as they came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// One valid JSON value, byte for byte as published, except that raw CR and LF between its tokens are
    /// spaces: newline-framed clients would lose every later message of the connection otherwise.
    Json(Box<[u8]>),
    /// Bytes that are neither JSON nor UTF-8; JSON dialects see them as a base64 string.
    Binary(Box<[u8]>),
}

impl Payload {
    /// The bytes as kept, whatever they are.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Json(bytes) | Self::Binary(bytes) => bytes,
        }
    }

    /// Length of the bytes as kept.
    pub fn len(&self) -> usize {
        self.as_bytes().len()
    }

    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What dialects that carry data as a text put there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum AsText {
    /// The JSON text of `data`, between quotes.
    #[default]
    Quoted,
    /// `data` itself, without further quotes: it was a value in such a dialect's own message, or it is a JSON string
    /// made from a text that is not JSON.
    Verbatim,
    /// This text, from which `data` was made: it has line ends between its tokens.
    Own(Box<str>),
}

/// Who a client is to others: shown in its publications, in presence, in join and leave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientInfo {
    /// Empty for an anonymous client.
    pub user: Box<str>,
    pub client: ClientId,
    /// The token's `info`.
    pub connection_info: Option<Arc<Payload>>,
    /// The subscription token's `info`.
    pub channel_info: Option<Arc<Payload>>,
}

/// One message, before the engine has given it a place in its channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publication {
    pub data: Payload,
    pub as_text: AsText,
    /// Event name, in the dialects that have one.
    pub event: Option<Box<str>>,
    /// Set only if a client published it.
    pub publisher: Option<ClientInfo>,
    /// In the publisher's order.
    pub tags: Box<[(Box<str>, Box<str>)]>,
    /// Unix time in milliseconds at which the origin shard took it.
    pub time_ms: u64,
    /// The publisher wants it sent as the difference to the previous publication, to subscribers who agreed to that.
    pub delta: bool,
    /// The one connection that does not hear it.
    pub exclude: Option<Address>,
}

impl Publication {
    /// Data and nothing beside it.
    pub fn plain(data: Payload, time_ms: u64) -> Self {
        Self {
            data,
            as_text: AsText::default(),
            event: None,
            publisher: None,
            tags: Box::default(),
            time_ms,
            delta: false,
            exclude: None,
        }
    }

    /// The tags as subscribers see them: the event name is the tag `event`, which wins over one of the publisher's.
    pub fn shown_tags(&self) -> impl Iterator<Item = (&str, &str)> {
        let event = self.event.as_deref();
        let tags = self.tags.iter().map(|(name, value)| (&**name, &**value));
        let tags = tags.filter(move |(name, _)| event.is_none() || *name != "event");
        event.map(|event| ("event", event)).into_iter().chain(tags)
    }

    /// The value of a tag as subscribers see it. O(tags).
    pub fn tag(&self, name: &str) -> Option<&str> {
        self.shown_tags().find(|(known, _)| *known == name).map(|(_, value)| value)
    }
}

/// What a publisher asks for beyond publishing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Terms {
    /// The publication is neither kept nor numbered.
    pub skip_history: bool,
    /// Publications of one channel with one key within five minutes are one publication.
    pub idempotency_key: Option<Box<str>>,
    /// Published only if it is greater than the latest one's; 0: always. For numbered channels.
    pub version: u64,
    /// Versions are compared only within one epoch; empty: with whatever was latest.
    pub version_epoch: Box<str>,
}

/// Random text naming one life of a channel's stream; a new life has a new epoch.
pub type Epoch = Arc<str>;

/// A place in a channel's stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// 0: before the first publication.
    pub offset: u64,
    pub epoch: Epoch,
}

/// A publication with the place the engine gave it. `offset` 0: the channel is not numbered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Numbered {
    pub offset: u64,
    pub publication: Arc<Publication>,
}

#[cfg(test)]
impl Numbered {
    /// One that can be told from others by its offset alone.
    pub fn sample(offset: u64) -> Self {
        let publication = Publication::plain(Payload::Json(Box::default()), offset);
        Self { offset, publication: Arc::new(publication) }
    }
}

//! Where publications and history are kept: the contract between a channel's owner and an engine.
//!
//! The owner asks by an effect of its shard and is answered by an input, also when the engine is the process's
//! own memory. What an engine promises:
//!
//! - Every [`Ask`] that does not say otherwise gets exactly one answer with its number, perhaps an error, perhaps
//!   late, in any order. Asks about one channel take effect in the order they were asked.
//! - After [`Answer::Subscribed`] every publication of the channel arrives as [`Answer::Delivery`], until
//!   [`Ask::Unsubscribe`]. Deliveries of a numbered channel may be late, repeated or out of order; the owner
//!   puts them right and asks for [`Ask::History`] where something is missing. Deliveries of a channel that is
//!   not numbered arrive in order.
//! - A publish answered with an error may still have been delivered: the publisher is told to try again, and
//!   nobody hears a numbered publication twice.

pub mod memory;

use std::sync::Arc;

use crate::core::history::Range;
use crate::core::ids::{AppIndex, ClientId};
use crate::core::publication::{ClientInfo, Numbered, Position, Publication, Terms};

/// A channel as engines and other shards name it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ChannelKey {
    pub app: AppIndex,
    pub name: Arc<str>,
}

impl ChannelKey {
    /// Whether it names this channel.
    pub fn is(&self, app: AppIndex, name: &str) -> bool {
        self.app == app && *self.name == *name
    }
}

/// The owner's number for an ask; returned in its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AskId(pub u64);

/// How long a channel's publications are kept; a channel with it is numbered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// Publications; at least 1.
    pub size: u32,
    /// Seconds; at least 1.
    pub ttl_s: u32,
    /// Seconds for which an unused stream's position is remembered, at least; then it may begin a new life.
    pub meta_ttl_s: u32,
}

/// What an owner wants of the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// Take a publication, number it if `keep` says so, deliver it at least to every subscribed node.
    ///
    /// `terms`: a publication that repeats an earlier one's key, or whose version is not newer, is not taken; the
    /// answer tells the position of the earlier one or where the stream stands.
    Publish {
        id: AskId,
        channel: ChannelKey,
        publication: Arc<Publication>,
        keep: Option<Keep>,
        terms: Option<Box<Terms>>,
    },
    /// This node wants the channel's deliveries.
    ///
    /// `numbered`: its publications are; what is known of them then lives at least as long as the subscription.
    Subscribe { id: AskId, channel: ChannelKey, numbered: bool },
    /// This node wants no more of them. Not answered.
    Unsubscribe { channel: ChannelKey },
    /// Where the stream stands, and what of the range is still kept.
    History { id: AskId, channel: ChannelKey, range: Range, keep: Keep },
    /// Forget the channel's publications; positions go on.
    RemoveHistory { id: AskId, channel: ChannelKey },
    /// A client is in the channel, or still is: an engine outside of this process forgets it after `ttl_s` seconds
    /// unless that is repeated. Answered only by [`Answer::User`].
    Enter { channel: ChannelKey, info: Arc<ClientInfo>, ttl_s: u32 },
    /// A client is no longer in the channel. Answered only by [`Answer::User`].
    Exit { channel: ChannelKey, client: ClientId },
    /// Who is in the channel.
    Presence { id: AskId, channel: ChannelKey },
    /// How many are in the channel.
    PresenceStats { id: AskId, channel: ChannelKey },
}

/// What the engine says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// `Ok(None)`: taken, not numbered.
    Published {
        id: AskId,
        result: Result<Option<Position>, EngineError>,
    },
    Subscribed {
        id: AskId,
        result: Result<(), EngineError>,
    },
    History {
        id: AskId,
        result: Result<Stream, EngineError>,
    },
    HistoryRemoved {
        id: AskId,
        result: Result<(), EngineError>,
    },
    /// No client occurs twice.
    Presence {
        id: AskId,
        result: Result<Vec<ClientInfo>, EngineError>,
    },
    PresenceStats {
        id: AskId,
        result: Result<PresenceStats, EngineError>,
    },
    /// With the first client of a user in a channel, and with the end of the last. In the order of the asks that
    /// caused it; clients without a user are not told of.
    User {
        channel: ChannelKey,
        user: Box<str>,
        enters: bool,
    },
    /// A publication, perhaps of a channel whose deliveries this node does not want. `numbered.offset` 0 and an empty
    /// `epoch`: not numbered.
    Delivery {
        channel: ChannelKey,
        epoch: Arc<str>,
        numbered: Numbered,
    },
}

/// Answer to [`Ask::PresenceStats`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PresenceStats {
    pub clients: u32,
    /// Distinct ones.
    pub users: u32,
}

/// Answer to [`Ask::History`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stream {
    /// Where the stream stands.
    pub top: Position,
    /// In the order asked for. What is no longer kept is missing: see [`crate::core::history::continues`].
    pub publications: Vec<Numbered>,
}

/// Why an engine could not do it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    #[error("the engine is not available")]
    Unavailable,
    /// Only for [`Ask::History`] with a position: the stream is another one.
    #[error("the stream's epoch has changed")]
    Unrecoverable,
}

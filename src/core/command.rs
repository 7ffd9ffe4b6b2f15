//! What clients ask, whatever they speak.

use super::error::ClientError;
use super::filter::Filter;
use super::publication::{AsText, Payload, Position};

/// A command with the number its answer must carry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The dialect's own number for the command; 0 where the dialect has none.
    pub tag: u32,
    pub command: Command,
}

/// One thing a client wants done. Commands of one connection are carried out in the order they came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Authenticate and become a client.
    Connect(Connect),
    Subscribe(Subscribe),
    Unsubscribe {
        channel: Box<str>,
    },
    Publish(Publish),
    /// Who is in a channel.
    Presence {
        channel: Box<str>,
    },
    /// How many are in a channel.
    PresenceStats {
        channel: Box<str>,
    },
    History(ReadHistory),
    /// A fresh connection token. Empty: none was given.
    Refresh {
        token: Box<str>,
    },
    /// A fresh subscription token. Empty: none was given.
    RefreshSubscription {
        channel: Box<str>,
        token: Box<str>,
    },
    /// Say who the user of this connection is, which so far is nobody's.
    SignIn {
        /// Proof of `about_user`.
        token: Box<str>,
        /// As the proof covers it.
        about_user: Box<str>,
    },
    /// Application-level ping by the client.
    Ping,
    /// Answer to the server's application-level ping.
    Pong,
    /// Understood by the dialect but not possible: answered with this error, in its turn.
    Refuse(ClientError),
}

impl Command {
    /// The channel it names, if it names one.
    pub fn channel(&self) -> Option<&str> {
        match self {
            Self::Subscribe(Subscribe { channel, .. })
            | Self::History(ReadHistory { channel, .. })
            | Self::Unsubscribe { channel }
            | Self::Publish(Publish { channel, .. })
            | Self::Presence { channel }
            | Self::PresenceStats { channel }
            | Self::RefreshSubscription { channel, .. } => Some(channel),
            Self::Connect(_)
            | Self::Refresh { .. }
            | Self::SignIn { .. }
            | Self::Ping
            | Self::Pong
            | Self::Refuse(_) => None,
        }
    }
}

/// A wish to become a client.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Connect {
    /// Empty: none was given.
    pub token: Box<str>,
    /// Server-side subscriptions of an earlier connection, with where they ended, and channels the client would
    /// like to be subscribed to if it may. No channel occurs twice.
    pub subscriptions: Box<[Subscribe]>,
}

/// A wish to hear a channel.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Subscribe {
    pub channel: Box<str>,
    /// Proof for this very channel. Empty: none was given.
    pub token: Box<str>,
    /// What the client wants others to know of it in the channel, as its proof covers it. Empty: nothing.
    pub about_self: Box<str>,
    /// Recover what came after this position; an empty epoch stands for the current one. `None`: begin with what
    /// comes next.
    pub since: Option<Position>,
    /// Watch for gaps in what this client is sent.
    pub positioned: bool,
    /// Tell the position, so that the client can recover later.
    pub recoverable: bool,
    /// Send joins and leaves of others.
    pub join_leave: bool,
    /// Send differences between publications, in Fossil's format, where they are shorter.
    pub fossil_delta: bool,
    /// Only publications whose tags match.
    pub tags: Option<Filter>,
    /// Refuse with [`ClientError::UnrecoverablePosition`] instead of subscribing without recovery.
    pub refuse_unrecovered: bool,
}

/// A wish to be heard in a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publish {
    pub channel: Box<str>,
    pub data: Payload,
    pub as_text: AsText,
    /// In the dialects that have names of events.
    pub event: Option<Box<str>>,
    /// The client itself does not hear it.
    pub to_others: bool,
}

impl Publish {
    /// As most dialects publish.
    pub fn plain(channel: Box<str>, data: Payload) -> Self {
        Self { channel, data, as_text: AsText::Quoted, event: None, to_others: false }
    }
}

/// A wish to see what was published.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReadHistory {
    pub channel: Box<str>,
    /// Publications at most; 0: only where the stream stands. `None`: as many as there may be.
    pub limit: Option<u32>,
    /// Only what came after this position, or before it if `reverse`; an empty epoch stands for the current one.
    pub since: Option<Position>,
    /// Newest first.
    pub reverse: bool,
}

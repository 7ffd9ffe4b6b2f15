//! What clients ask, whatever they speak.

use super::error::ClientError;
use super::publication::Payload;

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
    /// Authenticate and become a client. `token` empty: none was given.
    Connect {
        token: Box<str>,
    },
    Subscribe(Subscribe),
    Unsubscribe {
        channel: Box<str>,
    },
    Publish {
        channel: Box<str>,
        data: Payload,
    },
    /// A fresh connection token. Empty: none was given.
    Refresh {
        token: Box<str>,
    },
    /// Application-level ping by the client.
    Ping,
    /// Answer to the server's application-level ping.
    Pong,
    /// Understood by the dialect but not possible: answered with this error, in its turn.
    Refuse(ClientError),
}

/// A wish to hear a channel.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Subscribe {
    pub channel: Box<str>,
    /// Proof for this very channel. Empty: none was given.
    pub token: Box<str>,
}

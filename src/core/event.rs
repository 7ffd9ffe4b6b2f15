//! What clients are told, whatever they speak.

use super::error::ClientError;
use super::ids::ClientId;
use super::publication::Publication;

/// One thing to tell one client. Borrowed: encoding is the only thing done with it.
#[derive(Debug, Clone, Copy)]
pub enum Event<'a> {
    /// Answer to connect.
    Connected {
        tag: u32,
        client: ClientId,
        /// Seconds until the token must be refreshed by the client; `None`: it does not expire.
        expires_in_s: Option<u32>,
        /// Seconds between the server's application-level pings; 0: it sends none.
        ping_interval_s: u32,
    },
    Subscribed {
        tag: u32,
        channel: &'a str,
    },
    Unsubscribed {
        tag: u32,
        channel: &'a str,
    },
    Published {
        tag: u32,
        channel: &'a str,
    },
    /// Answer to a token refresh.
    Refreshed {
        tag: u32,
        client: ClientId,
        expires_in_s: Option<u32>,
    },
    /// Answer to the client's ping.
    Pong {
        tag: u32,
    },
    /// A command was not carried out; `channel` is the one it named, if any.
    Refused {
        tag: u32,
        channel: Option<&'a str>,
        error: ClientError,
    },
    /// A message in a subscribed channel. `offset` 0: the channel is not numbered.
    Publication {
        channel: &'a str,
        publication: &'a Publication,
        offset: u64,
    },
    /// The server ended a subscription.
    Dropped {
        channel: &'a str,
        cause: DropCause,
    },
    /// The server's application-level ping, in the dialects that have one.
    Ping,
}

/// Why the server ended a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DropCause {
    /// A backend asked for it; the client stays away.
    Server,
    /// A gap that history cannot fill; the client should subscribe again and recover.
    InsufficientState,
    /// The subscription's own expiry passed.
    Expired,
}

//! What clients are told, whatever they speak.

use std::sync::Arc;

use super::disconnect::Disconnect;
use super::error::ClientError;
use super::ids::{ClientId, DecimalId};
use super::publication::{ClientInfo, Numbered, Payload, Position, Publication};

/// One thing to tell one client. Borrowed: encoding is the only thing done with it.
#[derive(Debug, Clone, Copy)]
pub enum Event<'a> {
    /// Answer to connect.
    Connected {
        tag: u32,
        client: ClientId,
        /// The client's id in digits, in the dialects that have it so.
        decimal: Option<DecimalId>,
        /// Seconds until the token must be refreshed by the client; `None`: it does not expire.
        expires_in_s: Option<u32>,
        /// Seconds between the server's application-level pings; 0: it sends none.
        ping_interval_s: u32,
        /// What a backend has to say to this client.
        data: Option<&'a Payload>,
        /// Server-side subscriptions the client has from the start. No channel occurs twice.
        subscriptions: &'a [(&'a str, Subscription<'a>)],
    },
    Subscribed {
        tag: u32,
        channel: &'a str,
        subscription: Subscription<'a>,
    },
    Unsubscribed {
        tag: u32,
        channel: &'a str,
    },
    Published {
        tag: u32,
        channel: &'a str,
    },
    /// Who is in a channel. No client occurs twice.
    Presence {
        tag: u32,
        channel: &'a str,
        clients: &'a [ClientInfo],
    },
    PresenceStats {
        tag: u32,
        channel: &'a str,
        clients_count: u32,
        /// Distinct users.
        users_count: u32,
    },
    /// What was published, in the order asked for.
    History {
        tag: u32,
        channel: &'a str,
        publications: &'a [Numbered],
        /// Where the stream stands.
        position: &'a Position,
    },
    /// Answer to a token refresh.
    Refreshed {
        tag: u32,
        client: ClientId,
        expires_in_s: Option<u32>,
    },
    /// Answer to the refresh of a subscription's token.
    SubscriptionRefreshed {
        tag: u32,
        channel: &'a str,
        expires_in_s: Option<u32>,
    },
    /// Answer to sign-in.
    SignedIn {
        tag: u32,
        /// What the client said of its user.
        about_user: &'a str,
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
        /// What a developer should know of it; `None`: no more than the error says.
        reason: Option<&'a str>,
    },
    /// A message in a subscribed channel. `offset` 0: the channel is not numbered.
    Publication {
        channel: &'a str,
        publication: &'a Publication,
        offset: u64,
        body: Body<'a>,
    },
    /// Somebody subscribed to a channel.
    Join {
        channel: &'a str,
        info: &'a ClientInfo,
    },
    /// Somebody is no longer subscribed to a channel.
    Leave {
        channel: &'a str,
        info: &'a ClientInfo,
    },
    /// A user's first client subscribed to a channel, in the dialects that tell of users instead of clients.
    UserJoined {
        channel: &'a str,
        info: &'a ClientInfo,
    },
    /// A user's last client is no longer subscribed to a channel.
    UserLeft {
        channel: &'a str,
        info: &'a ClientInfo,
    },
    /// The channel keeps its last publication, and there is none.
    NothingLatest {
        channel: &'a str,
    },
    /// Of the users whom the client watches: who is there, and who is not. At first all of them, later those who came
    /// or went.
    Watched {
        online: &'a [Arc<str>],
        offline: &'a [Arc<str>],
    },
    /// How many subscribe to the channel.
    SubscribersCount {
        channel: &'a str,
        count: u32,
    },
    /// The server subscribed the client to a channel.
    Added {
        channel: &'a str,
        subscription: Subscription<'a>,
    },
    /// The server ended a subscription.
    Dropped {
        channel: &'a str,
        cause: DropCause,
    },
    /// The server moved the connection's expiry.
    ExpiryMoved {
        expires_in_s: Option<u32>,
    },
    /// The server's application-level ping, in the dialects that have one.
    Ping,
    /// The server ends the connection; the close frame follows.
    Ended {
        disconnect: &'a Disconnect,
    },
}

/// What a subscription has come to.
#[derive(Debug, Clone, Copy, Default)]
pub struct Subscription<'a> {
    /// Seconds until the subscription's token must be refreshed by the client; `None`: it does not expire.
    pub expires_in_s: Option<u32>,
    /// The client may recover from the position later.
    pub recoverable: bool,
    /// The server watches for gaps.
    pub positioned: bool,
    /// Where the stream stands; `None`: the channel is not numbered, or the client need not know.
    pub position: Option<&'a Position>,
    pub recovery: Recovery,
    /// What was missed, oldest first; later ones come as [`Event::Publication`].
    pub publications: &'a [Numbered],
    /// The distinct users in the channel, the subscriber's own included; `None`: it is not told.
    pub users: Option<&'a [Arc<ClientInfo>]>,
    /// What a token has to say to this subscriber.
    pub data: Option<&'a Payload>,
    /// Publications come as [`Body::Base`] and [`Body::Delta`].
    pub fossil_delta: bool,
    /// If so: for each of the publications, what leads to it from the one before; `None`: it comes whole.
    pub deltas: &'a [Option<Box<[u8]>>],
}

impl Subscription<'_> {
    /// In which form a publication that was missed is told, by its place.
    pub fn body(&self, at: usize) -> Body<'_> {
        match self.deltas.get(at) {
            _ if !self.fossil_delta => Body::Plain,
            Some(Some(delta)) => Body::Delta(delta),
            _ => Body::Base,
        }
    }
}

/// What came of the wish to recover.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Recovery {
    #[default]
    NotAsked,
    /// Nothing is missing after this offset, which the client asked from.
    Recovered { since_offset: u64 },
    /// Something may be missing.
    Unrecovered,
}

/// In which form the data of a publication is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Body<'a> {
    /// As it was published.
    #[default]
    Plain,
    /// Whole, to a subscriber who agreed to deltas: what the next delta is applied to.
    Base,
    /// What leads from the data this subscriber was sent last to that of the publication, in Fossil's format. A
    /// dialect that cannot carry these bytes sends [`Self::Base`] instead, which does as well.
    Delta(&'a [u8]),
}

/// Why the server ended a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DropCause {
    /// A backend asked for it; the client stays away.
    Server,
    /// A gap that history cannot fill; the client should subscribe again and recover.
    InsufficientState,
    /// The subscription's own expiry passed; the client should subscribe again with a fresh token.
    Expired,
    /// What the subscription was granted for no longer holds; the client should subscribe again with a fresh token.
    StateInvalidated,
}

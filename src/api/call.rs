//! Calls of a backend, their answers and refusals, the same for every style of API.

use std::sync::Arc;

use crate::auth::Grant;
use crate::config::App;
use crate::core::channel::check_name;
use crate::core::disconnect::Disconnect;
use crate::core::error::ClientError;
use crate::core::history::Range;
use crate::core::ids::{ClientId, DecimalId};
use crate::core::namespace::Namespace;
use crate::core::publication::{AsText, ClientInfo, Payload, Position, Terms};
use crate::engine::{PresenceStats, Stream};

/// One thing a backend wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// The channel is not checked yet: see [`check_channel`].
    Publish {
        channel: Box<str>,
        message: Message,
    },
    /// The same message into several channels; each has its own answer. None is checked yet.
    Broadcast {
        channels: Vec<Box<str>>,
        message: Message,
    },
    /// Something is to happen to connections.
    Users {
        whose: Whose,
        errand: Errand,
    },
    /// Channels with subscribers whose names match; an empty pattern matches all.
    Channels {
        pattern: Box<str>,
        /// Distinct users are counted too, where the channel has presence.
        users: bool,
    },
    /// Who hears a channel, which is checked already.
    Occupancy {
        channel: Box<str>,
        /// Distinct users are counted too.
        users: bool,
        /// The channel's last publication is told too, where it is kept.
        latest: bool,
    },
    /// Authenticated clients of the app.
    Connections,
    Info,
    /// The channel is not checked yet.
    History {
        channel: Box<str>,
        range: Range,
    },
    /// The channel is not checked yet.
    Presence {
        channel: Box<str>,
    },
    /// The channel is not checked yet.
    PresenceStats {
        channel: Box<str>,
    },
    /// Forget what is kept of a channel, which is not checked yet.
    HistoryRemove {
        channel: Box<str>,
    },
}

/// Whose connections a call is about: all of `user`, only `client`, or `client` if it is of `user`. Not both are
/// empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Whose {
    pub user: Box<str>,
    pub client: Option<ClientId>,
}

/// What is to happen to connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Errand {
    /// Subscribe them. The channel is not checked yet. Who is subscribed already stays so as it is.
    Subscribe {
        channel: Box<str>,
        grant: Grant,
        /// Unix time; may lie in the past.
        expires_s: Option<u64>,
        /// They get what came after it, where the namespace lets clients recover.
        since: Option<Position>,
    },
    /// End their subscription to a channel, which is not checked yet; empty: all of them.
    Unsubscribe { channel: Box<str> },
    /// They expire then. `None`: they do not.
    Refresh {
        /// Unix time; may lie in the past.
        expires_s: Option<u64>,
        /// Who they are to others from now on; `None`: as before.
        info: Option<Arc<Payload>>,
    },
    /// End them, except the listed clients.
    Disconnect { whitelist: Box<[ClientId]>, disconnect: Disconnect },
}

/// Names and values.
pub type Tags = Box<[(Box<str>, Box<str>)]>;

/// What a backend publishes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub data: Payload,
    pub as_text: AsText,
    pub event: Option<Box<str>>,
    /// In the publisher's order, no name twice.
    pub tags: Tags,
    /// Subscribers who agreed to differences are to be sent one.
    pub delta: bool,
    /// `None`: none beyond the usual.
    pub terms: Option<Box<Terms>>,
    /// The connection that does not hear it; one that is unknown is nobody.
    pub exclude: Option<Excluded>,
}

/// A connection, as its own dialect names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Excluded {
    Client(ClientId),
    Decimal(DecimalId),
}

/// What came of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// `None`: the channel is not numbered.
    Published(Option<Position>),
    /// In the order of the channels.
    Broadcast(Vec<Result<Option<Position>, ApiError>>),
    /// Nothing is told but that it was done.
    Done,
    /// As [`ChannelCount::merge`] leaves them.
    Channels(Vec<ChannelCount>),
    Occupancy(Occupancy),
    Connections(u64),
    Info(Vec<NodeInfo>),
    History(Stream),
    Presence(Vec<ClientInfo>),
    PresenceStats(PresenceStats),
}

/// A channel and its subscribers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelCount {
    pub channel: Arc<str>,
    pub clients: u32,
    /// Distinct ones; `None`: not counted.
    pub users: Option<u32>,
}

/// Who hears a channel.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Occupancy {
    pub subscribers: u32,
    /// Distinct ones; `None`: not counted.
    pub users: Option<u32>,
    /// The data of the channel's last publication as text, and for how many seconds it is still kept; `None`: there
    /// is none, or it was not asked for.
    pub latest: Option<(Box<str>, u32)>,
}

impl ChannelCount {
    /// Puts counts of several shards together: one per channel, sorted by name. O(n log n).
    pub fn merge(counts: &mut Vec<Self>) {
        counts.sort_by(|a, b| a.channel.cmp(&b.channel));
        counts.dedup_by(|more, kept| {
            let same = more.channel == kept.channel;
            if same {
                kept.clients = kept.clients.saturating_add(more.clients);
            }
            same
        });
    }
}

/// One process of the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeInfo {
    pub uid: Box<str>,
    pub name: Box<str>,
    pub version: Box<str>,
    pub clients: u64,
    /// Distinct ones; anonymous clients are not among them.
    pub users: u64,
    pub channels: u64,
    pub subscriptions: u64,
    pub uptime_s: u64,
}

/// Why a call was not carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    #[error("internal server error")]
    Internal,
    /// The channel's namespace is not configured.
    #[error("unknown channel")]
    UnknownChannel,
    #[error("method not found")]
    MethodNotFound,
    #[error("limit exceeded")]
    LimitExceeded,
    #[error("bad request: {reason}")]
    BadRequest { reason: BadRequest },
    /// This version, or this channel, does not have it.
    #[error("not available: {feature}")]
    NotAvailable { feature: &'static str },
    #[error("too many requests")]
    TooManyRequests,
    #[error("unrecoverable position")]
    UnrecoverablePosition,
    #[error("conflict")]
    Conflict,
}

/// What is wrong with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadRequest {
    #[error("{field} is missing")]
    Missing { field: &'static str },
    #[error("{field} must be {want}")]
    Type { field: &'static str, want: &'static str },
    #[error("{field} is given twice")]
    Repeated { field: &'static str },
    #[error("{field} exceeds {limit} bytes")]
    TooLong { field: &'static str, limit: usize },
    #[error("the channel's name is empty, too long, or has a character that is not allowed")]
    Channel,
    #[error("refused")]
    Refused,
}

impl ApiError {
    /// The number in Centrifugo's API.
    pub fn code(self) -> u16 {
        match self {
            Self::Internal => 100,
            Self::UnknownChannel => 102,
            Self::MethodNotFound => 104,
            Self::LimitExceeded => 106,
            Self::BadRequest { .. } => 107,
            Self::NotAvailable { .. } => 108,
            Self::TooManyRequests => 111,
            Self::UnrecoverablePosition => 112,
            Self::Conflict => 113,
        }
    }

    /// The HTTP status where a backend asked for errors to be statuses.
    pub fn status(self) -> u16 {
        match self {
            Self::UnknownChannel | Self::MethodNotFound => 404,
            Self::BadRequest { .. } | Self::NotAvailable { .. } => 400,
            Self::UnrecoverablePosition => 416,
            Self::Conflict => 409,
            Self::Internal | Self::LimitExceeded | Self::TooManyRequests => 500,
        }
    }
}

impl From<ClientError> for ApiError {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Internal => Self::Internal,
            ClientError::UnknownChannel => Self::UnknownChannel,
            ClientError::MethodNotFound => Self::MethodNotFound,
            ClientError::LimitExceeded => Self::LimitExceeded,
            ClientError::NotAvailable => Self::NotAvailable { feature: "the channel does not have it" },
            ClientError::TooManyRequests => Self::TooManyRequests,
            ClientError::UnrecoverablePosition => Self::UnrecoverablePosition,
            // Refusals of a client's own standing, which a backend does not have.
            ClientError::BadRequest
            | ClientError::Unauthorized
            | ClientError::PermissionDenied
            | ClientError::AlreadySubscribed
            | ClientError::TokenExpired
            | ClientError::Expired => Self::BadRequest { reason: BadRequest::Refused },
        }
    }
}

/// The settings of the channel a backend names. Errors: `BadRequest` (its name), `UnknownChannel`.
pub fn check_channel<'a>(app: &'a App, channel: &str) -> Result<&'a Namespace, ApiError> {
    /// Where the Centrifuge dialect, which sets it, is off.
    const CHANNEL_BYTES_MAX: usize = 255;
    let bytes_max = app.centrifuge.as_ref().map_or(CHANNEL_BYTES_MAX, |on| on.channel_max_length);
    check_name(channel, bytes_max).map_err(|_| ApiError::BadRequest { reason: BadRequest::Channel })?;
    app.namespace(channel).ok_or(ApiError::UnknownChannel)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn counts_of_one_channel_are_added() {
        let count = |channel: &str, clients| ChannelCount { channel: channel.into(), clients, users: None };
        let mut counts =
            vec![count("b", 1), count("a", 2), count("b", 3), count("b", u32::MAX), count("c", 0)];
        ChannelCount::merge(&mut counts);
        assert_eq!(counts, [count("a", 2), count("b", u32::MAX), count("c", 0)]);
    }

    #[test]
    fn channels_are_checked_against_the_app() {
        let text = "[[apps]]\nid = \"1\"\n[apps.centrifuge]\nchannel_max_length = 5\n\
                    allow_anonymous_connect_without_token = true\n\
                    [[apps.namespaces]]\nname = \"ns\"\nallow_publish_for_client = true";
        let config = Config::load(text, [], &mut |_| Ok(Vec::new())).expect("valid");
        let app = &config.apps[0];
        let bad = Err(ApiError::BadRequest { reason: BadRequest::Channel });
        let table = [
            ("chat", Ok(false)),
            ("ns:a", Ok(true)),
            ("$ns:a", Ok(true)),
            ("x:a", Err(ApiError::UnknownChannel)),
            ("", bad),
            ("chats!", bad),
            ("a b", bad),
            ("a\n", bad),
            ("ä", bad),
        ];
        for (channel, want) in table {
            let got = check_channel(app, channel).map(|namespace| namespace.allow_publish_for_client);
            assert_eq!(got, want, "{channel:?}");
        }
    }
}

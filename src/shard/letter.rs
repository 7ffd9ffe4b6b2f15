//! Letters between shards, and between shards and the control thread.
//!
//! All letters from one shard to another travel in one first-in-first-out lane and none is dropped. Handling one
//! letter creates at most one letter per shard and one per operation it answers; what a connection held back until
//! the answer goes on after it.

use std::sync::Arc;

use crate::api::call::{ChannelCount, Errand, Whose};
use crate::api::pusher::{Mark, Unauthorized};
use crate::config::Config;
use crate::core::error::ClientError;
use crate::core::event::Recovery;
use crate::core::history::Range;
use crate::core::ids::{AppIndex, ClientId, ConnectionId};
use crate::core::publication::{ClientInfo, Numbered, Position, Publication, Terms};
use crate::core::rates::Kind;
use crate::core::recovery::Mode;
use crate::engine::{ChannelKey, PresenceStats, Stream};
use crate::metrics::Snapshot;

/// Names an operation at the shard that waits for its answer; an answer to a forgotten one is ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct OperationId {
    pub index: u32,
    pub generation: u32,
}

/// From one shard to another.
#[derive(Debug)]
pub enum Letter {
    /// To the owner: this shard wants the channel's publications, for the client that waits on `operation`.
    Join { operation: OperationId, channel: ChannelKey, wants: Wants },
    /// From the owner, in the lane that carries publications: what came before is in the past, what comes
    /// after is new.
    /// `Ok(None)`: the channel is not numbered.
    Joined {
        operation: OperationId,
        result: Result<Option<Box<Admission>>, ClientError>,
        scene: Option<Box<Scene>>,
    },
    /// To the owner: nobody here hears the channel any more.
    Leave { channel: ChannelKey },
    /// To the owner: a client's subscription went live, or ended.
    Passage { channel: ChannelKey, passage: Passage },
    /// From the owner, in the channel's order: somebody came or went.
    Passed { channel: ChannelKey, passage: Passage },
    /// To the owner: so many subscribers here, by now.
    Count { channel: ChannelKey, subscribers: u32 },
    /// To the owner: a publication taken at this shard.
    Publish {
        operation: OperationId,
        channel: ChannelKey,
        publication: Arc<Publication>,
        /// `None`: none beyond the usual.
        terms: Option<Box<Terms>>,
    },
    /// From the owner: the publication has its place, or the publisher should try again.
    Published { operation: OperationId, result: Result<Published, ClientError> },
    /// To the owner: somebody wants to know, or to remove, what it keeps of the channel.
    Lookup { operation: OperationId, channel: ChannelKey, lookup: Lookup },
    /// From the owner: the answer to a lookup.
    Found { operation: OperationId, result: Result<Found, ClientError> },
    /// From the owner to every shard with subscribers, in the channel's order.
    Deliver(Arc<Delivery>),
    /// From the owner: so many subscribe to the channel, on all shards.
    Counted { channel: ChannelKey, subscribers: u32 },
    /// From the owner: publications are missing for good.
    Broken { channel: ChannelKey },
    /// To the shard that a user belongs to: this client is to be its only one.
    Claim { app: AppIndex, user: Box<str>, client: ClientId },
    /// To that shard: the client goes.
    Release { app: AppIndex, user: Box<str>, client: ClientId },
    /// From it: another connection of the user came.
    Displaced { connection: ConnectionId },
    /// To the shard that a user belongs to: one of its clients has a command.
    Charge { operation: OperationId, app: AppIndex, user: Box<str>, kind: Option<Kind> },
    /// From it: whether the command may be carried out now.
    Charged { operation: OperationId, granted: bool },
    /// To the shard that a signature belongs to: a backend's request came with it.
    Take { operation: OperationId, app: AppIndex, mark: Box<Mark> },
    /// From it: whether the request may be carried out.
    Taken { operation: OperationId, result: Result<(), Unauthorized> },
    /// To every shard: somebody watches these users, and wants to know whether they have connections there, now and
    /// whenever that changes.
    Watch { question: u64, app: AppIndex, users: Arc<[Arc<str>]> },
    /// Nobody watches them any more.
    Unwatch { app: AppIndex, users: Arc<[Arc<str>]> },
    /// The answer to a watch: for each of the users whether it has connections here.
    Seen { question: u64, app: AppIndex, users: Arc<[Arc<str>]>, are_here: Box<[bool]> },
    /// To a shard that watches: the user's first connection came here, or the last one went.
    Moved { app: AppIndex, user: Arc<str>, is_here: bool },
    /// To every shard: a question about all of its connections or channels.
    Survey { operation: OperationId, question: Arc<Question> },
    /// The answer to a survey.
    Surveyed { operation: OperationId, findings: Findings },
}

/// What an owner is asked about its channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup {
    History(Range),
    /// Forget the publications that are kept.
    RemoveHistory,
    Presence,
    PresenceStats,
    /// Subscribers on all shards.
    Subscribers,
    /// The last publication, where it is kept for new subscribers.
    Latest,
}

/// Answer to a [`Lookup`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    History(Stream),
    HistoryRemoved,
    Presence(Vec<ClientInfo>),
    PresenceStats(PresenceStats),
    Subscribers(u32),
    /// With the seconds for which it is still kept.
    Latest(Option<(Arc<Publication>, u32)>),
}

/// What a join asks for beyond the channel's publications.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wants {
    /// `None`: the client does not ask for what it missed.
    pub recover: Option<Box<Recover>>,
    /// The client relies on missing nothing from here on.
    pub is_positioned: bool,
    /// `None`: it does not ask to be told who or what is there.
    pub scene: Option<Box<SceneWish>>,
}

/// What a client wants to recover.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recover {
    /// An empty epoch stands for the current one.
    pub since: Position,
    pub mode: Mode,
}

/// What a client wants to find in the channel as it comes in.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SceneWish {
    /// It enters before the join is answered, and is told who is there.
    pub entrance: Option<Entrance>,
    /// The channel's last publication.
    pub latest: bool,
}

/// A client that enters with its join.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entrance {
    pub passage: Passage,
    /// It is refused if it would be one user more.
    pub users_max: u32,
}

/// What a client found as it came in: what comes after the answer is not in it, and what came before is.
#[derive(Debug, Clone, Default)]
pub struct Scene {
    /// Distinct users in the order they came; `None`: it did not ask.
    pub users: Option<Vec<Arc<ClientInfo>>>,
    /// `None`: it did not ask.
    pub latest: Option<Option<Arc<Publication>>>,
}

/// Where a subscription to a numbered channel begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admission {
    pub position: Position,
    pub recovery: Recovery,
    /// Oldest first.
    pub missed: Vec<Numbered>,
}

/// A client comes into a channel, or goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passage {
    pub info: Arc<ClientInfo>,
    pub enters: bool,
    /// It is listed among those in the channel.
    pub is_shown: bool,
    /// Others are told.
    pub is_announced: bool,
    /// Set by the owner: the first of its user's clients came, or the last left.
    pub is_users: bool,
}

/// What the owner says of a publication it took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// `None`: the channel is not numbered.
    pub position: Option<Position>,
    /// Of the channel when the publication came, on all shards, as far as the owner had been told.
    pub subscribers: u32,
}

/// A publication on its way to subscribers.
#[derive(Debug)]
pub struct Delivery {
    pub channel: ChannelKey,
    pub numbered: Numbered,
}

/// What a backend may ask of all shards at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// Something is to happen to connections.
    Users {
        app: AppIndex,
        whose: Whose,
        errand: Errand,
    },
    /// Channels with subscribers, whose names match the pattern (empty: all).
    Channels {
        app: AppIndex,
        pattern: Box<str>,
    },
    /// Authenticated clients.
    Connections {
        app: AppIndex,
    },
    Info {
        app: AppIndex,
    },
}

/// One shard's answer to a [`Question`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Findings {
    Done,
    /// Not everywhere.
    Failed(ClientError),
    Channels(Vec<ChannelCount>),
    Connections(u64),
    Info {
        clients: u64,
        users: Vec<Box<str>>,
        channels: u64,
        subscriptions: u64,
    },
}

/// From the control thread to a shard.
#[derive(Debug)]
pub enum Order {
    /// New secrets, namespaces and limits. Nobody is disconnected by it.
    Reload(Arc<Config>),
    /// The end is near: `/ready` says so, so that balancers send nobody new. Everything else goes on.
    Retire,
    /// End all connections, spread evenly over `spread_ms`; accept no more.
    Drain { spread_ms: u64 },
    /// Report the counters as they stand.
    Statistics,
}

/// From a shard to the control thread.
#[derive(Debug)]
pub enum Notice {
    Statistics(Box<Snapshot>),
    /// After an order to drain: no connection is left.
    Drained,
}

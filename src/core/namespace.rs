//! Settings shared by the channels of one prefix.

use super::channel::is_presence;
use super::command::Subscribe;
use super::recovery::Mode;

/// What happens to a connection whose outbound queue exceeds its bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SlowConsumer {
    #[default]
    Disconnect,
    /// Publications not yet handed to the kernel are left out, oldest first, until half of the bound is free.
    DropOldest,
    /// Only the newest publication of each channel is kept waiting.
    Conflate,
}

/// One namespace's settings, valid by construction. Option names follow Centrifugo v6.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Namespace {
    /// `""`: the channels without a namespace.
    pub name: Box<str>,
    pub allow_subscribe_for_client: bool,
    pub allow_subscribe_for_anonymous: bool,
    pub allow_publish_for_client: bool,
    pub allow_publish_for_subscriber: bool,
    pub allow_publish_for_anonymous: bool,
    /// Channels that name their users after `#` may be subscribed by those users.
    pub allow_user_limited_channels: bool,
    /// Publications kept per channel; 0: none, and the channel is not numbered.
    pub history_size: u32,
    /// Seconds a publication is kept.
    pub history_ttl_s: u32,
    /// Seconds for which the position of a channel that nobody uses is remembered, at least.
    pub history_meta_ttl_s: u32,
    pub allow_history_for_client: bool,
    pub allow_history_for_subscriber: bool,
    pub allow_history_for_anonymous: bool,
    /// Clients may ask that gaps in what they are sent are watched for.
    pub allow_positioning: bool,
    /// Gaps are watched for whether clients ask or not.
    pub force_positioning: bool,
    /// Clients may ask to recover what they missed.
    pub allow_recovery: bool,
    /// Clients can recover whether they ask for it or not.
    pub force_recovery: bool,
    pub force_recovery_mode: Mode,
    /// The latest publication is recovered for everybody who subscribes, whether asked for or not.
    pub auto_cache_recover: bool,
    /// Clients may ask for those publications alone whose tags match a filter.
    pub allow_tags_filter: bool,
    /// Clients whose gaps are watched for may ask for differences between publications.
    pub allow_fossil_delta: bool,
    /// Differences are sent though the publisher does not ask for them.
    pub delta_publish: bool,
    /// Who is in a channel is kept.
    pub presence: bool,
    /// Joins and leaves are told to those who want to hear them.
    pub join_leave: bool,
    /// ... and to everybody else in the channel.
    pub force_push_join_leave: bool,
    pub allow_presence_for_client: bool,
    pub allow_presence_for_subscriber: bool,
    pub allow_presence_for_anonymous: bool,
    pub slow_consumer: SlowConsumer,
}

impl Namespace {
    /// Whether it is kept who is in a channel of it.
    pub fn keeps_presence(&self, channel: &str) -> bool {
        self.presence || is_presence(channel)
    }

    /// Whether publications of its channels get offsets that clients see.
    pub fn is_numbered(&self) -> bool {
        self.history_size > 0 && self.history_ttl_s > 0
    }

    /// Whether a client may hear a channel in the way it asks for. To send everything to who asked for a part would
    /// be worse than to refuse; other wishes that are not allowed are passed over.
    pub fn allows_hearing(&self, wish: &Subscribe) -> bool {
        wish.tags.is_none() || self.allow_tags_filter
    }
}

//! What a subscription is beyond a place in two lists, and how that is decided.
//!
//! Invariants:
//! - A subscription with nothing special costs its two handles and nothing else: it has no [`Special`].
//! - What is told to the owner when a subscription goes live is taken back in the same words when it ends, whatever
//!   a reload did to its namespace meanwhile.

use std::sync::Arc;

use super::Shard;
use super::connection::NONE;
use super::hearing::Hearing;
use super::letter::Recover;
use crate::auth::Grant;
use crate::core::command::Subscribe;
use crate::core::ids::Slot;
use crate::core::namespace::Namespace;
use crate::core::publication::{ClientInfo, Payload, Position};

/// Kept for a subscription that needs it, for as long as it lasts.
#[derive(Debug, Clone)]
pub struct Special {
    pub channel: u32,
    /// Unix seconds; 0: it does not expire.
    pub expires_s: u32,
    /// The subscription token's `info`.
    pub info: Option<Arc<Payload>>,
    /// Who the client is in this channel, where that is not the connection's user.
    pub user: Option<Box<str>>,
    /// The client is listed among those in the channel.
    pub is_shown: bool,
    /// Its join and its leave are told to others.
    pub is_announced: bool,
    /// It is told of others' joins and leaves.
    pub hears_others: bool,
    pub origin: Origin,
    /// What of the channel it is sent.
    pub hearing: Hearing,
}

/// Who wanted a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The client asked for it.
    Client,
    /// The connection's token brought it along.
    Token,
    /// The client signed in and will ask for it.
    SignIn,
    /// The server, or a backend.
    Server,
}

/// What a subscription is to be, decided before the owner is asked.
#[derive(Debug)]
pub struct Plan {
    pub recoverable: bool,
    pub positioned: bool,
    pub recover: Option<Recover>,
    pub refuse_unrecovered: bool,
    /// The client does not know that something is recovered for it.
    pub recovers_unasked: bool,
    /// For the subscriber itself.
    pub data: Option<Payload>,
    /// Its `channel` is set when the subscription goes live.
    pub special: Special,
    /// The client enters the channel with its join, unless it would be one user more than these; it is told who is
    /// there.
    pub users_max: Option<u32>,
    /// It is told the channel's last publication.
    pub latest: bool,
}

impl Plan {
    /// What becomes of a wish in a namespace; `None`: a subscription like any other.
    ///
    /// `expires_s`: Unix time, in the future. Wishes that the namespace does not allow are passed over, as clients
    /// expect.
    pub fn new(
        namespace: &Namespace,
        wish: &Subscribe,
        grant: Grant,
        expires_s: Option<u64>,
        origin: Origin,
    ) -> Option<Box<Self>> {
        let Grant { info, data, overrides } = grant;
        let (is_numbered, n) = (namespace.is_numbered(), namespace);
        let forces_recovery = overrides.force_recovery.unwrap_or(n.force_recovery);
        let forces_positioning = overrides.force_positioning.unwrap_or(n.force_positioning);
        let recoverable = is_numbered && (forces_recovery || (n.allow_recovery && wish.recoverable));
        let positioned =
            is_numbered && (recoverable || forces_positioning || (n.allow_positioning && wish.positioned));
        let announces = overrides.join_leave.unwrap_or(n.join_leave);
        let pushes = overrides.force_push_join_leave.unwrap_or(n.force_push_join_leave);
        let recovers_unasked = n.auto_cache_recover && recoverable && wish.since.is_none();
        let since = wish.since.clone().filter(|_| recoverable);
        let since = since.or_else(|| recovers_unasked.then(|| Position { offset: 0, epoch: "".into() }));
        let recover = since.map(|since| Recover { since, mode: n.force_recovery_mode });
        let special = Special {
            channel: NONE,
            expires_s: expires_s.map_or(0, |expires_s| u32::try_from(expires_s).unwrap_or(u32::MAX)),
            info,
            user: None,
            is_shown: overrides.presence.unwrap_or(n.keeps_presence(&wish.channel)),
            is_announced: announces,
            hears_others: announces && (pushes || wish.join_leave),
            origin,
            hearing: match &wish.tags {
                Some(filter) => Hearing::Part(Arc::new(filter.clone())),
                // A gap that nobody watches for would be a wrong base for all that follows.
                None if wish.fossil_delta && n.allow_fossil_delta && positioned => Hearing::Deltas,
                None => Hearing::Everything,
            },
        };
        let is_plain = !positioned && data.is_none() && !special.is_needed();
        (!is_plain).then(|| {
            Box::new(Self {
                recoverable,
                positioned,
                recover,
                refuse_unrecovered: wish.refuse_unrecovered && !recovers_unasked,
                recovers_unasked,
                data,
                special,
                users_max: None,
                latest: false,
            })
        })
    }

    /// A subscription like any other, to be given something special.
    pub fn plain() -> Box<Self> {
        Box::new(Self {
            recoverable: false,
            positioned: false,
            recover: None,
            recovers_unasked: false,
            refuse_unrecovered: false,
            data: None,
            special: Special::plain(NONE),
            users_max: None,
            latest: false,
        })
    }

    /// Whether only the owner can tell how the subscription begins.
    pub fn needs_owner(&self) -> bool {
        self.positioned || self.recoverable || self.users_max.is_some() || self.latest
    }
}

impl Special {
    /// Nothing special yet.
    pub fn plain(channel: u32) -> Self {
        Self {
            channel,
            expires_s: 0,
            info: None,
            user: None,
            is_shown: false,
            is_announced: false,
            hears_others: false,
            origin: Origin::Client,
            hearing: Hearing::Everything,
        }
    }

    /// The client did not ask for it.
    pub fn is_server_side(&self) -> bool {
        self.origin != Origin::Client
    }

    /// Whether there is anything in it that must be kept.
    pub fn is_needed(&self) -> bool {
        self.expires_s != 0
            || self.info.is_some()
            || self.is_shown
            || self.is_announced
            || self.hears_others
            || self.is_server_side()
            || !self.hearing.is_everything()
    }
}

impl Shard {
    pub(super) fn special(&self, slot: Slot, handle: u32) -> Option<&Special> {
        let specials = self.connections.cold(slot).specials.as_ref()?;
        specials.iter().find(|special| special.channel == handle)
    }

    pub(super) fn special_mut(&mut self, slot: Slot, handle: u32) -> Option<&mut Special> {
        let specials = self.connections.cold_mut(slot).specials.as_mut()?;
        specials.iter_mut().find(|special| special.channel == handle)
    }

    pub(super) fn keep_special(&mut self, slot: Slot, special: Special) {
        let expires = special.expires_s != 0;
        self.connections.cold_mut(slot).specials.get_or_insert_default().push(special);
        if expires {
            self.arm(slot);
        }
    }

    pub(super) fn take_special(&mut self, slot: Slot, handle: u32) -> Option<Special> {
        let cold = self.connections.cold_mut(slot);
        let specials = cold.specials.as_mut()?;
        let at = specials.iter().position(|special| special.channel == handle)?;
        let special = specials.swap_remove(at);
        if specials.is_empty() {
            cold.specials = None;
        }
        Some(special)
    }

    /// Who the client is to others in a channel. `special`: what is known of it there.
    pub(super) fn client_info(&self, slot: Slot, special: Option<&Special>) -> ClientInfo {
        let cold = self.connections.cold(slot);
        ClientInfo {
            user: special.and_then(|special| special.user.as_ref()).unwrap_or(&cold.user).clone(),
            client: self.client_id(slot),
            connection_info: cold.info.clone(),
            channel_info: special.and_then(|special| special.info.clone()),
        }
    }
}

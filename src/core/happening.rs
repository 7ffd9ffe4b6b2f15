//! What happens in channels that somebody outside may want to be told of.

use std::sync::Arc;

use super::ids::AppIndex;

/// One thing that happened in one channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Happening {
    pub app: AppIndex,
    pub channel: Arc<str>,
    pub what: What,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// The first subscriber came.
    Occupied,
    /// The last subscriber went.
    Vacated,
    /// The first client of a user came into a channel with presence.
    MemberAdded { user: Box<str> },
    /// The last one went.
    MemberRemoved { user: Box<str> },
    /// A client sent something to the others.
    ClientEvent(Box<ClientEvent>),
    /// A client came into a channel that remembers its last event, and there was none.
    CacheMiss,
    /// So many subscribers by now.
    SubscriptionCount { count: u32 },
}

/// What a client sent to the others in its channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientEvent {
    pub event: Box<str>,
    /// As text.
    pub data: Box<str>,
    /// Its sender, as its dialect names it.
    pub socket_id: Box<str>,
    /// Only in channels with presence.
    pub user: Option<Box<str>>,
}

impl What {
    pub fn kind(&self) -> Kind {
        match self {
            Self::Occupied => Kind::Occupied,
            Self::Vacated => Kind::Vacated,
            Self::MemberAdded { .. } => Kind::MemberAdded,
            Self::MemberRemoved { .. } => Kind::MemberRemoved,
            Self::ClientEvent(_) => Kind::ClientEvent,
            Self::CacheMiss => Kind::CacheMiss,
            Self::SubscriptionCount { .. } => Kind::SubscriptionCount,
        }
    }
}

/// Of which kind something is that happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Occupied,
    Vacated,
    MemberAdded,
    MemberRemoved,
    ClientEvent,
    CacheMiss,
    SubscriptionCount,
}

impl Kind {
    pub const ALL: [Self; 7] = [
        Self::Occupied,
        Self::Vacated,
        Self::MemberAdded,
        Self::MemberRemoved,
        Self::ClientEvent,
        Self::CacheMiss,
        Self::SubscriptionCount,
    ];

    /// How configuration and webhooks call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Occupied => "channel_occupied",
            Self::Vacated => "channel_vacated",
            Self::MemberAdded => "member_added",
            Self::MemberRemoved => "member_removed",
            Self::ClientEvent => "client_event",
            Self::CacheMiss => "cache_miss",
            Self::SubscriptionCount => "subscription_count",
        }
    }

    /// The kind of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// A set of kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Kinds(u8);

impl Kinds {
    pub fn insert(&mut self, kind: Kind) {
        self.0 |= 1 << kind as u8;
    }

    pub fn contains(self, kind: Kind) -> bool {
        self.0 & 1 << kind as u8 != 0
    }

    /// All that are in one of both.
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_have_names_and_are_told_apart() {
        for kind in Kind::ALL {
            assert_eq!(Kind::named(kind.name()), Some(kind));
            let mut kinds = Kinds::default();
            assert!(kinds.is_empty());
            kinds.insert(kind);
            for other in Kind::ALL {
                assert_eq!(kinds.contains(other), other == kind, "{kind:?} {other:?}");
            }
            assert_eq!(Kinds::default().union(kinds), kinds);
        }
        assert_eq!(Kind::named("channel_existence"), None);
    }
}

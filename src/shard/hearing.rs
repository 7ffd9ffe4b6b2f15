//! What of its channel a subscriber is sent, and its seat among those who are sent the same.
//!
//! Invariants:
//! - A subscriber has exactly one seat: among the many, apart, or in the group of its [`Hearing`].
//! - Who hears everything as it was published costs the channel nothing but its place among the many.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use super::channels::{Channel, Few};
use super::handles::Handles;
use super::letter::Admission;
use crate::core::event::Recovery;
use crate::core::filter::Filter;
use crate::core::publication::Publication;

/// What of a channel a subscriber is sent.
#[derive(Debug, Clone, Default)]
pub enum Hearing {
    #[default]
    Everything,
    /// Publications that the filter lets through.
    Part(Arc<Filter>),
    /// Everything, as the difference to what came before where that is shorter.
    Deltas,
}

/// The subscribers who want the same part of a channel.
#[derive(Debug)]
pub struct Part {
    pub filter: Arc<Filter>,
    /// Tells most filters apart at a glance.
    hash: u64,
    pub subscribers: Handles,
}

impl Hearing {
    pub fn is_everything(&self) -> bool {
        matches!(self, Self::Everything)
    }

    pub fn includes(&self, publication: &Publication) -> bool {
        match self {
            Self::Everything | Self::Deltas => true,
            Self::Part(filter) => filter.lets_through(publication),
        }
    }

    /// Leaves of what was missed what the subscriber would have been sent.
    ///
    /// Clients count on from where they asked as they replay what they missed. Who is given nothing of it counts
    /// on from where the subscription begins: otherwise a part in which nothing happens would fall ever further
    /// behind, until the history no longer reaches back to it.
    pub fn narrow(&self, admission: &mut Admission) {
        let before = admission.missed.len();
        admission.missed.retain(|numbered| self.includes(&numbered.publication));
        if let Recovery::Recovered { since_offset } = &mut admission.recovery
            && admission.missed.is_empty()
            && before > 0
        {
            *since_offset = admission.position.offset;
        }
    }
}

impl Channel {
    /// Whether it has local subscribers.
    pub fn is_heard(&self) -> bool {
        !self.subscribers.is_empty() || self.few.as_ref().is_some_and(|few| few.has_seats())
    }

    /// Local subscribers. O(groups).
    pub fn subscribers_count(&self) -> usize {
        let few = self.few.as_ref().map_or(0, |few| few.seats().map(<[u32]>::len).sum());
        self.subscribers.as_slice().len() + few
    }

    /// Slots of all local subscribers.
    pub fn all_subscribers(&self) -> Vec<u32> {
        let mut all = self.subscribers.as_slice().to_vec();
        all.extend(self.few.iter().flat_map(|few| few.seats().flatten()));
        all
    }

    /// Gives a subscriber who sat apart the seat of what it hears. O(groups).
    ///
    /// `sent`: the last of what it was sent with the answer to its subscribe.
    pub fn settle(&mut self, slot: u32, hearing: &Hearing, sent: Option<&Arc<Publication>>) {
        let Some(few) = self.few.as_mut().filter(|few| few.apart.contains(slot)) else { return };
        few.apart.remove(slot);
        match hearing {
            Hearing::Everything => self.subscribers.insert(slot),
            Hearing::Part(filter) => few.part(filter).subscribers.insert(slot),
            Hearing::Deltas => few.deltas.get_or_insert_default().insert(slot, sent),
        }
        if few.is_empty() {
            self.few = None;
        }
    }

    /// Takes a subscriber off its seat; `false`: it has none. O(subscribers + groups).
    pub fn unseat(&mut self, slot: u32, hearing: &Hearing) -> bool {
        let mut is_removed = self.subscribers.remove(slot);
        if let Some(few) = &mut self.few {
            few.listeners.remove(slot);
            is_removed = is_removed || few.apart.remove(slot) || few.leave(slot, hearing);
            if few.is_empty() {
                self.few = None;
            }
        }
        is_removed
    }
}

impl Few {
    fn is_empty(&self) -> bool {
        self.listeners.is_empty() && !self.has_seats()
    }

    /// Whether publications are sent to any of them.
    pub fn has_seats(&self) -> bool {
        self.seats().next().is_some()
    }

    /// The slots of each group that has somebody.
    fn seats(&self) -> impl Iterator<Item = &[u32]> {
        let parts = self.parts.iter().map(|part| &part.subscribers);
        let deltas = self.deltas.iter().flat_map(|deltas| [&deltas.current, &deltas.fresh]);
        parts.chain(deltas).chain([&self.apart]).map(Handles::as_slice).filter(|slots| !slots.is_empty())
    }

    /// The group of those who want what the filter lets through, which may be new.
    fn part(&mut self, filter: &Arc<Filter>) -> &mut Part {
        let at = self.find_part(filter).unwrap_or_else(|| {
            let filter = Arc::clone(filter);
            self.parts.push(Part { hash: hash(&filter), filter, subscribers: Handles::None });
            self.parts.len() - 1
        });
        &mut self.parts[at]
    }

    fn find_part(&self, filter: &Filter) -> Option<usize> {
        let hash = hash(filter);
        self.parts.iter().position(|part| part.hash == hash && *part.filter == *filter)
    }

    /// Takes a subscriber out of the group of what it hears; `false`: it is not in it.
    fn leave(&mut self, slot: u32, hearing: &Hearing) -> bool {
        match hearing {
            Hearing::Everything => false,
            Hearing::Part(filter) => self.leave_part(slot, filter),
            Hearing::Deltas => self.leave_deltas(slot),
        }
    }

    fn leave_part(&mut self, slot: u32, filter: &Filter) -> bool {
        let Some(at) = self.find_part(filter) else { return false };
        let is_removed = self.parts[at].subscribers.remove(slot);
        if self.parts[at].subscribers.is_empty() {
            self.parts.swap_remove(at);
        }
        is_removed
    }

    fn leave_deltas(&mut self, slot: u32) -> bool {
        let Some(deltas) = &mut self.deltas else { return false };
        let is_removed = deltas.remove(slot);
        if deltas.is_empty() {
            self.deltas = None;
        }
        is_removed
    }
}

fn hash(filter: &Filter) -> u64 {
    let mut hasher = DefaultHasher::new();
    filter.hash(&mut hasher);
    hasher.finish()
}

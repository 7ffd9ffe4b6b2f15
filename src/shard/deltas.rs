//! Subscribers who are sent the difference to what they were sent before.
//!
//! Invariant: whoever is current was sent `latest` whole or can make it from what was sent before; nobody is sent a
//! difference to anything else.

use std::sync::Arc;

use super::Shard;
use super::fanout::{Frames, Group};
use super::handles::Handles;
use crate::core::event::Body;
use crate::core::fossil;
use crate::core::publication::{Numbered, Publication};

/// Publications missed by one subscriber are told as differences up to so many bytes of data; further ones whole.
const CHAIN_BYTES_MAX: usize = 256 * 1024;

/// The subscribers of one channel at one shard who agreed to differences.
#[derive(Debug, Default)]
pub struct Deltas {
    latest: Option<Arc<Publication>>,
    pub current: Handles,
    /// They were sent something else last, or nothing: the next publication comes whole.
    pub fresh: Handles,
}

impl Deltas {
    pub fn is_empty(&self) -> bool {
        self.current.is_empty() && self.fresh.is_empty()
    }

    /// Adds a subscriber. `sent`: the last of what it was sent with the answer to its subscribe.
    pub fn insert(&mut self, slot: u32, sent: Option<&Arc<Publication>>) {
        if self.current.is_empty() && sent.is_some() {
            self.latest = sent.cloned();
        }
        let is_current = match (&self.latest, sent) {
            (Some(latest), Some(sent)) => latest.data == sent.data,
            _ => false,
        };
        if is_current { self.current.insert(slot) } else { self.fresh.insert(slot) }
    }

    pub fn remove(&mut self, slot: u32) -> bool {
        self.current.remove(slot) || self.fresh.remove(slot)
    }

    /// What leads the current to the publication; `None`: it is sent whole.
    fn difference(&self, publication: &Publication) -> Option<Box<[u8]>> {
        let latest = self.latest.as_ref().filter(|_| !self.current.is_empty())?;
        fossil::between(&latest.data, &publication.data)
    }

    /// Everybody was sent the publication, but for `excluded`.
    fn advance(&mut self, publication: &Arc<Publication>, excluded: Option<u32>) {
        self.latest = Some(Arc::clone(publication));
        let fresh = std::mem::take(&mut self.fresh);
        if self.current.is_empty() {
            self.current = fresh;
        } else {
            fresh.as_slice().iter().for_each(|slot| self.current.insert(*slot));
        }
        if let Some(slot) = excluded.filter(|slot| self.current.remove(*slot)) {
            self.fresh.insert(slot);
        }
    }
}

/// For each publication, oldest first, what leads to it from the one before; `None`: it is told whole, as is the
/// first.
pub fn chain(publications: &[Numbered]) -> Vec<Option<Box<[u8]>>> {
    let mut bytes = 0;
    let mut chain = Vec::with_capacity(publications.len());
    for (place, Numbered { publication, .. }) in publications.iter().enumerate() {
        bytes += publication.data.len();
        let base = place.checked_sub(1).and_then(|before| publications.get(before));
        let base = base.filter(|_| bytes <= CHAIN_BYTES_MAX);
        chain.push(base.and_then(|base| fossil::between(&base.publication.data, &publication.data)));
    }
    chain
}

impl Shard {
    /// To those who agreed to differences. The difference is made once, whoever gets it.
    pub(super) fn fan_out_to_deltas(&mut self, handle: u32, numbered: &Numbered) {
        let channel = self.channels.get(handle);
        let Some(deltas) = channel.few.as_ref().and_then(|few| few.deltas.as_ref()) else { return };
        let publication = &numbered.publication;
        let app = &self.config.apps[usize::from(channel.key.app.0)];
        let is_wanted = publication.delta
            || app.namespace(&channel.key.name).is_some_and(|namespace| namespace.delta_publish);
        let difference = if is_wanted { deltas.difference(publication) } else { None };
        let mut whole = Frames::default();
        match difference {
            None => self.fan_out_to(handle, Group::Current, numbered, Body::Base, &mut whole),
            Some(delta) => {
                let body = Body::Delta(&delta);
                self.fan_out_to(handle, Group::Current, numbered, body, &mut Frames::default());
            }
        }
        self.fan_out_to(handle, Group::Fresh, numbered, Body::Base, &mut whole);
        let excluded = self.excluded_here(numbered).map(|slot| slot.0);
        let few = self.channels.get_mut(handle).few.as_mut();
        if let Some(deltas) = few.and_then(|few| few.deltas.as_mut()) {
            deltas.advance(publication, excluded);
        }
    }
}

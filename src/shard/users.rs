//! Which connections belong to a user: a list threaded through the connections themselves.

use hashbrown::HashTable;

use super::channels::Placement;
use super::connection::{Connections, NONE};
use crate::core::ids::{AppIndex, Slot};

/// First connections of all known users. Anonymous clients are not listed.
#[derive(Debug)]
pub struct Users {
    /// Keyed by the same hash that places channels.
    placement: Placement,
    heads: HashTable<u32>,
}

impl Users {
    pub fn new(placement: Placement) -> Self {
        Self { placement, heads: HashTable::new() }
    }

    /// Lists a connection under its user. `true`: it is the first.
    pub fn insert(&mut self, connections: &mut Connections, slot: Slot) -> bool {
        let (app, hash) = self.hash_of(connections, slot);
        let user = &connections.cold(slot).user;
        if user.is_empty() {
            return false;
        }
        let found = self.heads.find_mut(hash, |head| is_of(connections, *head, app, user));
        if let Some(head) = found {
            let next = std::mem::replace(head, slot.0);
            connections.cold_mut(Slot(next)).user_previous = slot.0;
            connections.cold_mut(slot).user_next = next;
            false
        } else {
            let placement = self.placement;
            self.heads.insert_unique(hash, slot.0, |head| {
                let cold = connections.cold(Slot(*head));
                placement.hash(AppIndex(cold.app), &cold.user)
            });
            true
        }
    }

    /// Takes a connection off its user's list. `true`: it was the last.
    pub fn remove(&mut self, connections: &mut Connections, slot: Slot) -> bool {
        let cold = connections.cold(slot);
        if cold.user.is_empty() {
            return false;
        }
        let (previous, next) = (cold.user_previous, cold.user_next);
        let (_, hash) = self.hash_of(connections, slot);
        if next != NONE {
            connections.cold_mut(Slot(next)).user_previous = previous;
        }
        if previous != NONE {
            connections.cold_mut(Slot(previous)).user_next = next;
        } else {
            let entry = self.heads.find_entry(hash, |head| *head == slot.0);
            let mut entry = entry.expect("a listed connection without a predecessor is a head");
            if next == NONE {
                entry.remove();
            } else {
                *entry.get_mut() = next;
            }
        }
        let cold = connections.cold_mut(slot);
        (cold.user_previous, cold.user_next) = (NONE, NONE);
        previous == NONE && next == NONE
    }

    /// The user's connections, latest first.
    pub fn connections_of(&self, connections: &Connections, app: AppIndex, user: &str) -> Vec<Slot> {
        let hash = self.placement.hash(app, user);
        let mut at = self.heads.find(hash, |head| is_of(connections, *head, app, user)).copied();
        let mut slots = Vec::new();
        while let Some(slot) = at {
            slots.push(Slot(slot));
            at = Some(connections.cold(Slot(slot)).user_next).filter(|next| *next != NONE);
        }
        slots
    }

    pub fn contains(&self, connections: &Connections, app: AppIndex, user: &str) -> bool {
        self.heads.find(self.placement.hash(app, user), |head| is_of(connections, *head, app, user)).is_some()
    }

    /// First connections of the users of one app, one per user.
    pub fn heads(&self, connections: &Connections, app: AppIndex) -> Vec<Slot> {
        let mut heads: Vec<Slot> =
            self.heads.iter().map(|head| Slot(*head)).filter(|slot| connections.app(*slot) == app).collect();
        heads.sort_unstable();
        heads
    }

    pub fn is_empty(&self) -> bool {
        self.heads.is_empty()
    }

    fn hash_of(&self, connections: &Connections, slot: Slot) -> (AppIndex, u64) {
        let cold = connections.cold(slot);
        let app = AppIndex(cold.app);
        (app, self.placement.hash(app, &cold.user))
    }
}

fn is_of(connections: &Connections, head: u32, app: AppIndex, user: &str) -> bool {
    let cold = connections.cold(Slot(head));
    cold.app == app.0 && *cold.user == *user
}

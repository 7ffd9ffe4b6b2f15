//! One connection per user, where that is wanted: a new one ends the one before.
//!
//! Connections of a user come at several shards, perhaps at once. The shard that the user belongs to, as a channel
//! belongs to its owner, puts them into an order and knows the last of them: so of two that come together exactly one
//! stays.

use std::collections::HashMap;

use super::Shard;
use super::letter::Letter;
use crate::core::disconnect::Disconnect;
use crate::core::ids::{AppIndex, ClientId, ConnectionId, ShardId, Slot};

/// The one client of each user that belongs to this shard.
pub type Holders = HashMap<(AppIndex, Box<str>), ClientId>;

impl Shard {
    /// A client came: it is to be the only one of its user, if that is wanted.
    pub(super) fn claim_user(&mut self, slot: Slot) {
        let Some((owner, app, user)) = self.single_user(slot) else { return };
        let client = self.client_id(slot);
        if owner == self.id {
            self.user_claimed(app, user, client);
        } else {
            self.send(owner, Letter::Claim { app, user, client });
        }
    }

    /// A client goes.
    pub(super) fn release_user(&mut self, slot: Slot) {
        let Some((owner, app, user)) = self.single_user(slot) else { return };
        let client = self.client_id(slot);
        if owner == self.id {
            self.user_released(app, user, client);
        } else {
            self.send(owner, Letter::Release { app, user, client });
        }
    }

    /// The client's user and the shard that it belongs to; `None`: it may have many connections.
    fn single_user(&self, slot: Slot) -> Option<(ShardId, AppIndex, Box<str>)> {
        let user = &self.connections.cold(slot).user;
        if user.is_empty() || !self.rules(slot)?.single_connection {
            return None;
        }
        let (app, placement) = (self.connections.app(slot), self.channels.placement());
        Some((placement.owner(placement.hash(app, user)), app, user.clone()))
    }

    pub(super) fn user_claimed(&mut self, app: AppIndex, user: Box<str>, client: ClientId) {
        let before = self.holders.insert((app, user), client);
        let Some(address) = before.and_then(|before| self.seal.open(before)) else { return };
        if address.shard == self.id {
            self.displaced(address.connection);
        } else {
            self.send(address.shard, Letter::Displaced { connection: address.connection });
        }
    }

    /// Another connection may have come meanwhile; then there is nothing to release.
    pub(super) fn user_released(&mut self, app: AppIndex, user: Box<str>, client: ClientId) {
        let key = (app, user);
        if self.holders.get(&key) == Some(&client) {
            self.holders.remove(&key);
        }
    }

    /// Another connection of its user came.
    pub(super) fn displaced(&mut self, connection: ConnectionId) {
        if self.connections.is_open(connection) {
            self.disconnect(connection.slot, Disconnect::ConnectionLimit);
        }
    }
}

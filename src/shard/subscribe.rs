//! Subscriptions of this shard's clients: from the wish to the first publication, and back.

use super::Shard;
use super::connection::Phase;
use super::letter::{Letter, OperationId};
use crate::core::disconnect::Disconnect;
use crate::core::error::ClientError;
use crate::core::event::{DropCause, Event, Subscription};
use crate::core::ids::{ConnectionId, Slot};
use crate::core::publication::Position;

/// A client waiting for its subscription to go live.
#[derive(Debug)]
pub struct Joining {
    pub connection: ConnectionId,
    pub tag: u32,
    pub channel: u32,
}

impl Shard {
    /// Begins a subscription whose permission was checked. It is answered at once where the channel is already
    /// heard here, else when the owner's answer arrives; until then the connection's later commands wait.
    pub(super) fn begin_subscription(&mut self, slot: Slot, tag: u32, name: &str) {
        let app = self.connections.app(slot);
        let placement = self.channels.placement();
        let owner = placement.owner(placement.hash(app, name));
        let handle = self.channels.find_or_insert(app, name);
        let channel = self.channels.get_mut(handle);
        if channel.is_live {
            self.go_live_for(slot, tag, handle);
            return;
        }
        channel.joining += 1;
        let key = channel.key.clone();
        let connection = self.connections.id(slot);
        let operation = self.begin(super::Operation::Subscribe(Joining { connection, tag, channel: handle }));
        self.waiting(slot).barrier = true;
        if owner == self.id {
            self.owner_join(owner, operation, &key);
        } else {
            self.send(owner, Letter::Join { operation, channel: key });
        }
    }

    /// The owner's answer: the lane that brought it brings every later publication.
    pub(super) fn joined(&mut self, operation: OperationId, result: Result<Option<Position>, ClientError>) {
        let Some(super::Operation::Subscribe(joining)) = self.operations.end(operation) else { return };
        let Joining { connection, tag, channel: handle } = joining;
        let is_owner = self.owns(handle);
        let channel = self.channels.get_mut(handle);
        channel.joining -= 1;
        if !is_owner && result.is_ok() {
            channel.is_live = true;
        }
        let slot = connection.slot;
        if !self.connections.is_open(connection) {
            self.release_if_unheard(handle);
            return;
        }
        self.waiting(slot).barrier = false;
        match result {
            Ok(_) => self.go_live_for(slot, tag, handle),
            Err(error) => {
                let name = self.channels.get(handle).key.name.clone();
                self.refuse(slot, tag, Some(&name), error);
                self.release_if_unheard(handle);
            }
        }
        self.note_blocked(slot);
    }

    /// Adds the subscriber and tells it: nothing of the channel can come before this reply.
    fn go_live_for(&mut self, slot: Slot, tag: u32, handle: u32) {
        let channel = self.channels.get_mut(handle);
        channel.subscribers.insert(slot.0);
        let is_first = channel.subscribers.as_slice().len() == 1;
        let name = channel.key.name.clone();
        self.counters.subscriptions += 1;
        self.connections.cold_mut(slot).subscriptions.insert(handle);
        self.channels.note_count(handle);
        if is_first {
            self.report_counts();
        }
        self.reply(slot, &Event::Subscribed { tag, channel: &name, subscription: Subscription::default() });
    }

    /// Ends one subscription; nothing of the channel reaches the client afterwards. `false`: there was none.
    pub(super) fn end_subscription(&mut self, slot: Slot, handle: u32) -> bool {
        if !self.connections.cold_mut(slot).subscriptions.remove(handle) {
            return false;
        }
        let removed = self.channels.get_mut(handle).subscribers.remove(slot.0);
        assert!(removed, "a client's subscription and its channel's subscriber come and go together");
        self.counters.subscriptions -= 1;
        self.channels.note_count(handle);
        self.release_if_unheard(handle);
        true
    }

    /// Ends all subscriptions of a connection.
    pub(super) fn end_all_subscriptions(&mut self, slot: Slot) {
        while let Some(handle) = self.connections.cold(slot).subscriptions.as_slice().last().copied() {
            self.end_subscription(slot, handle);
        }
    }

    /// Lets go of a channel that nobody here hears or is about to hear.
    fn release_if_unheard(&mut self, handle: u32) {
        if self.owns(handle) {
            self.forget_if_unused(handle);
            return;
        }
        let channel = self.channels.get(handle);
        if channel.joining > 0 || !channel.subscribers.is_empty() {
            return;
        }
        let was_live = channel.is_live;
        let placement = self.channels.placement();
        let owner = placement.owner(placement.hash(channel.key.app, &channel.key.name));
        self.close_channel_log(handle);
        let channel = self.channels.remove(handle);
        if was_live {
            self.send(owner, Letter::Leave { channel: channel.key });
        }
    }

    /// Publications of the channel are missing for good: its subscribers must begin again.
    pub(super) fn drop_subscribers(&mut self, handle: u32) {
        let name = self.channels.get(handle).key.name.clone();
        let subscribers = self.channels.get(handle).subscribers.as_slice().to_vec();
        // Held by a join of its own, so that the handle lives through the loop.
        self.channels.get_mut(handle).joining += 1;
        for slot in subscribers.into_iter().map(Slot) {
            if self.connections.hot(slot).phase != Phase::Open {
                continue;
            }
            self.end_subscription(slot, handle);
            if !self.tell(slot, &Event::Dropped { channel: &name, cause: DropCause::InsufficientState }) {
                self.disconnect(slot, Disconnect::InsufficientState);
            }
        }
        self.channels.get_mut(handle).joining -= 1;
        self.release_if_unheard(handle);
    }

    /// Tells the owners what changed since they were last told.
    pub(super) fn report_counts(&mut self) {
        let mut changed = std::mem::take(&mut self.channels.counts_changed);
        for handle in changed.drain(..) {
            let Some(channel) = self.channels.try_get_mut(handle) else { continue };
            if !std::mem::take(&mut channel.count_changed) {
                continue;
            }
            let subscribers = u32::try_from(channel.subscribers.as_slice().len()).unwrap_or(u32::MAX);
            let key = channel.key.clone();
            let placement = self.channels.placement();
            let owner = placement.owner(placement.hash(key.app, &key.name));
            if owner != self.id && subscribers > 0 {
                self.send(owner, Letter::Count { channel: key, subscribers });
            }
        }
        self.channels.counts_changed = changed;
    }

    /// Whether this shard owns the channel.
    pub(super) fn owns(&self, handle: u32) -> bool {
        let key = &self.channels.get(handle).key;
        let placement = self.channels.placement();
        placement.shards == 1 || placement.owner(placement.hash(key.app, &key.name)) == self.id
    }
}

//! Telling the subscribers of a channel how many they are, in the apps that want it.

use std::sync::Arc;

use super::Shard;
use super::letter::Letter;
use crate::core::channel::{Access, access, is_presence};
use crate::core::event::Event;

/// From so many subscribers on they are not told of every change.
const CROWD_MIN: u32 = 100;

/// How often a crowd is told.
const CROWD_INTERVAL_MS: u64 = 5_000;

impl Shard {
    /// At the owner: the number of subscribers may be another than before. Presence channels tell who comes instead, and
    /// how often a user is connected is no news for its clients, who have not even asked for their user's channel.
    pub(super) fn count_changed(&mut self, handle: u32) {
        let key = &self.channels.get(handle).key;
        let is_counted = !is_presence(&key.name) && !matches!(access(&key.name), Access::ServerToUser(_));
        if !self.apps[usize::from(key.app.0)].counts_subscribers || !is_counted {
            return;
        }
        let key = key.clone();
        let subscribers = self.subscribers_count(handle);
        let now_ms = self.now.monotonic_ms;
        let owner = self.channels.get_mut(handle).owner.get_or_insert_default();
        if subscribers >= CROWD_MIN && now_ms < owner.counted_ms + CROWD_INTERVAL_MS {
            if !self.uncounted.contains(&key) {
                self.uncounted.push(key);
            }
            return;
        }
        owner.counted_ms = now_ms;
        let targets: Vec<_> = owner.remote.iter().map(|(shard, _)| *shard).collect();
        for target in targets {
            self.send(target, Letter::Counted { channel: key.clone(), subscribers });
        }
        self.tell_count(handle, subscribers);
    }

    /// Tells crowds whose time has come.
    pub(super) fn tell_late_counts(&mut self) {
        let mut uncounted = std::mem::take(&mut self.uncounted);
        uncounted.retain(|key| {
            let Some(handle) = self.channels.find(key.app, &key.name) else { return false };
            let counted_ms = self.channels.get(handle).owner.as_ref().map_or(0, |owner| owner.counted_ms);
            if self.now.monotonic_ms < counted_ms + CROWD_INTERVAL_MS {
                return true;
            }
            self.count_changed(handle);
            false
        });
        uncounted.append(&mut self.uncounted);
        self.uncounted = uncounted;
    }

    /// Tells the subscribers here.
    pub(super) fn tell_count(&mut self, handle: u32, subscribers: u32) {
        let channel = self.channels.get(handle);
        let (slots, name) = (channel.all_subscribers(), Arc::clone(&channel.key.name));
        let event = Event::SubscribersCount { channel: &name, count: subscribers };
        // Held open by a join of its own: what they are told may be what makes them too slow.
        self.channels.get_mut(handle).joining += 1;
        self.tell_each(&slots, &[event]);
        self.channels.get_mut(handle).joining -= 1;
        self.release_if_unheard(handle);
    }
}

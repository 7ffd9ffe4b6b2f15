//! Who is in a channel: told to its owner, kept by the engine, and told to those who want to hear of others.
//!
//! Invariants:
//! - Every entry is followed by exactly one exit, in the same lane and before the shard leaves the channel; between them
//!   it may be repeated with other information.
//! - Joins and leaves keep the owner's one order; a join comes after the answer to the subscribe that it is about.

use std::sync::Arc;

use super::Shard;
use super::connection::Phase;
use super::input::Effect;
use super::letter::{Letter, Passage};
use super::outbox::Range;
use super::special::Special;
use crate::core::event::Event;
use crate::core::ids::Slot;
use crate::engine::{Ask, ChannelKey};
use crate::protocol::Variant;
use crate::wire::websocket::frame_header;

/// Seconds after which an engine outside of the process forgets an entry that is not repeated.
const TTL_S: u32 = 60;

impl Shard {
    /// A subscription went live.
    pub(super) fn enter_channel(&mut self, slot: Slot, handle: u32, special: &Special) {
        self.pass(slot, handle, special.clone(), true);
    }

    /// A subscription ended.
    pub(super) fn exit_channel(&mut self, slot: Slot, handle: u32, special: Special) {
        self.pass(slot, handle, special, false);
    }

    /// A client is there with other information than before: in one channel, or in all of its channels. That is no join,
    /// so nobody is told.
    pub(super) fn show_anew(&mut self, slot: Slot, channel: Option<u32>) {
        let specials = self.connections.cold(slot).specials.iter().flat_map(|specials| specials.iter());
        let shown = specials
            .filter(|special| special.is_shown && channel.is_none_or(|handle| special.channel == handle));
        for special in shown.cloned().collect::<Vec<_>>() {
            self.pass(slot, special.channel, Special { is_announced: false, ..special }, true);
        }
    }

    fn pass(&mut self, slot: Slot, handle: u32, special: Special, enters: bool) {
        let Special { info, is_shown, is_announced, .. } = special;
        let info = Arc::new(self.client_info(slot, info));
        let passage = Passage { info, enters, is_shown, is_announced };
        let key = self.channels.get(handle).key.clone();
        let placement = self.channels.placement();
        let owner = placement.owner(placement.hash(key.app, &key.name));
        if owner == self.id {
            self.owner_passage(&key, passage);
        } else {
            self.send(owner, Letter::Passage { channel: key, passage });
        }
    }

    /// At the owner: a client came or went. O(1), but for telling those who want to hear of it.
    pub(super) fn owner_passage(&mut self, key: &ChannelKey, passage: Passage) {
        if passage.is_shown {
            let channel = key.clone();
            self.effects.push(Effect::Ask(if passage.enters {
                Ask::Enter { channel, info: Arc::clone(&passage.info), ttl_s: TTL_S }
            } else {
                Ask::Exit { channel, client: passage.info.client }
            }));
        }
        if !passage.is_announced {
            return;
        }
        // Whoever hears the channel may have been its last subscriber, or the channel may have broken.
        let Some(handle) = self.channels.find(key.app, &key.name) else { return };
        let owner = self.channels.get(handle).owner.as_ref();
        let targets: Vec<_> =
            owner.iter().flat_map(|owner| owner.remote.iter().map(|(shard, _)| *shard)).collect();
        for target in targets {
            self.send(target, Letter::Passed { channel: key.clone(), passage: passage.clone() });
        }
        self.tell_passage(handle, &passage);
    }

    /// Tells the clients here that want to hear of others. Encoded once per variant.
    pub(super) fn tell_passage(&mut self, handle: u32, passage: &Passage) {
        let channel = self.channels.get(handle);
        let Some(few) = &channel.few else { return };
        let (listeners, name) = (few.listeners.as_slice().to_vec(), Arc::clone(&channel.key.name));
        let event = if passage.enters {
            Event::Join { channel: &name, info: &passage.info }
        } else {
            Event::Leave { channel: &name, info: &passage.info }
        };
        let mut frames: [Option<Range>; Variant::COUNT] = [None; Variant::COUNT];
        for slot in listeners.into_iter().map(Slot) {
            // One before it may have been too slow, and its end may have been that of others.
            if self.connections.hot(slot).phase != Phase::Open {
                continue;
            }
            let variant = Variant::ALL[usize::from(self.connections.hot(slot).variant)];
            let frame = frames[variant.index()].unwrap_or_else(|| {
                self.scratch.clear();
                variant.encode_push(&event, &mut self.scratch);
                let (header, length) = frame_header(variant.is_text(), self.scratch.len());
                let log = &mut self.shared_logs[variant.index()];
                self.chunks.append(log, &header[..length], &self.scratch)
            });
            frames[variant.index()] = Some(frame);
            if self.awaits_greeting(slot) {
                // Not shared: it comes after the answer to connect.
                self.tell(slot, &event);
            } else {
                self.push_range(slot, frame);
            }
        }
    }
}

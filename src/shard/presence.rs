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
use crate::core::channel::is_presence;
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
        self.pass(slot, handle, special, true);
    }

    /// A subscription ended.
    pub(super) fn exit_channel(&mut self, slot: Slot, handle: u32, special: &Special) {
        self.pass(slot, handle, special, false);
    }

    /// A client is there with other information than before: in one channel, or in all of its channels. That is no join,
    /// so nobody is told.
    pub(super) fn show_anew(&mut self, slot: Slot, channel: Option<u32>) {
        let specials = self.connections.cold(slot).specials.iter().flat_map(|specials| specials.iter());
        let shown = specials
            .filter(|special| special.is_shown && channel.is_none_or(|handle| special.channel == handle));
        for special in shown.cloned().collect::<Vec<_>>() {
            self.pass(slot, special.channel, &Special { is_announced: false, ..special }, true);
        }
    }

    /// What the owner is told of a client that comes or goes.
    pub(super) fn passage(&self, slot: Slot, special: &Special, enters: bool) -> Passage {
        Passage {
            info: Arc::new(self.client_info(slot, Some(special))),
            enters,
            is_shown: special.is_shown,
            is_announced: special.is_announced,
            is_users: false,
        }
    }

    fn pass(&mut self, slot: Slot, handle: u32, special: &Special, enters: bool) {
        let passage = self.passage(slot, special, enters);
        self.send_passage(handle, passage);
    }

    /// Tells the owner that a client came or went.
    pub(super) fn send_passage(&mut self, handle: u32, passage: Passage) {
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
    pub(super) fn owner_passage(&mut self, key: &ChannelKey, mut passage: Passage) {
        if passage.is_shown {
            let channel = key.clone();
            self.effects.push(Effect::Ask(if passage.enters {
                Ask::Enter { channel, info: Arc::clone(&passage.info), ttl_s: TTL_S }
            } else {
                Ask::Exit { channel, client: passage.info.client }
            }));
        }
        passage.is_users = self.attend(key, &passage);
        if !passage.is_announced && !passage.is_users {
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

    /// Counts a client among those of its user. `true`: it is the first, or was the last.
    fn attend(&mut self, key: &ChannelKey, passage: &Passage) -> bool {
        let is_listed = passage.is_shown && is_presence(&key.name);
        if !is_listed || !self.apps[usize::from(key.app.0)].lists_users {
            return false;
        }
        let Some(handle) = self.channels.find(key.app, &key.name) else { return false };
        let owner = &mut self.channels.get_mut(handle).owner;
        if passage.enters {
            return owner.get_or_insert_default().attendance.get_or_insert_default().enter(&passage.info);
        }
        let Some(owner) = owner else { return false };
        let Some(attendance) = &mut owner.attendance else { return false };
        let is_last = attendance.leave(passage.info.client);
        if attendance.is_empty() {
            owner.attendance = None;
        }
        is_last
    }

    /// Tells the clients here that want to hear of others: of clients or of users, as their dialects have it.
    pub(super) fn tell_passage(&mut self, handle: u32, passage: &Passage) {
        let channel = self.channels.get(handle);
        let Some(few) = &channel.few else { return };
        let (listeners, name) = (few.listeners.as_slice().to_vec(), Arc::clone(&channel.key.name));
        let (channel, info) = (&*name, &*passage.info);
        let [of_client, of_user] = if passage.enters {
            [Event::Join { channel, info }, Event::UserJoined { channel, info }]
        } else {
            [Event::Leave { channel, info }, Event::UserLeft { channel, info }]
        };
        match (passage.is_announced, passage.is_users) {
            (true, true) => self.tell_each(&listeners, &[of_client, of_user]),
            (true, false) => self.tell_each(&listeners, &[of_client]),
            (false, true) => self.tell_each(&listeners, &[of_user]),
            (false, false) => {}
        }
    }

    /// Tells several clients the same, each the first of the events that its dialect has words for. Encoded once per
    /// variant.
    pub(super) fn tell_each(&mut self, slots: &[u32], events: &[Event<'_>]) {
        // `Some(None)`: the variant has no words for any of them.
        let mut frames: [Option<Option<Range>>; Variant::COUNT] = [None; Variant::COUNT];
        for slot in slots.iter().copied().map(Slot) {
            // One before it may have been too slow, and its end may have been that of others.
            if self.connections.hot(slot).phase != Phase::Open {
                continue;
            }
            let variant = Variant::ALL[usize::from(self.connections.hot(slot).variant)];
            let frame = frames[variant.index()].unwrap_or_else(|| {
                self.scratch.clear();
                for event in events {
                    if self.scratch.is_empty() {
                        variant.encode_push(event, &mut self.scratch);
                    }
                }
                (!self.scratch.is_empty()).then(|| {
                    let (header, length) = frame_header(variant.is_text(), self.scratch.len());
                    let log = &mut self.shared_logs[variant.index()];
                    self.chunks.append(log, &header[..length], &self.scratch)
                })
            });
            frames[variant.index()] = Some(frame);
            let Some(frame) = frame else { continue };
            if self.awaits_greeting(slot) {
                // Not shared: it comes after the answer to connect.
                let mut events = events.iter();
                while let Some(event) = events.next()
                    && !self.tell(slot, event)
                {}
            } else {
                self.push_range(slot, frame);
            }
        }
        // Not before everybody was told: the end of one who is too slow is told to others, and must come after this.
        self.judge_slow_consumers();
    }
}

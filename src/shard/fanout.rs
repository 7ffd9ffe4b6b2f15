//! One publication to all local subscribers of its channel.
//!
//! It is encoded once per variant, as a whole frame, into bytes that all its receivers share; a subscriber's own
//! share of the work is one range in its queue.

use std::sync::Arc;

use super::Shard;
use super::channels::ChannelLog;
use super::connection::{NONE, Phase};
use super::outbox::Range;
use crate::core::event::{Body, Event};
use crate::core::ids::Slot;
use crate::core::publication::Numbered;
use crate::protocol::Variant;
use crate::wire::websocket::frame_header;

/// From this many local subscribers on a channel's frames get a log of their own, where they lie behind one
/// another whatever else is published meanwhile. Below, frames share the shard's log and scattered ones are
/// copied, which is cheaper than a chunk per channel.
const OWN_LOG_SUBSCRIBERS_MIN: usize = 16;

/// Channels with a log of their own at once; further ones share the shard's.
const OWN_LOGS_MAX: usize = 256;

impl Shard {
    /// Puts the publication into every subscriber's queue. O(subscribers), no allocation per subscriber.
    pub(super) fn fan_out(&mut self, handle: u32, numbered: &Numbered) {
        let channel = self.channels.get(handle);
        let subscribers_count = channel.subscribers.as_slice().len();
        let has_apart = channel.few.as_ref().is_some_and(|few| !few.apart.is_empty());
        if subscribers_count > 0 {
            self.fan_out_to_many(handle, subscribers_count, numbered);
        }
        // From here on the channel may be gone: its last subscriber may turn out to be too slow.
        if has_apart {
            self.fan_out_apart(handle, numbered);
        }
        if !self.slow.is_empty() {
            self.judge_slow_consumers();
        }
    }

    /// To those who share their frames. Who is too slow is noted, not judged.
    fn fan_out_to_many(&mut self, handle: u32, subscribers_count: usize, numbered: &Numbered) {
        let channel = self.channels.get(handle);
        let queue_bytes_max = self.apps[usize::from(channel.key.app.0)].queue_bytes_max;
        let own_log = self.own_log(handle, subscribers_count);
        let mut frames: [Option<Range>; Variant::COUNT] = [None; Variant::COUNT];
        let excluded = self.excluded_here(numbered);
        let channel = self.channels.get(handle);
        let mut deliveries = 0;
        for slot in channel.subscribers.as_slice() {
            let slot = Slot(*slot);
            if Some(slot) == excluded {
                continue;
            }
            let hot = self.connections.hot_mut(slot);
            let index = usize::from(hot.variant);
            let frame = match frames[index] {
                Some(frame) => frame,
                None => {
                    let variant = Variant::ALL[index];
                    self.scratch.clear();
                    variant.encode_publication(
                        &channel.key.name,
                        &numbered.publication,
                        numbered.offset,
                        Body::Plain,
                        &mut self.scratch,
                    );
                    let (header, length) = frame_header(variant.is_text(), self.scratch.len());
                    let log = match own_log {
                        Some(at) => &mut self.channel_logs[at].logs[index],
                        None => &mut self.shared_logs[index],
                    };
                    *frames[index].insert(self.chunks.append(log, &header[..length], &self.scratch))
                }
            };
            hot.outbox.push(&mut self.chunks, frame);
            deliveries += 1;
            if !hot.dirty {
                hot.dirty = true;
                self.dirty.push_back(slot.0);
            }
            // One publication into an empty queue is never slow.
            if hot.outbox.queued_bytes() > queue_bytes_max[index] && hot.outbox.queued_bytes() > frame.len() {
                self.slow.push(slot);
            }
        }
        self.counters.deliveries += deliveries;
    }

    /// Those who do not get what the many get: each has a message of its own.
    fn fan_out_apart(&mut self, handle: u32, numbered: &Numbered) {
        let excluded = self.excluded_here(numbered);
        let channel = self.channels.get(handle);
        let name = Arc::clone(&channel.key.name);
        let apart = channel.few.as_ref().map_or_else(Vec::new, |few| few.apart.as_slice().to_vec());
        for slot in apart.into_iter().map(Slot).filter(|slot| Some(*slot) != excluded) {
            let event = Event::Publication {
                channel: &name,
                publication: &numbered.publication,
                offset: numbered.offset,
                body: Body::Plain,
            };
            if self.connections.hot(slot).phase == Phase::Open && self.tell(slot, &event) {
                self.counters.deliveries += 1;
            }
        }
    }

    /// Puts bytes that several connections share into one queue.
    pub(super) fn push_range(&mut self, slot: Slot, frame: Range) {
        let queue_bytes_max = self.queue_bytes_max(slot);
        let hot = self.connections.hot_mut(slot);
        hot.outbox.push(&mut self.chunks, frame);
        if !hot.dirty {
            hot.dirty = true;
            self.dirty.push_back(slot.0);
        }
        if hot.outbox.queued_bytes() > queue_bytes_max && hot.outbox.queued_bytes() > frame.len() {
            self.judge_slow_consumer(slot);
        }
    }

    /// The local connection that does not hear the publication.
    fn excluded_here(&self, numbered: &Numbered) -> Option<Slot> {
        let address = numbered.publication.exclude?;
        (address.shard == self.id && self.connections.is_open(address.connection))
            .then_some(address.connection.slot)
    }

    /// Where the channel's own log is, if it has or now gets one.
    fn own_log(&mut self, handle: u32, subscribers_count: usize) -> Option<usize> {
        let log = self.channels.get(handle).log;
        if log != NONE {
            return Some(log as usize);
        }
        if subscribers_count < OWN_LOG_SUBSCRIBERS_MIN || self.channel_logs.len() >= OWN_LOGS_MAX {
            return None;
        }
        let at = self.channel_logs.len();
        self.channel_logs.push(ChannelLog { channel: handle, logs: Default::default() });
        self.channels.get_mut(handle).log = at as u32;
        Some(at)
    }

    /// Gives up the channel's own log, if it has one.
    pub(super) fn close_channel_log(&mut self, handle: u32) {
        let at = self.channels.get(handle).log;
        if at == NONE {
            return;
        }
        let mut closed = self.channel_logs.swap_remove(at as usize);
        for log in &mut closed.logs {
            self.chunks.close(log);
        }
        self.channels.get_mut(handle).log = NONE;
        if let Some(moved) = self.channel_logs.get(at as usize) {
            let moved = moved.channel;
            self.channels.get_mut(moved).log = at;
        }
    }

    /// Gives up the logs whose frames have all been sent: an idle channel keeps no chunk.
    pub(super) fn close_drained_logs(&mut self) {
        let mut at = 0;
        while let Some(entry) = self.channel_logs.get(at) {
            if entry.logs.iter().all(|log| self.chunks.is_drained(*log)) {
                let handle = entry.channel;
                self.close_channel_log(handle);
            } else {
                at += 1;
            }
        }
    }

    /// Appends what is for one connection only. Frames lie apart from what is none, so that a queue of frames can
    /// be told into frames again.
    pub(super) fn append_personal(&mut self, is_frame: bool, header: &[u8], payload: &[u8]) -> Range {
        let log = if is_frame { &mut self.personal_log } else { &mut self.http_log };
        self.chunks.append(log, header, payload)
    }

    /// All logs that belong to the shard itself, given up at its end.
    pub(super) fn close_shared_logs(&mut self) {
        for log in &mut self.shared_logs {
            self.chunks.close(log);
        }
        self.chunks.close(&mut self.personal_log);
        self.chunks.close(&mut self.http_log);
    }
}

//! One publication to all local subscribers of its channel.
//!
//! It is encoded once per variant, as a whole frame, into bytes that all its receivers share; a subscriber's own
//! share of the work is one range in its queue.

use std::sync::Arc;

use super::Shard;
use super::channels::{Channel, ChannelLog};
use super::connection::{Listed, NONE, Phase};
use super::handles::Handles;
use super::hearing::Hearing;
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

/// One publication's frames, by variant; `None`: nobody needed that one yet.
pub(super) type Frames = [Option<Range>; Variant::COUNT];

/// Subscribers of one channel who are sent the same frames.
#[derive(Debug, Clone, Copy)]
pub(super) enum Group {
    Many,
    /// By its place among the channel's parts.
    Part(usize),
    /// Those who agreed to differences and can take one.
    Current,
    /// ... and those who cannot.
    Fresh,
}

impl Group {
    fn of(self, channel: &Channel) -> &[u32] {
        let few = channel.few.as_deref();
        let deltas = few.and_then(|few| few.deltas.as_deref());
        let handles = match self {
            Self::Many => Some(&channel.subscribers),
            Self::Part(at) => few.and_then(|few| few.parts.get(at)).map(|part| &part.subscribers),
            Self::Current => deltas.map(|deltas| &deltas.current),
            Self::Fresh => deltas.map(|deltas| &deltas.fresh),
        };
        handles.map_or(&[], Handles::as_slice)
    }
}

impl Shard {
    /// Puts the publication into every subscriber's queue. O(subscribers), no allocation per subscriber.
    pub(super) fn fan_out(&mut self, handle: u32, numbered: &Numbered) {
        let channel = self.channels.get(handle);
        let subscribers_count = channel.subscribers.as_slice().len();
        let has_seats = channel.few.as_ref().is_some_and(|few| few.has_seats());
        let mut frames = Frames::default();
        if subscribers_count > 0 {
            self.fan_out_to(handle, Group::Many, numbered, Body::Plain, &mut frames);
        }
        if has_seats {
            self.fan_out_to_parts(handle, numbered, &mut frames);
            self.fan_out_to_deltas(handle, numbered);
            // From here on the channel may be gone: its last subscriber may turn out to be too slow.
            self.fan_out_apart(handle, numbered);
        }
        if !self.slow.is_empty() {
            self.judge_slow_consumers();
        }
    }

    /// To those who hear a part that the publication belongs to. Each part is judged once.
    fn fan_out_to_parts(&mut self, handle: u32, numbered: &Numbered, frames: &mut Frames) {
        let part_of = |shard: &Self, at: usize| {
            let part = shard.channels.get(handle).few.as_ref()?.parts.get(at)?;
            Some(part.filter.lets_through(&numbered.publication))
        };
        let mut at = 0;
        while let Some(is_in_part) = part_of(self, at) {
            if is_in_part {
                self.fan_out_to(handle, Group::Part(at), numbered, Body::Plain, frames);
            }
            at += 1;
        }
    }

    /// To those who share their frames. Who is too slow is noted, not judged.
    pub(super) fn fan_out_to(
        &mut self,
        handle: u32,
        group: Group,
        numbered: &Numbered,
        body: Body<'_>,
        frames: &mut Frames,
    ) {
        let channel = self.channels.get(handle);
        let queue_bytes_max = self.apps[usize::from(channel.key.app.0)].queue_bytes_max;
        let own_log = self.own_log(handle, group.of(channel).len());
        let excluded = self.excluded_here(numbered);
        let channel = self.channels.get(handle);
        let mut deliveries = 0;
        for slot in group.of(channel) {
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
                        body,
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
            if hot.listed == Listed::No {
                hot.listed = Listed::Yes;
                self.dirty.push_back(slot.0);
            }
            // One publication into an empty queue is never slow.
            if hot.outbox.queued_bytes() > queue_bytes_max[index] && hot.outbox.queued_bytes() > frame.len() {
                self.slow.push(slot);
            }
        }
        self.counters.deliveries += deliveries;
    }

    /// Those who have not been told yet that they are subscribed: each has a message of its own, which waits.
    fn fan_out_apart(&mut self, handle: u32, numbered: &Numbered) {
        let excluded = self.excluded_here(numbered);
        let channel = self.channels.get(handle);
        let name = Arc::clone(&channel.key.name);
        let apart = channel.few.as_ref().map_or_else(Vec::new, |few| few.apart.as_slice().to_vec());
        for slot in apart.into_iter().map(Slot).filter(|slot| Some(*slot) != excluded) {
            let body = match self.special(slot, handle).map(|special| &special.hearing) {
                Some(hearing) if !hearing.includes(&numbered.publication) => continue,
                Some(Hearing::Deltas) => Body::Base,
                _ => Body::Plain,
            };
            let event = Event::Publication {
                channel: &name,
                publication: &numbered.publication,
                offset: numbered.offset,
                body,
            };
            if self.connections.hot(slot).phase == Phase::Open && self.tell(slot, &event) {
                self.counters.deliveries += 1;
            }
        }
    }

    /// Puts bytes that several connections share into one queue. Who is too slow is noted, not judged.
    pub(super) fn push_range(&mut self, slot: Slot, frame: Range) {
        if self.queue_frame(slot, frame) {
            self.slow.push(slot);
        }
    }

    /// Puts a frame behind what waits for a connection. `true`: more waits than may, and not this frame alone.
    pub(super) fn queue_frame(&mut self, slot: Slot, frame: Range) -> bool {
        let queue_bytes_max = self.queue_bytes_max(slot);
        let hot = self.connections.hot_mut(slot);
        hot.outbox.push(&mut self.chunks, frame);
        if hot.listed == Listed::No {
            hot.listed = Listed::Yes;
            self.dirty.push_back(slot.0);
        }
        let queued = hot.outbox.queued_bytes();
        queued > queue_bytes_max && queued > frame.len()
    }

    /// The local connection that does not hear the publication.
    pub(super) fn excluded_here(&self, numbered: &Numbered) -> Option<Slot> {
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

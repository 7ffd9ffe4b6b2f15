//! A connection whose queue exceeds its bound: what its namespaces' policies leave of the queue, or its end.
//!
//! Invariants: replies and all that is no publication are never left out, nor is anything of a channel whose
//! policy is to disconnect; what is kept stays in order; what the kernel holds is not touched.

use std::collections::HashSet;
use std::sync::Arc;

use super::Shard;
use super::connection::Phase;
use super::hearing::Hearing;
use super::outbox::{FRAME_BYTES_MIN, Range};
use crate::core::disconnect::Disconnect;
use crate::core::ids::Slot;
use crate::core::namespace::SlowConsumer;
use crate::protocol::Variant;
use crate::wire::websocket::leading_frame;

/// What thinning must leave free: this part of the bound. Otherwise nearly every further publication would be the
/// next reason to walk through the whole queue.
const FREE_PART_MIN: u32 = 8;

impl Shard {
    /// Judges the connections that a fan-out found over their bound.
    pub(super) fn judge_slow_consumers(&mut self) {
        let mut slow = std::mem::take(&mut self.slow);
        for slot in slow.drain(..) {
            self.judge_slow_consumer(slot);
        }
        self.slow = slow;
    }

    /// Thins out a queue that is over its bound as far as its channels' policies allow, or ends the connection.
    pub(super) fn judge_slow_consumer(&mut self, slot: Slot) {
        if self.connections.hot(slot).phase == Phase::Open
            && self.burden(slot) > self.queue_bytes_max(slot)
            && !self.thin_out(slot)
        {
            self.counters.slow_consumers += 1;
            self.disconnect(slot, Disconnect::Slow);
        }
    }

    /// `false`: that did not help. O(bytes waiting), allocates while it works.
    fn thin_out(&mut self, slot: Slot) -> bool {
        let bytes_max = self.queue_bytes_max(slot);
        let app = &self.config.apps[usize::from(self.connections.cold(slot).app)];
        let is_lossy = |namespace: &crate::core::namespace::Namespace| {
            namespace.slow_consumer != SlowConsumer::Disconnect
        };
        if self.codec(slot).is_none() || !app.namespaces().iter().any(is_lossy) {
            return false;
        }
        // Whatever its namespace says by now: each of its publications may be what the next one is told from.
        let specials = self.connections.cold(slot).specials.iter().flat_map(|specials| specials.iter());
        let chained = specials.filter(|special| matches!(special.hearing, Hearing::Deltas));
        let chained: Vec<_> =
            chained.map(|special| Arc::clone(&self.channels.get(special.channel).key.name)).collect();
        let hot = self.connections.hot(slot);
        let variant = Variant::ALL[usize::from(hot.variant)];
        let (front_bytes, frames) = hot.outbox.waiting_frames(&self.chunks);
        let mut queue = Thinning::new(front_bytes, frames);
        queue.judge(|frame, seen| {
            let Some((_, Some(payload))) = leading_frame(self.chunks.bytes(frame)) else { return Fate::Kept };
            let Some(channel) = variant.publication_channel(payload) else { return Fate::Kept };
            if chained.iter().any(|name| **name == *channel) {
                return Fate::Kept;
            }
            match app.namespace(&channel).map(|namespace| namespace.slow_consumer) {
                Some(SlowConsumer::DropOldest) => Fate::Spare,
                Some(SlowConsumer::Conflate) if seen.insert(channel.into()) => Fate::Kept,
                Some(SlowConsumer::Conflate) => Fate::Dropped,
                Some(SlowConsumer::Disconnect) | None => Fate::Kept,
            }
        });
        queue.drop_oldest(bytes_max);
        if !queue.is_short_enough(bytes_max) {
            return false;
        }
        self.counters.dropped_publications += queue.dropped;
        self.connections.hot_mut(slot).outbox.keep_waiting(&mut self.chunks, queue.kept());
        true
    }
}

/// What becomes of one frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Kept,
    /// May be dropped if that is needed.
    Spare,
    Dropped,
}

/// The frames of one queue while it is thinned out.
#[derive(Debug)]
struct Thinning {
    /// Oldest first.
    frames: Vec<(Range, Fate)>,
    front_bytes: u32,
    /// Bytes of the queue as charged, without what was dropped.
    queued: u32,
    dropped: u64,
}

/// What a frame counts against the bound.
fn charge(frame: Range) -> u32 {
    frame.len().max(FRAME_BYTES_MIN)
}

impl Thinning {
    fn new(front_bytes: u32, frames: Vec<Range>) -> Self {
        let queued = frames.iter().fold(front_bytes, |sum, frame| sum.saturating_add(charge(*frame)));
        let frames = frames.into_iter().map(|frame| (frame, Fate::Kept)).collect();
        Self { frames, front_bytes, queued, dropped: 0 }
    }

    /// Asks for each frame's fate, newest first, with a set that lives as long.
    fn judge(&mut self, mut fate: impl FnMut(Range, &mut HashSet<Box<str>>) -> Fate) {
        let mut seen = HashSet::new();
        for at in (0..self.frames.len()).rev() {
            match fate(self.frames[at].0, &mut seen) {
                Fate::Dropped => self.drop_frame(at),
                other => self.frames[at].1 = other,
            }
        }
    }

    /// Drops what is spare, oldest first, until the queue is down to half its bound. The newest stays if it can.
    fn drop_oldest(&mut self, bytes_max: u32) {
        let Some(newest) = self.frames.iter().rposition(|(_, fate)| *fate == Fate::Spare) else { return };
        for at in 0..newest {
            if self.queued <= bytes_max / 2 {
                return;
            }
            if self.frames[at].1 == Fate::Spare {
                self.drop_frame(at);
            }
        }
        if !self.is_short_enough(bytes_max) {
            self.drop_frame(newest);
        }
    }

    /// One frame alone is never too much, as when it comes into an empty queue.
    fn is_short_enough(&self, bytes_max: u32) -> bool {
        let kept = self.frames.len() as u64 - self.dropped + u64::from(self.front_bytes > 0);
        kept <= 1 || self.queued <= bytes_max - bytes_max / FREE_PART_MIN
    }

    fn drop_frame(&mut self, at: usize) {
        let (frame, fate) = &mut self.frames[at];
        *fate = Fate::Dropped;
        self.queued = self.queued.saturating_sub(charge(*frame));
        self.dropped += 1;
    }

    fn kept(self) -> impl Iterator<Item = Range> {
        self.frames.into_iter().filter(|(_, fate)| *fate != Fate::Dropped).map(|(frame, _)| frame)
    }
}

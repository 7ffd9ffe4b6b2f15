//! A queue told into its frames, and rebuilt from some of them. Only for a connection that does not keep up: the
//! queue itself remembers no frames, and a delivery costs nothing for this.
//!
//! Frames are found by their headers. Each chunk begins with a whole frame and holds whole frames only, except
//! those of HTTP answers, which begin like no frame of ours and are passed over as they are.

use std::collections::VecDeque;

use super::{Behind, Chunks, FRAME_BYTES_MIN, Log, NONE, OWN_CHUNK_BYTES, Outbox, Range};
use crate::wire::websocket::leading_frame;

impl Chunks {
    /// The first frame boundary at or after `at`; `None`: the chunk holds something else.
    fn boundary(&self, chunk: u32, at: u32) -> Option<u32> {
        let bytes = &self.chunks[chunk as usize].bytes;
        leading_frame(bytes)?;
        let mut boundary = 0;
        while boundary < at as usize {
            boundary += leading_frame(&bytes[boundary..])?.0;
        }
        Some(super::offset(boundary))
    }

    /// Appends the frames of a range, one by one; what cannot be told into frames counts as one.
    fn append_frames(&self, mut range: Range, frames: &mut Vec<Range>) {
        while range.from < range.to {
            let frame = leading_frame(self.bytes(range)).map(|(length, _)| super::offset(length));
            let to = frame.map_or(range.to, |length| range.from + length);
            frames.push(Range { to, ..range });
            range.from = to;
        }
    }

    /// Copies a frame behind what `own` holds and refers to the copy.
    fn copy(&mut self, own: &mut Log, frame: Range, ranges: &mut VecDeque<Range>) {
        let length = frame.len() as usize;
        if self.room(*own) < length {
            self.close(own);
            own.chunk = self.open(length.max(OWN_CHUNK_BYTES[1]));
        }
        let [source, target] = self
            .chunks
            .get_disjoint_mut([frame.chunk as usize, own.chunk as usize])
            .expect("an open chunk is nobody else's");
        let from = target.bytes.len();
        target.bytes.extend_from_slice(&source.bytes[frame.from as usize..frame.to as usize]);
        let copy =
            Range { chunk: own.chunk, from: super::offset(from), to: super::offset(target.bytes.len()) };
        match ranges.back_mut() {
            Some(last) if last.is_followed_by(copy) => last.to = copy.to,
            _ => {
                self.retain(copy.chunk);
                ranges.push_back(copy);
            }
        }
    }
}

impl Outbox {
    /// Bytes at the front that must stay, and the frames of which neither the kernel nor the peer has anything,
    /// oldest first. O(bytes waiting).
    pub fn waiting_frames(&self, chunks: &Chunks) -> (u32, Vec<Range>) {
        let mut frames = Vec::new();
        if self.head.is_none() {
            return (0, frames);
        }
        let front = self.front(chunks);
        chunks.append_frames(Range { from: front.to, ..self.head }, &mut frames);
        let behind = self.rest.iter().flat_map(|behind| &behind.ranges);
        for range in std::iter::once(&self.tail).filter(|tail| !tail.is_none()).chain(behind) {
            chunks.append_frames(*range, &mut frames);
        }
        (front.len(), frames)
    }

    /// Replaces what [`Self::waiting_frames`] said by some of it, in the same order, copied into chunks of the
    /// connection's own: what is shared must not stay pinned by a few frames here and there.
    pub fn keep_waiting(&mut self, chunks: &mut Chunks, frames: impl Iterator<Item = Range>) {
        if self.head.is_none() {
            return;
        }
        let front = self.front(chunks);
        let mut own = Log::default();
        let mut ranges = VecDeque::new();
        let mut queued = front.len();
        for frame in frames {
            queued = queued.saturating_add(frame.len().max(FRAME_BYTES_MIN));
            chunks.copy(&mut own, frame, &mut ranges);
        }
        if !front.is_empty() {
            chunks.retain(front.chunk);
            ranges.push_front(front);
        }
        let flight = std::mem::take(&mut self.flight);
        self.clear(chunks);
        (self.flight, self.queued) = (flight, queued);
        self.head = ranges.pop_front().unwrap_or(Range::EMPTY);
        self.tail = ranges.pop_front().unwrap_or(Range::EMPTY);
        if ranges.is_empty() {
            chunks.close(&mut own);
        } else {
            self.rest = Some(Box::new(Behind { ranges, own }));
        }
    }

    /// The part of the first range that no policy touches: what the kernel holds, or the rest of a frame of which
    /// the peer has the beginning. All of it, if it is no sequence of frames.
    fn front(&self, chunks: &Chunks) -> Range {
        assert!(self.head.chunk != NONE, "an empty queue has no front");
        let to = match self.flight {
            0 => chunks.boundary(self.head.chunk, self.head.from).unwrap_or(self.head.to),
            flight => self.head.from + flight,
        };
        Range { to: to.min(self.head.to), ..self.head }
    }
}

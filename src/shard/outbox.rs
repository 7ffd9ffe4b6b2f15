//! Outbound bytes: shared append-only chunks, and each connection's place in them.
//!
//! Every frame lies in exactly one chunk. A connection's queue is a short list of byte ranges; frames that lie
//! behind one another extend a range instead of adding one, so a whole burst leaves as one send from bytes that
//! all subscribers share.
//!
//! Invariants: a chunk's written bytes never move or change while anybody refers to them; every range held by a
//! queue counts as one reference; a chunk without references is reused. The first `flight` bytes of the first
//! range are in the kernel's hands and are touched by no policy.

mod thinning;

use std::collections::VecDeque;

/// Chunk size. A burst of 64 frames of 200 B should fit behind one another: at 16 KiB most bursts were cut in
/// two and cost two sends; at 64 KiB a slow reader pins more than it is charged for.
pub const CHUNK_BYTES: usize = 32 * 1024;

/// What the smallest frame counts against the queue's bound, so that the bound limits frames as well as bytes
/// (1 MiB / 64 B = 16,384 frames).
pub const FRAME_BYTES_MIN: u32 = 64;

/// Chunk sizes of a connection's own copies: the first, and those of a connection that falls further behind.
const OWN_CHUNK_BYTES: [usize; 2] = [4 * 1024, 16 * 1024];

/// A range shorter than this is not worth a send of its own: what follows it is copied, not referred to.
const RANGE_BYTES_MIN: u32 = 1024;

/// Free chunks kept for reuse; more are given back to the allocator.
const POOL_CHUNKS_MAX: usize = 64;

const NONE: u32 = u32::MAX;

/// Bytes `from..to` of one chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    chunk: u32,
    from: u32,
    to: u32,
}

impl Range {
    const EMPTY: Self = Self { chunk: NONE, from: 0, to: 0 };

    fn is_none(self) -> bool {
        self.chunk == NONE
    }

    /// Length in bytes.
    pub fn len(self) -> u32 {
        self.to - self.from
    }

    pub fn is_empty(self) -> bool {
        self.from == self.to
    }

    fn is_followed_by(self, next: Self) -> bool {
        self.chunk == next.chunk && self.to == next.from
    }
}

#[derive(Debug, Default)]
struct Chunk {
    /// Never grows beyond the capacity it was made with: its bytes stay where they are.
    bytes: Vec<u8>,
    references: u32,
}

/// All chunks of one shard.
#[derive(Debug, Default)]
pub struct Chunks {
    chunks: Vec<Chunk>,
    /// Reusable entries that still own their memory.
    pooled: Vec<u32>,
    /// Reusable entries without memory.
    vacant: Vec<u32>,
    /// Capacity of all chunks that somebody refers to.
    held_bytes: usize,
}

/// An append-only sequence of frames that somebody shares: a channel's, the shard's, or one connection's own.
/// Holds one reference to the chunk it appends to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Log {
    chunk: u32,
}

impl Default for Log {
    fn default() -> Self {
        Self { chunk: NONE }
    }
}

impl Chunks {
    /// Appends `header` and `payload` as one frame and returns where it lies. The range is not yet referred to
    /// by anybody but the log.
    pub fn append(&mut self, log: &mut Log, header: &[u8], payload: &[u8]) -> Range {
        let length = header.len() + payload.len();
        let fits = log.chunk != NONE && {
            let chunk = &mut self.chunks[log.chunk as usize];
            if chunk.references == 1 {
                // Everybody has sent what was here: begin again in the same, still warm, bytes.
                chunk.bytes.clear();
            }
            chunk.bytes.capacity() - chunk.bytes.len() >= length
        };
        if !fits {
            self.close(log);
            log.chunk = self.open(length.max(CHUNK_BYTES));
        }
        self.append_here(log.chunk, header, payload)
    }

    /// Appends to a chunk known to have room.
    fn append_here(&mut self, chunk: u32, header: &[u8], payload: &[u8]) -> Range {
        let bytes = &mut self.chunks[chunk as usize].bytes;
        let from = bytes.len();
        assert!(bytes.capacity() - from >= header.len() + payload.len(), "a chunk's bytes must not move");
        bytes.extend_from_slice(header);
        bytes.extend_from_slice(payload);
        Range { chunk, from: offset(from), to: offset(bytes.len()) }
    }

    /// The log gives up its chunk; the next append opens another.
    pub fn close(&mut self, log: &mut Log) {
        if log.chunk != NONE {
            self.release(log.chunk);
            log.chunk = NONE;
        }
    }

    /// Whether nobody but the log itself still needs its bytes.
    pub fn is_drained(&self, log: Log) -> bool {
        log.chunk == NONE || self.chunks[log.chunk as usize].references == 1
    }

    /// The bytes of a range.
    pub fn bytes(&self, range: Range) -> &[u8] {
        &self.chunks[range.chunk as usize].bytes[range.from as usize..range.to as usize]
    }

    /// Chunks that somebody refers to.
    pub fn in_use_count(&self) -> usize {
        self.chunks.len() - self.pooled.len() - self.vacant.len()
    }

    /// Memory of the chunks that somebody refers to.
    pub fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    fn open(&mut self, capacity: usize) -> u32 {
        if capacity == CHUNK_BYTES
            && let Some(index) = self.pooled.pop()
        {
            self.chunks[index as usize].references = 1;
            self.held_bytes += CHUNK_BYTES;
            return index;
        }
        let chunk = Chunk { bytes: Vec::with_capacity(capacity), references: 1 };
        self.held_bytes += chunk.bytes.capacity();
        if let Some(index) = self.vacant.pop() {
            self.chunks[index as usize] = chunk;
            return index;
        }
        self.chunks.push(chunk);
        offset(self.chunks.len() - 1)
    }

    /// Bytes that still fit behind what the log holds.
    fn room(&self, log: Log) -> usize {
        if log.chunk == NONE {
            return 0;
        }
        let bytes = &self.chunks[log.chunk as usize].bytes;
        bytes.capacity() - bytes.len()
    }

    fn capacity(&self, log: Log) -> usize {
        if log.chunk == NONE { 0 } else { self.chunks[log.chunk as usize].bytes.capacity() }
    }

    fn retain(&mut self, chunk: u32) {
        self.chunks[chunk as usize].references += 1;
    }

    fn release(&mut self, index: u32) {
        let chunk = &mut self.chunks[index as usize];
        assert!(chunk.references > 0, "a chunk was released more often than it was referred to");
        chunk.references -= 1;
        if chunk.references > 0 {
            return;
        }
        self.held_bytes -= chunk.bytes.capacity();
        chunk.bytes.clear();
        if chunk.bytes.capacity() == CHUNK_BYTES && self.pooled.len() < POOL_CHUNKS_MAX {
            self.pooled.push(index);
        } else {
            chunk.bytes = Vec::new();
            self.vacant.push(index);
        }
    }
}

fn offset(index: usize) -> u32 {
    u32::try_from(index).expect("chunks hold less than 4 GiB")
}

/// One connection's queue: two ranges inline, more only for a reader that falls behind.
#[derive(Debug)]
pub struct Outbox {
    head: Range,
    tail: Range,
    /// Ranges behind `tail`, in order.
    rest: Option<Box<Behind>>,
    /// Bytes at the front of `head` that the kernel holds.
    flight: u32,
    /// Bytes waiting, every frame counting at least [`FRAME_BYTES_MIN`].
    queued: u32,
}

/// What a connection with a longer queue needs.
#[derive(Debug, Default)]
struct Behind {
    ranges: VecDeque<Range>,
    /// The connection's own copy of frames that lay scattered: referring to many chunks for one frame each
    /// would pin far more memory than is queued.
    own: Log,
}

impl Default for Outbox {
    fn default() -> Self {
        Self { head: Range::EMPTY, tail: Range::EMPTY, rest: None, flight: 0, queued: 0 }
    }
}

impl Outbox {
    /// Appends one frame. O(1), no allocation while the queue is short. Inlined: this is the whole user-mode
    /// work of a delivery besides the send itself.
    #[inline]
    pub fn push(&mut self, chunks: &mut Chunks, frame: Range) {
        self.queued = self.queued.saturating_add(frame.len().max(FRAME_BYTES_MIN));
        if self.head.is_none() {
            chunks.retain(frame.chunk);
            self.head = frame;
        } else if self.tail.is_none() {
            if self.head.is_followed_by(frame) {
                self.head.to = frame.to;
            } else {
                chunks.retain(frame.chunk);
                self.tail = frame;
            }
        } else {
            self.push_behind(chunks, frame);
        }
    }

    /// The queue holds two ranges already.
    fn push_behind(&mut self, chunks: &mut Chunks, frame: Range) {
        let Some(behind) = &mut self.rest else {
            if self.tail.is_followed_by(frame) {
                self.tail.to = frame.to;
            } else {
                let mut behind = Box::<Behind>::default();
                behind.push(chunks, self.tail, frame);
                self.rest = Some(behind);
            }
            return;
        };
        match behind.ranges.back_mut() {
            Some(last) if last.is_followed_by(frame) => last.to = frame.to,
            Some(last) => {
                let last = *last;
                behind.push(chunks, last, frame);
            }
            None => behind.push(chunks, self.tail, frame),
        }
    }

    /// Bytes waiting or in flight, as charged against the bound.
    pub fn queued_bytes(&self) -> u32 {
        self.queued
    }

    pub fn is_empty(&self) -> bool {
        self.head.is_none()
    }

    /// Whether the kernel holds a batch, behind which everything else waits.
    pub fn is_in_flight(&self) -> bool {
        self.flight > 0
    }

    /// Whether nothing waits behind the batch that was just taken.
    pub fn is_last_batch(&self) -> bool {
        self.tail.is_none()
    }

    /// The next bytes to send, marked as being in the kernel's hands; `None` while a send is in flight or
    /// nothing waits.
    #[inline]
    pub fn take_batch(&mut self) -> Option<Range> {
        if self.flight > 0 || self.head.is_none() {
            return None;
        }
        self.flight = self.head.len();
        Some(self.head)
    }

    /// The kernel took `sent` bytes of the batch (fewer after a short send). `false`: more than was handed out.
    #[inline]
    pub fn complete(&mut self, chunks: &mut Chunks, sent: u32) -> bool {
        if sent > self.flight {
            return false;
        }
        self.flight = 0;
        self.head.from += sent;
        if self.head.from == self.head.to {
            chunks.release(self.head.chunk);
            self.advance(chunks);
            self.queued = self.waiting_bytes();
        } else {
            self.queued = self.queued.saturating_sub(sent).max(1);
        }
        true
    }

    /// Exact sum of what waits.
    fn waiting_bytes(&self) -> u32 {
        let behind = self.rest.iter().flat_map(|behind| &behind.ranges).map(|range| range.len()).sum::<u32>();
        self.head.len() + self.tail.len() + behind
    }

    /// Moves every later range one place forward.
    fn advance(&mut self, chunks: &mut Chunks) {
        self.head = std::mem::replace(&mut self.tail, Range::EMPTY);
        if let Some(behind) = &mut self.rest {
            if let Some(next) = behind.ranges.pop_front() {
                self.tail = next;
            }
            if behind.ranges.is_empty() {
                chunks.close(&mut behind.own);
                self.rest = None;
            }
        }
    }

    /// Discards all that the kernel does not hold. Returns how many bytes were given up.
    pub fn discard_waiting(&mut self, chunks: &mut Chunks) -> u32 {
        let before = self.queued;
        if !self.tail.is_none() {
            chunks.release(self.tail.chunk);
            self.tail = Range::EMPTY;
        }
        if let Some(mut behind) = self.rest.take() {
            for range in behind.ranges.drain(..) {
                chunks.release(range.chunk);
            }
            chunks.close(&mut behind.own);
        }
        if self.flight == 0 {
            if !self.head.is_none() {
                chunks.release(self.head.chunk);
            }
            self.head = Range::EMPTY;
        } else {
            self.head.to = self.head.from + self.flight;
        }
        self.queued = self.flight;
        before - before.min(self.queued)
    }

    /// Discards everything. The caller knows that the kernel holds nothing any more.
    pub fn clear(&mut self, chunks: &mut Chunks) {
        self.flight = 0;
        self.discard_waiting(chunks);
    }
}

impl Behind {
    /// Appends a frame that does not lie behind `last`, the queue's last range: by reference where `last` is
    /// worth a send, else as a copy.
    fn push(&mut self, chunks: &mut Chunks, last: Range, frame: Range) {
        let continues_own = last.chunk == self.own.chunk;
        if !continues_own && last.len() >= RANGE_BYTES_MIN {
            chunks.retain(frame.chunk);
            self.ranges.push_back(frame);
            return;
        }
        let bytes = chunks.bytes(frame).to_vec();
        if chunks.room(self.own) < bytes.len() {
            if continues_own && chunks.capacity(self.own) >= OWN_CHUNK_BYTES[1] {
                // A large copy is complete. Perhaps what follows lies together again: refer to it and see.
                chunks.retain(frame.chunk);
                self.ranges.push_back(frame);
                return;
            }
            let size = OWN_CHUNK_BYTES[usize::from(self.own.chunk != NONE)];
            chunks.close(&mut self.own);
            self.own.chunk = chunks.open(bytes.len().max(size));
        }
        let copy = chunks.append_here(self.own.chunk, &[], &bytes);
        match self.ranges.back_mut() {
            Some(last) if last.is_followed_by(copy) => last.to = copy.to,
            _ => {
                chunks.retain(copy.chunk);
                self.ranges.push_back(copy);
            }
        }
    }
}

#[cfg(test)]
mod tests;

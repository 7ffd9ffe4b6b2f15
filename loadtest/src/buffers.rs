//! The ring-mapped receive buffers of one io_uring instance.
//!
//! Invariants: a buffer is either in the ring (the kernel may write it) or given out by id (nobody writes it); memory is
//! registered for the life of the io_uring instance and freed after it.
#![allow(unsafe_code)]

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::IoUring;
use io_uring::types::BufRingEntry;

const PAGE_BYTES: usize = 4096;

pub struct BufferRing {
    entries: Memory,
    buffers: Memory,
    count: u16,
    buffer_bytes: u32,
    /// Next entry to write, published to the kernel by `publish`.
    tail: u16,
}

impl BufferRing {
    /// Registers `count` buffers (a power of two) of `buffer_bytes` each as group `group`.
    pub fn register(uring: &IoUring, group: u16, count: u16, buffer_bytes: u32) -> io::Result<BufferRing> {
        assert!(count.is_power_of_two() && count <= 1 << 15, "{count} buffers");
        let entries = Memory::new(usize::from(count) * size_of::<BufRingEntry>());
        let buffers = Memory::new(usize::from(count) * buffer_bytes as usize);
        let address = entries.start.as_ptr() as u64;
        // SAFETY: `entries` is page-aligned, holds `count` entries, and outlives the io_uring instance, which its
        // owner drops first.
        unsafe { uring.submitter().register_buf_ring_with_flags(address, count, group, 0) }?;
        let mut ring = BufferRing { entries, buffers, count, buffer_bytes, tail: 0 };
        for id in 0..count {
            ring.give_back(id);
        }
        ring.publish();
        Ok(ring)
    }

    /// The first `length` bytes of buffer `id`, which the kernel has given out.
    pub fn bytes(&self, id: u16, length: u32) -> &[u8] {
        assert!(id < self.count && length <= self.buffer_bytes, "buffer {id}, {length} bytes");
        let offset = usize::from(id) * self.buffer_bytes as usize;
        // SAFETY: `id < count`, so the offset lies inside the allocation.
        let start = unsafe { self.buffers.start.as_ptr().add(offset) };
        // SAFETY: `length` bytes from `start` lie inside buffer `id`, were zeroed at allocation, and the kernel does
        // not write a buffer it has given out.
        unsafe { std::slice::from_raw_parts(start, length as usize) }
    }

    /// Puts buffer `id` back; the kernel sees it after `publish`.
    pub fn give_back(&mut self, id: u16) {
        assert!(id < self.count, "buffer {id}");
        let offset = usize::from(id) * self.buffer_bytes as usize;
        let index = usize::from(self.tail & (self.count - 1));
        let address = self.buffers.start.as_ptr() as u64 + offset as u64;
        let first: *mut BufRingEntry = self.entries.start.as_ptr().cast();
        // SAFETY: `index < count`, so the entry lies inside the allocation.
        let entry = unsafe { first.add(index) };
        // SAFETY: entries are plain integers, zeroed at allocation; the kernel reads this one only after `publish`.
        let entry = unsafe { &mut *entry };
        entry.set_addr(address);
        entry.set_len(self.buffer_bytes);
        entry.set_bid(id);
        self.tail = self.tail.wrapping_add(1);
    }

    /// Makes the buffers given back since the last call visible to the kernel.
    pub fn publish(&mut self) {
        let first: *const BufRingEntry = self.entries.start.as_ptr().cast();
        // SAFETY: `first` is the address of the first entry of a registered ring.
        let tail = unsafe { BufRingEntry::tail(first) };
        // SAFETY: `tail` is aligned, lives as long as `entries`, and is shared with the kernel, hence atomic.
        let tail = unsafe { AtomicU16::from_ptr(tail.cast_mut()) };
        tail.store(self.tail, Ordering::Release);
    }
}

/// Page-aligned zeroed memory.
struct Memory {
    start: NonNull<u8>,
    layout: Layout,
}

impl Memory {
    fn new(bytes: usize) -> Memory {
        assert!(bytes > 0, "empty allocation");
        let layout = Layout::from_size_align(bytes, PAGE_BYTES).expect("a size far below isize::MAX");
        // SAFETY: the layout has a size above zero.
        let start = unsafe { alloc_zeroed(layout) };
        let Some(start) = NonNull::new(start) else { handle_alloc_error(layout) };
        Memory { start, layout }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout, and freed only here.
        unsafe { dealloc(self.start.as_ptr(), self.layout) }
    }
}

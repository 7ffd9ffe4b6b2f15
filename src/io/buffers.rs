//! Receive buffers that many connections share: the kernel picks one when data arrives, and gets it back as soon
//! as its bytes were handled.

use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::BufRingEntry;

use super::ring::Ring;

/// One ring of equally large buffers, registered with the kernel under a group number.
///
/// Invariants: every buffer is either in the kernel's hands (between [`Self::give_back`] and its completion) or
/// in ours (from the completion to [`Self::give_back`]); the memory lives until the ring that knows of it is gone.
#[derive(Debug)]
pub struct BufferRing {
    group: u16,
    entries: u16,
    buffer_bytes: u32,
    /// Ring entries, then the buffers, in one mapping.
    memory: NonNull<u8>,
    memory_bytes: usize,
    tail: u16,
}

impl BufferRing {
    /// Maps, registers and fills the ring. `entries`: a power of two up to 32,768. All memory is touched here.
    pub fn register(ring: &Ring, group: u16, entries: u16, buffer_bytes: u32) -> io::Result<Self> {
        assert!(entries.is_power_of_two(), "the kernel counts entries by a mask");
        let ring_bytes = usize::from(entries) * size_of::<BufRingEntry>();
        let memory_bytes = ring_bytes + usize::from(entries) * buffer_bytes as usize;
        // SAFETY: a fresh private mapping at an address of the kernel's choice.
        let memory = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                memory_bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_POPULATE,
                -1,
                0,
            )
        };
        if memory == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let memory = NonNull::new(memory.cast::<u8>()).expect("a mapping is never at address 0");
        let mut buffers = Self { group, entries, buffer_bytes, memory, memory_bytes, tail: 0 };
        // SAFETY: the mapping is page-aligned, holds `entries` entries and outlives the registration: it is
        // unmapped only in `drop`, and the owner of both drops the ring first.
        unsafe { ring.register_buffer_ring(memory.as_ptr() as u64, entries, group)? };
        for buffer in 0..entries {
            buffers.give_back(buffer);
        }
        Ok(buffers)
    }

    pub fn group(&self) -> u16 {
        self.group
    }

    /// The first `length` bytes of a buffer that a completion named.
    pub fn bytes(&mut self, buffer: u16, length: usize) -> &mut [u8] {
        assert!(
            buffer < self.entries && length <= self.buffer_bytes as usize,
            "the kernel named a buffer of ours"
        );
        let start = self.buffer_start(buffer);
        // SAFETY: the range lies within the mapping (asserted above).
        let first = unsafe { self.memory.as_ptr().add(start) };
        // SAFETY: the bytes are initialised (anonymous mappings are zeroed) and ours alone until given back; the
        // borrow of `self` keeps that from happening.
        unsafe { std::slice::from_raw_parts_mut(first, length) }
    }

    /// Hands a buffer to the kernel.
    pub fn give_back(&mut self, buffer: u16) {
        assert!(buffer < self.entries, "a buffer of this ring");
        let start = self.buffer_start(buffer);
        // SAFETY: the buffer lies within the mapping.
        let address = unsafe { self.memory.as_ptr().add(start) } as u64;
        let place = usize::from(self.tail & (self.entries - 1));
        // SAFETY: the masked place lies within the entries at the start of the mapping.
        let entry = unsafe { self.memory.as_ptr().cast::<BufRingEntry>().add(place) };
        // SAFETY: the entry is ours: it lies at or behind the published tail, which the kernel does not read.
        let entry = unsafe { &mut *entry };
        entry.set_addr(address);
        entry.set_len(self.buffer_bytes);
        entry.set_bid(buffer);
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: the pointer is the address of the ring's first entry.
        let tail = unsafe { BufRingEntry::tail(self.memory.as_ptr().cast::<BufRingEntry>()) };
        // SAFETY: the tail is an aligned `u16` within the mapping, shared with the kernel.
        let tail = unsafe { AtomicU16::from_ptr(tail.cast_mut()) };
        // Release: the entry must be visible before the tail that covers it.
        tail.store(self.tail, Ordering::Release);
    }

    fn buffer_start(&self, buffer: u16) -> usize {
        usize::from(self.entries) * size_of::<BufRingEntry>()
            + usize::from(buffer) * self.buffer_bytes as usize
    }
}

impl Drop for BufferRing {
    fn drop(&mut self) {
        // SAFETY: the mapping was made in `register` with this length, and the ring that knew of it is gone.
        unsafe { libc::munmap(self.memory.as_ptr().cast(), self.memory_bytes) };
    }
}

//! One io_uring instance with its table of direct descriptors and its receive buffers, behind a safe interface.
//!
//! Invariants:
//! - Every socket is a slot of the ring's own descriptor table, so RLIMIT_NOFILE bounds a ring, not the process.
//! - A slot is closed only after the last completion that names it, and is free only after CLOSE itself completed;
//!   otherwise a new connection could receive what was meant for the old one.
//! - A receive is cancelled before its slot is closed: CLOSE under an armed multishot receive sends no FIN.
//! - Bytes handed to the kernel live in `payloads` until the last send that names them has completed.
//! - The ring is DEFER_TASKRUN: completions appear only in an `enter` with GETEVENTS, which every `poll` does.
#![allow(unsafe_code)]

use std::io;
use std::mem::size_of;
use std::net::SocketAddrV4;
use std::os::fd::RawFd;
use std::time::Duration;

use io_uring::types::{DestinationSlot, Fixed, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};

use crate::buffers::BufferRing;

/// `IORING_ENTER_GETEVENTS`: run deferred task work and post its completions.
const ENTER_GETEVENTS: u32 = 1;
/// Pieces of deferred work that one call runs (`IO_LOCAL_TW_DEFAULT_MAX`, since Linux 6.13).
const DEFERRED_PER_CALL: usize = 20;
/// Group id of the only buffer ring of a ring.
const BUFFER_GROUP: u16 = 0;
/// All of it or an error: a short send would have to be continued here.
const SEND_FLAGS: i32 = libc::MSG_WAITALL | libc::MSG_NOSIGNAL;

/// The option values live in statics because the kernel reads them when the operation is issued.
static ON: libc::c_int = 1;
static RESET_ON_CLOSE: libc::linger = libc::linger { l_onoff: 1, l_linger: 0 };

/// What the ring is dimensioned for.
#[derive(Debug, Clone, Copy)]
pub struct RingSize {
    /// Entries of the submission queue; a power of two.
    pub submissions: u32,
    /// Descriptor table entries; at most RLIMIT_NOFILE.
    pub slots: u32,
    /// Receive buffers; a power of two, at most 32,768.
    pub buffers: u16,
    pub buffer_bytes: u32,
}

/// Something that happened on a slot.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    Connected {
        slot: u32,
    },
    ConnectFailed {
        slot: u32,
        errno: i32,
    },
    Accepted {
        slot: u32,
    },
    Received {
        slot: u32,
        buffer: Filled,
    },
    /// The peer is done (errno 0) or the receive failed. No further `Received` comes.
    Ended {
        slot: u32,
        errno: i32,
    },
    Sent {
        slot: u32,
    },
    /// The peer of a watched slot is gone.
    HungUp {
        slot: u32,
    },
    SendFailed {
        slot: u32,
        errno: i32,
    },
    /// The slot is free again.
    Closed {
        slot: u32,
    },
}

/// A receive buffer the kernel has filled; must go back through [`Ring::release`].
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a receive buffer that is not released is lost to the ring"]
pub struct Filled {
    id: u16,
    length: u32,
}

/// Bytes shared by any number of sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PayloadId(u32);

struct Payload {
    bytes: Vec<u8>,
    references: u32,
}

#[derive(Default, Clone, Copy)]
struct Slot {
    /// Operations whose last completion has not been seen.
    in_flight: u16,
    receiving: bool,
    /// Not to be received from any more.
    paused: bool,
    closing: bool,
    /// CLOSE is in the queue or in the kernel.
    close_sent: bool,
}

#[derive(Clone, Copy)]
#[repr(u8)]
enum Kind {
    Setup,
    Connect,
    Accept,
    Receive,
    Watch,
    Send,
    Cancel,
    Close,
}

const KINDS: [Kind; 8] = [
    Kind::Setup,
    Kind::Connect,
    Kind::Accept,
    Kind::Receive,
    Kind::Watch,
    Kind::Send,
    Kind::Cancel,
    Kind::Close,
];

/// `user_data`: kind (8 bits) | slot (24) | payload (32).
fn user_data(kind: Kind, slot: u32, payload: u32) -> u64 {
    (kind as u64) << 56 | u64::from(slot & 0xff_ffff) << 32 | u64::from(payload)
}

pub struct Ring {
    // Dropped first: closing the ring ends every operation that could still name the memory below.
    uring: IoUring,
    buffers: BufferRing,
    payloads: Vec<Payload>,
    payloads_free: Vec<u32>,
    slots: Vec<Slot>,
    slots_free: Vec<u32>,
    /// Source addresses, boxed once: the kernel reads them while the submission queue is consumed.
    sources: Box<[libc::sockaddr_in]>,
    /// Where connections go, boxed once for the same reason.
    targets: Box<[libc::sockaddr_in]>,
    listener: Option<RawFd>,
    rearm: Vec<u32>,
    completions: Vec<(u64, i32, u32)>,
    next: usize,
    /// Further calls of a `poll`: what one leaves is run by the next, up to about as many receives as there are buffers.
    rounds_max: usize,
    /// Times a receive ended because the buffer ring was empty.
    pub starved: u64,
}

impl Ring {
    /// A ring whose outgoing connections go to one of `targets` from one of `sources`.
    ///
    /// Errors: the kernel's refusal of the ring, the table or the buffer ring (Linux 6.11 is needed).
    pub fn new(size: RingSize, targets: &[SocketAddrV4], sources: &[SocketAddrV4]) -> io::Result<Ring> {
        let uring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .setup_submit_all()
            .setup_cqsize(size.submissions * 4)
            .build(size.submissions)?;
        uring.submitter().register_files_sparse(size.slots)?;
        let buffers = BufferRing::register(&uring, BUFFER_GROUP, size.buffers, size.buffer_bytes)?;
        Ok(Ring {
            uring,
            buffers,
            payloads: Vec::new(),
            payloads_free: Vec::new(),
            slots: vec![Slot::default(); size.slots as usize],
            slots_free: (0..size.slots).rev().collect(),
            sources: sources.iter().map(socket_address).collect(),
            targets: targets.iter().map(socket_address).collect(),
            listener: None,
            rearm: Vec::new(),
            completions: Vec::new(),
            next: 0,
            rounds_max: usize::from(size.buffers) / DEFERRED_PER_CALL,
            starved: 0,
        })
    }

    #[cfg(test)]
    pub fn slots_free(&self) -> usize {
        self.slots_free.len()
    }

    /// Starts a TCP connection to target number `target` from source number `source` (modulo their count); ends in `Connected` or
    /// `ConnectFailed`. `None`: the table is full.
    ///
    /// The port is chosen at connect (IP_BIND_ADDRESS_NO_PORT), so a source address carries as many
    /// connections as there are ephemeral ports per target. SO_LINGER 0 keeps TIME_WAIT entries of one run
    /// from disturbing the next.
    pub fn connect(&mut self, target: usize, source: usize) -> io::Result<Option<u32>> {
        let Some(slot) = self.slots_free.pop() else { return Ok(None) };
        self.slots[slot as usize] = Slot { in_flight: 1, ..Slot::default() };
        let address: *const libc::sockaddr_in = &self.sources[source % self.sources.len()];
        let target: *const libc::sockaddr_in = &self.targets[target];
        let length = size_of::<libc::sockaddr_in>() as libc::socklen_t;
        let destination =
            DestinationSlot::try_from_slot_target(slot).map_err(|_| io::ErrorKind::InvalidInput)?;
        let option = |level: i32, name: i32, value: *const libc::c_void, bytes: usize| {
            opcode::SetSockOpt::new(Fixed(slot), level as u32, name as u32, value, bytes as u32).build()
        };
        let on: *const libc::c_int = &raw const ON;
        let reset: *const libc::linger = &raw const RESET_ON_CLOSE;
        let setup = [
            opcode::Socket::new(libc::AF_INET, libc::SOCK_STREAM, 0).file_index(Some(destination)).build(),
            option(libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT, on.cast(), size_of::<libc::c_int>()),
            option(libc::IPPROTO_TCP, libc::TCP_NODELAY, on.cast(), size_of::<libc::c_int>()),
            option(libc::SOL_SOCKET, libc::SO_LINGER, reset.cast(), size_of::<libc::linger>()),
            opcode::Bind::new(Fixed(slot), address.cast(), length).build(),
        ];
        self.reserve(setup.len() + 1)?;
        let chained = squeue::Flags::IO_LINK | squeue::Flags::SKIP_SUCCESS;
        for entry in setup {
            self.push(&entry.flags(chained).user_data(user_data(Kind::Setup, slot, 0)))?;
        }
        let connect = opcode::Connect::new(Fixed(slot), target.cast(), length).build();
        self.push(&connect.user_data(user_data(Kind::Connect, slot, 0)))?;
        Ok(Some(slot))
    }

    /// Accepts on `listener` into slots the kernel chooses, for ever. Not to be mixed with `connect`.
    pub fn accept(&mut self, listener: RawFd) -> io::Result<()> {
        self.listener = Some(listener);
        let entry = opcode::AcceptMulti::new(io_uring::types::Fd(listener)).allocate_file_index(true).build();
        self.push(&entry.user_data(user_data(Kind::Accept, 0, 0)))
    }

    /// Arms the multishot receive of `slot`.
    pub fn receive(&mut self, slot: u32) -> io::Result<()> {
        let state = &mut self.slots[slot as usize];
        assert!(!state.receiving && !state.closing, "slot {slot} receives already or is closing");
        state.receiving = true;
        state.in_flight += 1;
        let entry = opcode::RecvMulti::new(Fixed(slot), BUFFER_GROUP).build();
        self.push(&entry.user_data(user_data(Kind::Receive, slot, 0)))
    }

    /// Stops receiving from `slot` for good: what the peer sends stays in the socket. What the kernel had already taken may
    /// still come as `Received`.
    pub fn pause(&mut self, slot: u32) -> io::Result<()> {
        let state = &mut self.slots[slot as usize];
        state.paused = true;
        if state.receiving { self.cancel_receive(slot) } else { Ok(()) }
    }

    /// Receives from a paused `slot` again.
    pub fn resume(&mut self, slot: u32) -> io::Result<()> {
        let state = &mut self.slots[slot as usize];
        state.paused = false;
        if state.receiving || state.closing { Ok(()) } else { self.receive(slot) }
    }

    /// Reports once when the peer of `slot` is gone, without reading; ends in `HungUp`.
    pub fn watch(&mut self, slot: u32) -> io::Result<()> {
        self.slots[slot as usize].in_flight += 1;
        let mask = (libc::POLLRDHUP | libc::POLLHUP | libc::POLLERR) as u32;
        let entry = opcode::PollAdd::new(Fixed(slot), mask).build();
        self.push(&entry.user_data(user_data(Kind::Watch, slot, 0)))
    }

    /// By user data: the kernel finds that in a hash. By descriptor it walks every armed request of the ring, which made
    /// closing 15,000 connections take five seconds.
    fn cancel_receive(&mut self, slot: u32) -> io::Result<()> {
        self.slots[slot as usize].in_flight += 1;
        let entry = opcode::AsyncCancel::new(user_data(Kind::Receive, slot, 0)).build();
        self.push(&entry.user_data(user_data(Kind::Cancel, slot, 0)))
    }

    /// Stores bytes for any number of sends; they live until [`Ring::forget`] and the last completion.
    pub fn store(&mut self, bytes: Vec<u8>) -> PayloadId {
        let payload = Payload { bytes, references: 1 };
        match self.payloads_free.pop() {
            Some(index) => {
                self.payloads[index as usize] = payload;
                PayloadId(index)
            }
            None => {
                self.payloads.push(payload);
                PayloadId(self.payloads.len() as u32 - 1)
            }
        }
    }

    /// Gives up the caller's share of the bytes.
    pub fn forget(&mut self, payload: PayloadId) {
        self.release_payload(payload.0);
    }

    /// Queues a send of all of `payload`; ends in `Sent` or `SendFailed`.
    pub fn send(&mut self, slot: u32, payload: PayloadId) -> io::Result<()> {
        let state = &mut self.slots[slot as usize];
        assert!(!state.close_sent, "slot {slot} is closed");
        state.in_flight += 1;
        let stored = &mut self.payloads[payload.0 as usize];
        stored.references += 1;
        let entry = opcode::Send::new(Fixed(slot), stored.bytes.as_ptr(), stored.bytes.len() as u32)
            .flags(SEND_FLAGS)
            .build();
        self.push(&entry.user_data(user_data(Kind::Send, slot, payload.0)))
    }

    /// Queues a send of bytes used once.
    pub fn send_owned(&mut self, slot: u32, bytes: Vec<u8>) -> io::Result<()> {
        let payload = self.store(bytes);
        let queued = self.send(slot, payload);
        self.forget(payload);
        queued
    }

    /// Closes the slot as soon as nothing in the kernel names it; ends in `Closed`.
    pub fn close(&mut self, slot: u32) -> io::Result<()> {
        let state = &mut self.slots[slot as usize];
        if state.closing {
            return Ok(());
        }
        state.closing = true;
        if state.receiving {
            self.cancel_receive(slot)?;
        }
        let state = &mut self.slots[slot as usize];
        if state.in_flight > 2 * u16::from(state.receiving) {
            // A connect or a send that waits for the peer ends with the connection.
            state.in_flight += 1;
            let entry = opcode::Shutdown::new(Fixed(slot), libc::SHUT_RDWR).build();
            self.push(&entry.user_data(user_data(Kind::Cancel, slot, 0)))?;
        }
        self.close_when_quiet(slot)
    }

    /// The received bytes.
    pub fn bytes(&self, buffer: &Filled) -> &[u8] {
        self.buffers.bytes(buffer.id, buffer.length)
    }

    /// Gives a receive buffer back to the kernel (visible to it at the next `poll`).
    pub fn release(&mut self, buffer: Filled) {
        self.buffers.give_back(buffer.id);
    }

    /// Submits what is queued and collects completions; sleeps up to `wait` for the first one.
    pub fn poll(&mut self, wait: Option<Duration>) -> io::Result<()> {
        self.buffers.publish();
        for slot in std::mem::take(&mut self.rearm) {
            let Slot { closing, paused, .. } = self.slots[slot as usize];
            if !closing && !paused {
                self.receive(slot)?;
            }
        }
        let result = match wait {
            Some(wait) => {
                let time = Timespec::new().sec(wait.as_secs()).nsec(wait.subsec_nanos());
                self.uring.submitter().submit_with_args(1, &SubmitArgs::new().timespec(&time))
            }
            None => self.enter(),
        };
        passed(result)?;
        for _ in 0..self.rounds_max {
            if !self.uring.submission().taskrun() {
                break;
            }
            passed(self.enter())?;
        }
        self.completions.drain(..self.next);
        self.next = 0;
        let seen = self.uring.completion().map(|c| (c.user_data(), c.result(), c.flags()));
        self.completions.extend(seen);
        Ok(())
    }

    /// The next thing that happened, in the kernel's order. `None`: poll again.
    pub fn next_event(&mut self) -> io::Result<Option<Event>> {
        while let Some(&(data, result, flags)) = self.completions.get(self.next) {
            self.next += 1;
            let slot = (data >> 32) as u32 & 0xff_ffff;
            let event = match KINDS[(data >> 56) as usize] {
                // A failed step of the chain is the last completion of it: with CQE_SKIP_SUCCESS the kernel also
                // leaves out those of the steps it cancels (`REQ_F_SKIP_LINK_CQES`).
                Kind::Setup | Kind::Connect => self.connect_done(slot, result)?,
                Kind::Accept => self.accept_done(result, flags)?,
                Kind::Receive => self.receive_done(slot, result, flags)?,
                Kind::Watch => {
                    self.operation_done(slot)?;
                    (!self.slots[slot as usize].closing).then_some(Event::HungUp { slot })
                }
                Kind::Send => self.send_done(slot, data as u32, result)?,
                Kind::Cancel => {
                    self.operation_done(slot)?;
                    None
                }
                Kind::Close => {
                    self.slots[slot as usize] = Slot::default();
                    if self.listener.is_none() {
                        self.slots_free.push(slot);
                    }
                    Some(Event::Closed { slot })
                }
            };
            if event.is_some() {
                return Ok(event);
            }
        }
        Ok(None)
    }

    fn connect_done(&mut self, slot: u32, result: i32) -> io::Result<Option<Event>> {
        self.operation_done(slot)?;
        Ok(Some(if result < 0 {
            Event::ConnectFailed { slot, errno: -result }
        } else {
            Event::Connected { slot }
        }))
    }

    fn accept_done(&mut self, result: i32, flags: u32) -> io::Result<Option<Event>> {
        if let (false, Some(listener)) = (cqueue::more(flags), self.listener) {
            self.accept(listener)?;
        }
        // A failed accept (table full, peer gone) concerns no slot; the next one is already armed.
        let Ok(slot) = u32::try_from(result) else { return Ok(None) };
        self.slots[slot as usize] = Slot::default();
        Ok(Some(Event::Accepted { slot }))
    }

    fn receive_done(&mut self, slot: u32, result: i32, flags: u32) -> io::Result<Option<Event>> {
        let ended = !cqueue::more(flags);
        if ended {
            self.slots[slot as usize].receiving = false;
            self.operation_done(slot)?;
        }
        let Slot { closing, paused, .. } = self.slots[slot as usize];
        let quiet = closing || paused;
        let buffer = cqueue::buffer_select(flags);
        if result > 0 {
            let id = buffer.ok_or(io::ErrorKind::InvalidData)?;
            let buffer = Filled { id, length: result as u32 };
            if ended && !quiet {
                self.rearm.push(slot);
            }
            return Ok(Some(Event::Received { slot, buffer }));
        }
        if let Some(id) = buffer {
            self.buffers.give_back(id);
        }
        if result == -libc::ENOBUFS {
            self.starved += 1;
            if !quiet {
                self.rearm.push(slot);
            }
            return Ok(None);
        }
        Ok((!quiet).then_some(Event::Ended { slot, errno: -result }))
    }

    fn send_done(&mut self, slot: u32, payload: u32, result: i32) -> io::Result<Option<Event>> {
        let whole = self.payloads[payload as usize].bytes.len();
        self.release_payload(payload);
        self.operation_done(slot)?;
        let event = match usize::try_from(result) {
            Ok(sent) if sent == whole => Event::Sent { slot },
            Ok(_) => Event::SendFailed { slot, errno: libc::EPIPE },
            Err(_) => Event::SendFailed { slot, errno: -result },
        };
        Ok(Some(event))
    }

    fn operation_done(&mut self, slot: u32) -> io::Result<()> {
        let state = &mut self.slots[slot as usize];
        state.in_flight = state.in_flight.checked_sub(1).expect("a completion without its operation");
        self.close_when_quiet(slot)
    }

    fn close_when_quiet(&mut self, slot: u32) -> io::Result<()> {
        let state = &mut self.slots[slot as usize];
        if !state.closing || state.close_sent || state.in_flight > 0 {
            return Ok(());
        }
        state.close_sent = true;
        let entry = opcode::Close::new(Fixed(slot)).build();
        self.push(&entry.user_data(user_data(Kind::Close, slot, 0)))
    }

    fn release_payload(&mut self, index: u32) {
        let payload = &mut self.payloads[index as usize];
        payload.references -= 1;
        if payload.references == 0 {
            payload.bytes = Vec::new();
            self.payloads_free.push(index);
        }
    }

    /// Makes room for `count` entries that must be submitted together: a link does not span two submits.
    fn reserve(&mut self, count: usize) -> io::Result<()> {
        let queue = self.uring.submission();
        if queue.capacity() - queue.len() < count {
            drop(queue);
            self.uring.submit()?;
        }
        Ok(())
    }

    fn push(&mut self, entry: &squeue::Entry) -> io::Result<()> {
        self.reserve(1)?;
        // SAFETY: pointers in `entry` name payloads (kept until their completion), boxed addresses and statics
        // (kept for the ring's life); buffers for receives come from the registered buffer ring.
        let pushed = unsafe { self.uring.submission().push(entry) };
        pushed.map_err(|_| io::Error::from(io::ErrorKind::WouldBlock))
    }

    fn enter(&mut self) -> io::Result<usize> {
        let queued = self.uring.submission().len() as u32;
        // SAFETY: no argument is passed, and `queued` entries were pushed through `push`.
        unsafe { self.uring.submitter().enter::<libc::sigset_t>(queued, 0, ENTER_GETEVENTS, None) }
    }
}

/// The time was over, a signal came, or completions must be read first: all of that is well.
fn passed(result: io::Result<usize>) -> io::Result<()> {
    match result {
        Ok(_) => Ok(()),
        Err(e) if matches!(e.raw_os_error(), Some(libc::ETIME | libc::EINTR | libc::EBUSY)) => Ok(()),
        Err(e) => Err(e),
    }
}

fn socket_address(address: &SocketAddrV4) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: address.port().to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from(*address.ip()).to_be() },
        sin_zero: [0; 8],
    }
}

#[cfg(test)]
mod tests;

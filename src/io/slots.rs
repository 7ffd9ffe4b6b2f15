//! The life of a slot as the kernel sees it.
//!
//! A slot closes only when nothing in the kernel names it any more: the receive and the send are cancelled, their
//! last completions awaited, then CLOSE sends FIN; and only CLOSE's own completion frees the slot. Otherwise a stale
//! operation would reach the next client of the same slot. SHUTDOWN would end both operations as well, but the
//! kernel always hands it to a worker thread, which costs every close a switch of threads.

use std::io;

use io_uring::{opcode, types};

use super::buffers::BufferRing;
use super::ring::{Kind, Ring, Token};
use crate::core::ids::GENERATION_MASK;
use crate::shard::input::ReadMode;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Receive {
    #[default]
    Idle,
    Armed,
    /// A cancel is under way.
    Ending,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Closing {
    #[default]
    No,
    /// Waiting for last completions.
    Requested,
    /// CLOSE is under way.
    Last,
}

/// One slot: sixteen bytes.
#[derive(Debug, Clone, Copy, Default)]
struct SlotState {
    /// 24 bits; counts lives.
    generation: u32,
    /// Operations in the kernel that name the slot.
    in_flight: u8,
    is_open: bool,
    is_sending: bool,
    receive: Receive,
    mode: Mode,
    /// The mode of the receive that is armed.
    armed_mode: Mode,
    closing: Closing,
    is_starved: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Mode {
    #[default]
    Paused,
    Stream,
    Bulk,
}

impl From<ReadMode> for Mode {
    fn from(mode: ReadMode) -> Self {
        match mode {
            ReadMode::Stream => Self::Stream,
            ReadMode::Bulk => Self::Bulk,
            ReadMode::Paused => Self::Paused,
        }
    }
}

/// What a receive's completion means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// So many bytes in the named buffer of this group.
    Data { small: bool, buffer: u16, length: usize },
    /// End of stream or a broken connection.
    Ended,
    /// Nothing for the shard.
    Nothing,
}

/// The two rings of receive buffers.
#[derive(Debug)]
pub struct Buffers {
    /// For whatever arrives unasked.
    pub small: BufferRing,
    /// For bodies that are known to be long.
    pub large: BufferRing,
}

/// All slots of one ring.
#[derive(Debug)]
pub struct Slots {
    slots: Vec<SlotState>,
    open: u32,
    /// Slots whose receive found no buffer, in the order they did.
    starved: std::collections::VecDeque<u32>,
    starved_total: u64,
}

/// SO_LINGER with a time of 0: CLOSE resets the connection. `'static`, because the kernel reads it later.
static RESET: libc::linger = libc::linger { l_onoff: 1, l_linger: 0 };

impl Slots {
    pub fn new(capacity: u32) -> Self {
        let slots = vec![SlotState::default(); capacity as usize];
        Self { slots, open: 0, starved: std::collections::VecDeque::new(), starved_total: 0 }
    }

    /// Slots not free.
    pub fn open_count(&self) -> u32 {
        self.open
    }

    /// Receives that found no buffer, so far.
    pub fn starved_total(&self) -> u64 {
        self.starved_total
    }

    /// A connection was accepted into the slot: it is read from now on.
    pub fn open(&mut self, slot: u32, ring: &mut Ring, buffers: &Buffers) -> io::Result<()> {
        let state = &mut self.slots[slot as usize];
        assert!(!state.is_open && state.in_flight == 0, "slot {slot} was accepted into while in use");
        // Never 0: operations that concern no slot carry it.
        let generation = (state.generation % GENERATION_MASK) + 1;
        *state = SlotState { generation, is_open: true, mode: Mode::Stream, ..SlotState::default() };
        self.open += 1;
        self.arm(slot, ring, buffers)
    }

    /// Changes how the slot is read.
    pub fn set_mode(
        &mut self,
        slot: u32,
        mode: ReadMode,
        ring: &mut Ring,
        buffers: &Buffers,
    ) -> io::Result<()> {
        let state = &mut self.slots[slot as usize];
        state.mode = mode.into();
        match state.receive {
            Receive::Idle => self.arm(slot, ring, buffers),
            Receive::Armed if state.armed_mode == Mode::Stream && state.mode != Mode::Stream => {
                self.end_receive(slot, ring)
            }
            Receive::Armed | Receive::Ending => Ok(()),
        }
    }

    fn end_receive(&mut self, slot: u32, ring: &mut Ring) -> io::Result<()> {
        self.slots[slot as usize].receive = Receive::Ending;
        self.cancel(slot, Kind::Receive, ring)
    }

    /// By its token: a cancel by descriptor would walk every armed operation of the ring.
    fn cancel(&mut self, slot: u32, kind: Kind, ring: &mut Ring) -> io::Result<()> {
        let target = self.token(kind, slot).pack();
        let entry = opcode::AsyncCancel::new(target).build();
        self.push(slot, Kind::Cancel, entry, ring)
    }

    /// Arms the receive that the slot's mode asks for, if none is armed.
    fn arm(&mut self, slot: u32, ring: &mut Ring, buffers: &Buffers) -> io::Result<()> {
        let state = &mut self.slots[slot as usize];
        if state.receive != Receive::Idle || state.closing != Closing::No || state.is_starved {
            return Ok(());
        }
        let fd = types::Fixed(slot);
        let entry = match state.mode {
            Mode::Paused => return Ok(()),
            Mode::Stream => opcode::RecvMulti::new(fd, buffers.small.group()).build(),
            Mode::Bulk => opcode::Recv::new(fd, std::ptr::null_mut(), 0)
                .buf_group(buffers.large.group())
                .build()
                .flags(io_uring::squeue::Flags::BUFFER_SELECT),
        };
        state.receive = Receive::Armed;
        state.armed_mode = state.mode;
        self.push(slot, Kind::Receive, entry, ring)
    }

    /// A receive completed. Its buffer, if it names one, must be given back in any case.
    pub fn receive_completed(
        &mut self,
        slot: u32,
        result: i32,
        has_more: bool,
        buffer: Option<u16>,
    ) -> Received {
        let state = &mut self.slots[slot as usize];
        let small = state.armed_mode == Mode::Stream;
        if !has_more {
            state.in_flight -= 1;
            state.receive = Receive::Idle;
        }
        let is_wanted = state.closing == Closing::No;
        if let (Ok(length), Some(buffer)) = (usize::try_from(result), buffer)
            && length > 0
        {
            return Received::Data { small, buffer, length };
        }
        match -result {
            libc::ENOBUFS => {
                self.starved_total += 1;
                if is_wanted && !state.is_starved {
                    state.is_starved = true;
                    self.starved.push_back(slot);
                }
                Received::Nothing
            }
            // Cancelled because the mode changed, or interrupted: what to read next is decided by the mode.
            libc::ECANCELED | libc::EINTR | libc::EAGAIN => Received::Nothing,
            _ if is_wanted => {
                state.mode = Mode::Paused;
                Received::Ended
            }
            _ => Received::Nothing,
        }
    }

    /// After the bytes of a receive were handled: reads on, or goes on closing.
    pub fn after_receive(&mut self, slot: u32, ring: &mut Ring, buffers: &Buffers) -> io::Result<()> {
        let state = &self.slots[slot as usize];
        if !state.is_open {
            return Ok(());
        }
        if state.closing == Closing::No {
            return self.arm(slot, ring, buffers);
        }
        self.close_if_unnamed(slot, ring)
    }

    /// Arms the receives that found no buffer; call it when buffers were given back.
    pub fn feed_starved(&mut self, ring: &mut Ring, buffers: &Buffers) -> io::Result<()> {
        for _ in 0..self.starved.len() {
            let Some(slot) = self.starved.pop_front() else { break };
            self.slots[slot as usize].is_starved = false;
            if self.slots[slot as usize].is_open {
                self.arm(slot, ring, buffers)?;
            }
        }
        Ok(())
    }

    /// Sends bytes that the shard keeps in place until the completion.
    pub fn send(&mut self, slot: u32, bytes: *const u8, length: u32, ring: &mut Ring) -> io::Result<()> {
        let entry = opcode::Send::new(types::Fixed(slot), bytes, length).flags(libc::MSG_NOSIGNAL).build();
        self.slots[slot as usize].is_sending = true;
        self.push(slot, Kind::Send, entry, ring)
    }

    /// The send completed; [`Self::operation_completed`] follows.
    pub fn sent(&mut self, slot: u32) {
        self.slots[slot as usize].is_sending = false;
    }

    /// No more bytes will be sent; what the peer still sends is read.
    pub fn finish(&mut self, slot: u32, ring: &mut Ring) -> io::Result<()> {
        let entry = opcode::Shutdown::new(types::Fixed(slot), libc::SHUT_WR).build();
        self.push(slot, Kind::Shutdown, entry, ring)
    }

    /// Ends the connection. `abort`: by a reset.
    pub fn close(&mut self, slot: u32, abort: bool, ring: &mut Ring) -> io::Result<()> {
        let state = &mut self.slots[slot as usize];
        assert!(state.is_open && state.closing == Closing::No, "slot {slot} is closed once");
        state.closing = Closing::Requested;
        if abort {
            let entry = opcode::SetSockOpt::new(
                types::Fixed(slot),
                libc::SOL_SOCKET as u32,
                libc::SO_LINGER as u32,
                (&raw const RESET).cast(),
                size_of::<libc::linger>() as u32,
            );
            self.push(slot, Kind::Linger, entry.build(), ring)?;
        }
        if self.slots[slot as usize].receive == Receive::Armed {
            self.end_receive(slot, ring)?;
        }
        if self.slots[slot as usize].is_sending {
            // It waits for a peer that does not read.
            self.cancel(slot, Kind::Send, ring)?;
        }
        self.close_if_unnamed(slot, ring)
    }

    /// A send, shutdown, cancel or option completed.
    pub fn operation_completed(&mut self, slot: u32, ring: &mut Ring) -> io::Result<()> {
        let state = &mut self.slots[slot as usize];
        assert!(state.in_flight > 0, "an operation completes once");
        state.in_flight -= 1;
        self.close_if_unnamed(slot, ring)
    }

    fn close_if_unnamed(&mut self, slot: u32, ring: &mut Ring) -> io::Result<()> {
        let state = &mut self.slots[slot as usize];
        if state.closing != Closing::Requested || state.in_flight > 0 {
            return Ok(());
        }
        state.closing = Closing::Last;
        let entry = opcode::Close::new(types::Fixed(slot)).build();
        self.push(slot, Kind::Close, entry, ring)
    }

    /// CLOSE completed: the slot is free.
    pub fn closed(&mut self, slot: u32) {
        let state = &mut self.slots[slot as usize];
        assert!(state.closing == Closing::Last && state.in_flight == 1, "CLOSE is a slot's last operation");
        state.in_flight = 0;
        state.is_open = false;
        state.closing = Closing::No;
        self.open -= 1;
    }

    /// Whether a completion belongs to the slot's present life. Every one does, unless a rule above was broken.
    pub fn is_current(&self, token: Token) -> bool {
        self.slots.get(token.slot as usize).is_some_and(|state| state.generation == token.generation)
    }

    fn token(&self, kind: Kind, slot: u32) -> Token {
        Token { kind, generation: self.slots[slot as usize].generation, slot }
    }

    fn push(
        &mut self,
        slot: u32,
        kind: Kind,
        entry: io_uring::squeue::Entry,
        ring: &mut Ring,
    ) -> io::Result<()> {
        let entry = entry.user_data(self.token(kind, slot).pack());
        self.slots[slot as usize].in_flight += 1;
        // SAFETY: the slot's descriptor is closed only after its last completion; receive buffers are the
        // kernel's own, sent bytes stay in place until `Input::Sent` (the shard's promise), RESET is static.
        unsafe { ring.push(&entry) }
    }
}

//! A shard's ring and its slots, as far as a shard can tell them from the real ones.
//!
//! Two halves, as in reality. One is what the thread knows of its slots: the same rules as in the `io` room. The other
//! is what the kernel does in its own time: it receives, sends, cancels and closes in any order that the interfaces
//! allow, and each of these comes back as one completion.

use std::collections::VecDeque;

use polycast::shard::input::{ReadMode, SendFailed};

use super::network::Socket;
use super::random::Random;

/// Bytes of a small and of a large receive buffer.
const SMALL_BYTES: usize = 512;
const LARGE_BYTES: usize = 16 * 1024;

/// What the kernel reports.
#[derive(Debug)]
pub enum Completion {
    Accepted {
        slot: u32,
    },
    /// `has_more`: the receive stays armed.
    Received {
        slot: u32,
        bytes: Vec<u8>,
        has_more: bool,
    },
    ReceiveEnded {
        slot: u32,
    },
    /// A receive came to its end without saying anything: cancelled, or no buffer was free.
    ReceiveStopped {
        slot: u32,
        starved: bool,
    },
    Sent {
        slot: u32,
        result: Result<u32, SendFailed>,
    },
    /// A cancel, shutdown or option was carried out.
    Done {
        slot: u32,
    },
    Closed {
        slot: u32,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Receive {
    #[default]
    Idle,
    Armed,
    Ending,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Closing {
    #[default]
    No,
    Requested,
    Last,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    Cancel,
    Finish,
    Shutdown,
    Linger,
    Close,
}

#[derive(Debug, Default)]
struct SlotState {
    /// The kernel's table holds the descriptor.
    is_taken: bool,
    socket: usize,
    // What the thread knows.
    is_open: bool,
    in_flight: u32,
    receive: Receive,
    mode: Option<ReadMode>,
    armed_mode: Option<ReadMode>,
    closing: Closing,
    is_starved: bool,
    // What the kernel knows.
    armed: Option<ReadMode>,
    sending: Option<Vec<u8>>,
    operations: VecDeque<Operation>,
    is_shut: bool,
    aborts: bool,
}

/// One shard's half of the kernel.
#[derive(Debug, Default)]
pub struct Kernel {
    slots: Vec<SlotState>,
    /// Sockets waiting to be accepted.
    pub backlog: VecDeque<usize>,
    pub completions: VecDeque<Completion>,
    starved: VecDeque<u32>,
    is_stopped: bool,
}

/// One thing the kernel could do now.
#[derive(Debug, Clone, Copy)]
enum Possible {
    Accept,
    Receive(usize),
    Send(usize),
    Operate(usize),
}

impl Kernel {
    /// Accepts no more; who waits to be accepted is refused.
    pub fn stop_accepting(&mut self, sockets: &mut [Socket]) {
        self.is_stopped = true;
        for socket in self.backlog.drain(..) {
            refuse(&mut sockets[socket]);
        }
    }

    /// A peer connects.
    pub fn connect(&mut self, socket: usize, sockets: &mut [Socket]) {
        if self.is_stopped { refuse(&mut sockets[socket]) } else { self.backlog.push_back(socket) }
    }

    /// Slots that are not free.
    pub fn open_count(&self) -> usize {
        self.slots.iter().filter(|slot| slot.is_open || slot.is_taken).count()
    }

    /// The socket behind a slot.
    pub fn socket(&self, slot: u32) -> usize {
        self.slots[slot as usize].socket
    }

    /// Slots the thread has in use.
    pub fn open_slots(&self) -> impl Iterator<Item = u32> + '_ {
        (0..).zip(&self.slots).filter(|(_, state)| state.is_open).map(|(slot, _)| slot)
    }

    /// Whether something waits for a buffer.
    pub fn has_starved(&self) -> bool {
        !self.starved.is_empty()
    }

    // ── The thread's half: see the slots of the `io` room. ──

    pub fn open(&mut self, slot: u32) {
        let state = &mut self.slots[slot as usize];
        assert!(!state.is_open && state.in_flight == 0, "slot {slot} was accepted into while in use");
        state.is_open = true;
        state.mode = Some(ReadMode::Stream);
        self.arm(slot);
    }

    pub fn set_mode(&mut self, slot: u32, mode: ReadMode) {
        let state = &mut self.slots[slot as usize];
        assert!(state.is_open, "slot {slot} is free, and its reading cannot change");
        state.mode = Some(mode);
        match state.receive {
            Receive::Idle => self.arm(slot),
            Receive::Armed if state.armed_mode == Some(ReadMode::Stream) && mode != ReadMode::Stream => {
                state.receive = Receive::Ending;
                self.operate(slot, Operation::Cancel);
            }
            Receive::Armed | Receive::Ending => {}
        }
    }

    fn arm(&mut self, slot: u32) {
        let state = &mut self.slots[slot as usize];
        if state.receive != Receive::Idle || state.closing != Closing::No || state.is_starved {
            return;
        }
        if state.mode == Some(ReadMode::Paused) {
            return;
        }
        state.receive = Receive::Armed;
        state.armed_mode = state.mode;
        state.armed = state.mode;
        state.in_flight += 1;
    }

    /// A receive's completion, as the thread takes it. `true`: the shard wants to know.
    pub fn receive_completed(&mut self, completion: &Completion) -> bool {
        let (slot, has_more) = match completion {
            Completion::Received { slot, has_more, .. } => (*slot, *has_more),
            Completion::ReceiveEnded { slot } | Completion::ReceiveStopped { slot, .. } => (*slot, false),
            _ => unreachable!("not a receive"),
        };
        let state = &mut self.slots[slot as usize];
        if !has_more {
            state.in_flight -= 1;
            state.receive = Receive::Idle;
        }
        let is_wanted = state.closing == Closing::No;
        match completion {
            Completion::Received { .. } => true,
            Completion::ReceiveEnded { .. } => {
                if is_wanted {
                    state.mode = Some(ReadMode::Paused);
                }
                is_wanted
            }
            Completion::ReceiveStopped { starved, .. } => {
                if *starved && is_wanted && !state.is_starved {
                    state.is_starved = true;
                    self.starved.push_back(slot);
                }
                false
            }
            _ => unreachable!("not a receive"),
        }
    }

    pub fn after_receive(&mut self, slot: u32) {
        let state = &self.slots[slot as usize];
        if !state.is_open {
            return;
        }
        if state.closing == Closing::No {
            self.arm(slot);
        } else {
            self.close_if_unnamed(slot);
        }
    }

    pub fn feed_starved(&mut self) {
        for slot in std::mem::take(&mut self.starved) {
            let state = &mut self.slots[slot as usize];
            state.is_starved = false;
            if state.is_open {
                self.arm(slot);
            }
        }
    }

    pub fn send(&mut self, slot: u32, bytes: &[u8]) {
        let state = &mut self.slots[slot as usize];
        assert!(state.is_open && state.sending.is_none(), "one send in flight per connection");
        assert!(!bytes.is_empty(), "a send carries something");
        state.sending = Some(bytes.to_vec());
        state.in_flight += 1;
    }

    pub fn finish(&mut self, slot: u32) {
        self.operate(slot, Operation::Finish);
    }

    pub fn close(&mut self, slot: u32, abort: bool) {
        let state = &mut self.slots[slot as usize];
        assert!(state.is_open && state.closing == Closing::No, "slot {slot} is closed once");
        state.closing = Closing::Requested;
        if abort {
            self.operate(slot, Operation::Linger);
        }
        self.operate(slot, Operation::Shutdown);
    }

    pub fn operation_completed(&mut self, slot: u32) {
        let state = &mut self.slots[slot as usize];
        assert!(state.in_flight > 0, "an operation completes once");
        state.in_flight -= 1;
        self.close_if_unnamed(slot);
    }

    fn close_if_unnamed(&mut self, slot: u32) {
        let state = &mut self.slots[slot as usize];
        if state.closing == Closing::Requested && state.in_flight == 0 {
            state.closing = Closing::Last;
            self.operate(slot, Operation::Close);
        }
    }

    pub fn closed(&mut self, slot: u32) {
        let state = &mut self.slots[slot as usize];
        assert!(state.closing == Closing::Last && state.in_flight == 1, "CLOSE is a slot's last operation");
        state.in_flight = 0;
        state.is_open = false;
        state.closing = Closing::No;
    }

    fn operate(&mut self, slot: u32, operation: Operation) {
        let state = &mut self.slots[slot as usize];
        state.operations.push_back(operation);
        state.in_flight += 1;
    }

    // ── The kernel's half. ──

    /// What the kernel could do now.
    fn possible(&self, sockets: &[Socket]) -> Vec<Possible> {
        let mut list = Vec::new();
        if !self.backlog.is_empty() {
            list.push(Possible::Accept);
        }
        for (index, state) in self.slots.iter().enumerate().filter(|(_, state)| state.is_taken) {
            let socket = &sockets[state.socket];
            let ends = socket.peer_finished || socket.peer_reset || state.is_shut;
            if state.armed.is_some() && (!socket.to_server.is_empty() || ends) {
                list.push(Possible::Receive(index));
            }
            let breaks = socket.peer_gone || socket.peer_reset || socket.server_finished;
            if state.sending.is_some() && (socket.to_peer.len() < socket.room || breaks) {
                list.push(Possible::Send(index));
            }
            if !state.operations.is_empty() {
                list.push(Possible::Operate(index));
            }
        }
        list
    }

    /// Does one of the things the kernel could do now. `false`: there is none.
    pub fn step(&mut self, sockets: &mut [Socket], random: &mut Random) -> bool {
        let possible = self.possible(sockets);
        if possible.is_empty() {
            return false;
        }
        match *random.pick(&possible) {
            Possible::Accept => self.accept(),
            Possible::Receive(index) => self.receive(index, sockets, random),
            Possible::Send(index) => self.carry(index, sockets, random),
            Possible::Operate(index) => self.carry_out(index, sockets, random),
        }
        true
    }

    /// The lowest free slot is taken, as the kernel's table does it.
    fn accept(&mut self) {
        let Some(socket) = self.backlog.pop_front() else { return };
        let index = self.slots.iter().position(|state| !state.is_taken).unwrap_or_else(|| {
            self.slots.push(SlotState::default());
            self.slots.len() - 1
        });
        let state = &mut self.slots[index];
        state.is_taken = true;
        state.socket = socket;
        self.completions.push_back(Completion::Accepted { slot: index as u32 });
    }

    fn receive(&mut self, index: usize, sockets: &mut [Socket], random: &mut Random) {
        let state = &mut self.slots[index];
        let socket = &mut sockets[state.socket];
        let slot = index as u32;
        let is_stream = state.armed == Some(ReadMode::Stream);
        if socket.to_server.is_empty() || socket.peer_reset {
            state.armed = None;
            self.completions.push_back(Completion::ReceiveEnded { slot });
            return;
        }
        if random.percent(1) {
            state.armed = None;
            self.completions.push_back(Completion::ReceiveStopped { slot, starved: true });
            return;
        }
        let most = socket.to_server.len().min(if is_stream { SMALL_BYTES } else { LARGE_BYTES });
        let length = if random.percent(60) { most } else { random.length(most) };
        let bytes = socket.to_server.drain(..length).collect();
        let has_more = is_stream && !random.percent(3);
        if !has_more {
            state.armed = None;
        }
        self.completions.push_back(Completion::Received { slot, bytes, has_more });
    }

    fn carry(&mut self, index: usize, sockets: &mut [Socket], random: &mut Random) {
        let state = &mut self.slots[index];
        let socket = &mut sockets[state.socket];
        let Some(bytes) = state.sending.take() else { return };
        let result = if socket.peer_reset || socket.server_finished {
            Err(SendFailed)
        } else if socket.peer_gone {
            // The first send after the peer's close is taken; its reset breaks a later one.
            if random.percent(50) { Ok(bytes.len()) } else { Err(SendFailed) }
        } else {
            let most = bytes.len().min(socket.room - socket.to_peer.len());
            let length = match random.below(20) {
                // Interrupted before anything was taken.
                0 => 0,
                1..=3 => random.length(most),
                _ => most,
            };
            socket.to_peer.extend(&bytes[..length]);
            Ok(length)
        };
        let result = result.map(|length| u32::try_from(length).expect("a batch is shorter than a chunk"));
        self.completions.push_back(Completion::Sent { slot: index as u32, result });
    }

    fn carry_out(&mut self, index: usize, sockets: &mut [Socket], random: &mut Random) {
        let state = &mut self.slots[index];
        let slot = index as u32;
        let socket = &mut sockets[state.socket];
        let Some(operation) = state.operations.pop_front() else { return };
        match operation {
            Operation::Cancel => {
                if state.armed.take().is_some() {
                    self.completions.push_back(Completion::ReceiveStopped { slot, starved: false });
                }
            }
            Operation::Finish => socket.server_finished = true,
            Operation::Linger => state.aborts = true,
            Operation::Shutdown => {
                socket.server_finished = true;
                state.is_shut = true;
            }
            Operation::Close => {
                assert!(state.armed.is_none() && state.sending.is_none(), "slot {slot} closes while in use");
                socket.close_by_server(state.aborts, random);
                *state =
                    SlotState { is_open: true, in_flight: 1, closing: Closing::Last, ..SlotState::default() };
                self.completions.push_back(Completion::Closed { slot });
                return;
            }
        }
        self.completions.push_back(Completion::Done { slot });
    }
}

fn refuse(socket: &mut Socket) {
    socket.server_closed = true;
    socket.server_reset = true;
}

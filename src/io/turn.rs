//! The loop of one shard: letters → completions → timers → flush → submit, then sleep if there is nothing to do.
//!
//! A turn is bounded, so that no kind of work starves another: what is left over comes in the next turn.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use io_uring::{opcode, types};

use super::accept::{Accepted, Accepts};
use super::buffers::BufferRing;
use super::clock::Clock;
use super::listener::Listeners;
use super::mesh::{Mesh, Postbox};
use super::ring::{Completion, Kind, Ring, RingError, Token};
use super::slots::{Buffers, Received, Slots};
use super::webhooks::Said;
use crate::core::ids::{ShardId, Slot};
use crate::core::time::Now;
use crate::engine::Answer;
use crate::engine::memory::Memory;
use crate::shard::Shard;
use crate::shard::input::{Effect, Input, STREAM_BYTES, SendFailed};
use crate::shard::letter::Order;

const SENDS_PER_TURN_MAX: usize = 1_024;
const COMPLETIONS_PER_TURN_MAX: usize = 1_024;
const LETTERS_PER_TURN_MAX: usize = 256;
/// No new completion is begun in a turn that has lasted this long.
const TURN_MS_MAX: u64 = 2;

/// Receive buffers of a shard: 2 MiB of small ones, 1 MiB of large ones. A large one takes what a publisher sends in one
/// go, so that all of it is answered with one send.
const SMALL_BUFFERS: (u16, u32) = (4_096, STREAM_BYTES as u32);
const LARGE_BUFFERS: (u16, u32) = (16, 64 * 1024);

/// Longest sleep; nothing depends on it.
const SLEEP_MAX: Duration = Duration::from_secs(60);

/// How long a shard whose letters wait for room in a lane sleeps before it tries again.
const SPILL_RETRY: Duration = Duration::from_micros(200);

/// How long accepting rests after the kernel ran out of something.
const ACCEPT_REST_MS: u64 = 10;

/// Everything one shard's thread owns. Fields drop in order: the ring goes before the memory it knows of.
pub struct Runner {
    ring: Ring,
    buffers: Buffers,
    slots: Slots,
    accepts: Accepts,
    postbox: Postbox,
    shard: Shard,
    memory: Memory,
    clock: Clock,
    said: Option<Arc<Said>>,
    now: Now,
    slots_max: u32,
    turns: u64,
    accept_rests_until_ms: u64,
    effects: Vec<Effect>,
    answers: Vec<Answer>,
    rings: Vec<i32>,
}

/// What a runner is made of.
#[derive(Debug)]
pub struct Parts {
    pub id: ShardId,
    pub shard: Shard,
    pub memory: Memory,
    pub mesh: Arc<Mesh>,
    pub listeners: Listeners,
    pub clock: Clock,
    /// Where to say what happens in channels; `None`: nobody is told.
    pub said: Option<Arc<Said>>,
    /// Size of the descriptor table.
    pub slots: u32,
    /// Connections held at once; below the size of the table.
    pub connections_max: u32,
}

impl Runner {
    /// Makes the ring. Must be called on the thread that will run it.
    pub fn new(parts: Parts) -> Result<Self, RingError> {
        use std::os::fd::AsRawFd;
        let ring = Ring::new(parts.slots)?;
        let small = BufferRing::register(&ring, 0, SMALL_BUFFERS.0, SMALL_BUFFERS.1)?;
        let large = BufferRing::register(&ring, 1, LARGE_BUFFERS.0, LARGE_BUFFERS.1)?;
        let postbox = Postbox::new(parts.id, parts.mesh, ring.as_raw_fd());
        Ok(Self {
            ring,
            buffers: Buffers { small, large },
            slots: Slots::new(parts.slots),
            accepts: Accepts::new(parts.listeners),
            postbox,
            shard: parts.shard,
            memory: parts.memory,
            clock: parts.clock,
            said: parts.said,
            now: parts.clock.now(),
            slots_max: parts.connections_max.min(parts.slots),
            turns: 0,
            accept_rests_until_ms: 0,
            effects: Vec::new(),
            answers: Vec::new(),
            rings: Vec::new(),
        })
    }

    /// Runs until an operation of the ring itself fails; that is fatal.
    pub fn run(&mut self) -> io::Result<()> {
        self.watch_bell()?;
        loop {
            self.turn()?;
        }
    }

    fn turn(&mut self) -> io::Result<()> {
        self.turns += 1;
        self.now = self.clock.now();
        self.take_letters()?;
        let has_unread = self.take_completions()?;
        if self.shard.next_deadline_ms().is_some_and(|due_ms| due_ms <= self.now.monotonic_ms) {
            self.input(Input::Timers { pending_receives: has_unread })?;
        }
        self.input(Input::TurnEnd)?;
        self.flush()?;
        if self.now.monotonic_ms >= self.accept_rests_until_ms {
            let room = self.slots_max.saturating_sub(self.slots.open_count());
            self.accepts.arm(&mut self.ring, room)?;
        }
        let spilled = self.post()?;
        if has_unread || self.shard.has_work() || self.ring.has_completions() {
            return self.ring.submit();
        }
        if !self.postbox.may_sleep() {
            return self.ring.submit();
        }
        let result = self.ring.wait(self.sleep_time(spilled));
        self.postbox.woke();
        result
    }

    fn sleep_time(&self, spilled: u64) -> Duration {
        if spilled > 0 {
            return SPILL_RETRY;
        }
        let now_ms = self.clock.now().monotonic_ms;
        let mut sleep = SLEEP_MAX;
        if let Some(due_ms) = self.shard.next_deadline_ms() {
            sleep = sleep.min(Duration::from_millis(due_ms.saturating_sub(now_ms)));
        }
        if self.accept_rests_until_ms > now_ms {
            sleep = sleep.min(Duration::from_millis(self.accept_rests_until_ms - now_ms));
        }
        sleep
    }

    fn take_letters(&mut self) -> io::Result<()> {
        while let Some(order) = self.postbox.next_order() {
            match order {
                Order::Drain { .. } => self.accepts.stop(&mut self.ring)?,
                Order::Statistics => {
                    let figures = (self.ring.enters(), self.turns, self.slots.starved_total());
                    let is_full = self.slots.open_count() >= self.slots_max;
                    self.shard.record_io(figures, self.memory.streams_count() as u64, is_full);
                }
                Order::Reload(_) | Order::Retire => {}
            }
            self.input(Input::Order(order))?;
        }
        for number in 0..LETTERS_PER_TURN_MAX {
            // One letter may be a publication for very many.
            if number % 16 == 15 && self.clock.now().monotonic_ms > self.now.monotonic_ms + TURN_MS_MAX {
                break;
            }
            let Some((source, letter)) = self.postbox.next_letter() else { break };
            self.input(Input::Letter { source, letter })?;
        }
        Ok(())
    }

    /// Handles completions within the bounds of a turn. `true`: some are left.
    fn take_completions(&mut self) -> io::Result<bool> {
        for number in 0..COMPLETIONS_PER_TURN_MAX {
            if number % 64 == 63 && self.clock.now().monotonic_ms > self.now.monotonic_ms + TURN_MS_MAX {
                break;
            }
            let Some(completion) = self.ring.next_completion() else { return Ok(false) };
            self.completed(completion)?;
        }
        Ok(self.ring.has_completions())
    }

    fn completed(&mut self, completion: Completion) -> io::Result<()> {
        let Completion { token, result, .. } = completion;
        let slot = Slot(token.slot);
        match token.kind {
            Kind::Accept => return self.accepted(token.slot, result),
            Kind::Orders => {
                self.postbox.drain_bell();
                return if completion.has_more { Ok(()) } else { self.watch_bell() };
            }
            Kind::Rang | Kind::Letters => return Ok(()),
            Kind::Cancel if token == Token::of(Kind::Cancel) => return Ok(()),
            _ => {}
        }
        assert!(self.slots.is_current(token), "a completion of an earlier life of slot {}", token.slot);
        match token.kind {
            Kind::Receive => self.received(completion),
            Kind::Send => {
                let result = match u32::try_from(result) {
                    Ok(bytes) => Ok(bytes),
                    Err(_) if matches!(-result, libc::EINTR | libc::EAGAIN) => Ok(0),
                    Err(_) => Err(SendFailed),
                };
                self.slots.sent(token.slot);
                self.input(Input::Sent { slot, result })?;
                self.slots.operation_completed(token.slot, &mut self.ring)
            }
            Kind::Close => {
                self.slots.closed(token.slot);
                self.input(Input::Closed { slot })
            }
            Kind::Cancel | Kind::Shutdown | Kind::Linger => {
                self.slots.operation_completed(token.slot, &mut self.ring)
            }
            Kind::Accept | Kind::Orders | Kind::Rang | Kind::Letters => unreachable!("handled above"),
        }
    }

    fn accepted(&mut self, number: u32, result: i32) -> io::Result<()> {
        match self.accepts.complete(number, result) {
            Accepted::Connection { slot, peer, entrance } => {
                self.slots.open(slot, &mut self.ring, &self.buffers)?;
                self.input(Input::Accepted { slot: Slot(slot), peer, entrance })?;
            }
            Accepted::Nothing => {}
            Accepted::Exhausted(error) => {
                tracing::warn!(%error, "no room for another connection; accepting rests");
                self.accept_rests_until_ms = self.now.monotonic_ms + ACCEPT_REST_MS;
            }
        }
        self.accepts.close_if_idle();
        Ok(())
    }

    fn received(&mut self, completion: Completion) -> io::Result<()> {
        let slot = completion.token.slot;
        let received =
            self.slots.receive_completed(slot, completion.result, completion.has_more, completion.buffer);
        match received {
            Received::Data { small, buffer, length } => {
                let ring = if small { &mut self.buffers.small } else { &mut self.buffers.large };
                let bytes = ring.bytes(buffer, length);
                let input = Input::Received { slot: Slot(slot), bytes };
                self.shard.handle(self.now, input, &mut self.effects);
                ring.give_back(buffer);
                self.carry_out()?;
            }
            Received::Ended => self.input(Input::ReceiveEnded { slot: Slot(slot) })?,
            Received::Nothing => {}
        }
        if !completion.has_more {
            self.slots.after_receive(slot, &mut self.ring, &self.buffers)?;
        }
        Ok(())
    }

    fn input(&mut self, input: Input<'_>) -> io::Result<()> {
        self.shard.handle(self.now, input, &mut self.effects);
        self.carry_out()
    }

    /// Does what the shard wants, and what it then wants because of it.
    fn carry_out(&mut self) -> io::Result<()> {
        while !self.effects.is_empty() {
            let mut effects = std::mem::take(&mut self.effects);
            for effect in effects.drain(..) {
                self.carry_out_one(effect)?;
            }
            if self.effects.is_empty() {
                self.effects = effects;
            }
        }
        Ok(())
    }

    fn carry_out_one(&mut self, effect: Effect) -> io::Result<()> {
        match effect {
            Effect::Read { slot, mode } => self.slots.set_mode(slot.0, mode, &mut self.ring, &self.buffers),
            Effect::Finish { slot } => self.slots.finish(slot.0, &mut self.ring),
            Effect::Close { slot, abort } => self.slots.close(slot.0, abort, &mut self.ring),
            Effect::Send { target, letter } => {
                self.postbox.post(target, letter);
                Ok(())
            }
            Effect::Ask(ask) => {
                let mut answers = std::mem::take(&mut self.answers);
                self.memory.handle(self.now.monotonic_ms, ask, &mut answers);
                for answer in answers.drain(..) {
                    self.shard.handle(self.now, Input::Engine(answer), &mut self.effects);
                }
                self.answers = answers;
                Ok(())
            }
            Effect::Notify(notice) => {
                self.postbox.notify(notice);
                Ok(())
            }
            Effect::Happened(happening) => {
                if let Some(said) = &self.said {
                    said.say(happening);
                }
                Ok(())
            }
        }
    }

    /// Sends what waits, within the bounds of a turn, oldest first.
    fn flush(&mut self) -> io::Result<()> {
        for _ in 0..SENDS_PER_TURN_MAX {
            let Some((slot, bytes)) = self.shard.next_batch() else { break };
            let length = u32::try_from(bytes.len()).expect("a batch is shorter than a chunk");
            let bytes = bytes.as_ptr();
            self.slots.send(slot.0, bytes, length, &mut self.ring)?;
        }
        self.slots.feed_starved(&mut self.ring, &self.buffers)
    }

    /// Delivers letters and wakes the sleeping shards that got some, once each.
    fn post(&mut self) -> io::Result<u64> {
        let spilled = self.postbox.flush();
        self.shard.set_spilled(spilled);
        let mut rings = std::mem::take(&mut self.rings);
        self.postbox.sleepers(&mut rings);
        for ring in rings.drain(..) {
            let letters = Token::of(Kind::Letters).pack();
            let entry = opcode::MsgRingData::new(types::Fd(ring), 0, letters, None)
                .build()
                .user_data(Token::of(Kind::Rang).pack());
            // SAFETY: the entry names no memory; rings live as long as the process.
            unsafe { self.ring.push(&entry)? };
        }
        self.rings = rings;
        Ok(spilled)
    }

    /// Completions for every ring of the control thread's bell.
    fn watch_bell(&mut self) -> io::Result<()> {
        let bell = types::Fd(self.postbox.bell());
        let entry = opcode::PollAdd::new(bell, libc::POLLIN as u32)
            .multi(true)
            .build()
            .user_data(Token::of(Kind::Orders).pack());
        // SAFETY: the entry names no memory; the eventfd belongs to the mesh, which the postbox keeps alive.
        unsafe { self.ring.push(&entry) }
    }
}

//! What drives one shard: the loop of the `io` room without its clock, its ring and its thread.

use std::collections::VecDeque;
use std::sync::Arc;

use polycast::core::ids::{ShardId, Slot};
use polycast::core::recovery::RECOVERED_MAX;
use polycast::core::time::Now;
use polycast::engine::{Answer, Ask};
use polycast::shard::input::{Effect, Entrance, Input, ReadMode};
use polycast::shard::letter::{Letter, Notice, Order};
use polycast::shard::{DEADLINES_PER_TURN_MAX, Shard};

use super::engine::Engine;
use super::kernel::{Completion, Kernel};
use super::ledger::{Broken, Ledger};
use super::mutant::{Mutant, Saboteur};
use super::network::Socket;
use super::publisher;
use super::random::Random;
use super::scenario::{EngineKind, Scenario};
use super::shown::{Shown, ShownLetter};
use super::trace::Trace;

/// Everything outside of a shard that its turn can touch.
#[derive(Debug)]
pub struct Outside<'a> {
    pub now: Now,
    pub scenario: &'a Scenario,
    /// One per target: letters that have arrived.
    pub lanes: &'a mut [VecDeque<(ShardId, Letter)>],
    pub engine: &'a mut Engine,
    pub sockets: &'a mut Vec<Socket>,
    pub random: &'a mut Random,
    pub ledger: &'a mut Ledger,
    pub trace: &'a mut Trace,
    pub saboteur: &'a mut Saboteur,
}

#[derive(Debug)]
pub struct Host {
    id: ShardId,
    pub shard: Shard,
    pub kernel: Kernel,
    pub orders: VecDeque<Order>,
    pub answers: VecDeque<Answer>,
    pub stalled_until_ms: u64,
    pub has_drained: bool,
    /// Letters whose lane was full, per target.
    spill: Vec<VecDeque<Letter>>,
    /// How many the shard was told of.
    spilled: u64,
    pub spilled_max: u64,
    /// Connections that expired in one turn, at most.
    pub expired_max: u64,
    retry_ms: u64,
    effects: Vec<Effect>,
    /// What is being handled is another shard's letter.
    handles_letter: bool,
}

impl Host {
    pub fn new(id: ShardId, shard: Shard, shards: u16) -> Self {
        Self {
            id,
            shard,
            kernel: Kernel::default(),
            orders: VecDeque::new(),
            answers: VecDeque::new(),
            stalled_until_ms: 0,
            has_drained: false,
            spill: (0..shards).map(|_| VecDeque::new()).collect(),
            spilled: 0,
            spilled_max: 0,
            expired_max: 0,
            retry_ms: 0,
            effects: Vec::new(),
            handles_letter: false,
        }
    }

    pub fn spilled(&self) -> u64 {
        self.spill.iter().map(|spill| spill.len() as u64).sum()
    }

    /// Whether a turn has something to do at once.
    pub fn is_ready(&self, now_ms: u64, lanes: &[VecDeque<(ShardId, Letter)>]) -> bool {
        self.stalled_until_ms <= now_ms
            && (!lanes[usize::from(self.id.0)].is_empty()
                || !self.orders.is_empty()
                || !self.answers.is_empty()
                || !self.kernel.completions.is_empty()
                || self.kernel.has_starved()
                || self.shard.has_work()
                || self.shard.next_deadline_ms().is_some_and(|due_ms| due_ms <= now_ms)
                || (self.spilled > 0 && self.retry_ms <= now_ms))
    }

    /// When a turn will have something to do, if nothing comes before.
    pub fn next_ms(&self) -> Option<u64> {
        let retry = (self.spilled > 0).then_some(self.retry_ms);
        let next = self.shard.next_deadline_ms().into_iter().chain(retry).min();
        next.map(|next_ms| next_ms.max(self.stalled_until_ms))
    }

    /// Letters → completions → timers → flush → post.
    pub fn turn(&mut self, outside: &mut Outside<'_>) -> Result<(), Broken> {
        self.take_letters(outside)?;
        let has_unread = self.take_completions(outside)?;
        let now_ms = outside.now.monotonic_ms;
        if self.shard.next_deadline_ms().is_some_and(|due_ms| due_ms <= now_ms) {
            let before = self.shard.snapshot().expired;
            self.input(Input::Timers { pending_receives: has_unread }, outside)?;
            let expired = self.shard.snapshot().expired - before;
            self.expired_max = self.expired_max.max(expired);
            if expired > DEADLINES_PER_TURN_MAX as u64 {
                return Err(format!("{expired} connections expired in one turn"));
            }
        }
        self.input(Input::TurnEnd, outside)?;
        self.flush(outside);
        self.post(outside)?;
        self.check_queues(outside)
    }

    fn take_letters(&mut self, outside: &mut Outside<'_>) -> Result<(), Broken> {
        while let Some(order) = self.orders.pop_front() {
            if matches!(order, Order::Drain { .. }) {
                self.kernel.stop_accepting(outside.sockets);
            }
            self.input(Input::Order(order), outside)?;
        }
        while let Some(mut answer) = self.answers.pop_front() {
            sabotage(&mut answer, outside.saboteur);
            self.input(Input::Engine(answer), outside)?;
        }
        for _ in 0..outside.random.length(256) {
            let lane = &mut outside.lanes[usize::from(self.id.0)];
            let Some((source, letter)) = lane.pop_front() else { break };
            self.handles_letter = true;
            self.input(Input::Letter { source, letter }, outside)?;
            self.handles_letter = false;
        }
        Ok(())
    }

    fn take_completions(&mut self, outside: &mut Outside<'_>) -> Result<bool, Broken> {
        for _ in 0..outside.random.length(64) {
            let Some(completion) = self.kernel.completions.pop_front() else { return Ok(false) };
            self.completed(completion, outside)?;
        }
        Ok(!self.kernel.completions.is_empty())
    }

    fn completed(&mut self, completion: Completion, outside: &mut Outside<'_>) -> Result<(), Broken> {
        match completion {
            Completion::Accepted { slot } => {
                let entrance = outside.sockets[self.kernel.socket(slot)].entrance;
                self.kernel.open(slot);
                outside.trace.note(
                    outside.now.monotonic_ms,
                    format_args!("{} has socket {} in slot {slot}", self.id.0, self.kernel.socket(slot)),
                );
                let peer = ([127, 0, 0, 1], 40_000).into();
                self.input(Input::Accepted { slot: Slot(slot), peer, entrance }, outside)
            }
            Completion::Sent { slot, result } => {
                self.input(Input::Sent { slot: Slot(slot), result }, outside)?;
                self.kernel.operation_completed(slot);
                Ok(())
            }
            Completion::Closed { slot } => {
                self.kernel.closed(slot);
                self.input(Input::Closed { slot: Slot(slot) }, outside)
            }
            Completion::Done { slot } => {
                self.kernel.operation_completed(slot);
                Ok(())
            }
            received => self.received(received, outside),
        }
    }

    fn received(&mut self, completion: Completion, outside: &mut Outside<'_>) -> Result<(), Broken> {
        let is_wanted = self.kernel.receive_completed(&completion);
        let (slot, has_more) = match completion {
            Completion::Received { slot, mut bytes, has_more } => {
                self.input(Input::Received { slot: Slot(slot), bytes: &mut bytes }, outside)?;
                // The buffer goes back: nobody may look at it any more.
                bytes.fill(0xDD);
                (slot, has_more)
            }
            Completion::ReceiveEnded { slot } => {
                if is_wanted {
                    self.input(Input::ReceiveEnded { slot: Slot(slot) }, outside)?;
                }
                (slot, false)
            }
            Completion::ReceiveStopped { slot, .. } => (slot, false),
            _ => unreachable!("not a receive"),
        };
        if !has_more {
            self.kernel.after_receive(slot);
        }
        Ok(())
    }

    fn input(&mut self, input: Input<'_>, outside: &mut Outside<'_>) -> Result<(), Broken> {
        outside.trace.note(outside.now.monotonic_ms, format_args!("{} {}", self.id.0, Shown(&input)));
        self.shard.handle(outside.now, input, &mut self.effects);
        while !self.effects.is_empty() {
            let mut effects = std::mem::take(&mut self.effects);
            for effect in effects.drain(..) {
                self.carry_out(effect, outside)?;
            }
            if self.effects.is_empty() {
                self.effects = effects;
            }
        }
        Ok(())
    }

    fn carry_out(&mut self, effect: Effect, outside: &mut Outside<'_>) -> Result<(), Broken> {
        match effect {
            Effect::Read { slot, mode } => {
                outside.trace.count(match mode {
                    ReadMode::Stream => "reading resumed",
                    ReadMode::Bulk => "read in bulk",
                    ReadMode::Paused => "reading paused",
                });
                self.kernel.set_mode(slot.0, mode);
            }
            Effect::Finish { slot } => self.kernel.finish(slot.0),
            Effect::Close { slot, abort } => {
                if abort {
                    outside.trace.count("reset by the server");
                }
                self.kernel.close(slot.0, abort);
            }
            Effect::Send { target, letter } => return self.send(target, letter, outside),
            Effect::Ask(ask) => return self.ask(ask, outside),
            Effect::Notify(Notice::Drained) => self.has_drained = true,
            Effect::Notify(_) => {}
            Effect::Happened(happening) => {
                outside.trace.count(happening.what.kind().name());
                return outside.ledger.happened(&happening);
            }
        }
        Ok(())
    }

    fn ask(&mut self, ask: Ask, outside: &mut Outside<'_>) -> Result<(), Broken> {
        if self.spilled > 0 && !self.handles_letter && matches!(ask, Ask::Publish { .. }) {
            return Err(format!("shard {} took a publication while letters wait for room", self.id.0));
        }
        if matches!(&ask, Ask::History { range, .. } if range.since.is_some()) {
            outside.trace.count("gap read from history");
        }
        let mut answers = Vec::new();
        let now_ms = outside.now.monotonic_ms;
        outside.engine.ask(usize::from(self.id.0), now_ms, ask, outside.ledger, &mut answers)?;
        for mut answer in answers {
            sabotage(&mut answer, outside.saboteur);
            self.shard.handle(outside.now, Input::Engine(answer), &mut self.effects);
        }
        Ok(())
    }

    fn send(&mut self, target: ShardId, mut letter: Letter, outside: &mut Outside<'_>) -> Result<(), Broken> {
        outside.trace.note(
            outside.now.monotonic_ms,
            format_args!("{} to {}: {}", self.id.0, target.0, ShownLetter(&letter)),
        );
        match &letter {
            Letter::Publish { .. } if self.spilled > 0 => {
                return Err(format!(
                    "shard {} passed on a publication while letters wait for room",
                    self.id.0
                ));
            }
            Letter::Broken { .. } => outside.trace.count("channel broken"),
            Letter::Deliver(delivery) if outside.saboteur.strikes(Mutant::RepeatDelivery) => {
                let again = Letter::Deliver(Arc::clone(delivery));
                self.put(target, again, outside);
            }
            _ => {}
        }
        if !outside.saboteur.loses(&mut letter) {
            self.put(target, letter, outside);
        }
        Ok(())
    }

    /// Into the lane, or behind those that wait for room there.
    fn put(&mut self, target: ShardId, letter: Letter, outside: &mut Outside<'_>) {
        let index = usize::from(target.0);
        let lane = &mut outside.lanes[index];
        if self.spill[index].is_empty() && lane.len() < outside.scenario.lane_letters {
            lane.push_back((self.id, letter));
        } else {
            self.spill[index].push_back(letter);
        }
    }

    fn flush(&mut self, outside: &mut Outside<'_>) {
        for _ in 0..outside.random.length(512) {
            let Some((slot, bytes)) = self.shard.next_batch() else { break };
            outside.trace.note(
                outside.now.monotonic_ms,
                format_args!("{} sends {} to {}", self.id.0, bytes.len(), slot.0),
            );
            self.kernel.send(slot.0, bytes);
        }
        self.kernel.feed_starved();
    }

    fn post(&mut self, outside: &mut Outside<'_>) -> Result<(), Broken> {
        for (spill, lane) in self.spill.iter_mut().zip(outside.lanes.iter_mut()) {
            while lane.len() < outside.scenario.lane_letters
                && let Some(letter) = spill.pop_front()
            {
                lane.push_back((self.id, letter));
            }
        }
        self.spilled = self.spilled();
        if self.spilled > 0 {
            outside.trace.count("turn with letters waiting for room");
        }
        self.spilled_max = self.spilled_max.max(self.spilled);
        self.retry_ms = outside.now.monotonic_ms + outside.random.below(2);
        self.shard.set_spilled(self.spilled);
        Ok(())
    }

    /// No queue is longer than its bound and one publication.
    fn check_queues(&self, outside: &Outside<'_>) -> Result<(), Broken> {
        /// What is around the data of a publication: names, info of its publisher, the frame.
        const AROUND_BYTES: usize = 1_024;
        /// Replies to a publisher that does not read, and those that one awaited reply had held up.
        const UNREAD_BYTES_MAX: usize = 64 * 1_024 + 256 * (publisher::TEXT_BYTES_MAX + AROUND_BYTES);
        // One answer may bring all that recovery and history bring at most: what is kept, and what was published while
        // the engine was asked for it.
        let publications = match outside.scenario.engine {
            EngineKind::Memory => outside.scenario.history_size.clamp(1, RECOVERED_MAX.into()) as usize,
            EngineKind::Slow => RECOVERED_MAX as usize,
        };
        let answer = publications * (outside.scenario.data_bytes_max + AROUND_BYTES);
        let bound_of_clients = outside.scenario.queue_bytes_max as usize + answer;
        for slot in self.kernel.open_slots() {
            let bound = match outside.sockets[self.kernel.socket(slot)].entrance {
                Entrance::Http => bound_of_clients,
                Entrance::Resp => UNREAD_BYTES_MAX,
            };
            let bytes = self.shard.queued_bytes(Slot(slot));
            if bytes as usize > bound {
                return Err(format!("{bytes} bytes wait for slot {slot}, the bound is {bound}"));
            }
        }
        Ok(())
    }
}

/// The deliberate error at the engine's edge.
fn sabotage(answer: &mut Answer, saboteur: &mut Saboteur) {
    if let Answer::Delivery { numbered, .. } = answer
        && numbered.offset > 0
        && saboteur.strikes(Mutant::SkipOffset)
    {
        numbered.offset += 1;
    }
}

//! Both engines: the process's own memory, and one that takes every liberty its contract gives.
//!
//! The slow engine answers late and in any order; delivers numbered publications late, twice and out of order; fails
//! now and then, a failed publish being delivered nevertheless or not; forgets a stream and begins a new life of it.
//! Asks about one channel take effect in order, and channels that are not numbered are delivered in order.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use polycast::core::history::Range;
use polycast::core::ids::AppIndex;
use polycast::core::publication::{ClientInfo, Numbered, Payload, Position, Publication};
use polycast::core::recovery::RECOVERED_MAX;
use polycast::engine::memory::Memory;
use polycast::engine::{Answer, Ask, AskId, ChannelKey, EngineError, PresenceStats, Stream};

use super::ledger::{Broken, Ledger};
use super::presence::Member;
use super::random::Random;
use super::scenario::EngineKind;

/// The engine of a run.
#[derive(Debug)]
pub enum Engine {
    /// One per shard.
    Memory(Vec<Memory>),
    Slow(Box<Slow>),
}

impl Engine {
    pub fn new(kind: EngineKind, shards: u16, random: &mut Random) -> Self {
        match kind {
            EngineKind::Memory => Self::Memory((0..shards).map(|_| Memory::new(random.next())).collect()),
            EngineKind::Slow => Self::Slow(Box::new(Slow::new(Random::new(random.next())))),
        }
    }

    /// Takes an ask of a shard; what is answered at once is appended.
    pub fn ask(
        &mut self,
        shard: usize,
        now_ms: u64,
        ask: Ask,
        ledger: &mut Ledger,
        answers: &mut Vec<Answer>,
    ) -> Result<(), Broken> {
        match self {
            Self::Memory(memories) => {
                let taken = match &ask {
                    Ask::Publish { channel, publication, .. } => {
                        Some((channel.clone(), Arc::clone(publication)))
                    }
                    _ => None,
                };
                memories[shard].handle(now_ms, ask, answers);
                if let (Some((channel, publication)), Some(Answer::Published { result, .. })) =
                    (taken, answers.last())
                {
                    let position = result.as_ref().ok().and_then(Option::as_ref);
                    let offset = position.map_or(0, |position| position.offset);
                    ledger.taken(&channel.name, data_of(&publication), offset, 0)?;
                }
                Ok(())
            }
            Self::Slow(slow) => {
                slow.ask(shard, now_ms, ask);
                Ok(())
            }
        }
    }

    /// What the slow engine has to say by now.
    pub fn run(&mut self, now_ms: u64, ledger: &mut Ledger) -> Result<Option<(usize, Answer)>, Broken> {
        match self {
            Self::Memory(_) => Ok(None),
            Self::Slow(slow) => slow.run(now_ms, ledger),
        }
    }

    /// When it has something to do next.
    pub fn next_ms(&self) -> Option<u64> {
        match self {
            Self::Memory(_) => None,
            Self::Slow(slow) => slow.events.first_key_value().map(|((due_ms, _), _)| *due_ms),
        }
    }

    /// The clients in a channel, sorted.
    pub fn members(&mut self, channel: &str) -> Vec<Member> {
        let channel = ChannelKey { app: AppIndex(0), name: channel.into() };
        let mut answers = Vec::new();
        match self {
            Self::Memory(memories) => {
                for memory in memories {
                    memory.handle(0, Ask::Presence { id: AskId(0), channel: channel.clone() }, &mut answers);
                }
            }
            Self::Slow(slow) => {
                let members = slow.channels.get(&channel.name).map(|channel| &channel.members);
                return members.into_iter().flat_map(|members| members.values().map(member)).collect();
            }
        }
        let clients = answers.into_iter().flat_map(|answer| match answer {
            Answer::Presence { result: Ok(clients), .. } => clients,
            _ => Vec::new(),
        });
        let mut members: Vec<Member> = clients.map(|info| member(&info)).collect();
        members.sort();
        members
    }

    /// Channels with somebody in them.
    pub fn peopled_count(&self) -> usize {
        match self {
            Self::Memory(memories) => memories.iter().map(Memory::peopled_count).sum(),
            Self::Slow(slow) => slow.channels.values().filter(|channel| !channel.members.is_empty()).count(),
        }
    }

    /// Channels whose deliveries somebody wants.
    pub fn subscribed_count(&self) -> usize {
        match self {
            Self::Memory(memories) => memories.iter().map(Memory::subscribed_count).sum(),
            Self::Slow(slow) => slow.channels.values().filter(|channel| channel.subscriber.is_some()).count(),
        }
    }
}

/// Failures in a row of what an owner asks to fill a gap, after which it may give up.
const FAILURES_MAX: u64 = 8;

#[derive(Debug)]
pub struct Slow {
    random: Random,
    channels: BTreeMap<Arc<str>, Channel>,
    events: BTreeMap<(u64, u64), Event>,
    events_count: u64,
    /// Everything fails until then.
    down_until_ms: u64,
}

#[derive(Debug, Default)]
struct Channel {
    pending: VecDeque<(usize, Ask)>,
    pending_ms: u64,
    subscriber: Option<usize>,
    /// Counts subscriptions: what an earlier one was to hear unnumbered is dropped.
    life: u64,
    epoch: u64,
    top: u64,
    kept: VecDeque<Numbered>,
    /// Who is in it, by client id.
    members: BTreeMap<String, ClientInfo>,
    delivered_ms: u64,
    /// Answers to its owner's questions about a gap that failed in a row.
    failures: u64,
}

#[derive(Debug)]
enum Event {
    /// The channel's oldest ask takes effect.
    Effect(Arc<str>),
    Answer(usize, Answer),
    /// For the life of a subscription in which it was sent, if it is not numbered.
    Delivery {
        shard: usize,
        life: Option<u64>,
        answer: Answer,
    },
}

impl Slow {
    fn new(random: Random) -> Self {
        Self { random, channels: BTreeMap::new(), events: BTreeMap::new(), events_count: 0, down_until_ms: 0 }
    }

    fn delay_ms(&mut self) -> u64 {
        match self.random.below(40) {
            0 => self.random.below(1_500),
            1..=5 => self.random.below(150),
            _ => self.random.below(6),
        }
    }

    fn schedule(&mut self, due_ms: u64, event: Event) {
        self.events_count += 1;
        self.events.insert((due_ms, self.events_count), event);
    }

    fn ask(&mut self, shard: usize, now_ms: u64, ask: Ask) {
        let (Ask::Publish { channel, .. }
        | Ask::Subscribe { channel, .. }
        | Ask::Unsubscribe { channel }
        | Ask::History { channel, .. }
        | Ask::RemoveHistory { channel, .. }
        | Ask::Enter { channel, .. }
        | Ask::Exit { channel, .. }
        | Ask::Presence { channel, .. }
        | Ask::PresenceStats { channel, .. }) = &ask;
        let name = Arc::clone(&channel.name);
        let due_ms = now_ms + self.delay_ms();
        let channel = self.channels.entry(Arc::clone(&name)).or_default();
        channel.pending_ms = channel.pending_ms.max(due_ms);
        channel.pending.push_back((shard, ask));
        let due_ms = channel.pending_ms;
        self.schedule(due_ms, Event::Effect(name));
    }

    fn run(&mut self, now_ms: u64, ledger: &mut Ledger) -> Result<Option<(usize, Answer)>, Broken> {
        while let Some(entry) = self.events.first_entry().filter(|entry| entry.key().0 <= now_ms) {
            match entry.remove() {
                Event::Effect(name) => {
                    let channel = self.channels.get_mut(&name).expect("asks name their channel");
                    let (shard, ask) = channel.pending.pop_front().expect("one effect per ask");
                    self.effect(shard, now_ms, ask, ledger)?;
                }
                Event::Answer(shard, answer) => return Ok(Some((shard, answer))),
                Event::Delivery { shard, life, answer } => {
                    let Answer::Delivery { channel, .. } = &answer else { continue };
                    if life.is_none_or(|life| self.channels[&channel.name].life == life) {
                        return Ok(Some((shard, answer)));
                    }
                }
            }
        }
        Ok(None)
    }

    /// Whether this one fails.
    fn fails(&mut self, now_ms: u64, percent: u64) -> bool {
        if self.random.below(400) == 0 {
            self.down_until_ms = now_ms + self.random.below(1_000);
        }
        now_ms < self.down_until_ms || self.random.percent(percent)
    }

    fn effect(&mut self, shard: usize, now_ms: u64, ask: Ask, ledger: &mut Ledger) -> Result<(), Broken> {
        let answer = match ask {
            Ask::Subscribe { id, channel, numbered: _ } => {
                let result = if self.fails(now_ms, 4) { Err(EngineError::Unavailable) } else { Ok(()) };
                if result.is_ok() {
                    let entry = self.channels.get_mut(&channel.name).expect("asks name their channel");
                    if entry.subscriber.is_some() {
                        return Err(format!("{}: subscribed twice at the engine", channel.name));
                    }
                    entry.subscriber = Some(shard);
                    entry.life += 1;
                }
                Answer::Subscribed { id, result }
            }
            Ask::Unsubscribe { channel } => {
                let entry = self.channels.get_mut(&channel.name).expect("asks name their channel");
                if entry.subscriber.take().is_none() {
                    return Err(format!(
                        "{}: unsubscribed at the engine without a subscription",
                        channel.name
                    ));
                }
                entry.life += 1;
                return Ok(());
            }
            Ask::Publish { id, channel, publication, keep, .. } => {
                let keep = keep.map(|keep| keep.size);
                self.publish(shard, now_ms, (id, channel, publication, keep), ledger)?
            }
            Ask::History { id, channel, range, .. } => {
                let has_failed = self.fails(now_ms, 8);
                let entry = self.channels.get_mut(&channel.name).expect("asks name their channel");
                // Nobody else asks for more than a client may get; what others are answered is no help to the owner.
                if range.limit > RECOVERED_MAX {
                    entry.failures = if has_failed { entry.failures + 1 } else { 0 };
                }
                let oldest = entry.top + 1 - entry.kept.len() as u64;
                let is_trimmed = range.since.as_ref().is_some_and(|since| since.offset + 1 < oldest);
                if entry.failures >= FAILURES_MAX || is_trimmed {
                    ledger.excuse(&channel.name);
                }
                let result =
                    if has_failed { Err(EngineError::Unavailable) } else { self.history(&channel, &range) };
                Answer::History { id, result }
            }
            Ask::Enter { channel, info, .. } => {
                let entry = self.channels.get_mut(&channel.name).expect("asks name their channel");
                let user = info.user.clone();
                let is_new = entry.members.values().all(|there| there.user != user) && !user.is_empty();
                if entry.members.insert(info.client.text().as_str().to_owned(), (*info).clone()).is_some() {
                    return Err(format!("{}: {:?} entered twice", channel.name, info.client));
                }
                if is_new {
                    self.schedule(now_ms, Event::Answer(shard, Answer::User { channel, user, enters: true }));
                }
                return Ok(());
            }
            Ask::Exit { channel, client } => {
                let entry = self.channels.get_mut(&channel.name).expect("asks name their channel");
                let Some(ClientInfo { user, .. }) = entry.members.remove(client.text().as_str()) else {
                    return Err(format!("{}: {client:?} left without having entered", channel.name));
                };
                if entry.members.values().all(|there| there.user != user) && !user.is_empty() {
                    self.schedule(
                        now_ms,
                        Event::Answer(shard, Answer::User { channel, user, enters: false }),
                    );
                }
                return Ok(());
            }
            Ask::Presence { id, channel } => {
                let clients = self.channels[&channel.name].members.values().cloned().collect();
                let result = if self.fails(now_ms, 8) { Err(EngineError::Unavailable) } else { Ok(clients) };
                Answer::Presence { id, result }
            }
            Ask::PresenceStats { id, channel } => {
                let members = &self.channels[&channel.name].members;
                let users: std::collections::BTreeSet<_> = members.values().map(|info| &info.user).collect();
                let stats = PresenceStats { clients: members.len() as u32, users: users.len() as u32 };
                Answer::PresenceStats { id, result: Ok(stats) }
            }
            Ask::RemoveHistory { id, channel } => {
                let result = if self.fails(now_ms, 8) { Err(EngineError::Unavailable) } else { Ok(()) };
                if result.is_ok() {
                    self.channels.get_mut(&channel.name).expect("asks name their channel").kept.clear();
                }
                Answer::HistoryRemoved { id, result }
            }
        };
        let due_ms = now_ms + self.delay_ms();
        self.schedule(due_ms, Event::Answer(shard, answer));
        Ok(())
    }

    fn publish(
        &mut self,
        shard: usize,
        now_ms: u64,
        (id, channel, publication, keep): (AskId, ChannelKey, Arc<Publication>, Option<u32>),
        ledger: &mut Ledger,
    ) -> Result<Answer, Broken> {
        let has_failed = self.fails(now_ms, 4);
        let failed = Answer::Published { id, result: Err(EngineError::Unavailable) };
        if has_failed && self.random.percent(50) {
            return Ok(failed);
        }
        let begins_anew = keep.is_some() && self.random.below(300) == 0;
        let entry = self.channels.get_mut(&channel.name).expect("asks name their channel");
        if begins_anew {
            (entry.epoch, entry.top) = (entry.epoch + 1, 0);
            entry.kept.clear();
            ledger.excuse(&channel.name);
        }
        let mut numbered = Numbered { offset: 0, publication };
        if let Some(size) = keep {
            entry.top += 1;
            numbered.offset = entry.top;
            entry.kept.push_back(numbered.clone());
            while entry.kept.len() > size as usize {
                entry.kept.pop_front();
            }
        }
        ledger.taken(&channel.name, data_of(&numbered.publication), numbered.offset, entry.epoch)?;
        let position = keep.map(|_| Position { offset: entry.top, epoch: epoch(entry.epoch) });
        if let Some(subscriber) = entry.subscriber {
            debug_assert_eq!(subscriber, shard, "one shard owns a channel");
            self.deliver(subscriber, now_ms, channel, numbered);
        }
        Ok(if has_failed { failed } else { Answer::Published { id, result: Ok(position) } })
    }

    fn deliver(&mut self, shard: usize, now_ms: u64, channel: ChannelKey, numbered: Numbered) {
        let is_numbered = numbered.offset > 0;
        let copies = if is_numbered && self.random.percent(10) { 2 } else { 1 };
        for _ in 0..copies {
            let mut due_ms = now_ms + self.delay_ms();
            let entry = self.channels.get_mut(&channel.name).expect("asks name their channel");
            let epoch = if is_numbered { epoch(entry.epoch) } else { Arc::from("") };
            let life = (!is_numbered).then_some(entry.life);
            if !is_numbered {
                due_ms = due_ms.max(entry.delivered_ms);
                entry.delivered_ms = due_ms;
            }
            let answer = Answer::Delivery { channel: channel.clone(), epoch, numbered: numbered.clone() };
            self.schedule(due_ms, Event::Delivery { shard, life, answer });
        }
    }

    fn history(&self, channel: &ChannelKey, range: &Range) -> Result<Stream, EngineError> {
        let entry = &self.channels[&channel.name];
        let top = Position { offset: entry.top, epoch: epoch(entry.epoch) };
        if range.since.as_ref().is_some_and(|since| !since.epoch.is_empty() && since.epoch != top.epoch) {
            return Err(EngineError::Unrecoverable);
        }
        let is_wanted = |numbered: &&Numbered| match (&range.since, range.reverse) {
            (None, _) => true,
            (Some(since), false) => numbered.offset > since.offset,
            (Some(since), true) => numbered.offset < since.offset,
        };
        let limit = range.limit as usize;
        let publications = if range.reverse {
            entry.kept.iter().rev().filter(is_wanted).take(limit).cloned().collect()
        } else {
            entry.kept.iter().filter(is_wanted).take(limit).cloned().collect()
        };
        Ok(Stream { top, publications })
    }
}

fn member(info: &ClientInfo) -> Member {
    Member { id: info.client.text().as_str().to_owned(), user: info.user.to_string() }
}

fn epoch(number: u64) -> Arc<str> {
    format!("life{number}").into()
}

fn data_of(publication: &Publication) -> &[u8] {
    match &publication.data {
        Payload::Json(bytes) | Payload::Binary(bytes) => bytes,
    }
}

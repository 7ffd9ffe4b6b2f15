//! One core's whole world as a function of (state, input, now): its connections, its clients, the channels it
//! owns and those it hears, its deadlines. No clock, no socket, no thread.
//!
//! [`Shard::handle`] takes one [`Input`] and appends [`Effect`]s. Outgoing bytes are not effects: they lie in
//! the connections' queues, and whoever runs the shard asks [`Shard::next_batch`] for them after a turn.
//!
//! Invariants:
//! - A subscription, its channel's subscriber and the owner's count come and go together.
//! - A slot is reused only after [`Input::Closed`]; until then its queue may be in the kernel's hands.
//! - Nothing a peer sends makes a shard panic; a broken invariant of its own does.

mod addresses;
mod answers;
mod backend;
mod channels;
mod closing;
mod connection;
mod counting;
mod deadlines;
mod deltas;
mod errand;
mod fanout;
mod greeting;
mod handles;
mod happening;
mod hearing;
mod http;
pub mod input;
mod latest;
pub mod letter;
mod lookup;
mod operations;
pub mod outbox;
mod owner;
mod positions;
mod preface;
mod presence;
mod rates;
mod reading;
mod recovering;
mod replay;
mod resp;
mod seal;
mod session;
mod settings;
mod sign_in;
mod signature;
mod signed;
mod single;
mod slow;
mod special;
mod subscribe;
mod survey;
mod token;
mod users;
mod waiting;
mod watching;
mod websocket;

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use self::addresses::{Addresses, Share};
use self::channels::{Channels, Placement};
use self::connection::{Connections, Listed, Phase, Transport};
use self::input::{Effect, Input, SendFailed};
use self::latest::Latest;
use self::letter::{Letter, Notice, OperationId, Order, Published};
use self::operations::Operations;
use self::outbox::{Chunks, Log, Range};
use self::owner::Asked;
use self::positions::PositionChecks;
use self::seal::Seal;
use self::settings::{AppSettings, prepare};
use self::users::Users;
use crate::config::Config;
use crate::core::error::ClientError;
use crate::core::ids::{Address, AppIndex, ConnectionId, DecimalId, ShardId, Slot};
use crate::core::publication::{Publication, Terms};
use crate::core::time::Now;
use crate::engine::ChannelKey;
use crate::metrics::Snapshot;
use crate::protocol::Variant;
use crate::timer::Wheel;
use crate::wire::json::Json;

pub use self::deadlines::DEADLINES_PER_TURN_MAX;

/// What all shards of a process share from the start. Everything random enters here.
#[derive(Debug, Clone)]
pub struct Founding {
    pub shards: u16,
    /// Places channels and users; unknown outside.
    pub hash_key: (u64, u64),
    /// Seals client ids.
    pub seal_key: [u8; 16],
    /// Differs per shard: jitter comes from it.
    pub seed: u64,
    /// Names the process to operators.
    pub node_uid: Box<str>,
    /// What is answered at `/`.
    pub index_page: Arc<[u8]>,
}

/// One shard.
#[derive(Debug)]
pub struct Shard {
    id: ShardId,
    now: Now,
    started_ms: u64,
    config: Arc<Config>,
    apps: Vec<AppSettings>,
    seal: Seal,
    node_uid: Box<str>,
    index_page: Arc<[u8]>,
    connections: Connections,
    users: Users,
    holders: single::Holders,
    charged: rates::Charged,
    taken: replay::TakenHere,
    watching: watching::Watching,
    addresses: Addresses,
    /// What one client address may do here.
    share: Share,
    channels: Channels,
    operations: Operations<Operation>,
    gathers: Operations<backend::Gather>,
    asks: Operations<Asked>,
    errands: Operations<errand::Running>,
    latest: Latest,
    /// Channels whose subscribers are still to be told how many they are.
    uncounted: Vec<crate::engine::ChannelKey>,
    wheel: Wheel,
    position_checks: PositionChecks,
    chunks: Chunks,
    /// Channels with a log of their own.
    channel_logs: Vec<channels::ChannelLog>,
    /// Publications of channels without a log of their own, per variant.
    shared_logs: [Log; Variant::COUNT],
    /// Frames for one connection only.
    personal_log: Log,
    /// HTTP answers.
    http_log: Log,
    /// Connections with something to send, in the order they got it.
    dirty: VecDeque<u32>,
    /// Connections that may go on after this input.
    resumable: Vec<ConnectionId>,
    /// Publishers that wait for other shards to take letters.
    parked: Vec<ConnectionId>,
    /// Publishers that go on in the next turn, because this one has done enough for them.
    resting: Vec<ConnectionId>,
    /// Publishers that do not read their replies.
    unread: HashSet<Slot>,
    /// What this turn has done for publishers, in units of its own.
    publishers_work: usize,
    spilled_letters: u64,
    is_retiring: bool,
    is_draining: bool,
    random: u64,
    counters: Snapshot,
    effects: Vec<Effect>,
    json: Json,
    /// The last one that was needed no more: most are needed for one request.
    spare_waiting: Option<Box<waiting::Waiting>>,
    // Scratch space, empty between inputs.
    scratch: Vec<u8>,
    answer_scratch: (Vec<u8>, Vec<u8>),
    requests: Vec<crate::core::command::Request>,
    arguments: crate::wire::resp::Arguments,
    ready: Vec<crate::core::publication::Numbered>,
    due: Vec<u32>,
    slow: Vec<Slot>,
}

/// What waits for an answer from elsewhere.
#[derive(Debug)]
enum Operation {
    Subscribe(subscribe::Joining),
    Publish(session::Publishing),
    Lookup(lookup::LookingUp),
    /// One part of a backend's request.
    Backend(backend::Part),
    Resp(resp::RespPublishing),
    Charge(rates::Charging),
    /// A backend's request that is looked for among those that were there before.
    Take(Box<backend::ApiRequest>),
}

impl Shard {
    pub fn new(id: ShardId, founding: &Founding, config: Arc<Config>, now: Now) -> Self {
        let placement = Placement { key: founding.hash_key, shards: founding.shards };
        Self {
            id,
            now,
            started_ms: now.monotonic_ms,
            apps: prepare(&config),
            share: share_of(&config, founding.shards),
            config,
            seal: Seal::new(founding.seal_key),
            node_uid: founding.node_uid.clone(),
            index_page: Arc::clone(&founding.index_page),
            connections: Connections::default(),
            users: Users::new(placement),
            holders: single::Holders::new(),
            charged: rates::Charged::default(),
            taken: replay::TakenHere::default(),
            watching: watching::Watching::default(),
            addresses: Addresses::new(placement.key),
            channels: Channels::new(placement),
            operations: Operations::default(),
            gathers: Operations::default(),
            asks: Operations::default(),
            errands: Operations::default(),
            latest: Latest::default(),
            uncounted: Vec::new(),
            wheel: Wheel::new(now.monotonic_ms),
            position_checks: PositionChecks::default(),
            chunks: Chunks::default(),
            channel_logs: Vec::new(),
            shared_logs: Default::default(),
            personal_log: Log::default(),
            http_log: Log::default(),
            dirty: VecDeque::new(),
            resumable: Vec::new(),
            parked: Vec::new(),
            resting: Vec::new(),
            unread: HashSet::new(),
            publishers_work: 0,
            spilled_letters: 0,
            is_retiring: false,
            is_draining: false,
            random: founding.seed | 1,
            counters: Snapshot::default(),
            effects: Vec::new(),
            json: Json::new(),
            spare_waiting: None,
            scratch: Vec::new(),
            answer_scratch: Default::default(),
            requests: Vec::new(),
            arguments: crate::wire::resp::Arguments::default(),
            ready: Vec::new(),
            due: Vec::new(),
            slow: Vec::new(),
        }
    }

    /// Takes one input to its end. Never waits, never reads a clock, never touches a socket.
    pub fn handle(&mut self, now: Now, input: Input<'_>, effects: &mut Vec<Effect>) {
        self.now = now;
        std::mem::swap(&mut self.effects, effects);
        match input {
            Input::Accepted { slot, peer, entrance } => self.accepted(slot, peer, entrance),
            Input::Received { slot, bytes } => self.received(slot, bytes),
            Input::ReceiveEnded { slot } => self.receive_ended(slot),
            Input::Sent { slot, result } => self.sent(slot, result),
            Input::Closed { slot } => self.closed(slot),
            Input::Letter { source, letter } => self.letter(source, letter),
            Input::Order(order) => self.order(order),
            Input::Engine(answer) => self.engine_answered(answer),
            Input::Timers { pending_receives } => self.timers(pending_receives),
            Input::TurnEnd => self.turn_end(),
        }
        self.resume_waiting();
        std::mem::swap(&mut self.effects, effects);
    }

    /// The next connection with something to send and its bytes, which stay where they are until the answering
    /// [`Input::Sent`]. FIFO; each connection has one batch in flight.
    pub fn next_batch(&mut self) -> Option<(Slot, &[u8])> {
        let range = loop {
            let slot = Slot(self.dirty.pop_front()?);
            let hot = self.connections.hot_mut(slot);
            let listed = std::mem::take(&mut hot.listed);
            if hot.phase == Phase::Vacant || hot.phase == Phase::Closed {
                continue;
            }
            let batch = hot.outbox.take_batch();
            if listed == Listed::WithPing {
                if batch.is_some() && hot.outbox.is_last_batch() {
                    self.ping_leaves(slot);
                } else if hot.outbox.is_in_flight() {
                    hot.listed = Listed::PingBehind;
                }
            }
            if let Some(range) = batch {
                break (slot, range);
            }
        };
        self.counters.sends += 1;
        let (slot, range): (Slot, Range) = range;
        Some((slot, self.chunks.bytes(range)))
    }

    /// Whether [`Self::next_batch`] may have something.
    pub fn has_batches(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// Whether the next turn has something to do though nothing arrives: to send, or to go on with.
    pub fn has_work(&self) -> bool {
        !self.dirty.is_empty() || !self.resting.is_empty() || !self.resumable.is_empty()
    }

    /// When [`Input::Timers`] should come, in monotonic milliseconds; `None`: nothing is due ever.
    pub fn next_deadline_ms(&self) -> Option<u64> {
        let due_ms =
            [self.wheel.next_due_ms(), self.position_checks.next_due_ms(), self.watching.next_due_ms()];
        due_ms.into_iter().flatten().min()
    }

    /// How many letters found their lane full. While there are any, no publication is taken.
    pub fn set_spilled(&mut self, letters: u64) {
        self.spilled_letters = letters;
        if letters == 0 && !self.parked.is_empty() {
            for connection in std::mem::take(&mut self.parked) {
                if self.connections.is_open(connection) {
                    self.waiting(connection.slot).parked = false;
                    self.note_blocked(connection.slot);
                }
            }
        }
    }

    /// Takes the figures that only `io` knows: ring enters, turns and starved receives so far; streams held;
    /// whether there is room for another connection.
    pub fn record_io(&mut self, (enters, turns, starved): (u64, u64, u64), streams: u64, is_full: bool) {
        self.counters.full = u64::from(is_full);
        self.counters.ring_enters = enters;
        self.counters.turns = turns;
        self.counters.receive_buffers_exhausted = starved;
        self.counters.streams = streams;
    }

    /// What waits for a connection or is in flight to it, as charged against its bound.
    pub fn queued_bytes(&self, slot: Slot) -> u32 {
        self.connections.hot(slot).outbox.queued_bytes()
    }

    /// The connection that an id in digits names, on whichever shard; `None`: this process made no such id. Whether it
    /// is still open is for its shard to say.
    pub fn address_of(&self, id: DecimalId) -> Option<Address> {
        self.seal.open_decimal(id)
    }

    /// Open and closing sockets.
    pub fn connections_count(&self) -> u32 {
        self.connections.count()
    }

    /// The figures as they stand.
    pub fn snapshot(&self) -> Snapshot {
        let mut snapshot = self.counters.clone();
        snapshot.connections = u64::from(self.connections.count());
        snapshot.channels = self.channels.iter().filter(|c| c.is_heard()).count() as u64;
        snapshot.queue_bytes = self.chunks.held_bytes() as u64;
        snapshot.spilled_letters = self.spilled_letters;
        snapshot
    }

    /// What must be nothing once every client has left and every answer has come: names of what is not.
    pub fn leftovers(&mut self) -> Vec<&'static str> {
        self.close_drained_logs();
        self.close_shared_logs();
        let checks = [
            ("connections", self.connections.count() == 0),
            ("channels", self.channels.is_empty()),
            ("users", self.users.is_empty()),
            ("holders", self.holders.is_empty()),
            ("charged", self.charged.is_empty()),
            ("watching", self.watching.is_empty()),
            ("addresses", self.addresses.is_empty()),
            ("operations", self.operations.is_empty()),
            ("gathers", self.gathers.is_empty()),
            ("asks", self.asks.is_empty()),
            ("errands", self.errands.is_empty()),
            ("timers", self.wheel.is_empty()),
            ("position checks", self.position_checks.is_empty()),
            ("chunks", self.chunks.in_use_count() == 0),
            ("channel logs", self.channel_logs.is_empty()),
            ("parked", self.parked.is_empty()),
            ("resting", self.resting.is_empty()),
            ("unread", self.unread.is_empty()),
            ("clients", self.counters.clients == 0),
            ("subscriptions", self.counters.subscriptions == 0),
        ];
        checks.into_iter().filter(|(_, is_empty)| !is_empty).map(|(name, _)| name).collect()
    }

    fn received(&mut self, slot: Slot, bytes: &mut [u8]) {
        self.counters.received_bytes += bytes.len() as u64;
        self.read_on(slot, bytes);
    }

    /// Gives received bytes to what the connection speaks.
    fn read_on(&mut self, slot: Slot, bytes: &mut [u8]) {
        match (self.connections.hot(slot).phase, &self.connections.cold(slot).transport) {
            (Phase::Open, Transport::WebSocket(_)) => self.receive_websocket(slot, bytes),
            (Phase::Open, Transport::Http(_)) => self.receive_http(slot, bytes),
            (Phase::Open, Transport::Resp(_)) => self.receive_resp(slot, bytes),
            (Phase::Open, Transport::Fresh(_)) => self.receive_preface(slot, bytes),
            (Phase::Closing, _) => self.receive_closing(slot, bytes),
            (Phase::Open, Transport::None) | (Phase::Vacant | Phase::Closed, _) => {}
        }
    }

    fn sent(&mut self, slot: Slot, result: Result<u32, SendFailed>) {
        let hot = self.connections.hot_mut(slot);
        let ping_waits = hot.listed == Listed::PingBehind;
        if ping_waits {
            hot.listed = Listed::No;
        }
        match result {
            Ok(bytes) => {
                self.counters.sent_bytes += u64::from(bytes);
                let is_right = hot.outbox.complete(&mut self.chunks, bytes);
                assert!(is_right, "the kernel took more than it was given");
            }
            Err(SendFailed) => hot.outbox.clear(&mut self.chunks),
        }
        match hot.phase {
            Phase::Closed | Phase::Vacant => hot.outbox.clear(&mut self.chunks),
            Phase::Open | Phase::Closing if result.is_err() => self.close(slot, false),
            Phase::Open | Phase::Closing if !hot.outbox.is_empty() => {
                if hot.listed == Listed::No {
                    hot.listed = if ping_waits { Listed::WithPing } else { Listed::Yes };
                    self.dirty.push_back(slot.0);
                }
            }
            Phase::Closing if hot.deaf => self.finish_or_close(slot),
            Phase::Open | Phase::Closing => {}
        }
        // Asked first, so that other connections' completions look at nothing beyond what is hot.
        if !self.unread.is_empty() && self.unread.contains(&slot) {
            self.replies_left(slot);
            self.answer_leaves(slot, result.unwrap_or(0));
        }
    }

    fn letter(&mut self, source: ShardId, letter: Letter) {
        match letter {
            Letter::Join { operation, channel, wants } => {
                self.owner_join(source, operation, &channel, wants);
            }
            Letter::Joined { operation, result, scene } => self.joined(operation, result, scene),
            Letter::Leave { channel } => self.owner_leave(source, &channel),
            Letter::Count { channel, subscribers } => self.owner_count(source, &channel, subscribers),
            Letter::Publish { operation, channel, publication, terms } => {
                self.owner_publish(source, operation, channel, publication, terms);
            }
            Letter::Published { operation, result } => self.published(operation, result),
            Letter::Lookup { operation, channel, lookup } => {
                self.owner_lookup(source, operation, channel, lookup);
            }
            Letter::Found { operation, result } => self.looked_up(operation, result),
            Letter::Deliver(delivery) => {
                if let Some(handle) = self.channels.find(delivery.channel.app, &delivery.channel.name) {
                    self.fan_out(handle, &delivery.numbered);
                }
            }
            Letter::Passage { channel, passage } => self.owner_passage(&channel, passage),
            Letter::Passed { channel, passage } => {
                if let Some(handle) = self.channels.find(channel.app, &channel.name) {
                    self.tell_passage(handle, &passage);
                }
            }
            Letter::Counted { channel, subscribers } => {
                if let Some(handle) = self.channels.find(channel.app, &channel.name) {
                    self.tell_count(handle, subscribers);
                }
            }
            Letter::Broken { channel } => {
                if let Some(handle) = self.channels.find(channel.app, &channel.name) {
                    self.channels.get_mut(handle).is_live = false;
                    self.drop_subscribers(handle);
                }
            }
            Letter::Claim { app, user, client } => self.user_claimed(app, user, client),
            Letter::Release { app, user, client } => self.user_released(app, user, client),
            Letter::Displaced { connection } => self.displaced(connection),
            Letter::Charge { operation, app, user, kind } => {
                self.charge_for(source, operation, (app, user), kind);
            }
            Letter::Charged { operation, granted } => self.charge_answered(operation, granted),
            Letter::Take { operation, app, mark } => self.take_for(source, operation, app, *mark),
            Letter::Taken { operation, result } => self.take_answered(operation, result),
            Letter::Watch { question, app, users } => self.watched_by(source, question, app, &users),
            Letter::Unwatch { app, users } => self.unwatched_by(source, app, &users),
            Letter::Seen { question, app, users, are_here } => {
                self.seen(source, (question, app), &users, &are_here);
            }
            Letter::Moved { app, user, is_here } => self.user_moved(source, (app, user), is_here),
            Letter::Survey { operation, question } => self.surveyed_by(source, operation, &question),
            Letter::Surveyed { operation, findings } => self.survey_answered(operation, findings),
        }
    }

    fn order(&mut self, order: Order) {
        match order {
            Order::Reload(config) => {
                self.apps = prepare(&config);
                self.share = share_of(&config, self.channels.placement().shards);
                self.config = config;
                self.forget_taken();
            }
            Order::Retire => self.is_retiring = true,
            Order::Drain { spread_ms } => self.drain(spread_ms),
            Order::Statistics => {
                let snapshot = Box::new(self.snapshot());
                self.counters.timer_lag_ms = 0;
                self.effects.push(Effect::Notify(Notice::Statistics(snapshot)));
            }
        }
    }

    fn turn_end(&mut self) {
        self.wake_resting();
        self.report_counts();
        self.tell_late_counts();
        self.close_drained_logs();
        self.addresses.sweep(self.now.monotonic_ms / 1_000);
        self.sweep_charged();
    }

    /// Sends a publication on its way: to this shard's own half of the owner, or to the owner's shard.
    fn route_publication(
        &mut self,
        operation: OperationId,
        app: AppIndex,
        name: &str,
        publication: Arc<Publication>,
        terms: Option<Box<Terms>>,
    ) {
        let (owner, channel) = self.owner_of(app, name);
        if owner == self.id {
            self.owner_publish(owner, operation, channel, publication, terms);
        } else {
            self.send(owner, Letter::Publish { operation, channel, publication, terms });
        }
    }

    /// The shard that owns a channel, and the channel's key.
    fn owner_of(&self, app: AppIndex, name: &str) -> (ShardId, ChannelKey) {
        let (owner, known) = self.channels.find_with_owner(app, name);
        let channel = match known {
            Some(handle) => self.channels.get(handle).key.clone(),
            None => ChannelKey { app, name: Arc::from(name) },
        };
        (owner, channel)
    }

    /// The owner has taken, or refused, a publication that began here.
    fn published(&mut self, operation: OperationId, result: Result<Published, ClientError>) {
        match self.operations.end(operation) {
            Some(Operation::Publish(publishing)) => {
                self.client_published(&publishing, result.map(|published| published.position))
            }
            Some(Operation::Backend(part)) => {
                self.backend_published(&part, result.map(|published| published.position));
            }
            Some(Operation::Resp(publishing)) => {
                self.resp_published(&publishing, result.map(|published| published.subscribers));
            }
            Some(
                Operation::Subscribe(_) | Operation::Lookup(_) | Operation::Charge(_) | Operation::Take(_),
            )
            | None => {}
        }
    }

    fn begin(&mut self, operation: Operation) -> OperationId {
        self.operations.begin(operation)
    }

    fn send(&mut self, target: ShardId, letter: Letter) {
        self.counters.letters += 1;
        self.effects.push(Effect::Send { target, letter });
    }

    /// Bytes that may wait for this connection.
    fn queue_bytes_max(&self, slot: Slot) -> u32 {
        let cold = self.connections.cold(slot);
        if matches!(cold.transport, Transport::Resp(_)) {
            // Who does not read replies is not read, and loses none of them: no dialect's bound for clients is its. Both
            // those that lie in its queue and those that wait for their turn are bounded where it is read.
            return u32::MAX;
        }
        let app = &self.apps[usize::from(cold.app)];
        app.queue_bytes_max[self.codec(slot).map_or(0, |codec| codec.variant().index())]
    }

    /// How logs name a connection.
    fn name(&self, slot: Slot) -> String {
        format!("{}.{}.{}", self.id.0, slot.0, self.connections.hot(slot).generation)
    }

    /// An even enough number below `bound` (at least 1): for jitter, not for secrets. Source: Marsaglia,
    /// «Xorshift RNGs» (2003).
    fn random_below(&mut self, bound: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % bound
    }
}

fn share_of(config: &Config, shards: u16) -> Share {
    let limits = &config.limits;
    Share::of(limits.connections_per_address_max, limits.handshakes_per_address_per_second, shards)
}

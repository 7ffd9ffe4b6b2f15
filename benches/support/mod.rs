//! A whole shard without sockets: clients whose bytes go in and come out in memory, the engine in memory, time as it
//! is told. Shared by benches and tests.

#![allow(dead_code, reason = "each bench and test uses its own part")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use polycast::auth::{Keys, Secret, sign};
use polycast::config::Config;
use polycast::core::happening::Happening;
use polycast::core::ids::{AppIndex, ShardId, Slot};
use polycast::core::publication::{Payload, Publication};
use polycast::core::time::Now;
use polycast::engine::memory::Memory;
use polycast::engine::{Answer, ChannelKey};
use polycast::shard::input::{Effect, Entrance, Input, ReadMode};
use polycast::shard::letter::{Letter, OperationId, Order};
use polycast::shard::{Founding, Shard};
use polycast::wire::websocket::{append_client_frame, leading_frame};
use tungstenite::protocol::frame::coding::{Data, OpCode};

/// As in the broker itself.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Signs the tokens of [`World::token`].
pub const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// Sends taken before their completions are looked at, as a turn does.
const SENDS_PER_TURN_MAX: usize = 512;

const MASK: [u8; 4] = [0x9a, 0x01, 0xff, 0x3c];

const UPGRADE: &[u8] =
    b"GET /connection/websocket HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// One shard and what surrounds it.
pub struct World {
    pub shard: Shard,
    pub now: Now,
    memory: Memory,
    /// What the engine delivers does not arrive.
    pub loses_deliveries: bool,
    effects: Vec<Effect>,
    answers: Vec<Answer>,
    batches: Vec<(Slot, u32)>,
    closes: Vec<Slot>,
    /// How the shard wanted connections to be read, oldest first.
    pub reads: Vec<(Slot, ReadMode)>,
    /// What somebody outside is to be told of, oldest first.
    pub happened: Vec<Happening>,
}

impl World {
    /// `more` is added to a configuration of one app whose secret is [`SECRET`].
    pub fn new(before: &str, more: &str) -> Self {
        let config = config(before, more);
        let founding = Founding {
            shards: 1,
            hash_key: (1, 2),
            seal_key: [3; 16],
            seed: 4,
            node_uid: "node".into(),
            index_page: Arc::from(b"page".as_slice()),
        };
        let now = Now { monotonic_ms: 1_000_000, unix_ms: 1_800_000_000_000 };
        Self {
            shard: Shard::new(ShardId(0), &founding, config, now),
            now,
            memory: Memory::new(5),
            loses_deliveries: false,
            effects: Vec::new(),
            answers: Vec::new(),
            batches: Vec::new(),
            closes: Vec::new(),
            reads: Vec::new(),
            happened: Vec::new(),
        }
    }

    /// The operator changes the configuration; parameters as of [`Self::new`].
    pub fn reload(&mut self, before: &str, more: &str) {
        self.input(Input::Order(Order::Reload(config(before, more))));
    }

    pub fn advance(&mut self, ms: u64) {
        self.now.monotonic_ms += ms;
        self.now.unix_ms += ms;
    }

    /// Hands over one input and carries out what the shard wants of the engine.
    pub fn input(&mut self, input: Input<'_>) {
        self.shard.handle(self.now, input, &mut self.effects);
        while !self.effects.is_empty() {
            let mut effects = std::mem::take(&mut self.effects);
            for effect in effects.drain(..) {
                self.carry_out(effect);
            }
            if self.effects.is_empty() {
                self.effects = effects;
            }
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Ask(ask) => {
                self.memory.handle(self.now.monotonic_ms, ask, &mut self.answers);
                let loses = self.loses_deliveries;
                let arrives = |answer: &Answer| !(loses && matches!(answer, Answer::Delivery { .. }));
                for answer in self.answers.drain(..).filter(arrives) {
                    self.shard.handle(self.now, Input::Engine(answer), &mut self.effects);
                }
            }
            Effect::Close { slot, .. } => self.closes.push(slot),
            Effect::Read { slot, mode } => self.reads.push((slot, mode)),
            Effect::Happened(happening) => self.happened.push(happening),
            _ => {}
        }
    }

    /// The engine has lost everything, and remembers not even who listens.
    pub fn engine_restarts(&mut self) {
        self.memory = Memory::new(6);
    }

    pub fn receive(&mut self, slot: Slot, bytes: &[u8]) {
        self.input(Input::Received { slot, bytes: &mut bytes.to_vec() });
    }

    /// A WebSocket connection; nothing of what is sent to it is taken yet.
    pub fn open(&mut self, slot: Slot, peer: SocketAddr) {
        self.input(Input::Accepted { slot, peer, entrance: Entrance::Http });
        self.receive(slot, UPGRADE);
    }

    /// A connection to another endpoint. `headers`: further lines, each with its line end.
    pub fn open_at(&mut self, slot: Slot, target: &str, headers: &str) {
        let peer = SocketAddr::from(([127, 0, 0, 1], 4_000));
        self.input(Input::Accepted { slot, peer, entrance: Entrance::Http });
        let upgrade = String::from_utf8_lossy(UPGRADE).replacen("/connection/websocket", target, 1);
        self.receive(slot, upgrade.replacen("\r\n\r\n", &format!("\r\n{headers}\r\n"), 1).as_bytes());
    }

    /// One text message from the client.
    pub fn say(&mut self, slot: Slot, text: &str) {
        let mut frame = Vec::new();
        append_client_frame(OpCode::Data(Data::Text), true, MASK, text.as_bytes(), &mut frame);
        self.receive(slot, &frame);
    }

    /// A connection token. `exp`: Unix seconds; 0: none.
    pub fn token(user: &str, exp: u64) -> String {
        let keys = Keys::new(&Secret::from(SECRET), None).expect("not empty");
        let exp = if exp == 0 { String::new() } else { format!(",\"exp\":{exp}") };
        sign(format!("{{\"sub\":\"{user}\"{exp}}}").as_bytes(), &keys)
    }

    /// A client whose replies have left.
    pub fn client(&mut self, slot: Slot, user: &str, exp: u64) {
        self.open(slot, SocketAddr::from(([127, 0, 0, 1], 4_000)));
        let token = Self::token(user, exp);
        self.say(slot, &format!("{{\"id\":1,\"connect\":{{\"token\":\"{token}\"}}}}"));
        self.send_all();
    }

    /// A client in one channel, whose replies have left.
    pub fn subscriber(&mut self, slot: Slot, user: &str, exp: u64, channel: &str) {
        self.client(slot, user, exp);
        self.say(slot, &format!("{{\"id\":2,\"subscribe\":{{\"channel\":\"{channel}\"}}}}"));
        self.send_all();
    }

    /// A publication of a backend, as it reaches the channel's owner.
    pub fn publish(&mut self, channel: &Arc<str>, publication: &Arc<Publication>) {
        let letter = Letter::Publish {
            operation: OperationId { index: u32::MAX, generation: u32::MAX },
            channel: ChannelKey { app: AppIndex(0), name: Arc::clone(channel) },
            publication: Arc::clone(publication),
            terms: None,
        };
        self.input(Input::Letter { source: ShardId(0), letter });
    }

    /// Takes all that waits, as if every socket took everything. Returns how many sends that were.
    pub fn send_all(&mut self) -> usize {
        let mut sends = 0;
        loop {
            while self.batches.len() < SENDS_PER_TURN_MAX {
                let Some((slot, bytes)) = self.shard.next_batch() else { break };
                self.batches.push((slot, bytes.len() as u32));
            }
            if self.batches.is_empty() {
                return sends;
            }
            sends += self.batches.len();
            let mut batches = std::mem::take(&mut self.batches);
            for (slot, bytes) in batches.drain(..) {
                self.input(Input::Sent { slot, result: Ok(bytes) });
            }
            self.batches = batches;
        }
    }

    /// Everything that waits for one connection, as messages; what waits for others is taken too.
    pub fn heard(&mut self, slot: Slot) -> Vec<String> {
        self.all_heard().remove(&slot.0).unwrap_or_default()
    }

    /// Everything that waits, as messages, by slot.
    pub fn all_heard(&mut self) -> BTreeMap<u32, Vec<String>> {
        let mut bytes: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
        while let Some((slot, more)) = self.shard.next_batch() {
            bytes.entry(slot.0).or_default().extend_from_slice(more);
            let length = more.len() as u32;
            self.input(Input::Sent { slot, result: Ok(length) });
        }
        bytes.into_iter().map(|(slot, bytes)| (slot, messages(&bytes))).collect()
    }

    /// Slots that the shard wanted closed since the last call. They are not free before [`Self::close`].
    pub fn take_closes(&mut self) -> Vec<Slot> {
        std::mem::take(&mut self.closes)
    }

    pub fn close(&mut self, slot: Slot) {
        self.input(Input::Closed { slot });
    }

    /// What the shard still holds though everybody has left; must be nothing.
    pub fn leftovers(&mut self) -> Vec<&'static str> {
        self.input(Input::TurnEnd);
        self.shard.leftovers()
    }
}

fn config(before: &str, more: &str) -> Arc<Config> {
    let text = format!(
        "{before}\n[[apps]]\nid = \"1\"\ntoken_hmac_secret_key = \"{SECRET}\"\napi_key = \"{SECRET}\"\n{more}"
    );
    let mut no_file = |_: &str| Err(std::io::ErrorKind::NotFound.into());
    Arc::new(Config::load(&text, [], &mut no_file).expect("a valid configuration"))
}

/// The messages in whole frames; of a close frame its code.
fn messages(mut frames: &[u8]) -> Vec<String> {
    let mut messages = Vec::new();
    while !frames.is_empty() {
        let (length, payload) = leading_frame(frames).expect("whole frames");
        messages.push(payload.map_or_else(
            || format!("close {}", u16::from_be_bytes([frames[2], frames[3]])),
            |text| String::from_utf8_lossy(text).into_owned(),
        ));
        frames = &frames[length..];
    }
    messages
}

/// A publication whose data is a JSON string of `bytes` bytes.
pub fn publication(bytes: usize) -> Arc<Publication> {
    let mut data = vec![b'x'; bytes.max(2)];
    let last = data.len() - 1;
    (data[0], data[last]) = (b'"', b'"');
    Arc::new(Publication::plain(Payload::Json(data.into()), 0))
}

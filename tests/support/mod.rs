//! Several whole shards without sockets: clients and backends whose bytes go in and come out in memory, letters
//! carried between the shards, the engine in memory, time as it is told.

#![allow(dead_code, reason = "each test uses its own part")]

pub mod pusher;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use polycast::auth::{Keys, sign};
use polycast::config::Config;
use polycast::core::ids::{ShardId, Slot};
use polycast::core::time::Now;
use polycast::engine::memory::Memory;
use polycast::engine::{Answer, Ask, EngineError};
use polycast::shard::input::{Effect, Entrance, Input};
use polycast::shard::letter::{Letter, Order};
use polycast::shard::{Founding, Shard};
use polycast::wire::websocket::{append_client_frame, leading_frame};
use serde_json::Value;
use tungstenite::protocol::frame::coding::{Data, OpCode};

/// Signs the tokens, and is the backend's key too.
pub const SECRET: &str = "0123456789abcdef0123456789abcdef";

const MASK: [u8; 4] = [0x9a, 0x01, 0xff, 0x3c];

/// The slot of a shard that backends use.
const BACKEND: Slot = Slot(900);

/// A client's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct At {
    pub shard: usize,
    pub slot: Slot,
}

pub const fn at(shard: usize, slot: u32) -> At {
    At { shard, slot: Slot(slot) }
}

/// The shards of one process.
pub struct Process {
    pub shards: Vec<Shard>,
    pub now: Now,
    engines: Vec<Memory>,
    letters: VecDeque<(ShardId, ShardId, Letter)>,
    /// The engine answers nothing but that it is not there.
    pub engine_is_down: bool,
    /// Letters are still on their way.
    pub hold_letters: bool,
}

pub fn config(before: &str, more: &str) -> Arc<Config> {
    let text = format!(
        "{before}\n[[apps]]\nid = \"1\"\ntoken_hmac_secret_key = \"{SECRET}\"\napi_key = \"{SECRET}\"\n{more}"
    );
    let mut no_file = |_: &str| Err(std::io::ErrorKind::NotFound.into());
    Arc::new(Config::load(&text, [], &mut no_file).expect("a valid configuration"))
}

/// A token with these claims.
pub fn token(claims: &str) -> String {
    token_by(SECRET, claims)
}

pub fn token_by(secret: &str, claims: &str) -> String {
    sign(claims.as_bytes(), &Keys::from_bytes(secret.as_bytes()).expect("not empty"))
}

impl Process {
    pub fn new(shards: u16, before: &str, more: &str) -> Self {
        let config = config(before, more);
        let now = Now { monotonic_ms: 1_000_000, unix_ms: 1_800_000_000_000 };
        let founding = |seed| Founding {
            shards,
            hash_key: (1, 2),
            seal_key: [3; 16],
            seed,
            node_uid: "node".into(),
            index_page: Arc::from(b"page".as_slice()),
        };
        Self {
            shards: (0..shards)
                .map(|id| Shard::new(ShardId(id), &founding(u64::from(id) + 4), Arc::clone(&config), now))
                .collect(),
            now,
            engines: (0..shards).map(|id| Memory::new(u64::from(id) + 5)).collect(),
            letters: VecDeque::new(),
            engine_is_down: false,
            hold_letters: false,
        }
    }

    /// Hands over one input and carries out all that follows from it.
    pub fn input(&mut self, shard: usize, input: Input<'_>) {
        self.take(shard, input);
        self.carry_letters();
    }

    pub fn release_letters(&mut self) {
        self.hold_letters = false;
        self.carry_letters();
    }

    fn carry_letters(&mut self) {
        if self.hold_letters {
            return;
        }
        while let Some((source, target, letter)) = self.letters.pop_front() {
            self.take(usize::from(target.0), Input::Letter { source, letter });
        }
    }

    fn take(&mut self, shard: usize, input: Input<'_>) {
        let mut effects = Vec::new();
        self.shards[shard].handle(self.now, input, &mut effects);
        for effect in effects {
            self.carry_out(shard, effect);
        }
    }

    fn carry_out(&mut self, shard: usize, effect: Effect) {
        match effect {
            Effect::Ask(ask) => {
                let mut answers = Vec::new();
                match refusal(&ask) {
                    Some(answer) if self.engine_is_down => answers.push(answer),
                    _ => self.engines[shard].handle(self.now.monotonic_ms, ask, &mut answers),
                }
                for answer in answers {
                    self.take(shard, Input::Engine(answer));
                }
            }
            Effect::Send { target, letter } => {
                self.letters.push_back((ShardId(shard as u16), target, letter));
            }
            Effect::Close { slot, .. } => self.take(shard, Input::Closed { slot }),
            _ => {}
        }
    }

    pub fn order(&mut self, order: impl Fn() -> Order) {
        for shard in 0..self.shards.len() {
            self.input(shard, Input::Order(order()));
        }
    }

    /// Lets time pass, in steps in which deadlines are seen to.
    pub fn pass(&mut self, ms: u64) {
        let end = self.now.monotonic_ms + ms;
        while self.now.monotonic_ms < end {
            let step = (end - self.now.monotonic_ms).min(100);
            self.now.monotonic_ms += step;
            self.now.unix_ms += step;
            for shard in 0..self.shards.len() {
                self.input(shard, Input::Timers { pending_receives: false });
                self.input(shard, Input::TurnEnd);
            }
        }
    }

    pub fn now_s(&self) -> u64 {
        self.now.unix_ms / 1_000
    }

    pub fn receive(&mut self, at: At, bytes: &[u8]) {
        self.input(at.shard, Input::Received { slot: at.slot, bytes: &mut bytes.to_vec() });
    }

    /// A WebSocket connection; what answers the upgrade is taken.
    pub fn open(&mut self, at: At) {
        let peer = SocketAddr::from(([127, 0, 0, 1], 4_000));
        self.input(at.shard, Input::Accepted { slot: at.slot, peer, entrance: Entrance::Http });
        self.receive(
            at,
            b"GET /connection/websocket HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nConnection: Upgrade\r\n\
              Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        );
        self.bytes(at);
    }

    /// One text message from a client.
    pub fn say(&mut self, at: At, text: &str) {
        let mut frame = Vec::new();
        append_client_frame(OpCode::Data(Data::Text), true, MASK, text.as_bytes(), &mut frame);
        self.receive(at, &frame);
    }

    /// All that waits for one connection; what waits for others of its shard stays.
    pub fn bytes(&mut self, at: At) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut others = Vec::new();
        while let Some((slot, more)) = self.shards[at.shard].next_batch() {
            let length = more.len() as u32;
            if slot == at.slot {
                bytes.extend_from_slice(more);
                self.input(at.shard, Input::Sent { slot, result: Ok(length) });
            } else {
                others.push(slot);
            }
        }
        // Nothing was sent of theirs: they have it still.
        for slot in others {
            self.input(at.shard, Input::Sent { slot, result: Ok(0) });
        }
        bytes
    }

    /// What a client hears: messages, and `close <code> <reason>`.
    pub fn heard(&mut self, at: At) -> Vec<String> {
        let bytes = self.bytes(at);
        let mut messages = Vec::new();
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let (length, payload) = leading_frame(rest).expect("whole frames");
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            messages.push(match payload {
                Some(payload) => text(payload),
                None if rest[0] & 0x0F == 8 => {
                    format!("close {} {}", u16::from_be_bytes([rest[2], rest[3]]), text(&rest[4..length]))
                }
                None => "control".to_owned(),
            });
            rest = &rest[length..];
        }
        messages
    }

    pub fn ask(&mut self, at: At, command: &str) -> Vec<String> {
        self.say(at, command);
        self.heard(at)
    }

    /// Connects a client of the second generation; returns its id.
    pub fn connect(&mut self, at: At, claims: &str) -> String {
        let (answer, id) = self.try_connect(at, claims);
        assert!(!id.is_empty(), "{answer:?}");
        id
    }

    pub fn try_connect(&mut self, at: At, claims: &str) -> (Vec<String>, String) {
        self.open(at);
        let answer = self.ask(at, &format!(r#"{{"id":1,"connect":{{"token":"{}"}}}}"#, token(claims)));
        let id = id_in(&answer);
        (answer, id)
    }

    /// Connects a client of the first generation; returns its id.
    pub fn connect_v1(&mut self, at: At, claims: &str) -> String {
        self.open(at);
        let answer = self.ask(at, &format!(r#"{{"id":1,"params":{{"token":"{}"}}}}"#, token(claims)));
        id_in(&answer)
    }

    /// A backend's call by way of one shard: the answer.
    pub fn api(&mut self, shard: usize, method: &str, params: &str) -> Value {
        self.say_api(shard, method, params);
        let answer = self.end_api(shard);
        let (_, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer to {method}"));
        serde_json::from_str(body).unwrap_or_else(|_| panic!("{method}: {answer}"))
    }

    /// Begins a call.
    pub fn say_api(&mut self, shard: usize, method: &str, params: &str) {
        let at = At { shard, slot: BACKEND };
        let peer = SocketAddr::from(([127, 0, 0, 1], 5_000));
        self.input(shard, Input::Accepted { slot: BACKEND, peer, entrance: Entrance::Http });
        let length = params.len();
        let request = format!(
            "POST /api/{method} HTTP/1.1\r\nHost: a\r\nX-API-Key: {SECRET}\r\nContent-Length: {length}\r\n\r\n{params}"
        );
        self.receive(at, request.as_bytes());
    }

    /// Ends a backend's connection; returns what it was answered.
    pub fn end_api(&mut self, shard: usize) -> String {
        let answer = String::from_utf8(self.bytes(At { shard, slot: BACKEND })).expect("text");
        self.input(shard, Input::ReceiveEnded { slot: BACKEND });
        answer
    }

    /// A call that must succeed.
    pub fn call(&mut self, shard: usize, method: &str, params: &str) {
        let answer = self.api(shard, method, params);
        assert!(answer["result"].is_object(), "{method} {params}: {answer}");
    }

    /// The connection ends from the client's side.
    pub fn leave(&mut self, at: At) {
        self.input(at.shard, Input::ReceiveEnded { slot: at.slot });
    }

    /// What is still held though everybody has left; must be nothing.
    pub fn leftovers(&mut self) -> Vec<&'static str> {
        let mut left = Vec::new();
        for shard in 0..self.shards.len() {
            self.input(shard, Input::TurnEnd);
            left.extend(self.shards[shard].leftovers());
        }
        left
    }
}

fn id_in(answer: &[String]) -> String {
    let id = answer.first().and_then(|text| text.split("\"client\":\"").nth(1)).unwrap_or_default();
    id.split('"').next().unwrap_or_default().to_owned()
}

/// What an engine that cannot be reached answers; `None`: nothing is expected of it.
fn refusal(ask: &Ask) -> Option<Answer> {
    let error = EngineError::Unavailable;
    match ask {
        Ask::Publish { id, .. } => Some(Answer::Published { id: *id, result: Err(error) }),
        Ask::Subscribe { id, .. } => Some(Answer::Subscribed { id: *id, result: Err(error) }),
        Ask::History { id, .. } => Some(Answer::History { id: *id, result: Err(error) }),
        _ => None,
    }
}

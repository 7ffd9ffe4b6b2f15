//! A client: real bytes of both generations of the dialect, and an opinion on everything that comes back.

mod hear;
mod judge;
mod others;

use std::collections::{BTreeMap, VecDeque};

use tungstenite::protocol::frame::coding::Control;

use super::around::{Around, Stage, Writer};
use super::frames::{append_control, append_message};
use super::ledger::{self, Broken, Reader};
use super::protobuf;
use super::scenario::{is_numbered, is_shown};
use super::wish::Wish;
use others::Others;

/// How a client behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Temper {
    Regular,
    /// Stops reading for long.
    Sleepy,
    /// At some moment it reads no more, for good.
    Dead,
    /// Answers no pings.
    Mute,
    /// Sends what no client should.
    Rude,
    /// Never authenticates.
    Shy,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Away,
    Upgrading,
    Open,
    /// We want to go: no command follows.
    Leaving,
    /// The server's close frame has come.
    Closed,
}

/// A command whose reply is due.
#[derive(Debug)]
struct Expected {
    tag: u64,
    kind: Kind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Connect,
    /// `since`: where it ended before, if it is to be recovered.
    Subscribe {
        channel: String,
        since: Option<(u64, String)>,
    },
    History {
        channel: String,
        limit: i64,
        reverse: bool,
    },
    Presence(String),
    Unsubscribe(String),
    Publish {
        channel: String,
        number: usize,
    },
    Refresh {
        expires_s: u64,
    },
    Ping,
}

impl Kind {
    /// How the command is called.
    fn name(&self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Subscribe { .. } => "subscribe",
            Self::History { .. } => "history",
            Self::Presence(_) => "presence",
            Self::Unsubscribe(_) => "unsubscribe",
            Self::Publish { .. } => "publish",
            Self::Refresh { .. } => "refresh",
            Self::Ping => "ping",
        }
    }
}

#[derive(Debug)]
enum State {
    Asked,
    Live(Reader),
    /// Its end is asked for, publications may still come.
    Ending(Reader),
}

#[derive(Debug)]
pub struct Client {
    name: usize,
    socket: usize,
    is_v1: bool,
    is_protobuf: bool,
    temper: Temper,
    user: String,
    phase: Phase,
    writer: Writer,
    inbound: Vec<u8>,
    commands: Vec<Vec<u8>>,
    next_tag: u64,
    expected: VecDeque<Expected>,
    subscriptions: BTreeMap<String, State>,
    /// Where subscriptions have ended, over all lives: how far they heard, offset and epoch.
    ended: BTreeMap<String, (Reader, u64, String)>,
    /// Offset and epoch of live subscriptions, where they are known.
    positions: BTreeMap<String, (u64, String)>,
    others: Others,
    /// The id by which others know it.
    id: String,
    wishes: BTreeMap<String, Wish>,
    /// Where differences were agreed on: the text of the latest publication, if there was one.
    texts: BTreeMap<String, Option<Vec<u8>>>,
    /// The latest publication of each channel, as it came.
    latest: BTreeMap<String, Vec<u8>>,
    act_ms: u64,
    asleep_until_ms: u64,
    /// `exp` of the token that counts.
    expires_s: Option<u64>,
    refreshes: bool,
    is_greeted: bool,
    /// Since when the connection is there, and since when we know that we are a client.
    began_ms: u64,
    greeted_ms: u64,
    lives_left: u64,
}

impl Client {
    pub fn new(name: usize, around: &mut Around<'_>) -> Self {
        let is_odd = around.scenario.has_odd_clients && around.random.percent(50);
        let odd = [Temper::Sleepy, Temper::Sleepy, Temper::Dead, Temper::Mute, Temper::Rude, Temper::Shy];
        Self {
            name,
            socket: 0,
            is_v1: around.random.percent(40),
            is_protobuf: around.random.percent(30),
            temper: if is_odd { *around.random.pick(&odd) } else { Temper::Regular },
            user: format!("u{}", around.random.below(around.scenario.users)),
            phase: Phase::Away,
            writer: Writer::default(),
            inbound: Vec::new(),
            commands: Vec::new(),
            next_tag: 1,
            expected: VecDeque::new(),
            subscriptions: BTreeMap::new(),
            ended: BTreeMap::new(),
            positions: BTreeMap::new(),
            others: Others::default(),
            id: String::new(),
            wishes: BTreeMap::new(),
            texts: BTreeMap::new(),
            latest: BTreeMap::new(),
            act_ms: around.random.below(100),
            asleep_until_ms: 0,
            expires_s: None,
            refreshes: around.random.percent(50),
            is_greeted: false,
            began_ms: 0,
            greeted_ms: 0,
            lives_left: if around.scenario.is_under_fire { u64::MAX } else { around.random.below(4) },
        }
    }

    /// When there is something to do next; `None`: only when something comes.
    pub fn next_ms(&self, stage: Stage) -> Option<u64> {
        let acts = match self.phase {
            Phase::Away => stage == Stage::Active,
            Phase::Open => stage == Stage::Active,
            Phase::Upgrading | Phase::Leaving | Phase::Closed => false,
        };
        let acts = acts.then_some(self.act_ms);
        acts.into_iter().chain(self.writer.next_ms()).min()
    }

    /// When it will read again, if there is something to read.
    pub fn reads_ms(&self) -> Option<u64> {
        (self.phase != Phase::Away).then_some(self.asleep_until_ms)
    }

    pub fn is_away(&self) -> bool {
        self.phase == Phase::Away
    }

    /// No more sleep, no more lives: the run comes to its end.
    pub fn calm_down(&mut self, around: &mut Around<'_>) {
        self.lives_left = 0;
        if !self.is_dead() {
            self.asleep_until_ms = 0;
            self.send_commands(around);
        }
    }

    fn is_dead(&self) -> bool {
        self.asleep_until_ms == u64::MAX
    }

    /// One step. `false`: there was nothing to do.
    pub fn step(&mut self, around: &mut Around<'_>) -> Result<bool, Broken> {
        let now_ms = around.now.monotonic_ms;
        if self.phase != Phase::Away
            && self.asleep_until_ms <= now_ms
            && around.sockets[self.socket].is_readable()
        {
            self.read(around)?;
            return Ok(true);
        }
        if self.phase != Phase::Away && self.is_dead() && around.sockets[self.socket].server_closed {
            self.ended(around);
            return Ok(true);
        }
        if self.writer.is_due(now_ms) {
            self.writer.write(self.socket, around);
            return Ok(true);
        }
        if self.next_ms(around.stage).is_some_and(|due_ms| due_ms <= now_ms) {
            self.act(around);
            return Ok(true);
        }
        Ok(false)
    }

    fn act(&mut self, around: &mut Around<'_>) {
        self.act_ms = around.pause_ms();
        if self.phase == Phase::Away {
            self.begin(around);
            return;
        }
        if !self.is_greeted {
            return;
        }
        if around.scenario.is_under_fire {
            return self.be_under_fire(around);
        }
        match around.random.below(100) {
            0..40 => self.want_subscribe(around),
            40..52 => self.want_unsubscribe(around),
            52..76 => self.want_publish(around),
            76..80 => self.want_refresh(around),
            80..84 if self.is_v1 => self.command("ping", "{}", Kind::Ping),
            84..88 => append_control(Control::Ping, b"are you there", around.random, &mut self.writer.bytes),
            88..92 if self.temper == Temper::Sleepy => {
                self.asleep_until_ms = around.now.monotonic_ms + around.random.below(15_000);
            }
            88..92 if self.temper == Temper::Dead => self.asleep_until_ms = u64::MAX,
            92..94 if self.temper == Temper::Rude => self.be_rude(around),
            96 => self.want_history(around),
            97 => self.want_presence(around),
            94..96 if self.lives_left > 0 => self.leave(around),
            _ => {}
        }
        if around.random.percent(80) {
            self.send_commands(around);
        }
    }

    /// Wants everything there is, says something now and then, and is cut off.
    fn be_under_fire(&mut self, around: &mut Around<'_>) {
        for channel in around.scenario.channels.clone() {
            if !self.subscriptions.contains_key(&channel) {
                self.subscribe(channel, true, true, around);
            }
        }
        match around.random.below(100) {
            0..10 => self.want_publish(around),
            10..14 => self.want_unsubscribe(around),
            14..18 => self.want_presence(around),
            18..22 => self.want_history(around),
            _ => {}
        }
        self.send_commands(around);
        // In the middle of what was just asked, as often as not.
        if around.random.percent(12) {
            self.leave(around);
        }
    }

    /// The network takes the connection away, and the client is back as soon as it can.
    pub fn be_cut(&mut self, around: &mut Around<'_>) {
        if self.phase == Phase::Away {
            return;
        }
        around.sockets[self.socket].reset_by_peer();
        self.ended(around);
        self.act_ms = around.now.monotonic_ms + around.random.below(50);
    }

    /// Opens a connection, now.
    pub fn begin(&mut self, around: &mut Around<'_>) {
        let temper = self.temper;
        let name = self.name;
        self.socket = around.connect();
        around.trace.note(
            around.now.monotonic_ms,
            format_args!("client {name} {temper:?} connects, socket {}", self.socket),
        );
        self.phase = Phase::Upgrading;
        self.is_greeted = false;
        self.began_ms = around.now.monotonic_ms;
        self.inbound.clear();
        self.commands.clear();
        self.expected.clear();
        self.subscriptions.clear();
        self.texts.clear();
        self.latest.clear();
        let version = match around.random.below(3) {
            0 if self.is_v1 => "cf_protocol_version=v1",
            0 => "cf_protocol_version=v2",
            1 if !self.is_v1 => "cf_ws_frame_ping_pong=true&cf_protocol_version=v2",
            _ => "",
        };
        let encoding = if self.is_protobuf { "format=protobuf" } else { "" };
        let query = [version, encoding].join("&");
        self.writer.bytes = format!(
            "GET /connection/websocket?{query} HTTP/1.1\r\nHost: sim\r\nUpgrade: websocket\r\n\
             Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        .into_bytes();
    }

    fn greet(&mut self, around: &mut Around<'_>) {
        self.expires_s = None;
        if around.scenario.tokens_expire && around.random.percent(70) {
            self.expires_s = Some(around.now.unix_s() + around.random.between(3, 20));
        }
        self.expires_s = around.scenario.common_expiry_s.or(self.expires_s);
        let token = around.scenario.token(&self.user, self.expires_s);
        self.command("connect", &format!("{{\"token\":\"{token}\"}}"), Kind::Connect);
        self.send_commands(around);
    }

    fn command(&mut self, name: &str, params: &str, kind: Kind) {
        let tag = self.next_tag;
        self.next_tag += 1;
        self.commands.push(match (self.is_v1, name) {
            _ if self.is_protobuf => protobuf::command(name, tag, params, self.is_v1),
            (true, "connect") => format!("{{\"id\":{tag},\"params\":{params}}}").into_bytes(),
            (true, _) => {
                let number = [
                    "connect",
                    "subscribe",
                    "unsubscribe",
                    "publish",
                    "presence",
                    "",
                    "history",
                    "ping",
                    "",
                    "",
                    "refresh",
                ];
                let number = number.iter().position(|known| *known == name).expect("a known command");
                format!("{{\"id\":{tag},\"method\":{number},\"params\":{params}}}").into_bytes()
            }
            (false, _) => format!("{{\"id\":{tag},\"{name}\":{params}}}").into_bytes(),
        });
        self.expected.push_back(Expected { tag, kind });
    }

    /// All commands that were gathered, in one frame, or each in its own where one would be too long.
    fn send_commands(&mut self, around: &mut Around<'_>) {
        const FRAME_BYTES_MAX: usize = 60_000;
        let between: &[u8] = if self.is_protobuf { b"" } else { b"\n" };
        let frame = self.commands.join(between);
        if frame.len() > FRAME_BYTES_MAX {
            for command in self.commands.drain(..) {
                append_message(&command, !self.is_protobuf, around.random, &mut self.writer.bytes);
            }
        } else if !frame.is_empty() {
            append_message(&frame, !self.is_protobuf, around.random, &mut self.writer.bytes);
        }
        self.commands.clear();
    }

    fn want_subscribe(&mut self, around: &mut Around<'_>) {
        let channel = around.channel();
        if self.subscriptions.contains_key(&channel) {
            return;
        }
        let is_recoverable = is_numbered(&channel) && around.random.percent(80);
        let recovers = is_recoverable && self.ended.contains_key(&channel) && around.random.percent(80);
        self.subscribe(channel, is_recoverable, recovers, around);
    }

    fn subscribe(&mut self, channel: String, is_recoverable: bool, recovers: bool, around: &mut Around<'_>) {
        let mut more = self.wish(&channel, around).members().to_owned();
        let mut since = None;
        if is_recoverable {
            more.push_str(",\"recoverable\":true,\"join_leave\":true");
            if let Some((_, offset, epoch)) = self.ended.get(&channel).filter(|_| recovers) {
                more.push_str(&format!(",\"recover\":true,\"offset\":{offset},\"epoch\":\"{epoch}\""));
                since = Some((*offset, epoch.clone()));
            }
        }
        let kind = Kind::Subscribe { channel: channel.clone(), since };
        self.command("subscribe", &format!("{{\"channel\":\"{channel}\"{more}}}"), kind);
        around.ledger.asked(&self.id, &channel, around.now.monotonic_ms);
        self.subscriptions.insert(channel, State::Asked);
    }

    fn wish(&mut self, channel: &str, around: &mut Around<'_>) -> Wish {
        *self.wishes.entry(channel.to_owned()).or_insert_with(|| Wish::new(around.random))
    }

    fn want_history(&mut self, around: &mut Around<'_>) {
        let channel = around.channel();
        if !is_numbered(&channel) || !matches!(self.subscriptions.get(&channel), Some(State::Live(_))) {
            return;
        }
        let limit = *around.random.pick(&[0, -1, 1, 5, 1_000]);
        let reverse = around.random.percent(50);
        let params = format!("{{\"channel\":\"{channel}\",\"limit\":{limit},\"reverse\":{reverse}}}");
        self.command("history", &params, Kind::History { channel, limit, reverse });
    }

    fn want_presence(&mut self, around: &mut Around<'_>) {
        let channel = around.channel();
        if !is_shown(&channel) {
            return;
        }
        self.command("presence", &format!("{{\"channel\":\"{channel}\"}}"), Kind::Presence(channel));
    }

    fn want_unsubscribe(&mut self, around: &mut Around<'_>) {
        let channel = around.channel();
        let Some(State::Live(_)) = self.subscriptions.get(&channel) else { return };
        if let Some(State::Live(reader)) = self.subscriptions.remove(&channel) {
            self.subscriptions.insert(channel.clone(), State::Ending(reader));
        }
        self.command("unsubscribe", &format!("{{\"channel\":\"{channel}\"}}"), Kind::Unsubscribe(channel));
    }

    fn want_publish(&mut self, around: &mut Around<'_>) {
        let channel = around.channel();
        let number = around.ledger.publish(std::slice::from_ref(&channel), false);
        let data = ledger::data(number, around.data_bytes());
        let params = format!("{{\"channel\":\"{channel}\",\"data\":{data}}}");
        self.command("publish", &params, Kind::Publish { channel, number });
    }

    fn want_refresh(&mut self, around: &mut Around<'_>) {
        let Some(expires_s) = self.expires_s.filter(|_| self.refreshes) else { return };
        if around.scenario.common_expiry_s.is_some() {
            return;
        }
        let expires_s = expires_s.max(around.now.unix_s()) + around.random.between(3, 10);
        let token = around.scenario.token(&self.user, Some(expires_s));
        self.command("refresh", &format!("{{\"token\":\"{token}\"}}"), Kind::Refresh { expires_s });
    }

    fn be_rude(&mut self, around: &mut Around<'_>) {
        match around.random.below(3) {
            0 => self.writer.bytes.extend_from_slice(b"\xFF\xFF no frame at all"),
            1 => append_message(b"{no json", !self.is_protobuf, around.random, &mut self.writer.bytes),
            _ => append_message(
                b"{\"id\":900000,\"connect\":{}}",
                !self.is_protobuf,
                around.random,
                &mut self.writer.bytes,
            ),
        }
    }

    /// Goes, in one of the ways clients do.
    pub fn leave(&mut self, around: &mut Around<'_>) {
        let way = around.random.below(4);
        around.trace.note(around.now.monotonic_ms, format_args!("client {} leaves, way {way}", self.name));
        match (self.phase, way) {
            (Phase::Away, _) => {}
            (Phase::Open, 0 | 1) => {
                self.send_commands(around);
                append_control(
                    Control::Close,
                    &1000_u16.to_be_bytes(),
                    around.random,
                    &mut self.writer.bytes,
                );
                self.phase = Phase::Leaving;
            }
            (_, 2) => {
                around.sockets[self.socket].close_by_peer();
                self.ended(around);
            }
            (_, _) => {
                around.sockets[self.socket].reset_by_peer();
                self.ended(around);
            }
        }
    }

    /// Nothing of the connection is left.
    fn ended(&mut self, around: &mut Around<'_>) {
        self.phase = Phase::Away;
        self.writer.bytes.clear();
        self.subscriptions_ended();
        self.expected.clear();
        self.is_greeted = false;
        self.asleep_until_ms = 0;
        if self.lives_left > 0 {
            self.lives_left -= 1;
            self.act_ms = around.pause_ms();
        } else {
            self.act_ms = u64::MAX;
        }
    }
}

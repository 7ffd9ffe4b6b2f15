//! A client: real bytes of both generations of the dialect, and an opinion on everything that comes back.

use std::collections::{BTreeMap, VecDeque};

use tungstenite::protocol::frame::coding::Control;

use super::around::{Around, Stage, Writer};
use super::frames::{Frame, append_control, append_message, take_frame};
use super::ledger::{self, Broken, Outcome, Reader};
use super::mutant::Mutant;
use super::replies::{Message, read};
use super::scenario::{EXPIRY_MS, EngineKind};

/// How a client behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Temper {
    Regular,
    /// Stops reading for long.
    Sleepy,
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
    Subscribe(String),
    Unsubscribe(String),
    Publish { channel: String, number: usize },
    Refresh { expires_s: u64 },
    Ping,
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
    temper: Temper,
    user: String,
    phase: Phase,
    writer: Writer,
    inbound: Vec<u8>,
    commands: Vec<String>,
    next_tag: u64,
    expected: VecDeque<Expected>,
    subscriptions: BTreeMap<String, State>,
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
        let odd = [Temper::Sleepy, Temper::Sleepy, Temper::Mute, Temper::Rude, Temper::Shy];
        Self {
            name,
            socket: 0,
            is_v1: around.random.percent(40),
            temper: if is_odd { *around.random.pick(&odd) } else { Temper::Regular },
            user: format!("u{}", around.random.below(around.scenario.users)),
            phase: Phase::Away,
            writer: Writer::default(),
            inbound: Vec::new(),
            commands: Vec::new(),
            next_tag: 1,
            expected: VecDeque::new(),
            subscriptions: BTreeMap::new(),
            latest: BTreeMap::new(),
            act_ms: around.random.below(100),
            asleep_until_ms: 0,
            expires_s: None,
            refreshes: around.random.percent(50),
            is_greeted: false,
            began_ms: 0,
            greeted_ms: 0,
            lives_left: around.random.below(4),
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
        self.asleep_until_ms = 0;
        self.lives_left = 0;
        self.send_commands(around);
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
            92..94 if self.temper == Temper::Rude => self.be_rude(around),
            94..96 if self.lives_left > 0 => self.leave(around),
            _ => {}
        }
        if around.random.percent(80) {
            self.send_commands(around);
        }
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
        self.latest.clear();
        let query = match around.random.below(3) {
            0 if self.is_v1 => "?cf_protocol_version=v1",
            0 => "?cf_protocol_version=v2",
            1 if !self.is_v1 => "?cf_ws_frame_ping_pong=true&cf_protocol_version=v2",
            _ => "",
        };
        self.writer.bytes = format!(
            "GET /connection/websocket{query} HTTP/1.1\r\nHost: sim\r\nUpgrade: websocket\r\n\
             Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        .into_bytes();
    }

    fn greet(&mut self, around: &mut Around<'_>) {
        self.expires_s = None;
        if around.scenario.tokens_expire && around.random.percent(70) {
            self.expires_s = Some(around.now.unix_s() + around.random.between(3, 20));
        }
        let token = around.scenario.token(&self.user, self.expires_s);
        self.command("connect", &format!("{{\"token\":\"{token}\"}}"), Kind::Connect);
        self.send_commands(around);
    }

    fn command(&mut self, name: &str, params: &str, kind: Kind) {
        let tag = self.next_tag;
        self.next_tag += 1;
        self.commands.push(match (self.is_v1, name) {
            (true, "connect") => format!("{{\"id\":{tag},\"params\":{params}}}"),
            (true, _) => {
                let number =
                    ["connect", "subscribe", "unsubscribe", "publish", "", "", "", "ping", "", "", "refresh"];
                let number = number.iter().position(|known| *known == name).expect("a known command");
                format!("{{\"id\":{tag},\"method\":{number},\"params\":{params}}}")
            }
            (false, _) => format!("{{\"id\":{tag},\"{name}\":{params}}}"),
        });
        self.expected.push_back(Expected { tag, kind });
    }

    /// All commands that were gathered, in one frame, or each in its own where one would be too long.
    fn send_commands(&mut self, around: &mut Around<'_>) {
        const FRAME_BYTES_MAX: usize = 60_000;
        let frame = self.commands.join("\n");
        if frame.len() > FRAME_BYTES_MAX {
            for command in self.commands.drain(..) {
                append_message(command.as_bytes(), around.random, &mut self.writer.bytes);
            }
        } else if !frame.is_empty() {
            append_message(frame.as_bytes(), around.random, &mut self.writer.bytes);
        }
        self.commands.clear();
    }

    fn want_subscribe(&mut self, around: &mut Around<'_>) {
        let channel = around.channel();
        if self.subscriptions.contains_key(&channel) {
            return;
        }
        self.command(
            "subscribe",
            &format!("{{\"channel\":\"{channel}\"}}"),
            Kind::Subscribe(channel.clone()),
        );
        self.subscriptions.insert(channel, State::Asked);
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
        let number = around.ledger.publish(std::slice::from_ref(&channel));
        let data = ledger::data(number, around.data_bytes());
        let params = format!("{{\"channel\":\"{channel}\",\"data\":{data}}}");
        self.command("publish", &params, Kind::Publish { channel, number });
    }

    fn want_refresh(&mut self, around: &mut Around<'_>) {
        let Some(expires_s) = self.expires_s.filter(|_| self.refreshes) else { return };
        let expires_s = expires_s.max(around.now.unix_s()) + around.random.between(3, 10);
        let token = around.scenario.token(&self.user, Some(expires_s));
        self.command("refresh", &format!("{{\"token\":\"{token}\"}}"), Kind::Refresh { expires_s });
    }

    fn be_rude(&mut self, around: &mut Around<'_>) {
        match around.random.below(3) {
            0 => self.writer.bytes.extend_from_slice(b"\xFF\xFF no frame at all"),
            1 => append_message(b"{no json", around.random, &mut self.writer.bytes),
            _ => append_message(b"{\"id\":900000,\"connect\":{}}", around.random, &mut self.writer.bytes),
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
        self.subscriptions.clear();
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

    fn read(&mut self, around: &mut Around<'_>) -> Result<(), Broken> {
        if around.sockets[self.socket].has_ended() {
            return self.connection_ended(around);
        }
        let bytes = around.sockets[self.socket].read(around.random);
        self.inbound.extend_from_slice(&bytes);
        if self.phase == Phase::Upgrading && !self.read_upgrade(around)? {
            return Ok(());
        }
        while self.phase != Phase::Away {
            let Some(frame) = take_frame(&mut self.inbound).map_err(|what| self.broken(&what))? else {
                break;
            };
            self.frame(frame, around)?;
        }
        Ok(())
    }

    /// `false`: the answer is not whole yet.
    fn read_upgrade(&mut self, around: &mut Around<'_>) -> Result<bool, Broken> {
        let Some(end) = self.inbound.windows(4).position(|four| four == b"\r\n\r\n") else {
            return Ok(false);
        };
        if !self.inbound.starts_with(b"HTTP/1.1 101 ") {
            let head = String::from_utf8_lossy(&self.inbound[..end]).into_owned();
            return Err(self.broken(&format!("the upgrade was answered with {head:?}")));
        }
        self.inbound.drain(..end + 4);
        self.phase = Phase::Open;
        if self.temper != Temper::Shy {
            self.greet(around);
        }
        Ok(true)
    }

    /// The stream has ended: was that allowed without a close frame?
    fn connection_ended(&mut self, around: &mut Around<'_>) -> Result<(), Broken> {
        let is_expected = match self.phase {
            Phase::Closed | Phase::Leaving => true,
            Phase::Upgrading => around.is_draining,
            // A close frame may be lost in the reset of a connection that was not read or spoke nonsense.
            Phase::Open => self.may_be_slow(around) || self.temper == Temper::Rude,
            Phase::Away => true,
        };
        if !is_expected {
            return Err(self.broken("the connection ended without a close frame"));
        }
        around.sockets[self.socket].close_by_peer();
        self.ended(around);
        Ok(())
    }

    fn frame(&mut self, frame: Frame, around: &mut Around<'_>) -> Result<(), Broken> {
        if self.phase == Phase::Closed {
            return Err(self.broken("a frame after the close frame"));
        }
        match frame {
            Frame::Ping(payload) => {
                if self.temper != Temper::Mute {
                    append_control(Control::Pong, &payload, around.random, &mut self.writer.bytes);
                }
                Ok(())
            }
            Frame::Pong => Ok(()),
            Frame::Close { code, reason } => self.closed(code, &reason, around),
            Frame::Text(payload) => self.message(&payload, around),
        }
    }

    fn message(&mut self, payload: &[u8], around: &mut Around<'_>) -> Result<(), Broken> {
        match read(payload, self.is_v1).map_err(|what| self.broken(&what))? {
            Message::Ping => {
                if self.temper != Temper::Mute && self.phase == Phase::Open {
                    append_message(b"{}", around.random, &mut self.writer.bytes);
                }
                Ok(())
            }
            Message::Publication { channel, number, offset } => {
                self.latest.insert(channel.clone(), payload.to_vec());
                self.publication(&channel, number, offset, around)
            }
            Message::Dropped { channel } => match self.subscriptions.remove(&channel) {
                Some(State::Live(_) | State::Ending(_)) => Ok(()),
                Some(State::Asked) | None => {
                    Err(self.broken(&format!("dropped from {channel}, not subscribed")))
                }
            },
            Message::Reply { tag, error, body } => self.reply(tag, error, &body, around),
        }
    }

    fn publication(
        &mut self,
        channel: &str,
        number: usize,
        offset: u64,
        around: &mut Around<'_>,
    ) -> Result<(), Broken> {
        let heard = match self.subscriptions.get_mut(channel) {
            Some(State::Live(reader) | State::Ending(reader)) => {
                around.ledger.heard(reader, channel, number, offset)
            }
            Some(State::Asked) => Err(format!("a publication of {channel} before the subscribe reply")),
            None => Err(format!("a publication of {channel}, which is not subscribed")),
        };
        heard.map_err(|what| self.broken(&what))
    }

    fn reply(
        &mut self,
        tag: u64,
        error: Option<u64>,
        body: &str,
        around: &mut Around<'_>,
    ) -> Result<(), Broken> {
        let Some(expected) = self.expected.pop_front() else {
            return Err(self.broken(&format!("a reply {tag} to nothing")));
        };
        let Expected { tag: want, kind } = expected;
        around
            .trace
            .note(around.now.monotonic_ms, format_args!("client {} reply {tag} {error:?} {body}", self.name));
        if tag != want {
            return Err(self.broken(&format!("reply {tag} where {want} ({kind:?}) was due")));
        }
        let name = match &kind {
            Kind::Connect => "connect",
            Kind::Subscribe(_) => "subscribe",
            Kind::Unsubscribe(_) => "unsubscribe",
            Kind::Publish { .. } => "publish",
            Kind::Refresh { .. } => "refresh",
            Kind::Ping => "result",
        };
        let want_body = if self.is_v1 { "result" } else { name };
        if error.is_none() && body != want_body {
            return Err(self.broken(&format!("a reply to {kind:?} with {body}")));
        }
        if let Some(code) = error
            && !self.may_fail(&kind, code, around)
        {
            return Err(self.broken(&format!("{kind:?} was refused with {code}")));
        }
        self.replied(kind, error, around)
    }

    fn may_fail(&self, kind: &Kind, code: u64, around: &Around<'_>) -> bool {
        let is_slow_engine = around.scenario.engine == EngineKind::Slow;
        match (kind, code) {
            (Kind::Subscribe(channel) | Kind::Publish { channel, .. }, 102) => {
                around.is_reloaded && channel.starts_with("gone:")
            }
            (Kind::Subscribe(_) | Kind::Publish { .. }, 100) => is_slow_engine,
            (Kind::Connect, 109) => self.expires_s.is_some_and(|expires_s| expires_s <= around.now.unix_s()),
            _ => false,
        }
    }

    fn replied(&mut self, kind: Kind, error: Option<u64>, around: &mut Around<'_>) -> Result<(), Broken> {
        match kind {
            Kind::Connect if error.is_some() => {
                around.sockets[self.socket].close_by_peer();
                self.ended(around);
            }
            Kind::Connect => {
                self.is_greeted = true;
                self.greeted_ms = around.now.monotonic_ms;
            }
            Kind::Subscribe(channel) => {
                if error.is_some() {
                    self.subscriptions.remove(&channel);
                } else {
                    let reader = around.ledger.subscribed(&channel);
                    self.subscriptions.insert(channel, State::Live(reader));
                }
            }
            Kind::Unsubscribe(channel) => {
                if let Some(State::Ending(_)) = self.subscriptions.get(&channel) {
                    self.subscriptions.remove(&channel);
                }
                if let Some(frame) = self.latest.get(&channel).cloned()
                    && around.saboteur.strikes(Mutant::DeliverAfterUnsubscribe)
                {
                    self.message(&frame, around)?;
                }
            }
            Kind::Publish { channel, number } => {
                let outcome = if error.is_some() { Outcome::Refused } else { Outcome::Taken };
                let answered = around.ledger.answered(number, &channel, outcome, None);
                answered.map_err(|what| self.broken(&what))?;
            }
            Kind::Refresh { expires_s } => self.expires_s = Some(expires_s),
            Kind::Ping => {}
        }
        Ok(())
    }

    /// The server's close frame.
    fn closed(&mut self, code: u16, reason: &str, around: &mut Around<'_>) -> Result<(), Broken> {
        around
            .trace
            .note(around.now.monotonic_ms, format_args!("client {} is closed: {code} {reason}", self.name));
        if self.phase != Phase::Leaving {
            self.judge_end(code, reason, around)?;
            append_control(Control::Close, &code.to_be_bytes(), around.random, &mut self.writer.bytes);
        }
        self.phase = Phase::Closed;
        self.subscriptions.clear();
        self.expected.clear();
        Ok(())
    }

    /// Was there a reason to end this connection?
    fn judge_end(&self, code: u16, reason: &str, around: &Around<'_>) -> Result<(), Broken> {
        let said = reason.strip_prefix("{\"reason\":\"").and_then(|rest| rest.split('"').next());
        let is_right = match said.unwrap_or(reason) {
            "shutdown" => around.is_draining,
            "expired" | "connection expired" => return self.judge_expiry(around),
            "slow" => self.may_be_slow(around),
            "no pong" => matches!(self.temper, Temper::Mute | Temper::Sleepy) || around.scenario.is_narrow(),
            // An engine that is down refuses everything.
            "too many errors" => around.scenario.engine == EngineKind::Slow || around.is_reloaded,
            "stale" => self.temper == Temper::Shy,
            "force disconnect" => around.kills.iter().any(|kill| {
                kill.user == self.user
                    && kill.answered_ms.is_none_or(|answered_ms| answered_ms >= self.began_ms)
            }),
            _ => self.temper == Temper::Rude,
        };
        if is_right {
            Ok(())
        } else {
            Err(self.broken(&format!("closed with {code} {reason}, for no reason")))
        }
    }

    fn judge_expiry(&self, around: &Around<'_>) -> Result<(), Broken> {
        let Some(expires_s) = self.expires_s else { return Err(self.broken("expired without an expiry")) };
        let refresh = self.expected.iter().find_map(|expected| match expected.kind {
            Kind::Refresh { expires_s } => Some(expires_s),
            _ => None,
        });
        if refresh.is_some_and(|refreshed_s| refreshed_s <= around.now.unix_s()) {
            return Ok(());
        }
        let late_ms = around.now.unix_ms.checked_sub(expires_s * 1_000);
        let is_late = self.temper != Temper::Sleepy
            && refresh.is_none()
            && late_ms.is_some_and(|late_ms| late_ms > *EXPIRY_MS.end());
        if late_ms.is_none_or(|late_ms| late_ms < *EXPIRY_MS.start()) || is_late {
            return Err(self.broken(&format!("exp {expires_s}, closed at {} ms", around.now.unix_ms)));
        }
        Ok(())
    }

    fn may_be_slow(&self, around: &Around<'_>) -> bool {
        let scenario = around.scenario;
        self.temper == Temper::Sleepy
            || scenario.queue_bytes_max < 100_000
            || scenario.data_bytes_max > 10_000
    }

    /// Everything that was under way has come to its end: nothing may be owed to this client.
    pub fn settled(&self, around: &Around<'_>) -> Result<(), Broken> {
        if self.phase != Phase::Open {
            return Ok(());
        }
        if let Some(expected) = self.expected.front() {
            return Err(self.broken(&format!("{expected:?} was never answered")));
        }
        for (channel, state) in &self.subscriptions {
            if let State::Live(reader) = state {
                around.ledger.settled(reader, channel).map_err(|what| self.broken(&what))?;
            }
        }
        let has_missed = |kill: &super::around::Kill| {
            kill.user == self.user && kill.answered_ms.is_some() && kill.sent_ms > self.greeted_ms
        };
        if self.is_greeted && around.kills.iter().any(has_missed) {
            return Err(self.broken("survived the disconnection of its user"));
        }
        let overdue = |expires_s: u64| around.now.unix_ms > expires_s * 1_000 + EXPIRY_MS.end();
        if self.is_greeted && self.expires_s.is_some_and(overdue) {
            return Err(self.broken("has expired and is still connected"));
        }
        Ok(())
    }

    /// The last moment at which it may still be connected, in Unix milliseconds.
    pub fn expires_ms(&self) -> Option<u64> {
        let expires_s = self.expires_s.filter(|_| self.phase == Phase::Open)?;
        Some(expires_s * 1_000 + EXPIRY_MS.end())
    }

    fn broken(&self, what: &str) -> Broken {
        let Self { name, temper, user, .. } = self;
        let dialect = if self.is_v1 { "v1" } else { "v2" };
        format!("client {name} ({user}, {dialect}, {temper:?}): {what}")
    }
}

//! A client's connection, whatever is spoken on it: how it opens, carries frames, sleeps and ends.

use tungstenite::protocol::frame::coding::Control;

use crate::around::{Around, Stage, Writer};
use crate::frames::{Frame, append_control, append_message, take_frame};
use crate::ledger::Broken;

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
pub enum Phase {
    Away,
    Upgrading,
    Open,
    /// We want to go: no command follows.
    Leaving,
    /// The server's close frame has come.
    Closed,
}

/// What there is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    Read,
    /// The connection of one who reads no more is gone.
    Lost,
    /// A piece was written.
    Written,
    Act,
}

/// What a read came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// The stream has ended.
    End,
    /// The answer to the upgrade is not whole yet.
    Part,
    /// The upgrade was answered.
    Opened,
    More,
}

/// Frames that a dialect has something to say about.
#[derive(Debug)]
pub enum Incoming {
    Text(Vec<u8>),
    Binary(Vec<u8>),
    Close { code: u16, reason: String },
}

/// How a client goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// It was not there.
    None,
    /// With a close frame, which is still to be written.
    Frame,
    /// Without a word: nothing of the connection is left.
    Silent,
}

#[derive(Debug)]
pub struct Line {
    pub name: usize,
    pub socket: usize,
    pub temper: Temper,
    pub phase: Phase,
    pub writer: Writer,
    inbound: Vec<u8>,
    pub act_ms: u64,
    asleep_until_ms: u64,
    /// Since when the connection is there.
    pub began_ms: u64,
    pub lives_left: u64,
}

impl Line {
    pub fn new(name: usize, temper: Temper) -> Self {
        Self {
            name,
            socket: 0,
            temper,
            phase: Phase::Away,
            writer: Writer::default(),
            inbound: Vec::new(),
            act_ms: 0,
            asleep_until_ms: 0,
            began_ms: 0,
            lives_left: 0,
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

    pub fn is_dead(&self) -> bool {
        self.asleep_until_ms == u64::MAX
    }

    /// Reads nothing for a while, or never again.
    pub fn sleep(&mut self, around: &mut Around<'_>) {
        self.asleep_until_ms = match self.temper {
            Temper::Dead => u64::MAX,
            _ => around.now.monotonic_ms + around.random.below(15_000),
        };
    }

    /// No more lives and no more sleep. `false`: it is past waking.
    pub fn calm_down(&mut self) -> bool {
        self.lives_left = 0;
        if self.is_dead() {
            return false;
        }
        self.asleep_until_ms = 0;
        true
    }

    /// What there is to do now; a piece of what is to be written leaves by itself.
    pub fn due(&mut self, around: &mut Around<'_>) -> Option<Due> {
        let now_ms = around.now.monotonic_ms;
        let is_there = self.phase != Phase::Away;
        if is_there && self.asleep_until_ms <= now_ms && around.sockets[self.socket].is_readable() {
            return Some(Due::Read);
        }
        if is_there && self.is_dead() && around.sockets[self.socket].server_closed {
            return Some(Due::Lost);
        }
        if self.writer.is_due(now_ms) {
            self.writer.write(self.socket, around);
            return Some(Due::Written);
        }
        self.next_ms(around.stage).is_some_and(|due_ms| due_ms <= now_ms).then_some(Due::Act)
    }

    /// Opens a connection, now.
    pub fn begin(&mut self, around: &mut Around<'_>) {
        let Self { name, temper, .. } = *self;
        self.socket = around.connect();
        around.trace.note(
            around.now.monotonic_ms,
            format_args!("client {name} {temper:?} connects, socket {}", self.socket),
        );
        self.phase = Phase::Upgrading;
        self.began_ms = around.now.monotonic_ms;
        self.inbound.clear();
    }

    pub fn upgrade(&mut self, target: &str) {
        self.writer.bytes = format!(
            "GET {target} HTTP/1.1\r\nHost: sim\r\nUpgrade: websocket\r\n\
             Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        .into_bytes();
    }

    pub fn receive(&mut self, around: &mut Around<'_>) -> Result<Received, Broken> {
        if around.sockets[self.socket].has_ended() {
            return Ok(Received::End);
        }
        let bytes = around.sockets[self.socket].read(around.random);
        self.inbound.extend_from_slice(&bytes);
        if self.phase != Phase::Upgrading {
            return Ok(Received::More);
        }
        let Some(end) = self.inbound.windows(4).position(|four| four == b"\r\n\r\n") else {
            return Ok(Received::Part);
        };
        if !self.inbound.starts_with(b"HTTP/1.1 101 ") {
            let head = String::from_utf8_lossy(&self.inbound[..end]).into_owned();
            return Err(format!("the upgrade was answered with {head:?}"));
        }
        self.inbound.drain(..end + 4);
        self.phase = Phase::Open;
        Ok(Received::Opened)
    }

    /// The next frame that is not for the connection itself. Pings are answered.
    pub fn next_frame(&mut self, around: &mut Around<'_>) -> Result<Option<Incoming>, Broken> {
        while self.phase != Phase::Away {
            let Some(frame) = take_frame(&mut self.inbound)? else { break };
            if self.phase == Phase::Closed {
                return Err("a frame after the close frame".to_owned());
            }
            match frame {
                Frame::Ping(payload) => {
                    if self.temper != Temper::Mute {
                        append_control(Control::Pong, &payload, around.random, &mut self.writer.bytes);
                    }
                }
                Frame::Pong => {}
                Frame::Close { code, reason } => return Ok(Some(Incoming::Close { code, reason })),
                Frame::Text(payload) => return Ok(Some(Incoming::Text(payload))),
                Frame::Binary(payload) => return Ok(Some(Incoming::Binary(payload))),
            }
        }
        Ok(None)
    }

    pub fn say(&mut self, message: &[u8], is_text: bool, around: &mut Around<'_>) {
        append_message(message, is_text, around.random, &mut self.writer.bytes);
    }

    pub fn say_control(&mut self, control: Control, payload: &[u8], around: &mut Around<'_>) {
        append_control(control, payload, around.random, &mut self.writer.bytes);
    }

    /// Answers the server's close frame in kind, unless ours is on its way.
    pub fn answer_close(&mut self, code: u16, around: &mut Around<'_>) {
        if self.phase != Phase::Leaving {
            self.say_control(Control::Close, &code.to_be_bytes(), around);
        }
        self.phase = Phase::Closed;
    }

    /// Chooses one of the ways in which clients go, and does what it takes but for the frame.
    pub fn leave(&mut self, around: &mut Around<'_>) -> Way {
        let way = around.random.below(4);
        around.trace.note(around.now.monotonic_ms, format_args!("client {} leaves, way {way}", self.name));
        match (self.phase, way) {
            (Phase::Away, _) => return Way::None,
            (Phase::Open, 0 | 1) => return Way::Frame,
            (_, 2) => around.sockets[self.socket].close_by_peer(),
            (_, _) => around.sockets[self.socket].reset_by_peer(),
        }
        Way::Silent
    }

    /// Says that it goes.
    pub fn say_goodbye(&mut self, around: &mut Around<'_>) {
        self.say_control(Control::Close, &1000_u16.to_be_bytes(), around);
        self.phase = Phase::Leaving;
    }

    /// Nothing of the connection is left.
    pub fn ended(&mut self, around: &mut Around<'_>) {
        self.phase = Phase::Away;
        self.writer.bytes.clear();
        self.asleep_until_ms = 0;
        if self.lives_left > 0 {
            self.lives_left -= 1;
            self.act_ms = around.pause_ms();
        } else {
            self.act_ms = u64::MAX;
        }
    }

    /// The stream has ended: was that allowed without a close frame?
    pub fn may_have_ended(&self, around: &Around<'_>) -> bool {
        match self.phase {
            Phase::Closed | Phase::Leaving | Phase::Away => true,
            Phase::Upgrading => around.is_draining,
            // A close frame may be lost in the reset of a connection that was not read or spoke nonsense, and wait too long
            // behind what a narrow one carries.
            Phase::Open => {
                self.may_be_slow(around) || around.scenario.is_narrow() || self.temper == Temper::Rude
            }
        }
    }

    pub fn may_be_slow(&self, around: &Around<'_>) -> bool {
        let scenario = around.scenario;
        matches!(self.temper, Temper::Sleepy | Temper::Dead)
            || scenario.queue_bytes_max < 100_000
            || scenario.data_bytes_max > 10_000
    }

    /// Whether a ping of the server may be answered too late.
    pub fn may_be_mute(&self, around: &Around<'_>) -> bool {
        matches!(self.temper, Temper::Mute | Temper::Sleepy | Temper::Dead) || around.scenario.is_narrow()
    }

    /// Whether a backend may have ended this connection of a user.
    pub fn may_be_killed(&self, user: &str, around: &Around<'_>) -> bool {
        around.kills.iter().any(|kill| {
            kill.user == user && kill.answered_ms.is_none_or(|answered_ms| answered_ms >= self.began_ms)
        })
    }
}

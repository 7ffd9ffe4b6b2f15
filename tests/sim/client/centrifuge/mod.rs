//! A client of Centrifuge: real bytes of both generations of the dialect, and an opinion on everything that comes back.

mod hear;
mod judge;
mod others;

use std::collections::{BTreeMap, VecDeque};

use tungstenite::protocol::frame::coding::Control;

use super::line::{Due, Line, Temper, Way};
use super::subscriptions::Subscriptions;
use crate::around::Around;
use crate::ledger::{self, Broken, Kind as Published, Reader};
use crate::protobuf;
use crate::scenario::{is_closed, is_numbered, is_proven, is_shown, owner};
use crate::wish::Wish;
use others::Others;

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
pub struct Centrifuge {
    line: Line,
    is_v1: bool,
    is_protobuf: bool,
    user: String,
    commands: Vec<Vec<u8>>,
    next_tag: u64,
    expected: VecDeque<Expected>,
    subscriptions: Subscriptions,
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
    /// `exp` of the token that counts.
    expires_s: Option<u64>,
    refreshes: bool,
    is_greeted: bool,
    /// Since when we know that we are a client.
    greeted_ms: u64,
}

impl Centrifuge {
    pub fn new(name: usize, around: &mut Around<'_>) -> Self {
        let is_odd = around.scenario.has_odd_clients && around.random.percent(50);
        let odd = [Temper::Sleepy, Temper::Sleepy, Temper::Dead, Temper::Mute, Temper::Rude, Temper::Shy];
        let is_v1 = around.random.percent(40);
        let is_protobuf = around.random.percent(30);
        let temper = if is_odd { *around.random.pick(&odd) } else { Temper::Regular };
        let user = format!("u{}", around.random.below(around.scenario.users));
        let mut line = Line::new(name, temper);
        line.act_ms = around.random.below(100);
        let refreshes = around.random.percent(50);
        line.lives_left = if around.scenario.is_under_fire { u64::MAX } else { around.random.below(4) };
        Self {
            line,
            is_v1,
            is_protobuf,
            user,
            commands: Vec::new(),
            next_tag: 1,
            expected: VecDeque::new(),
            subscriptions: Subscriptions::default(),
            ended: BTreeMap::new(),
            positions: BTreeMap::new(),
            others: Others::default(),
            id: String::new(),
            wishes: BTreeMap::new(),
            texts: BTreeMap::new(),
            latest: BTreeMap::new(),
            expires_s: None,
            refreshes,
            is_greeted: false,
            greeted_ms: 0,
        }
    }

    pub fn line(&self) -> &Line {
        &self.line
    }

    /// No more sleep, no more lives: the run comes to its end.
    pub fn calm_down(&mut self, around: &mut Around<'_>) {
        if self.line.calm_down() {
            self.send_commands(around);
        }
    }

    /// One step. `false`: there was nothing to do.
    pub fn step(&mut self, around: &mut Around<'_>) -> Result<bool, Broken> {
        match self.line.due(around) {
            None => return Ok(false),
            Some(Due::Read) => self.read(around)?,
            Some(Due::Lost) => self.ended(around),
            Some(Due::Written) => {}
            Some(Due::Act) => self.act(around),
        }
        Ok(true)
    }

    fn act(&mut self, around: &mut Around<'_>) {
        self.line.act_ms = around.pause_ms();
        if self.line.is_away() {
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
            84..88 => self.line.say_control(Control::Ping, b"are you there", around),
            88..92 if matches!(self.line.temper, Temper::Sleepy | Temper::Dead) => self.line.sleep(around),
            92..94 if self.line.temper == Temper::Rude => self.be_rude(around),
            96 => self.want_history(around),
            97 => self.want_presence(around),
            94..96 if self.line.lives_left > 0 => self.leave(around),
            _ => {}
        }
        if around.random.percent(80) {
            self.send_commands(around);
        }
    }

    /// Wants everything there is, says something now and then, and is cut off.
    fn be_under_fire(&mut self, around: &mut Around<'_>) {
        for channel in around.scenario.channels.clone() {
            if !self.subscriptions.knows(&channel) {
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
        if self.line.is_away() {
            return;
        }
        around.sockets[self.line.socket].reset_by_peer();
        self.ended(around);
        self.line.act_ms = around.now.monotonic_ms + around.random.below(50);
    }

    /// Opens a connection, now.
    pub fn begin(&mut self, around: &mut Around<'_>) {
        self.line.begin(around);
        self.is_greeted = false;
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
        self.line.upgrade(&format!("/connection/websocket?{query}"));
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
                self.line.say(&command, !self.is_protobuf, around);
            }
        } else if !frame.is_empty() {
            self.line.say(&frame, !self.is_protobuf, around);
        }
        self.commands.clear();
    }

    fn want_subscribe(&mut self, around: &mut Around<'_>) {
        let channel = around.channel();
        if self.subscriptions.knows(&channel) || owner(&channel).is_some_and(|user| user != self.user) {
            return;
        }
        let is_recoverable = is_numbered(&channel) && around.random.percent(80);
        let recovers = is_recoverable && self.ended.contains_key(&channel) && around.random.percent(80);
        self.subscribe(channel, is_recoverable, recovers, around);
    }

    fn subscribe(&mut self, channel: String, is_recoverable: bool, recovers: bool, around: &mut Around<'_>) {
        let mut more = self.wish(&channel, around).members().to_owned();
        if is_proven(&channel) {
            let token = around.scenario.subscription_token(&self.user, &channel);
            more.push_str(&format!(",\"token\":\"{token}\""));
        }
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
        self.subscriptions.asked(channel);
    }

    fn wish(&mut self, channel: &str, around: &mut Around<'_>) -> Wish {
        *self.wishes.entry(channel.to_owned()).or_insert_with(|| Wish::new(around.random))
    }

    fn want_history(&mut self, around: &mut Around<'_>) {
        let channel = around.channel();
        if !is_numbered(&channel) || !self.subscriptions.is_live(&channel) {
            return;
        }
        let limit = *around.random.pick(&[0, -1, 1, 5, 1_000]);
        let reverse = around.random.percent(50);
        let params = format!("{{\"channel\":\"{channel}\",\"limit\":{limit},\"reverse\":{reverse}}}");
        self.command("history", &params, Kind::History { channel, limit, reverse });
    }

    fn want_presence(&mut self, around: &mut Around<'_>) {
        let channel = around.channel();
        if !is_shown(&channel) || (is_closed(&channel) && !self.subscriptions.is_live(&channel)) {
            return;
        }
        self.command("presence", &format!("{{\"channel\":\"{channel}\"}}"), Kind::Presence(channel));
    }

    fn want_unsubscribe(&mut self, around: &mut Around<'_>) {
        let channel = around.channel();
        if !self.subscriptions.is_live(&channel) {
            return;
        }
        self.subscriptions.ending(&channel);
        self.command("unsubscribe", &format!("{{\"channel\":\"{channel}\"}}"), Kind::Unsubscribe(channel));
    }

    fn want_publish(&mut self, around: &mut Around<'_>) {
        let channel = around.channel();
        let is_closed = is_proven(&channel) && !self.subscriptions.is_live(&channel);
        if is_closed || owner(&channel).is_some() {
            return;
        }
        let kind = Published { is_clients: true, ..Published::default() };
        let number = around.ledger.publish(std::slice::from_ref(&channel), kind);
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
            0 => self.line.writer.bytes.extend_from_slice(b"\xFF\xFF no frame at all"),
            1 => self.line.say(b"{no json", !self.is_protobuf, around),
            _ => self.line.say(b"{\"id\":900000,\"connect\":{}}", !self.is_protobuf, around),
        }
    }

    /// Goes, in one of the ways clients do.
    pub fn leave(&mut self, around: &mut Around<'_>) {
        match self.line.leave(around) {
            Way::None => {}
            Way::Frame => {
                self.send_commands(around);
                self.line.say_goodbye(around);
            }
            Way::Silent => self.ended(around),
        }
    }

    /// Nothing of the connection is left.
    fn ended(&mut self, around: &mut Around<'_>) {
        self.subscriptions_ended();
        self.expected.clear();
        self.is_greeted = false;
        self.line.ended(around);
    }
}

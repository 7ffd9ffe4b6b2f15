//! A client of Pusher Channels: it subscribes with and without proofs, says who it is, and speaks to others.
//!
//! The protocol does not answer everything. What is done without an answer is known to be done once a later ping is
//! answered: answers keep the order of what was asked.

mod hear;
mod judge;
mod members;

use std::collections::{BTreeMap, VecDeque};

use polycast::auth::pusher::{channel_text, user_text};
use tungstenite::protocol::frame::coding::Control;

use super::line::{Due, Line, Temper, Way};
use super::subscriptions::Subscriptions;
use crate::around::Around;
use crate::ledger::{self, Broken, Kind, SocketId};
use crate::scenario::{channel_of, is_presence, is_proven, is_pushers, owner};
use members::Members;

/// The name of everything that these clients say to each other.
pub const CLIENT_EVENT: &str = "client-said";

/// What is due, in this order.
#[derive(Debug, PartialEq, Eq)]
enum Expected {
    Subscription(String),
    SignIn,
    /// Nothing comes if it was taken.
    Event {
        channel: String,
        number: usize,
    },
    /// `ends`: the channel whose unsubscribe is done by then.
    Pong {
        ends: Option<String>,
    },
}

#[derive(Debug)]
pub struct Pusher {
    line: Line,
    user: String,
    /// Its id on this connection; empty until it is told.
    socket_id: String,
    expected: VecDeque<Expected>,
    subscriptions: Subscriptions,
    /// As whom it is shown in channels it asked for.
    names: BTreeMap<String, String>,
    members: Members,
    /// The channel of which the last publication is due now.
    latest_of: Option<String>,
    /// It has said who its user is, and when that was answered.
    is_signed_in: bool,
    signed_in_ms: Option<u64>,
    /// Refusals since a ping was last answered: it is not known of which event.
    refusals: u64,
    /// The code of an error that says why the connection is about to end.
    announced: Option<u64>,
}

impl Pusher {
    pub fn new(name: usize, around: &mut Around<'_>) -> Self {
        let is_odd = around.scenario.has_odd_clients && around.random.percent(40);
        let odd = [Temper::Sleepy, Temper::Sleepy, Temper::Dead, Temper::Mute, Temper::Rude];
        let mut line = Line::new(name, if is_odd { *around.random.pick(&odd) } else { Temper::Regular });
        line.act_ms = around.random.below(100);
        line.lives_left = around.random.below(4);
        Self {
            line,
            user: format!("u{}", around.random.below(around.scenario.users)),
            socket_id: String::new(),
            expected: VecDeque::new(),
            subscriptions: Subscriptions::default(),
            names: BTreeMap::new(),
            members: Members::default(),
            latest_of: None,
            is_signed_in: false,
            signed_in_ms: None,
            refusals: 0,
            announced: None,
        }
    }

    pub fn line(&self) -> &Line {
        &self.line
    }

    /// No more sleep, no more lives: the run comes to its end.
    pub fn calm_down(&mut self, around: &mut Around<'_>) {
        if self.line.calm_down() && self.is_talking() {
            self.ping(None, around);
        }
    }

    /// One step. `false`: there was nothing to do.
    pub fn step(&mut self, around: &mut Around<'_>) -> Result<bool, Broken> {
        match self.line.due(around) {
            None => return Ok(false),
            Some(Due::Read) => self.read(around).map_err(|what| self.broken(&what))?,
            Some(Due::Lost) => self.ended(around),
            Some(Due::Written) => {}
            Some(Due::Act) => self.act(around),
        }
        Ok(true)
    }

    /// Opens a connection, now.
    pub fn begin(&mut self, around: &mut Around<'_>) {
        self.line.begin(around);
        self.line.upgrade("/app/key?protocol=7&client=js&version=8.6.0&flash=false");
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

    /// Goes, in one of the ways clients do.
    pub fn leave(&mut self, around: &mut Around<'_>) {
        match self.line.leave(around) {
            Way::None => {}
            Way::Frame => self.line.say_goodbye(around),
            Way::Silent => self.ended(around),
        }
    }

    fn act(&mut self, around: &mut Around<'_>) {
        self.line.act_ms = around.pause_ms();
        if self.line.is_away() {
            self.begin(around);
            return;
        }
        if !self.is_talking() {
            return;
        }
        match around.random.below(100) {
            0..40 => {
                for _ in 0..around.random.between(1, 3) {
                    self.want_subscribe(around);
                }
            }
            40..50 => self.want_unsubscribe(around),
            50..75 => {
                for _ in 0..around.random.between(1, 3) {
                    self.want_speak(around);
                }
            }
            75..79 => self.ping(None, around),
            79..83 => self.want_sign_in(around),
            83..86 => self.line.say_control(Control::Ping, b"are you there", around),
            86..90 if matches!(self.line.temper, Temper::Sleepy | Temper::Dead) => self.line.sleep(around),
            90..92 if self.line.temper == Temper::Rude => self.be_rude(around),
            92..94 if self.line.lives_left > 0 => self.leave(around),
            94..96 if self.line.lives_left > 0 => self.be_cut(around),
            _ => {}
        }
    }

    fn want_subscribe(&mut self, around: &mut Around<'_>) {
        let channel = around.channel();
        if !is_pushers(&channel) || self.subscriptions.knows(&channel) {
            return;
        }
        if owner(&channel).is_some_and(|user| user != self.user || !self.is_signed_in) {
            return;
        }
        // Who is signed in need not say who it is.
        let is_introduced = is_presence(&channel) && !(self.is_signed_in && around.random.percent(50));
        let about = format!("{{\"user_id\":\"{0}\",\"user_info\":{{\"of\":\"{0}\"}}}}", self.user);
        let about = if is_introduced { &*about } else { "" };
        let auth = if is_proven(&channel) {
            around.scenario.signature(&channel_text(&self.socket_id, &channel, about))
        } else {
            String::new()
        };
        let mut data = serde_json::json!({ "auth": auth, "channel": channel });
        if is_introduced {
            data["channel_data"] = about.into();
        }
        self.say("pusher:subscribe", &data, around);
        let name = if is_introduced || self.is_signed_in { self.user.clone() } else { String::new() };
        self.names.insert(channel.clone(), name);
        self.subscriptions.asked(channel.clone());
        self.expected.push_back(Expected::Subscription(channel));
    }

    fn want_unsubscribe(&mut self, around: &mut Around<'_>) {
        let channel = around.channel();
        if owner(&channel).is_some() || !self.subscriptions.is_live(&channel) {
            return;
        }
        self.subscriptions.ending(&channel);
        self.say("pusher:unsubscribe", &serde_json::json!({ "channel": channel }), around);
        self.ping(Some(channel), around);
    }

    fn want_speak(&mut self, around: &mut Around<'_>) {
        let channel = around.channel();
        if !is_proven(&channel) || !self.subscriptions.is_live(&channel) {
            return;
        }
        let except = id_of(&self.socket_id).ok();
        let kind = Kind { is_clients: true, except, event: CLIENT_EVENT, ..Kind::default() };
        let number = around.ledger.publish(std::slice::from_ref(&channel), kind);
        let data = ledger::data(number, around.data_bytes());
        let message = format!("{{\"event\":\"{CLIENT_EVENT}\",\"channel\":\"{channel}\",\"data\":{data}}}");
        self.line.say(message.as_bytes(), true, around);
        self.expected.push_back(Expected::Event { channel, number });
    }

    fn want_sign_in(&mut self, around: &mut Around<'_>) {
        if self.is_signed_in {
            return;
        }
        let about = format!("{{\"id\":\"{0}\",\"user_info\":{{\"of\":\"{0}\"}}}}", self.user);
        let auth = around.scenario.signature(&user_text(&self.socket_id, &about));
        self.say("pusher:signin", &serde_json::json!({ "auth": auth, "user_data": about }), around);
        self.is_signed_in = true;
        self.expected.push_back(Expected::SignIn);
        // It comes with the answer, whether it is asked for or not.
        let channel = channel_of(&self.user);
        if around.random.percent(50) {
            self.say("pusher:subscribe", &serde_json::json!({ "channel": channel }), around);
            self.expected.push_back(Expected::Subscription(channel.clone()));
        }
        self.names.insert(channel.clone(), self.user.clone());
        self.subscriptions.asked(channel);
    }

    fn ping(&mut self, ends: Option<String>, around: &mut Around<'_>) {
        self.say("pusher:ping", &serde_json::json!({}), around);
        self.expected.push_back(Expected::Pong { ends });
    }

    fn be_rude(&mut self, around: &mut Around<'_>) {
        match around.random.below(3) {
            0 => self.line.writer.bytes.extend_from_slice(b"\xFF\xFF no frame at all"),
            1 => self.line.say(b"{no json", true, around),
            _ => self.line.say(b"{\"event\":\"pusher_internal:member_added\",\"data\":{}}", true, around),
        }
    }

    fn say(&mut self, event: &str, data: &serde_json::Value, around: &mut Around<'_>) {
        let message = serde_json::json!({ "event": event, "data": data }).to_string();
        self.line.say(message.as_bytes(), true, around);
    }

    /// Nothing of the connection is left.
    fn ended(&mut self, around: &mut Around<'_>) {
        self.forget();
        self.socket_id.clear();
        self.announced = None;
        self.line.ended(around);
    }

    fn forget(&mut self) {
        self.expected.clear();
        self.subscriptions.clear();
        self.names.clear();
        self.members.clear();
        self.latest_of = None;
        (self.is_signed_in, self.signed_in_ms, self.refusals) = (false, None, 0);
    }
}

/// The two numbers of a socket id.
pub fn id_of(text: &str) -> Result<SocketId, Broken> {
    let numbers = text.split_once('.');
    let numbers = numbers.and_then(|(one, other)| Some((one.parse().ok()?, other.parse().ok()?)));
    numbers.ok_or_else(|| format!("{text:?} is no socket id"))
}

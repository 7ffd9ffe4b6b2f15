//! What a client may expect: reasons for refusals and ends, and what must have come once all is at rest.

use std::collections::BTreeSet;

use super::Pusher;
use crate::around::Around;
use crate::client::line::{Line, Phase, Temper};
use crate::ledger::Broken;
use crate::presence::{Name, Shown};
use crate::scenario::EngineKind;

impl Pusher {
    /// Whether it may ask for something.
    pub(super) fn is_talking(&self) -> bool {
        self.line.phase == Phase::Open && !self.socket_id.is_empty()
    }

    pub(super) fn connection_ended(&mut self, around: &mut Around<'_>) -> Result<(), Broken> {
        if !self.line.may_have_ended(around) {
            return Err("the connection ended without a close frame".to_owned());
        }
        around.sockets[self.line.socket].close_by_peer();
        self.ended(around);
        Ok(())
    }

    /// Whether an event may be refused.
    pub(super) fn may_be_refused(&self, around: &Around<'_>) -> bool {
        around.scenario.engine == EngineKind::Slow || self.line.temper == Temper::Rude
    }

    /// Was there a reason to end this connection?
    pub(super) fn judge_end(&self, code: u16, reason: &str, around: &mut Around<'_>) -> Result<(), Broken> {
        let is_slow_engine = around.scenario.engine == EngineKind::Slow;
        let (name, is_right) = match reason {
            "the server is being restarted" => ("pusher close: shutdown", around.is_draining),
            "it reads too slowly" => ("pusher close: slow", self.line.may_be_slow(around)),
            "no pong in time" => ("pusher close: no pong", self.line.may_be_mute(around)),
            // Clients would take a refusal for final.
            "over capacity" | "too many errors" => ("pusher close: busy", is_slow_engine),
            "the connection was terminated" => {
                ("pusher close: by user", self.is_signed_in && self.line.may_be_killed(&self.user, around))
            }
            _ => ("pusher close: other", false),
        };
        around.trace.count(name);
        if !is_right && self.line.temper != Temper::Rude {
            return Err(format!("closed with {code} {reason}, for no reason"));
        }
        if code >= 4000 && self.announced != Some(code.into()) {
            return Err(format!("closed with {code} {reason}, and {:?} was announced", self.announced));
        }
        Ok(())
    }

    /// Everything that was under way has come to its end: nothing may be owed to this client.
    pub fn settled(&self, around: &Around<'_>) -> Result<(), Broken> {
        if self.line.phase != Phase::Open || self.line.is_dead() {
            return Ok(());
        }
        if let Some(expected) = self.expected.front() {
            return Err(self.broken(&format!("{expected:?} was never answered")));
        }
        if let Some(channel) = &self.latest_of {
            return Err(self.broken(&format!("was not told what is the latest of {channel}")));
        }
        self.subscriptions.settled(around.ledger).map_err(|what| self.broken(&what))?;
        let has_missed = around.kills.iter().any(|kill| {
            let is_later = self.signed_in_ms.is_some_and(|signed_in_ms| kill.sent_ms > signed_in_ms);
            kill.user == self.user && kill.answered_ms.is_some() && is_later
        });
        if has_missed { Err(self.broken("survived the disconnection of its user")) } else { Ok(()) }
    }

    /// The channels in whose presence it must be, or may be if it hears nothing any more.
    pub fn shown_in(&self) -> impl Iterator<Item = Shown<'_>> {
        let (is_open, is_dead) = (self.line.phase == Phase::Open, self.line.is_dead());
        let live = self.subscriptions.heard().filter(move |_| is_open);
        live.map(move |channel| {
            let name = Name::User(self.names.get(channel).map_or("", String::as_str));
            Shown { channel, name, is_dead }
        })
    }

    /// How a client is shown that hears nothing any more, if it is not nobody.
    pub fn dead(&self) -> Option<Name<'_>> {
        self.line.is_dead().then_some(Name::User(&self.user))
    }

    /// Was it told of the users that are there?
    pub fn check_users(&self, channel: &str, users: &BTreeSet<&str>) -> Result<(), Broken> {
        let is_listening = self.line.phase == Phase::Open && self.subscriptions.is_live(channel);
        if !is_listening || self.line.is_dead() {
            return Ok(());
        }
        self.members.check(channel, users).map_err(|what| self.broken(&what))
    }

    pub(super) fn broken(&self, what: &str) -> Broken {
        let Self { line, user, .. } = self;
        let Line { name, temper, .. } = line;
        format!("client {name} ({user}, Pusher, {temper:?}): {what}")
    }
}

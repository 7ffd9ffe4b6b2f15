//! What a client may expect: reasons for refusals and ends, and what must have come once all is at rest.

use serde_json::Value;

use super::{Centrifuge, Kind};
use crate::around::{Around, Kill};
use crate::client::line::{Line, Phase, Temper};
use crate::ledger::Broken;
use crate::presence::{Name, Shown};
use crate::replies::published;
use crate::scenario::{EXPIRY_MS, EngineKind, is_closed};

impl Centrifuge {
    /// The stream has ended: was that allowed without a close frame?
    pub(super) fn connection_ended(&mut self, around: &mut Around<'_>) -> Result<(), Broken> {
        if !self.line.may_have_ended(around) {
            return Err(self.broken("the connection ended without a close frame"));
        }
        around.sockets[self.line.socket].close_by_peer();
        self.ended(around);
        Ok(())
    }

    pub(super) fn may_fail(&self, kind: &Kind, code: u64, around: &Around<'_>) -> bool {
        let is_slow_engine = around.scenario.engine == EngineKind::Slow;
        match (kind, code) {
            (Kind::Subscribe { channel, .. } | Kind::Publish { channel, .. }, 102) => {
                around.is_reloaded && channel.starts_with("gone:")
            }
            (
                Kind::Subscribe { .. } | Kind::Publish { .. } | Kind::History { .. } | Kind::Presence(_),
                100,
            ) => is_slow_engine,
            // The subscription ended before the command was carried out.
            (Kind::History { channel, .. }, 103) => !self.subscriptions.is_live(channel),
            (Kind::Publish { channel, .. } | Kind::Presence(channel), 103) => {
                is_closed(channel) && !self.subscriptions.is_live(channel)
            }
            (Kind::Connect, 109) => self.expires_s.is_some_and(|expires_s| expires_s <= around.now.unix_s()),
            _ => false,
        }
    }

    /// Was there a reason to end this connection?
    pub(super) fn judge_end(&self, code: u16, reason: &str, around: &mut Around<'_>) -> Result<(), Broken> {
        let said = reason.strip_prefix("{\"reason\":\"").and_then(|rest| rest.split('"').next());
        let said = said.unwrap_or(reason);
        around.trace.count(match said {
            "shutdown" => "close: shutdown",
            "expired" | "connection expired" => "close: expired",
            "slow" => "close: slow",
            "no pong" => "close: no pong",
            "stale" => "close: stale",
            "force disconnect" => "close: by user",
            _ => "close: other",
        });
        let is_right = match said {
            "shutdown" => around.is_draining,
            "expired" | "connection expired" => return self.judge_expiry(around),
            "slow" => self.line.may_be_slow(around),
            "no pong" => self.line.may_be_mute(around),
            // An engine that is down refuses everything.
            "too many errors" => around.scenario.engine == EngineKind::Slow || around.is_reloaded,
            "stale" => self.line.temper == Temper::Shy,
            "force disconnect" => self.line.may_be_killed(&self.user, around),
            _ => self.line.temper == Temper::Rude,
        };
        if is_right {
            Ok(())
        } else {
            Err(self.broken(&format!("closed with {code} {reason}, for no reason")))
        }
    }

    pub(super) fn judge_expiry(&self, around: &Around<'_>) -> Result<(), Broken> {
        let Some(expires_s) = self.expires_s else { return Err(self.broken("expired without an expiry")) };
        // A fresh token may itself have expired on its way.
        let refreshes = self.expected.iter().filter_map(|expected| match expected.kind {
            Kind::Refresh { expires_s } => Some(expires_s),
            _ => None,
        });
        let refresh = refreshes.min();
        if refresh.is_some_and(|refreshed_s| refreshed_s <= around.now.unix_s()) {
            return Ok(());
        }
        let late_ms = around.now.unix_ms.checked_sub(expires_s * 1_000);
        let is_late = self.line.temper != Temper::Sleepy
            && refresh.is_none()
            && late_ms.is_some_and(|late_ms| late_ms > *EXPIRY_MS.end());
        if late_ms.is_none_or(|late_ms| late_ms < *EXPIRY_MS.start()) || is_late {
            return Err(self.broken(&format!("exp {expires_s}, closed at {} ms", around.now.unix_ms)));
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
        self.subscriptions.settled(around.ledger).map_err(|what| self.broken(&what))?;
        let has_missed = |kill: &Kill| {
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

    /// The channels in whose presence it must be, or may be if it hears nothing any more.
    pub fn shown_in(&self) -> impl Iterator<Item = Shown<'_>> {
        let (is_open, is_dead) = (self.line.phase == Phase::Open, self.line.is_dead());
        let live = self.subscriptions.heard().filter(move |_| is_open);
        live.map(move |channel| Shown { channel, name: Name::Id(&self.id), is_dead })
    }

    /// Was it told of those who are there? `members`: client ids, and when they asked to be there, if they did so once.
    pub fn check_others(&self, channel: &str, members: &[(&str, Option<u64>)]) -> Result<(), Broken> {
        let is_listening = self.line.phase == Phase::Open && self.subscriptions.is_live(channel);
        if !is_listening || self.line.is_dead() {
            return Ok(());
        }
        self.others.check(channel, members).map_err(|what| self.broken(&what))
    }

    /// How a client is shown that hears nothing any more.
    pub fn dead(&self) -> Option<Name<'_>> {
        self.line.is_dead().then_some(Name::Id(&self.id))
    }

    /// The last moment at which it may still be connected, in Unix milliseconds.
    pub fn expires_ms(&self) -> Option<u64> {
        let expires_s = self.expires_s.filter(|_| self.line.phase == Phase::Open)?;
        Some(expires_s * 1_000 + EXPIRY_MS.end())
    }

    pub(super) fn broken(&self, what: &str) -> Broken {
        let Self { line, user, .. } = self;
        let Line { name, temper, .. } = line;
        let dialect = match (self.is_v1, self.is_protobuf) {
            (true, false) => "v1",
            (true, true) => "v1 Protobuf",
            (false, false) => "v2",
            (false, true) => "v2 Protobuf",
        };
        format!("client {name} ({user}, {dialect}, {temper:?}): {what}")
    }
}

pub(super) fn judge_history(
    (channel, limit, reverse): (&str, i64, bool),
    (content, payload): (&Value, &[u8]),
    around: &mut Around<'_>,
) -> Result<(), Broken> {
    let publications = content["publications"].as_array().map_or(&[][..], Vec::as_slice);
    let most = if limit < 0 { 300 } else { limit.min(300) };
    if publications.len() as i64 > most {
        return Err(format!("{} publications where {most} are most", publications.len()));
    }
    let mut before: Option<u64> = None;
    for publication in publications {
        let (number, offset) = published(payload, publication)?;
        around.ledger.read(channel, number, offset)?;
        let follows = |before: u64| if reverse { offset + 1 == before } else { offset == before + 1 };
        if before.is_some_and(|before| !follows(before)) {
            return Err(format!("a gap in the history of {channel}: {before:?}, then {offset}"));
        }
        before = Some(offset);
    }
    Ok(())
}

//! What comes back: bytes to frames, messages and replies, each to the promise it belongs to.

use serde_json::Value;
use tungstenite::protocol::frame::coding::Control;

use super::judge::judge_history;
use super::{Client, Expected, Kind, Phase, State, Temper};
use crate::around::Around;
use crate::frames::{Frame, append_control, append_message, take_frame};
use crate::ledger::{Broken, Outcome};
use crate::mutant::Mutant;
use crate::protobuf;
use crate::replies::{Message, parse, published, published_text, read};
use crate::scenario::EngineKind;
use crate::wish::{Wish, read_difference};

impl Client {
    pub(super) fn read(&mut self, around: &mut Around<'_>) -> Result<(), Broken> {
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
    pub(super) fn read_upgrade(&mut self, around: &mut Around<'_>) -> Result<bool, Broken> {
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

    pub(super) fn frame(&mut self, frame: Frame, around: &mut Around<'_>) -> Result<(), Broken> {
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
            Frame::Text(payload) if !self.is_protobuf => self.message(&payload, around),
            Frame::Binary(payload) if self.is_protobuf => self.message(&payload, around),
            Frame::Text(_) | Frame::Binary(_) => Err(self.broken("a frame of the wrong kind")),
        }
    }

    pub(super) fn message(&mut self, payload: &[u8], around: &mut Around<'_>) -> Result<(), Broken> {
        let value = if self.is_protobuf {
            let asked = self.expected.front().map(|expected| expected.kind.name());
            protobuf::read(payload, self.is_v1, asked)
        } else {
            parse(payload)
        };
        let message = value.and_then(|value| read(&value, self.is_v1));
        match message.map_err(|what| self.broken(&what))? {
            Message::Ping => {
                if self.temper != Temper::Mute && self.phase == Phase::Open {
                    let pong: &[u8] = if self.is_protobuf { b"\0" } else { b"{}" };
                    append_message(pong, !self.is_protobuf, around.random, &mut self.writer.bytes);
                }
                Ok(())
            }
            Message::Publication { channel, publication } => {
                self.latest.insert(channel.clone(), payload.to_vec());
                let (number, offset) = self
                    .read_publication(&channel, &publication, payload, around)
                    .map_err(|what| self.broken(&what))?;
                self.publication(&channel, number, offset, around)
            }
            Message::Passage { channel, client, enters } => {
                let asked_ms = around.ledger.asked_once_ms(&client, &channel);
                let told = self.others.passage(&channel, &client, enters, asked_ms);
                told.map_err(|what| self.broken(&what))
            }
            Message::Dropped { channel } if self.subscription_ended(&channel) => {
                around.trace.count("subscription dropped");
                around.ledger.dropped(&channel).map_err(|what| self.broken(&what))
            }
            Message::Dropped { channel } => {
                Err(self.broken(&format!("dropped from {channel}, not subscribed")))
            }
            Message::Reply { tag, error, body, content } => {
                self.reply((tag, error, &body), (&content, payload), around)
            }
        }
    }

    /// Number and offset of a publication in a message, in the form that was agreed on.
    fn read_publication(
        &mut self,
        channel: &str,
        publication: &Value,
        payload: &[u8],
        around: &mut Around<'_>,
    ) -> Result<(usize, u64), String> {
        let Some(text) = self.texts.get_mut(channel) else { return published(payload, publication) };
        if publication["delta"] == true {
            around.trace.count(if self.is_protobuf { "difference in Protobuf" } else { "difference" });
            if around.saboteur.strikes(Mutant::SpoilText) {
                *text = text.take().map(|text| text.to_ascii_uppercase());
            }
        }
        published_text(&read_difference(publication, text)?, publication)
    }

    /// Remembers how far a subscription came. `false`: there was none.
    pub(super) fn subscription_ended(&mut self, channel: &str) -> bool {
        self.others.ended(channel);
        self.texts.remove(channel);
        match self.subscriptions.remove(channel) {
            Some(State::Live(reader) | State::Ending(reader)) => {
                if let Some((offset, epoch)) = self.positions.remove(channel) {
                    self.ended.insert(channel.to_owned(), (reader, offset, epoch));
                }
                true
            }
            Some(State::Asked) | None => false,
        }
    }

    pub(super) fn subscriptions_ended(&mut self) {
        let channels: Vec<String> = self.subscriptions.keys().cloned().collect();
        for channel in channels {
            self.subscription_ended(&channel);
        }
        self.positions.clear();
    }

    pub(super) fn publication(
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
        if offset > 0
            && let Some(position) = self.positions.get_mut(channel)
        {
            position.0 = offset;
        }
        heard.map_err(|what| self.broken(&what))
    }

    pub(super) fn reply(
        &mut self,
        (tag, error, body): (u64, Option<u64>, &str),
        content: (&Value, &[u8]),
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
        let want_body = if self.is_v1 { "result" } else { kind.name() };
        if error.is_none() && body != want_body {
            return Err(self.broken(&format!("a reply to {kind:?} with {body}")));
        }
        if error.is_some() {
            around.trace.count("command refused");
        }
        if let Some(code) = error
            && !self.may_fail(&kind, code, around)
        {
            return Err(self.broken(&format!("{kind:?} was refused with {code}")));
        }
        self.replied(kind, error, content, around)
    }

    pub(super) fn replied(
        &mut self,
        kind: Kind,
        error: Option<u64>,
        (content, payload): (&Value, &[u8]),
        around: &mut Around<'_>,
    ) -> Result<(), Broken> {
        match kind {
            Kind::Connect if error.is_some() => {
                around.sockets[self.socket].close_by_peer();
                self.ended(around);
            }
            Kind::Connect => {
                self.is_greeted = true;
                self.id = content["client"].as_str().unwrap_or_default().to_owned();
                self.greeted_ms = around.now.monotonic_ms;
            }
            Kind::Subscribe { channel, .. } if error.is_some() => {
                self.subscriptions.remove(&channel);
            }
            Kind::Subscribe { channel, since } => {
                self.subscribed(channel, since, (content, payload), around)
                    .map_err(|what| self.broken(&what))?;
            }
            Kind::History { .. } | Kind::Presence(_) if error.is_some() => {}
            Kind::History { channel, limit, reverse } => {
                judge_history((&channel, limit, reverse), (content, payload), around)
                    .map_err(|what| self.broken(&what))?;
            }
            Kind::Presence(channel) => {
                let is_live = matches!(self.subscriptions.get(&channel), Some(State::Live(_)));
                if is_live && content["presence"].get(&self.id).is_none() {
                    return Err(self.broken(&format!("is in {channel} and not in its presence {content}")));
                }
            }
            Kind::Unsubscribe(channel) => {
                if let Some(State::Ending(_)) = self.subscriptions.get(&channel) {
                    self.subscription_ended(&channel);
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
            Kind::Refresh { expires_s } => {
                around.trace.count("token refreshed");
                self.expires_s = Some(expires_s);
            }
            Kind::Ping => {}
        }
        Ok(())
    }

    /// The client has a subscription.
    fn subscribed(
        &mut self,
        channel: String,
        since: Option<(u64, String)>,
        (content, payload): (&Value, &[u8]),
        around: &mut Around<'_>,
    ) -> Result<(), Broken> {
        let wish = self.wish(&channel, around);
        let mut reader = around.ledger.subscribed(&channel);
        let mut position = None;
        let is_agreed = wish == Wish::Differences && content["positioned"] == true;
        if (content["delta"] == true) != is_agreed {
            return Err(format!("{wish:?} was answered with {content}"));
        }
        if is_agreed {
            self.texts.insert(channel.clone(), None);
        }
        if content["recoverable"] == true {
            let epoch = content["epoch"].as_str().unwrap_or_default().to_owned();
            let mut offset = content["offset"].as_u64().unwrap_or(0);
            if content["recovered"] == true {
                around.trace.count("recovered");
                let asked = since.as_ref().ok_or("recovered without being asked to")?;
                let ended = self.ended.remove(&channel).ok_or("recovered from nowhere")?;
                let publications = content["publications"].as_array().map_or(&[][..], Vec::as_slice);
                let may_move_on = wish.part().is_some() && (self.is_v1 || publications.is_empty());
                if asked.1 != epoch || (!self.is_v1 && asked.0 != offset && !may_move_on) {
                    return Err(format!("asked from {asked:?}, recovered from {offset} {epoch}"));
                }
                reader = ended.0;
                let top = std::mem::replace(&mut offset, asked.0);
                for publication in publications {
                    let (number, at) = self.read_publication(&channel, publication, payload, around)?;
                    around.ledger.heard(&mut reader, &channel, number, at)?;
                    offset = at;
                }
                if may_move_on && top != offset {
                    around.trace.count("moved on");
                    around.ledger.moved_on(&mut reader, &channel, top)?;
                    offset = top;
                }
                if self.is_v1 && top != offset {
                    return Err(format!("recovered up to {offset}, told {top}"));
                }
            } else {
                if since.is_some() {
                    around.trace.count("not recovered");
                    let kept = 300.min(around.scenario.history_size as usize);
                    let (ended, ..) = self.ended.remove(&channel).ok_or("asked from nowhere")?;
                    // This engine is never ahead of what the owner has handed out.
                    let is_at_top = around.scenario.engine == EngineKind::Memory;
                    let top = is_at_top.then_some((offset, life(&epoch)));
                    around.ledger.unrecovered(&ended, &channel, kept, top)?;
                }
                reader = around.ledger.subscribed_at(&channel, offset, life(&epoch))?;
            }
            position = Some((offset, epoch));
        } else if since.is_some() && around.scenario.forces_recovery {
            return Err(format!("{channel} is recoverable whether asked or not"));
        }
        if let Some(position) = position {
            self.positions.insert(channel.clone(), position);
        }
        let reader = reader.of_part(wish.part());
        self.others.subscribed(&channel, around.now.monotonic_ms);
        self.subscriptions.insert(channel, State::Live(reader));
        Ok(())
    }

    /// The server's close frame.
    pub(super) fn closed(&mut self, code: u16, reason: &str, around: &mut Around<'_>) -> Result<(), Broken> {
        around
            .trace
            .note(around.now.monotonic_ms, format_args!("client {} is closed: {code} {reason}", self.name));
        if self.phase != Phase::Leaving {
            self.judge_end(code, reason, around)?;
            append_control(Control::Close, &code.to_be_bytes(), around.random, &mut self.writer.bytes);
        }
        self.phase = Phase::Closed;
        self.subscriptions_ended();
        self.expected.clear();
        Ok(())
    }
}

/// The number of a stream's life; the memory engine's streams have one only.
fn life(epoch: &str) -> u64 {
    epoch.strip_prefix("life").and_then(|number| number.parse().ok()).unwrap_or(0)
}

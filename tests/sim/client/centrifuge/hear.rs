//! What comes back: bytes to frames, messages and replies, each to the promise it belongs to.

use serde_json::Value;

use super::judge::judge_history;
use super::{Centrifuge, Expected, Kind};
use crate::around::Around;
use crate::client::line::{Incoming, Phase, Received, Temper};
use crate::ledger::{Broken, Outcome};
use crate::mutant::Mutant;
use crate::protobuf;
use crate::replies::{Message, parse, published, published_text, read};
use crate::scenario::EngineKind;
use crate::wish::{Wish, read_difference};

impl Centrifuge {
    pub(super) fn read(&mut self, around: &mut Around<'_>) -> Result<(), Broken> {
        match self.line.receive(around).map_err(|what| self.broken(&what))? {
            Received::End => return self.connection_ended(around),
            Received::Part => return Ok(()),
            Received::Opened if self.line.temper != Temper::Shy => self.greet(around),
            Received::Opened | Received::More => {}
        }
        while let Some(frame) = self.line.next_frame(around).map_err(|what| self.broken(&what))? {
            match frame {
                Incoming::Close { code, reason } => self.closed(code, &reason, around)?,
                Incoming::Text(payload) if !self.is_protobuf => self.message(&payload, around)?,
                Incoming::Binary(payload) if self.is_protobuf => self.message(&payload, around)?,
                Incoming::Text(_) | Incoming::Binary(_) => {
                    return Err(self.broken("a frame of the wrong kind"));
                }
            }
        }
        Ok(())
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
                if self.line.temper != Temper::Mute && self.line.phase == Phase::Open {
                    let pong: &[u8] = if self.is_protobuf { b"\0" } else { b"{}" };
                    self.line.say(pong, !self.is_protobuf, around);
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
        let Some(reader) = self.subscriptions.end(channel) else { return false };
        if let Some((offset, epoch)) = self.positions.remove(channel) {
            self.ended.insert(channel.to_owned(), (reader, offset, epoch));
        }
        true
    }

    pub(super) fn subscriptions_ended(&mut self) {
        for channel in self.subscriptions.channels() {
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
        let heard = self.subscriptions.hear(channel, number, offset, around.ledger);
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
        around.trace.note(
            around.now.monotonic_ms,
            format_args!("client {} reply {tag} {error:?} {body}", self.line.name),
        );
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
                around.sockets[self.line.socket].close_by_peer();
                self.ended(around);
            }
            Kind::Connect => {
                self.is_greeted = true;
                self.id = content["client"].as_str().unwrap_or_default().to_owned();
                self.greeted_ms = around.now.monotonic_ms;
            }
            Kind::Subscribe { channel, .. } if error.is_some() => {
                self.subscriptions.end(&channel);
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
                let is_live = self.subscriptions.is_live(&channel);
                if is_live && content["presence"].get(&self.id).is_none() {
                    return Err(self.broken(&format!("is in {channel} and not in its presence {content}")));
                }
            }
            Kind::Unsubscribe(channel) => {
                if self.subscriptions.is_ending(&channel) {
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
        self.subscriptions.live(channel, reader);
        Ok(())
    }

    /// The server's close frame.
    pub(super) fn closed(&mut self, code: u16, reason: &str, around: &mut Around<'_>) -> Result<(), Broken> {
        around.trace.note(
            around.now.monotonic_ms,
            format_args!("client {} is closed: {code} {reason}", self.line.name),
        );
        if self.line.phase != Phase::Leaving {
            self.judge_end(code, reason, around)?;
        }
        self.line.answer_close(code, around);
        self.subscriptions_ended();
        self.expected.clear();
        Ok(())
    }
}

/// The number of a stream's life; the memory engine's streams have one only.
fn life(epoch: &str) -> u64 {
    epoch.strip_prefix("life").and_then(|number| number.parse().ok()).unwrap_or(0)
}

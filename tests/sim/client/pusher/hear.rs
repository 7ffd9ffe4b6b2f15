//! What comes back: frames to messages, each to the promise it belongs to.

use serde_json::Value;

use super::{CLIENT_EVENT, Expected, Pusher, id_of};
use crate::around::Around;
use crate::client::line::{Incoming, Phase, Received};
use crate::ledger::{Broken, Outcome};
use crate::mutant::Mutant;
use crate::replies::{parse, published, published_text};
use crate::scenario::{EngineKind, channel_of, is_presence, keeps_latest, owner};

impl Pusher {
    pub(super) fn read(&mut self, around: &mut Around<'_>) -> Result<(), Broken> {
        match self.line.receive(around)? {
            Received::End => return self.connection_ended(around),
            Received::Part => return Ok(()),
            Received::Opened | Received::More => {}
        }
        while let Some(frame) = self.line.next_frame(around)? {
            match frame {
                Incoming::Close { code, reason } => self.closed(code, &reason, around)?,
                Incoming::Text(payload) => self.message(&payload, around)?,
                Incoming::Binary(_) => return Err("a frame of the wrong kind".to_owned()),
            }
        }
        Ok(())
    }

    fn message(&mut self, payload: &[u8], around: &mut Around<'_>) -> Result<(), Broken> {
        let message = parse(payload)?;
        let event =
            message["event"].as_str().ok_or_else(|| format!("a message without a name: {message}"))?;
        let channel = message["channel"].as_str().unwrap_or_default();
        around
            .trace
            .note(around.now.monotonic_ms, format_args!("client {} hears {event} {channel}", self.line.name));
        if self.socket_id.is_empty() && event != "pusher:error" {
            return self.established(event, &message, around);
        }
        if self.announced.is_some() {
            return Err(format!("{message} after the end was announced"));
        }
        match event {
            "pusher:error" => return self.error(&message, around),
            "pusher_internal:subscription_count" if around.scenario.subscribers_are_counted => {
                return self.subscriptions.reader_mut(channel).map(|_| ());
            }
            _ if self.latest_of.is_some() => return self.latest(event, channel, &message, payload, around),
            _ => {}
        }
        match event {
            "pusher:pong" => self.pong(around),
            "pusher:signin_success" => self.signed_in(around),
            "pusher_internal:subscription_succeeded" => self.subscribed(channel, &message, around),
            "pusher_internal:member_added" => self.passage(channel, &message, true, around),
            "pusher_internal:member_removed" => self.passage(channel, &message, false, around),
            _ if event.starts_with("pusher") => Err(format!("{message} was not to be expected")),
            _ => {
                self.publication(event, channel, &message, payload, around)?;
                if around.saboteur.strikes(Mutant::HearTwice) {
                    return self.publication(event, channel, &message, payload, around);
                }
                Ok(())
            }
        }
    }

    fn established(&mut self, event: &str, message: &Value, around: &mut Around<'_>) -> Result<(), Broken> {
        let data = data_of(message)?;
        let is_right = event == "pusher:connection_established"
            && data["activity_timeout"].as_u64() == Some(around.scenario.ping_interval_s);
        let Some(id) = data["socket_id"].as_str().filter(|_| is_right) else {
            return Err(format!("greeted with {message}"));
        };
        id_of(id)?;
        self.socket_id = id.to_owned();
        around.socket_ids.push(id.to_owned());
        Ok(())
    }

    /// What is due next, besides events to which nothing is answered.
    fn due(&mut self, around: &mut Around<'_>) -> Result<Expected, Broken> {
        loop {
            match self.expected.pop_front() {
                Some(Expected::Event { channel, number }) if self.refusals == 0 => {
                    around.ledger.answered(number, &channel, Outcome::Taken, None)?;
                }
                // Not this one, or another one.
                Some(Expected::Event { .. }) => {}
                Some(expected) => {
                    self.refusals = 0;
                    return Ok(expected);
                }
                None => return Err("an answer to nothing".to_owned()),
            }
        }
    }

    fn pong(&mut self, around: &mut Around<'_>) -> Result<(), Broken> {
        match self.due(around)? {
            Expected::Pong { ends: None } => Ok(()),
            Expected::Pong { ends: Some(channel) } => {
                self.subscriptions.end(&channel);
                self.members.ended(&channel);
                Ok(())
            }
            other => Err(format!("a pong where {other:?} was due")),
        }
    }

    fn signed_in(&mut self, around: &mut Around<'_>) -> Result<(), Broken> {
        around.trace.count("signed in");
        self.signed_in_ms = Some(around.now.monotonic_ms);
        match self.due(around)? {
            Expected::SignIn => {
                let channel = channel_of(&self.user);
                let reader = around.ledger.subscribed(&channel).of_socket(id_of(&self.socket_id)?);
                self.subscriptions.live(channel, reader);
                Ok(())
            }
            other => Err(format!("signed in where {other:?} was due")),
        }
    }

    fn subscribed(&mut self, channel: &str, message: &Value, around: &mut Around<'_>) -> Result<(), Broken> {
        let due = self.due(around)?;
        if due != Expected::Subscription(channel.to_owned()) {
            return Err(format!("{message} where {due:?} was due"));
        }
        let data = data_of(message)?;
        match data.get("presence") {
            Some(presence) if is_presence(channel) => {
                self.members.subscribed(channel, &self.names[channel], presence)?;
            }
            None if !is_presence(channel) => {}
            _ => return Err(format!("{channel} was answered with {data}")),
        }
        if owner(channel).is_some() && self.subscriptions.is_live(channel) {
            return Ok(());
        }
        let reader = around.ledger.subscribed(channel).of_socket(id_of(&self.socket_id)?);
        self.subscriptions.live(channel.to_owned(), reader);
        self.latest_of = keeps_latest(channel).then(|| channel.to_owned());
        Ok(())
    }

    /// The first thing that is told of a channel that keeps its last publication.
    fn latest(
        &mut self,
        event: &str,
        channel: &str,
        message: &Value,
        payload: &[u8],
        around: &mut Around<'_>,
    ) -> Result<(), Broken> {
        let due = self.latest_of.take();
        if due.as_deref() != Some(channel) {
            return Err(format!("{message} where the last of {due:?} was due"));
        }
        let number = match event {
            "pusher:cache_miss" => None,
            _ => Some(self.read_publication(event, channel, message, payload, around)?),
        };
        around.trace.count(if number.is_some() { "told the latest" } else { "told that nothing is kept" });
        // A slow engine delivers while a channel goes live, and says later what it has taken.
        let is_exact = around.scenario.engine == EngineKind::Memory;
        let reader = self.subscriptions.reader_mut(channel)?;
        around.ledger.latest(reader, channel, number, is_exact)
    }

    fn passage(
        &mut self,
        channel: &str,
        message: &Value,
        enters: bool,
        around: &mut Around<'_>,
    ) -> Result<(), Broken> {
        around.trace.count(if enters { "member added" } else { "member removed" });
        let data = data_of(message)?;
        let user = data["user_id"].as_str().ok_or_else(|| format!("{message} is about nobody"))?;
        if enters && data["user_info"]["of"] != *user {
            return Err(format!("{message} tells something else of {user}"));
        }
        let own = self.names.get(channel).map_or("", String::as_str);
        self.members.passage(channel, user, enters, own)
    }

    fn publication(
        &mut self,
        event: &str,
        channel: &str,
        message: &Value,
        payload: &[u8],
        around: &mut Around<'_>,
    ) -> Result<(), Broken> {
        let number = self.read_publication(event, channel, message, payload, around)?;
        self.subscriptions.hear(channel, number, 0, around.ledger)
    }

    fn read_publication(
        &mut self,
        event: &str,
        channel: &str,
        message: &Value,
        payload: &[u8],
        around: &mut Around<'_>,
    ) -> Result<usize, Broken> {
        let (number, _) = match message["data"].as_str() {
            Some(text) => published_text(text, message)
                .map_err(|what| format!("{what}: {event} {:?}", &text[..text.len().min(80)]))?,
            None => published(payload, message)?,
        };
        let Some(kind) = around.ledger.kind(number) else {
            return Err(format!("publication {number} was never published"));
        };
        if kind.event != event {
            return Err(format!("publication {number} is {:?} and came as {event:?}", kind.event));
        }
        let has_user = message["user_id"].is_string();
        let wants_user = is_presence(channel) && kind.is_clients;
        if has_user != wants_user {
            return Err(format!("publication {number} of {channel} came from {}", message["user_id"]));
        }
        around.trace.count(match (kind.is_clients, kind.event == CLIENT_EVENT) {
            (true, true) => "heard: a client event",
            (true, false) => "heard: of the other dialect",
            (false, _) if owner(channel).is_some() => "heard: sent to a user",
            (false, _) => "heard: of a backend",
        });
        Ok(number)
    }

    fn error(&mut self, message: &Value, around: &mut Around<'_>) -> Result<(), Broken> {
        let data = &message["data"];
        match data["code"].as_u64() {
            Some(code) if code != 4301 => self.announced = Some(code),
            _ if self.may_be_refused(around) => {
                around.trace.count("event refused");
                self.refusals += 1;
            }
            _ => return Err(format!("{message}, for no reason")),
        }
        Ok(())
    }

    /// The server's close frame.
    fn closed(&mut self, code: u16, reason: &str, around: &mut Around<'_>) -> Result<(), Broken> {
        around.trace.note(
            around.now.monotonic_ms,
            format_args!("client {} is closed: {code} {reason}", self.line.name),
        );
        if self.line.phase != Phase::Leaving {
            self.judge_end(code, reason, around)?;
        }
        self.line.answer_close(code, around);
        self.forget();
        Ok(())
    }
}

/// What lies in `data`, as JSON in a string.
fn data_of(message: &Value) -> Result<Value, Broken> {
    let text = message["data"].as_str().ok_or_else(|| format!("{message} has no data in a string"))?;
    parse(text.as_bytes())
}

//! Inputs and letters as one line of the trace: what they are about, without the data they carry.

use std::fmt::{Display, Formatter, Result};

use polycast::engine::Answer;
use polycast::shard::input::Input;
use polycast::shard::letter::Letter;

pub struct Shown<'a>(pub &'a Input<'a>);

impl Display for Shown<'_> {
    fn fmt(&self, out: &mut Formatter<'_>) -> Result {
        match self.0 {
            Input::Accepted { slot, .. } => write!(out, "accepted {}", slot.0),
            Input::Received { slot, bytes } => write!(out, "received {} bytes at {}", bytes.len(), slot.0),
            Input::ReceiveEnded { slot } => write!(out, "end of stream at {}", slot.0),
            Input::Sent { slot, result: Ok(bytes) } => write!(out, "sent {bytes} bytes to {}", slot.0),
            Input::Sent { slot, result: Err(_) } => write!(out, "send to {} failed", slot.0),
            Input::Closed { slot } => write!(out, "closed {}", slot.0),
            Input::Letter { source, letter } => write!(out, "from {}: {}", source.0, ShownLetter(letter)),
            Input::Order(order) => write!(out, "order {:?}", std::mem::discriminant(order)),
            Input::Engine(answer) => write!(out, "engine: {}", ShownAnswer(answer)),
            Input::Timers { pending_receives } => {
                write!(out, "timers, unread completions: {pending_receives}")
            }
            Input::TurnEnd => write!(out, "end of turn"),
        }
    }
}

pub struct ShownLetter<'a>(pub &'a Letter);

impl Display for ShownLetter<'_> {
    fn fmt(&self, out: &mut Formatter<'_>) -> Result {
        match self.0 {
            Letter::Join { channel, .. } => write!(out, "join {}", channel.name),
            Letter::Joined { operation, result, .. } => {
                write!(out, "joined {} {}", operation.index, result.is_ok())
            }
            Letter::Leave { channel } => write!(out, "leave {}", channel.name),
            Letter::Count { channel, subscribers } => write!(out, "count {} {subscribers}", channel.name),
            Letter::Publish { channel, .. } => write!(out, "publish {}", channel.name),
            Letter::Published { operation, result } => {
                write!(out, "published {} {}", operation.index, result.is_ok())
            }
            Letter::Passage { channel, passage } => {
                write!(out, "passage {} {}", channel.name, passage.enters)
            }
            Letter::Passed { channel, passage } => write!(out, "passed {} {}", channel.name, passage.enters),
            Letter::Lookup { channel, lookup, .. } => write!(out, "lookup {} {lookup:?}", channel.name),
            Letter::Found { operation, result } => {
                write!(out, "found {} {}", operation.index, result.is_ok())
            }
            Letter::Deliver(delivery) => {
                write!(out, "deliver {} {}", delivery.channel.name, delivery.numbered.offset)
            }
            Letter::Counted { channel, subscribers } => write!(out, "counted {} {subscribers}", channel.name),
            Letter::Broken { channel } => write!(out, "broken {}", channel.name),
            Letter::Claim { user, .. } => write!(out, "claim {user}"),
            Letter::Release { user, .. } => write!(out, "release {user}"),
            Letter::Displaced { connection } => write!(out, "displaced {}", connection.slot.0),
            Letter::Charge { user, kind, .. } => write!(out, "charge {user} {kind:?}"),
            Letter::Charged { operation, granted } => write!(out, "charged {} {granted}", operation.index),
            Letter::Take { mark, .. } => write!(out, "take {}", mark.signed_s),
            Letter::Taken { operation, result } => {
                write!(out, "taken {} {}", operation.index, result.is_ok())
            }
            Letter::Watch { users, .. } => write!(out, "watch {users:?}"),
            Letter::Unwatch { users, .. } => write!(out, "unwatch {users:?}"),
            Letter::Seen { users, are_here, .. } => write!(out, "seen {users:?} {are_here:?}"),
            Letter::Moved { user, is_here, .. } => write!(out, "moved {user} {is_here}"),
            Letter::Survey { question, .. } => write!(out, "survey {question:?}"),
            Letter::Surveyed { findings, .. } => write!(out, "surveyed {findings:?}"),
        }
    }
}

struct ShownAnswer<'a>(&'a Answer);

impl Display for ShownAnswer<'_> {
    fn fmt(&self, out: &mut Formatter<'_>) -> Result {
        match self.0 {
            Answer::Published { id, result } => write!(out, "published {} {}", id.0, result.is_ok()),
            Answer::Subscribed { id, result } => write!(out, "subscribed {} {}", id.0, result.is_ok()),
            Answer::History { id, result: Ok(stream) } => {
                write!(out, "history {} {} to {}", id.0, stream.publications.len(), stream.top.offset)
            }
            Answer::History { id, result: Err(error) } => write!(out, "history {} {error}", id.0),
            Answer::Presence { id, result } => write!(out, "presence {} {}", id.0, result.is_ok()),
            Answer::PresenceStats { id, result } => write!(out, "presence stats {} {}", id.0, result.is_ok()),
            Answer::HistoryRemoved { id, result } => write!(out, "removed {} {}", id.0, result.is_ok()),
            Answer::User { channel, user, enters } => {
                write!(out, "user {user} {} {}", if *enters { "enters" } else { "leaves" }, channel.name)
            }
            Answer::Delivery { channel, epoch, numbered } => {
                write!(out, "delivery {} {} of {epoch}", channel.name, numbered.offset)
            }
        }
    }
}

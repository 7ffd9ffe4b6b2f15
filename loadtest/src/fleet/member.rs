//! One ring and its connections: what happens on a slot, handed to whoever sits there.

use std::io;

use super::Shared;
use super::subscriber::{Phase, Subscriber, Wanted};
use crate::entrance::Answers;
use crate::frames::client_frame;
use crate::ledger::Ledger;
use crate::ring::{Event, Filled, PayloadId, Ring};

/// One ring and the connections in its slots.
pub struct Member {
    pub ring: Ring,
    pub connections: Vec<Connection>,
    pub upgrade: PayloadId,
    pub pong: PayloadId,
    pub open: usize,
}

pub enum Connection {
    Free,
    Subscriber(Subscriber),
    Publisher(Box<Publisher>),
}

pub struct Publisher {
    pub connected: bool,
    pub closing: bool,
    pub sending: bool,
    pub pending: Vec<u8>,
    pub answers: Answers,
}

impl Publisher {
    /// `pending`: what it says as soon as it is connected.
    pub fn new(pending: Vec<u8>, answers: Answers) -> Publisher {
        Publisher { connected: false, closing: false, sending: false, pending, answers }
    }
}

impl Member {
    pub fn flush(&mut self, slot: u32) -> io::Result<()> {
        if let Connection::Publisher(publisher) = &mut self.connections[slot as usize]
            && publisher.connected
            && !publisher.sending
            && !publisher.pending.is_empty()
        {
            publisher.sending = true;
            let bytes = std::mem::take(&mut publisher.pending);
            self.ring.send_owned(slot, bytes)?;
        }
        Ok(())
    }

    pub fn handle(&mut self, event: Event, shared: &mut Shared, ledger: &mut Ledger) -> io::Result<()> {
        match event {
            Event::Received { slot, buffer } => self.received(slot, buffer, shared, ledger),
            Event::Sent { slot } => {
                if let Connection::Publisher(publisher) = &mut self.connections[slot as usize] {
                    publisher.sending = false;
                }
                Ok(())
            }
            Event::Connected { slot } => self.connected(slot),
            Event::Closed { slot } => {
                self.connections[slot as usize] = Connection::Free;
                self.open -= 1;
                Ok(())
            }
            Event::ConnectFailed { slot, errno } => self.ended(slot, "connect", errno, ledger),
            Event::Ended { slot, errno } => self.ended(slot, "receive", errno, ledger),
            Event::SendFailed { slot, errno } => self.ended(slot, "send", errno, ledger),
            Event::HungUp { slot } => self.ended(slot, "a stall", 0, ledger),
            Event::Accepted { .. } => unreachable!("a fleet does not listen"),
        }
    }

    fn connected(&mut self, slot: u32) -> io::Result<()> {
        match &mut self.connections[slot as usize] {
            Connection::Publisher(publisher) => publisher.connected = true,
            Connection::Subscriber(Subscriber { phase: Phase::Closing, .. }) => return Ok(()),
            Connection::Subscriber(_) => self.ring.send(slot, self.upgrade)?,
            Connection::Free => unreachable!("slot {slot} is free"),
        }
        self.ring.receive(slot)
    }

    fn ended(&mut self, slot: u32, during: &str, errno: i32, ledger: &mut Ledger) -> io::Result<()> {
        let asked = match &mut self.connections[slot as usize] {
            Connection::Subscriber(subscriber) => {
                let phase = std::mem::replace(&mut subscriber.phase, Phase::Closing);
                ledger.counts.dropped += u64::from(matches!(phase, Phase::Stalled));
                matches!(phase, Phase::Closing | Phase::Stalled)
            }
            Connection::Publisher(publisher) => std::mem::replace(&mut publisher.closing, true),
            Connection::Free => true,
        };
        if !asked {
            let why = if errno == 0 {
                "the server closed it".to_owned()
            } else {
                io::Error::from_raw_os_error(errno).to_string()
            };
            ledger.closed(format!("a connection ended during {during}: {why}"));
        }
        self.ring.close(slot)
    }

    fn received(
        &mut self,
        slot: u32,
        buffer: Filled,
        shared: &mut Shared,
        ledger: &mut Ledger,
    ) -> io::Result<()> {
        let bytes = self.ring.bytes(&buffer);
        let wanted = match &mut self.connections[slot as usize] {
            Connection::Subscriber(subscriber) => subscriber.received(bytes, &mut shared.reader, ledger),
            Connection::Publisher(publisher) => {
                match publisher.answers.feed(bytes) {
                    Ok(count) => ledger.counts.answered += count,
                    Err(answer) => ledger.problem(format!("a publish was refused: {answer}")),
                }
                Wanted::default()
            }
            Connection::Free => unreachable!("slot {slot} is free"),
        };
        self.ring.release(buffer);
        if wanted.close {
            return self.ring.close(slot);
        }
        for _ in 0..wanted.pongs {
            self.ring.send(slot, self.pong)?;
        }
        for _ in 0..wanted.websocket_pongs {
            let mut pong = Vec::new();
            client_frame(10, b"", &mut pong);
            self.ring.send_owned(slot, pong)?;
        }
        if let (Some(name), Connection::Subscriber(subscriber)) =
            (wanted.join, &mut self.connections[slot as usize])
        {
            let mut frames = Vec::with_capacity(400);
            let who = (subscriber.number, name.as_str());
            shared.dialect.join(&shared.mint, who, subscriber.asks_to_join(ledger), &mut frames);
            self.ring.send_owned(slot, frames)?;
        }
        Ok(())
    }
}
